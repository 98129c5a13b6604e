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
from make_record_vectors import FINDING, RECORDS, category, fixed32, number, record, signed, text
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


# ---- Reading


def read_numbers(source, count):
    width = source.take(1)[0]
    if width > 8:
        raise Refused("numbers too wide")
    values = [0] * count
    for _ in range(width):
        values = [value << 8 | byte for value, byte in zip(values, source.take(count))]
    return values


def read_differences(source, count):
    values = [unzigzag(source.varint())]
    for difference in read_numbers(source, count - 1):
        values.append(wrapped(values[-1] + unzigzag(difference)))
    return values


def read_fixed(source, count):
    values = read_differences(source, count)
    if any(not -2**31 <= value < 2**31 for value in values):
        raise Refused("beyond 32 bits")
    return values


def read_words(source, count):
    word_count = source.varint()
    if word_count > count:
        raise Refused("more words than values")
    words = [source.take(source.varint()) for _ in range(word_count)]
    indexes = read_numbers(source, count)
    if any(index >= word_count for index in indexes):
        raise Refused("no such word")
    return [words[index] for index in indexes]


def read_texts(source, count):
    letters = [source.until_nul() for _ in range(count)]
    return [b"".join(source.until_nul() if piece == b"0" else piece for piece in re.split(rb"(0)", text_letters))
            for text_letters in letters]


def read_bytes(source, count):
    return [source.take(length) for length in read_numbers(source, count)]


READERS = {"signed": read_differences, "fixed": read_fixed, "number": read_numbers, "word": read_words, "key": read_words,
           "text": read_texts, "bytes": read_bytes}


def shape_rows(word):
    if len(word) != 4:
        raise Refused("no shape")
    shape = int.from_bytes(word, "big")
    if shape >> len(TABLE):
        raise Refused("a row that is not known")
    rows = [row for at, row in enumerate(TABLE) if shape >> at & 1]
    for message in TABLE:
        if message not in rows and any(row in rows for row in message.rows):
            raise Refused("a row without its message")
    return rows


def decode(data):
    source = Input(data)
    if source.take(1)[0] != VERSION:
        raise Refused("another version")
    count = source.varint()
    if count > RECORDS_MAX:
        raise Refused("too many records")
    records = []
    if count > 0:
        records = [dict.fromkeys(shape_rows(word)) for word in read_words(source, count)]
        order = list(range(count))
    for row in TABLE if records else []:
        with_row = [values for values in ([records[at] for at in order] if row.kind == "text" else records) if row in values]
        if row.kind == "message" or not with_row:
            continue
        for values, value in zip(with_row, READERS[row.kind](source, len(with_row))):
            values[row] = value
        if row.kind == "key":
            order = grouped(records, row)
    if source.at != len(data):
        raise Refused("bytes behind the end")
    result = [record_of(values) for values in records]
    if sum(map(len, result)) > TOTAL_BYTES_MAX or any(len(data) > RECORD_BYTES_MAX for data in result):
        raise Refused("too long")
    return result


# ---- Vectors

LATER = number(30, 5) + field(31, b"later")  # fields of a newer sender


def walk(at, **other):
    """The findings of a walk: one every two minutes or so, each a little further."""
    notes = ["Pothole 30 cm wide at no 118", "Pothole 5 cm deep, 12 m long", "井盖破损，建设路305号", "", "Lamp 4 out; pole 00712"]
    body = (field(1, category(("01028", "06013", "01028", "02019")[at % 4], "0217" if at == 2 else ""))
            + number(2, at % 3) + text(3, notes[at % len(notes)])
            + field(4, fixed32(1, 312304000 + 411 * at) + fixed32(2, 1214737000 - 97 * at * at) + number(3, 20 + at)
                    + (signed(4, 0, True) if at % 5 else signed(5, 1795430033123 + at))))
    wall_ms = 1795430033123 + 131071 * at
    return record(FINDING, body, wall_ms=wall_ms, boot_ms=wall_ms - 1795425790699, **other)


NUL_NOTE = record(FINDING, field(1, category("01028")) + field(3, b"a\0b") + text(5, "no sky"))
STRANGE = {
    "not a record": b"\xff" * 20,
    "nothing": b"",
    "a field twice": RECORDS["closed"] + signed(2, 60),
    "descending": signed(2, 480) + signed(1, 5),
    "a longer number": b"\x08\x80\x00",
    "another wire type": fixed32(1, 7),
    "NUL in the note": NUL_NOTE,
    "message cut": RECORDS["finding"][:-1],
    "group": b"\x0b\x0c",
    "explicit zeros": signed(1, 0, True) + field(4, b"") + field(17, field(1, b"") + number(2, 0, True) + field(3, b"")
                                                                  + field(4, fixed32(1, 1)[:1] + bytes(4))),
    "extremes": signed(1, 2**63 - 1) + signed(2, -2**63) + signed(3, -1)
                + field(17, number(2, 2**64 - 1) + field(4, fixed32(1, 2**31 - 1) + fixed32(2, -2**31))),
    "other extremes": signed(1, -2**63) + signed(2, 2**63 - 1) + signed(3, 1)
                      + field(17, field(4, fixed32(1, -2**31) + fixed32(2, 2**31 - 1))),
    "later fields everywhere": signed(1, 1) + field(5, b"five") + field(16, b"x")
                               + field(17, field(1, text(3, "1") + LATER) + field(4, fixed32(1, 3) + LATER)
                                       + field(7, b"one") + field(7, b"two") + LATER) + LATER,
}

BATCHES = {
    "none": [],
    "one": [RECORDS["closed"]],
    "finding": [RECORDS["finding_without_position"]],
    "every kind": list(RECORDS.values()),
    "walk": [walk(at) for at in range(8)],
    "alike": [walk(0)] * 5,
    "strange": list(STRANGE.values()),
    "texts": [record(FINDING, field(1, category(code)) + text(3, note)) for code, note in
              [("2", "0"), ("1", "007 and 7"), ("2", "12"), ("1", "a1b22c333"), ("", "٣ is no digit here"), ("1", "9" * 40)]],
}


def with_shape(shape, rest=b""):
    return bytes([VERSION, 1]) + words_column([struct.pack(">I", shape)]) + rest


def refused():
    closed = encode(BATCHES["one"])
    assert decode(closed) == BATCHES["one"]
    yield "empty", b""
    yield "version 0", b"\x00" + closed[1:]
    yield "version 2", b"\x02" + closed[1:]
    yield "bytes behind the end", closed + b"\x00"
    yield "bytes behind none", b"\x01\x00\x00"
    yield "count in a longer form", b"\x01\x81\x00" + closed[2:]
    yield "16385 records", b"\x01" + varint(16385) + words_column([bytes(4)] * 16385)
    yield "2^63 records", b"\x01" + varint(2**63) + closed[2:]
    yield "shape of 3 bytes", b"\x01\x01" + words_column([bytes(3)])
    yield "shape of 5 bytes", b"\x01\x01" + words_column([bytes(5)])
    yield "no shapes", b"\x01\x01\x00\x00"
    yield "unknown row", with_shape(1 << 28)
    yield "category without finding", with_shape(1 << 7)
    yield "code without category", with_shape(1 << 6 | 1 << 10, words_column([b"x"]))
    yield "severity without finding", with_shape(1 << 13, numbers([1]))
    yield "more words than values", with_shape(1 << 4, b"\x02" + b"\x01a" * 2 + b"\x00")
    yield "index beyond the words", with_shape(1 << 4, b"\x01\x01a\x01\x01")
    yield "word beyond the end", with_shape(1 << 4, b"\x01\x7fa\x00")
    yield "numbers of 9 bytes", with_shape(1 << 6 | 1 << 13, b"\x09" + bytes(9))
    yield "latitude beyond 32 bits", with_shape(1 << 6 | 1 << 15 | 1 << 16, varint(zigzag(2**31)) + b"\x00")
    yield "text without its end", with_shape(1 << 6 | 1 << 14, b"abc")
    yield "text without its number", with_shape(1 << 6 | 1 << 14, b"a0\x00" + b"12")
    yield "bytes beyond the end", with_shape(1, numbers([2**64 - 1]) + b"x")
    yield "records over 8 MiB in all", (bytes([VERSION]) + varint(16384) + words_column([struct.pack(">I", 1 << 4)] * 16384)
                                        + words_column([bytes(600)] * 16384))


def columns_lines():
    for name, batch in BATCHES.items():
        data = encode(batch)
        assert decode(data) == batch, name
        yield ("columns", name, data, *batch)
    for name, data in refused():
        try:
            decode(data)
        except Refused:
            yield "refused", name, data
            continue
        raise AssertionError(name)


if __name__ == "__main__":
    sys.exit(make_vectors.run({"columns": columns_lines}, ["columns"]))
