#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the seed corpora of the harnesses for proto/'s messages, out of the golden vectors in tests/vectors, and of
the one for the daemon's worker.

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
    for row in lines("key_rotation"):
        if row[0] != "keys":
            yield "record", "key_rotation_%s_%s" % (row[0], row[1]), data_of(row[2])
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
    for row in lines("trust"):
        if row[0] in ("list", "refused"):
            yield "trust", "%s_%s" % (row[0], row[1]), data_of(row[2])
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


def transport_seeds():
    """One of each kind, as syncd/transport/message.h describes them."""
    def number(value, size=4):
        return value.to_bytes(size, "big")

    def run(data):
        return number(len(data)) + data

    def text(value):
        return number(0) if value is None else run(value.encode() + b"\0")

    slot = number(1) + number(7)
    headers = b"".join(map(text, ("patrol-device", "x", "upload-offset", "0")))
    yield "trust", b"\1" + run(b"-----BEGIN CERTIFICATE-----\n") + run(b"")
    yield "trust_enrol", b"\1" + run(b"") + run(bytes(32))
    yield "request", (b"\2" + slot + number(120000, 8) + number(1767225600000, 8) + b"\0" + text("POST") +
                      text("https://centre.example/v1/exchange") + b"\2" + headers + run(b"body"))
    yield "cancel", b"\3" + slot
    yield "network_changed", b"\4"
    yield "response", (b"\5" + slot + number(201) + number(4, 8) + number(1798761600000, 8) + run(b"") +
                       text("/v1/blobs/x") + text("0") + text("Thu, 01 Jan 2026 00:00:00 GMT") + text(None) + run(b"answer"))
    yield "response_enrol", (b"\5" + slot + number(200) + number(0, 8) + number(0, 8) + run(b"\x30\0") + text(None) * 4 + run(b""))
    yield "failed", b"\6" + slot + b"\1" + text("Could not connect to server")


def main():
    for name, data in transport_seeds():
        folder = HERE / "corpus" / "transport_message"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    for harness, name, data in seeds():
        if len(data) > SEED_BYTES_MAX:
            continue
        folder = HERE / "corpus" / harness
        folder.mkdir(parents=True, exist_ok=True)
        (folder / re.sub(r"[^A-Za-z0-9]+", "_", name)).write_bytes(data)


if __name__ == "__main__":
    main()
