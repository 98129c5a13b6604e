#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the golden vectors of records: records.tsv.

A Protocol Buffers writer by hand, from the schema's text and proto/README.md; it shares nothing with the C code and no
library. (`protoc --decode=wire.Record` reads its output alike.)

Usage: make_record_vectors.py [DIRECTORY]     (default: its own folder). The output never changes from run to run.
Each line is: what, then its fields; bytes are in hex, an empty field is "-".
"""

import pathlib
import struct
import sys
import uuid

from make_vectors import LOG, OTHER_LOG, cell, field, leaf_hash, sha256, varint


# ---- Protocol Buffers: a field of the default value is not written


def zigzag(value):
    return value << 1 if value >= 0 else (-value << 1) - 1


def number(tag, value, always=False):
    return varint(tag << 3) + varint(value) if value or always else b""


def signed(tag, value, always=False):
    return number(tag, zigzag(value), always)


def fixed32(tag, value):
    return varint(tag << 3 | 5) + struct.pack("<i", value) if value else b""


def text(tag, value):
    data = value.encode() if isinstance(value, str) else value
    return field(tag, data) if data else b""


def each(tag, items):
    return b"".join(field(tag, item) for item in items)


# ---- Records

WALL_MS = 1795430033123
BOOT_MS = 4242424
PHOTO = sha256(b"photo")
PREVIEW = sha256(b"preview")
SECOND_PHOTO = sha256(b"second photo")
BOOT_ID = uuid.UUID("b0071d00-0000-4000-8000-00000000b007")
OPENED, FINDING, AMENDMENT, WITHDRAWAL, DEVICE_EVENT, REHOMED, CLOSED = range(16, 23)


def record(kind, body, wall_ms=WALL_MS, offset_min=480, boot_ms=BOOT_MS, inspector="inspector-1"):
    return (signed(1, wall_ms) + signed(2, offset_min) + signed(3, wall_ms - boot_ms) + text(4, inspector)
            + field(kind, body))


def category(code, component=""):
    return text(1, "GB/T 47678.5") + text(2, "2026") + text(3, code) + text(4, component)


def photo(sha, size, kind=0, preview=b"", preview_size=0):
    return text(1, sha) + number(2, size) + number(3, kind) + text(4, preview) + number(5, preview_size)


FULL_FINDING = (field(1, category("01028", "0217")) + number(2, 3)
                + text(3, "Broken tactile paving; 盲道破损 \U0001f6a7")
                + field(4, fixed32(1, 230065906) + fixed32(2, 1202398237) + number(3, 32) + signed(4, 0, True))
                + signed(6, 33)
                + field(7, photo(PHOTO, 2200000, 0, PREVIEW, 23999)) + field(7, photo(SECOND_PHOTO, 70, 1)))
NO_FIX_FINDING = field(1, category("06013")) + text(5, "under a bridge")
SOUTH_WEST_FINDING = (field(1, category("02019")) + number(2, 1) + text(3, "x")
                      + field(4, fixed32(1, -900000000) + fixed32(2, -1800000000) + signed(5, WALL_MS - 620))
                      + signed(8, WALL_MS - 1234))


def parent(log, seq, identifier):
    return (text(1, log.bytes) if log else b"") + number(2, seq) + text(3, identifier.bytes)


PARENT_ID = uuid.uuid5(LOG, "1:" + leaf_hash(record(FINDING, NO_FIX_FINDING)).hex())

RECORDS = {
    "opened": record(OPENED, text(6, "gridpatrol 0.1.0"), inspector=""),
    "opened_after_fork": record(OPENED, number(1, 2) + number(2, 1) + text(3, OTHER_LOG.bytes) + number(4, 300)
                                + text(5, sha256(b"root")) + text(6, "gridpatrol 0.1.0")),
    "finding": record(FINDING, FULL_FINDING),
    "finding_without_position": record(FINDING, NO_FIX_FINDING),
    "finding_with_broken_seconds": record(FINDING, SOUTH_WEST_FINDING),
    "finding_before_1970": record(FINDING, field(1, category("02019")) + field(4, signed(4, 1)) + signed(6, -2),
                                  wall_ms=-1, offset_min=-330, boot_ms=7),
    "amendment": record(AMENDMENT, field(1, parent(None, 1, PARENT_ID)) + field(2, FULL_FINDING)),
    "withdrawal": record(WITHDRAWAL, field(1, parent(OTHER_LOG, 2**40 - 1, PARENT_ID)) + text(2, "写错了")),
    "device_event": record(DEVICE_EVENT, text(1, BOOT_ID.bytes) + number(2, 200) + signed(3, WALL_MS - 86400000)
                           + text(4, "gridpatrol 0.1.0") + each(5, [PHOTO, SECOND_PHOTO]), inspector=""),
    "rehomed": record(REHOMED, text(1, OTHER_LOG.bytes) + number(2, 41)
                      + text(3, record(FINDING, NO_FIX_FINDING))),
    "closed": record(CLOSED, number(1, 1), inspector=""),
}


def records_lines():
    for name, data in RECORDS.items():
        yield "record", name, data
    plain = RECORDS["finding_without_position"]
    yield "newer", "unknown_fields", plain + number(5, 7) + field(40, b"later") + field(40, b"again")
    for name, data in refused_records():
        yield "refused", name, data


def refused_records():
    """Each with a part of the reason that the reader gives."""

    def finding(body):
        return record(FINDING, body)

    good = field(1, category("06013"))
    here = field(4, fixed32(1, 1))
    yield "unknown record kind", b""
    yield "unknown record kind", signed(1, WALL_MS)
    yield "unknown record kind", signed(1, WALL_MS) + field(23, b"")
    yield "two kinds", record(CLOSED, b"") + field(OPENED, b"")
    yield "malformed", b"\x00"
    yield "malformed", b"\x08"
    yield "malformed", b"\x0b\x0c"
    yield "malformed", record(CLOSED, b"")[:-1]
    yield "malformed", field(1, b"\x01")
    yield "malformed", b"\x08" + b"\xff" * 9 + b"\x02"
    yield "malformed", b"\x08" + b"\xff" * 10 + b"\x01"
    yield "stands twice", signed(1, WALL_MS) + record(CLOSED, b"")
    yield "stands twice", finding(good + good + here)
    yield "UTC offset", record(CLOSED, b"", offset_min=1440)
    yield "inspector is not UTF-8", record(CLOSED, b"", inspector=b"\xff")
    yield "inspector is too long", record(CLOSED, b"", inspector="i" * 129)
    yield "category", finding(here)
    yield "category", finding(field(1, text(1, "GB") + text(3, "1")) + here)
    yield "category code is too long", finding(field(1, category("1" * 33)) + here)
    yield "component code is not UTF-8", finding(field(1, category("1", b"\xc0\x80")) + here)
    yield "unknown severity", finding(good + number(2, 5) + here)
    yield "out of range", finding(good + number(2, 2**64 - 1) + here)
    yield "note is not UTF-8", finding(good + text(3, b"\xed\xa0\x80") + here)
    yield "note is not UTF-8", finding(good + text(3, b"a\0b") + here)
    yield "no position", finding(good)
    yield "also a reason", finding(good + here + text(5, "why"))
    yield "reason for no position is too long", finding(good + text(5, "w" * 1025))
    yield "latitude", finding(good + field(4, fixed32(1, 900000001)))
    yield "latitude", finding(good + field(4, fixed32(1, -(2**31))))
    yield "longitude", finding(good + field(4, fixed32(2, 1800000001)))
    yield "longitude", finding(good + field(4, fixed32(2, -1800000001)))
    yield "time is given twice", finding(good + field(4, signed(4, 1) + signed(5, 1)))
    yield "time is given twice", finding(good + here + signed(6, 1) + signed(8, 1))
    yield "observed time", finding(good + here + signed(6, -(2**63)))
    yield "fix time", finding(good + field(4, signed(4, 2**62)))
    yield "list is too long", finding(good + here + each(7, [photo(PHOTO, 1)] * 33))
    yield "lacks its hash", finding(good + here + field(7, number(2, 1)))
    yield "wrong length", finding(good + here + field(7, photo(PHOTO[:-1], 1)))
    yield "photo size", finding(good + here + field(7, photo(PHOTO, 0)))
    yield "photo size", finding(good + here + field(7, photo(PHOTO, 64 * 1024 * 1024 + 1)))
    yield "photo format", finding(good + here + field(7, photo(PHOTO, 1, 2)))
    yield "preview", finding(good + here + field(7, photo(PHOTO, 1, 0, PREVIEW)))
    yield "preview", finding(good + here + field(7, photo(PHOTO, 1, 0, b"", 1)))
    yield "preview size", finding(good + here + field(7, photo(PHOTO, 1, 0, PREVIEW, 24 * 1024 + 1)))
    yield "lacks its id", record(AMENDMENT, field(2, good + here))
    yield "wrong length", record(AMENDMENT, field(1, text(3, b"id")) + field(2, good + here))
    yield "parent's seq", record(AMENDMENT, field(1, parent(None, 2**40, PARENT_ID)) + field(2, good + here))
    yield "category", record(AMENDMENT, field(1, parent(None, 1, PARENT_ID)))
    yield "lacks its reason", record(WITHDRAWAL, field(1, parent(None, 1, PARENT_ID)))
    yield "reason is too long", record(WITHDRAWAL, field(1, parent(None, 1, PARENT_ID)) + text(2, "r" * 1025))
    yield "opening", record(OPENED, number(1, 5))
    yield "kind of log", record(OPENED, number(2, 2))
    yield "predecessor's size", record(OPENED, number(4, 2**40 + 1))
    yield "wrong length", record(OPENED, text(5, b"root"))
    yield "software", record(OPENED, text(6, "s" * 129))
    yield "receipt's size", record(DEVICE_EVENT, number(2, 2**40 + 1))
    yield "wrong length", record(DEVICE_EVENT, text(1, b"boot"))
    yield "lacks its log", record(REHOMED, text(3, b"r"))
    yield "rehomed record's seq", record(REHOMED, text(1, LOG.bytes) + number(2, 2**40) + text(3, b"r"))
    yield "rehomed record is empty", record(REHOMED, text(1, LOG.bytes))
    yield "closing", record(CLOSED, number(1, 5))


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent
    for name, lines in [("records", records_lines())]:
        with open(folder / (name + ".tsv"), "w", encoding="ascii", newline="\n") as out:
            for line in lines:
                out.write("\t".join(cell(value) for value in line) + "\n")


if __name__ == "__main__":
    main()
