#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the golden vectors of columns: columns.tsv.

A second implementation of proto/README.md, "Columns", from that text: messages are trees here, walked by recursion, and
nothing is shared with the C code. Every vector is also read back by the reader below, which must give the same records.

Usage: make_columns_vectors.py [DIRECTORY]     (default: its own folder). The output never changes from run to run.
Each line is: what, a name, then bytes in hex, an empty field is "-":

    columns NAME COLUMNS RECORD...      the records, and the bytes that a writer makes of them
    refused NAME COLUMNS                a reader refuses these bytes
"""

import re
import struct
import sys

import make_vectors
from make_record_vectors import (FINDING, RECORDS, category, each, fixed32, number, record, signed, text)
from make_vectors import field, varint

VERSION = 1
RECORDS_MAX, RECORD_BYTES_MAX, TOTAL_BYTES_MAX = 16384, 65536, 8 * 2**20
END = 2**29  # beyond all field numbers


class Refused(Exception):
    pass


class Row:
    """A row of the table. A message has rows of its own; `last` is for bytes, which cover a range of field numbers."""

    def __init__(self, kind, first, last=None, rows=()):
        self.kind, self.first, self.last, self.rows = kind, first, last or first, rows

    def all(self):
        yield self
        for row in self.rows:
            yield from row.all()


CATEGORY = [Row("word", 1), Row("word", 2), Row("key", 3), Row("word", 4), Row("bytes", 5, END)]
POSITION = [Row("fixed", 1), Row("fixed", 2), Row("number", 3), Row("signed", 4), Row("signed", 5), Row("bytes", 6, END)]
FINDING_ROWS = [Row("message", 1, rows=CATEGORY), Row("number", 2), Row("text", 3), Row("message", 4, rows=POSITION),
                Row("text", 5), Row("signed", 6), Row("bytes", 7), Row("signed", 8), Row("bytes", 9, END)]
TOP = [Row("signed", 1), Row("signed", 2), Row("signed", 3), Row("word", 4), Row("bytes", 5, 16),
       Row("message", FINDING, rows=FINDING_ROWS), Row("bytes", 18, END)]
VERBATIM = Row("bytes", 0)
TABLE = [VERBATIM] + [row for top in TOP for row in top.all()]
WIRE_TYPES = {"signed": 0, "number": 0, "fixed": 5, "word": 2, "key": 2, "text": 2, "message": 2}


# ---- Numbers


def zigzag(value):
    return value << 1 if value >= 0 else (-value << 1) - 1


def unzigzag(value):
    return value >> 1 ^ -(value & 1)


def wrapped(value):
    """Modulo 2^64, as a signed number."""
    return (value + 2**63) % 2**64 - 2**63


class Input:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        if count > len(self.data) - self.at:
            raise Refused("ends early")
        self.at += count
        return self.data[self.at - count:self.at]

    def until_nul(self):
        end = self.data.find(b"\0", self.at)
        if end < 0:
            raise Refused("no NUL")
        return self.take(end + 1 - self.at)[:-1]

    def varint(self):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        if varint(value) != self.data[self.at - shift // 7:self.at] or value >= 2**64:
            raise Refused("not a number in its shortest form")
        return value


# ---- Records as trees: {row: value}, a message's value is such a tree


def tree_of(data, rows):
    source, tree, row_at = Input(data), {}, 0
    while source.at < len(data):
        start = source.at
        tag = source.varint()
        if tag >> 3 == 0 or tag >= 2**32:
            raise Refused("no field")
        number_of_field, kind = tag >> 3, tag & 7
        if kind == 0:
            value = source.varint()
        elif kind in (1, 5):
            value = source.take(8 if kind == 1 else 4)
        elif kind == 2:
            value = source.take(source.varint())
        else:
            raise Refused("no type")
        while row_at < len(rows) and not rows[row_at].first <= number_of_field <= rows[row_at].last:
            row_at += 1
        if row_at == len(rows):
            raise Refused("out of order")
        row = rows[row_at]
        if row.kind == "bytes":
            tree[row] = tree.get(row, b"") + data[start:source.at]
            continue
        row_at += 1
        if kind != WIRE_TYPES[row.kind]:
            raise Refused("another type")
        if row.kind == "message":
            value = tree_of(value, row.rows)
        elif row.kind == "signed":
            value = unzigzag(value)
        elif row.kind == "fixed":
            value = struct.unpack("<i", value)[0]
        elif row.kind == "text" and b"\0" in value:
            raise Refused("NUL in text")
        tree[row] = value
    return tree


def bytes_of(tree, rows):
    out = b""
    for row in rows:
        if row not in tree:
            continue
        value = tree[row]
        if row.kind == "bytes":
            out += value
        elif row.kind == "message":
            out += field(row.first, bytes_of(value, row.rows))
        elif row.kind == "signed":
            out += signed(row.first, value, True)
        elif row.kind == "number":
            out += number(row.first, value, True)
        elif row.kind == "fixed":
            out += varint(row.first << 3 | 5) + struct.pack("<i", value)
        else:
            out += field(row.first, value)
    return out


def flat(tree):
    """All rows of a tree, a message's own and those inside it."""
    out = {}
    for row, value in tree.items():
        out[row] = value
        if row.kind == "message":
            out.update(flat(value))
    return out


def values_of(data):
    try:
        tree = tree_of(data, TOP)
    except Refused:
        return {VERBATIM: data}
    return flat(tree) if bytes_of(tree, TOP) == data else {VERBATIM: data}


def record_of(values, rows=None):
    """The record of {row: value}, where a message's value is not used."""
    def tree(part):
        return {row: tree(row.rows) if row.kind == "message" else values[row] for row in part if row in values}
    return values.get(VERBATIM, b"") + bytes_of(tree(TOP), TOP)


# ---- Writing


def numbers(values):
    width = max([(value.bit_length() + 7) // 8 for value in values] + [0])
    return bytes([width]) + b"".join(bytes(value >> 8 * plane & 0xFF for value in values) for plane in reversed(range(width)))


def differences(values):
    return varint(zigzag(values[0])) + numbers([zigzag(wrapped(b - a)) for a, b in zip(values, values[1:])])


def word_indexes(values):
    words = list(dict.fromkeys(values))
    return words, [words.index(value) for value in values]


def words_column(values):
    words, indexes = word_indexes(values)
    return varint(len(words)) + b"".join(varint(len(word)) + word for word in words) + numbers(indexes)


def texts_column(values):
    letters = b"".join(value + b"\0" for value in values)
    return re.sub(rb"[0-9]+", b"0", letters) + b"".join(run + b"\0" for run in re.findall(rb"[0-9]+", letters))


def bytes_column(values):
    return numbers([len(value) for value in values]) + b"".join(values)


def shape_of(values):
    return struct.pack(">I", sum(1 << TABLE.index(row) for row in values))


def grouped(records, key_row):
    """The positions of the records in the order in which their texts stand."""
    keys = [values[key_row] for values in records if key_row in values]
    words = list(dict.fromkeys(keys))
    return sorted(range(len(records)),
                  key=lambda at: words.index(records[at][key_row]) if key_row in records[at] else len(words))


KEY_ROW = next(row for row in TABLE if row.kind == "key")
WRITERS = {"signed": differences, "fixed": differences, "number": numbers, "word": words_column, "key": words_column,
           "text": texts_column, "bytes": bytes_column}


def encode(records):
    out = bytes([VERSION]) + varint(len(records))
    if not records:
        return out
    records = [values_of(data) for data in records]
    out += words_column([shape_of(values) for values in records])
    order = grouped(records, KEY_ROW)
    for row in TABLE:
        if row.kind == "message":
            continue
        rows = [records[at] for at in order] if row.kind == "text" else records
        values = [values[row] for values in rows if row in values]
        if values:
            out += WRITERS[row.kind](values)
    return out
