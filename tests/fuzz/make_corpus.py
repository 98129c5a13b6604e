#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the seed corpora of the harnesses for proto/'s messages, out of the golden vectors in tests/vectors.

Usage: make_corpus.py     Existing files of the same name are written again; inputs that a fuzzer found stay.
"""

import collections
import pathlib
import re

HERE = pathlib.Path(__file__).resolve().parent
HARNESSES = {
    "exchange_request": "exchange_request",
    "exchange_answer": "exchange_answer",
    "refusal": "exchange_answer",
    "audit_request": "audit",
    "audit_answer": "audit",
    "repair_request": "audit",
    "repair_answer": "audit",
    "enrol_request": "enrol",
    "enrol_answer": "enrol",
    "bundle_head": "bundle",
    "bundle_receipts": "bundle",
}
SEED_BYTES_MAX = 4096  # larger ones slow a fuzzer down and show it nothing new


def lines(name):
    text = (HERE.parent / "vectors" / (name + ".tsv")).read_text(encoding="ascii")
    return [line.split("\t") for line in text.splitlines()]


def data_of(cell):
    return b"" if cell == "-" else bytes.fromhex(cell)


def seeds():
    names = collections.Counter()
    for row in lines("records"):
        names[row[1]] += 1
        yield "record", "%s_%s_%d" % (row[0], row[1], names[row[1]]), data_of(row[2])
    for row in lines("messages"):
        name = row[1] if row[0] == "newer" else "%s_%s" % (row[1], row[2])
        yield HARNESSES[row[1]], "%s_%s" % (row[0], name), data_of(row[-1])
    for row in lines("columns"):
        yield "columns", "%s_%s" % (row[0], row[1]), data_of(row[2])
        if row[0] == "columns":
            records = [data_of(cell)[:255] for cell in row[3:]]
            yield "columns", "split_%s" % row[1], b"".join(bytes([len(record)]) + record for record in records)
    for row in lines("bundle"):
        if row[0] == "bundle":
            head, envelope, photos = (data_of(cell) for cell in row[4:7])
            photo = bytes([3]) + bytes(31) + b"\x01" + (6).to_bytes(8, "big")
            yield "bundle", "file", data_of(row[7])
            yield "bundle", "messages", b"".join(
                bytes([tag, len(plain)]) + plain for tag, plain in (
                    (0, b"\x01" + head), (0, b"\x02" + envelope), (0, photo), (0, b"\x04" + photos[:4]),
                    (0, b"\x04" + photos[4:6]), (0, photo), (0, b"\x04x"), (0, b"\x09later"), (3, b"\x05")))
        elif row[0] == "receipts":
            yield "bundle", "receipts", data_of(row[3])
    for number, row in enumerate(lines("enrolment")):
        if row[0] in ("token_url", "upload_token"):
            yield "token_url", "%s_%d" % (row[0], number), data_of(row[5])
    for row in lines("evidence"):
        if row[0] == "certificate":
            yield "enrol", "certificate", data_of(row[2])
        elif row[0] == "evidence":
            yield "evidence", "genuine", data_of(row[1])
            yield "evidence", "cut", data_of(row[1])[:-40]
    yield "token_url", "server_url", b"https://[2001:db8::1]:8443/grid/west/"


def main():
    for harness, name, data in seeds():
        if len(data) > SEED_BYTES_MAX:
            continue
        folder = HERE / "corpus" / harness
        folder.mkdir(parents=True, exist_ok=True)
        (folder / re.sub(r"[^A-Za-z0-9]+", "_", name)).write_bytes(data)


if __name__ == "__main__":
    main()
