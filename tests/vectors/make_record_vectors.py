#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the golden vectors of records and messages: records.tsv, messages.tsv.

A Protocol Buffers writer by hand, from the schema's text and proto/README.md; it shares nothing with the C code and no
library. (`protoc --decode=wire.Record` reads its output alike.)

Usage: make_record_vectors.py [DIRECTORY]     (default: its own folder). The output never changes from run to run.
Each line is: what, then its fields; bytes are in hex, an empty field is "-".
"""

import struct
import sys
import uuid

import make_vectors
from make_vectors import LOG, OTHER_LOG, field, leaf_hash, sha256, varint


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
    yield "malformed", b"\x08\x80\x00" + record(CLOSED, b"", wall_ms=0)
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
    yield "an id is nil", record(AMENDMENT, field(1, text(3, bytes(16))) + field(2, good + here))
    yield "an id is nil", record(OPENED, text(3, bytes(16)))
    yield "lacks its log", record(REHOMED, text(3, b"r"))
    yield "rehomed record's seq", record(REHOMED, text(1, LOG.bytes) + number(2, 2**40) + text(3, b"r"))
    yield "rehomed record is empty", record(REHOMED, text(1, LOG.bytes))
    yield "closing", record(CLOSED, number(1, 5))


# ---- Messages

REQUEST_ID = bytes(range(0x10, 0x20))
REQUEST_SHA = sha256(b"request")
INCARNATION = uuid.UUID("1ca24a71-0000-4000-8000-000000000001").bytes
CHECKPOINT = b"a checkpoint\n"
RECEIPT = b"a receipt\n"
SERVER_TIME_MS = WALL_MS + 77
COMMAND_ID = bytes(range(0x20, 0x28))
OTHER_COMMAND_ID = bytes(range(0x30, 0x38))
DICTIONARIES = [0x0A0B0C0D, 0xFFFFFFFF]
PUBLIC_KEY = make_vectors.public_key(make_vectors.DEVICE_SEED)
TOKEN = bytes(range(0x40, 0x50))


def packed(tag, items):
    return text(tag, b"".join(varint(item) for item in items))


CAPABILITIES = (packed(1, [1]) + text(2, struct.pack("<2I", *DICTIONARIES)) + packed(3, [1]) + number(4, 65536)
                + number(5, 262144) + number(6, 67108864))


def run(first, count):
    return number(1, first) + number(2, count)


def erased(log, seq, leaf):
    return text(1, log.bytes) + number(2, seq) + text(3, leaf)


ORDERS = (number(1, 7) + signed(2, SERVER_TIME_MS) + field(3, erased(LOG, 41, leaf_hash(b"41")))
          + field(3, erased(OTHER_LOG, 0, leaf_hash(b"0"))) + each(4, [PHOTO, PREVIEW]),
          number(1, 2**40) + text(4, SECOND_PHOTO))

ENROL_SIGNED = b"gridpatrol enrol v1\n" + TOKEN + make_vectors.DEVICE.bytes + PUBLIC_KEY

MESSAGES = {
    "exchange_request": {
        "empty": text(1, REQUEST_ID) + text(2, LOG.bytes),
        "full": (text(1, REQUEST_ID) + text(2, LOG.bytes) + number(3, 41)
                 + each(4, [RECORDS["opened"], b"\xff not a record", RECORDS["closed"]])
                 + text(5, CHECKPOINT) + number(6, 40) + number(7, 2**64 - 1)
                 + field(8, number(1, 3) + number(2, 2) + number(3, 5 * 2**30) + text(4, "gridpatrol 0.1.0")
                         + signed(5, WALL_MS))
                 + each(9, [PHOTO, SECOND_PHOTO]) + text(10, b"a certificate")
                 + each(11, [text(1, LOG.bytes) + number(2, 7), text(1, OTHER_LOG.bytes)]) + number(14, 4)
                 + field(15, text(1, COMMAND_ID) + number(2, 1) + b"".join(number(4 + i, 2000 >> i) for i in range(12)))
                 + field(15, text(1, OTHER_COMMAND_ID) + number(2, 2) + text(3, "no progress for too long"))),
        "erased": (text(1, REQUEST_ID) + text(2, LOG.bytes) + number(3, 41) + each(4, [b"", RECORDS["closed"], b""])
                   + number(13, 7) + each(16, [leaf_hash(b"41"), leaf_hash(b"43")])),
        "asked log": text(1, REQUEST_ID) + text(2, LOG.bytes) + text(17, OTHER_LOG.bytes),
    },
    "exchange_answer": {
        "empty": text(1, REQUEST_SHA) + text(2, INCARNATION),
        "full": (text(1, REQUEST_SHA) + text(2, INCARNATION) + number(3, 0) + number(4, 44) + text(5, RECEIPT)
                 + field(6, number(1, 42) + text(2, "unknown record kind")) + field(6, number(1, 43))
                 + field(7, text(1, PHOTO)) + field(7, text(1, PREVIEW) + number(2, 64 * 2**20))
                 + field(8, text(1, SECOND_PHOTO) + number(2, 1)) + field(8, text(1, PHOTO))
                 + text(9, b"sealed token") + number(10, 900) + signed(11, SERVER_TIME_MS) + number(12, 7)
                 + each(13, [b"change", b"x"])
                 + field(14, text(1, COMMAND_ID) + number(2, 3)) + field(14, text(1, OTHER_COMMAND_ID))
                 + number(15, 3600) + field(16, CAPABILITIES) + number(19, 1)
                 + each(20, [text(1, LOG.bytes) + number(2, 7)]) + text(22, b"statements")),
        "fork": (text(1, REQUEST_SHA) + text(2, INCARNATION) + number(3, 2) + number(4, 300) + text(5, RECEIPT)
                 + signed(11, SERVER_TIME_MS) + text(17, leaf_hash(b"theirs")) + number(18, 299)),
        "erasures": text(1, REQUEST_SHA) + text(2, INCARNATION) + each(21, ORDERS),
        "no upload": (text(1, REQUEST_SHA) + text(2, INCARNATION) + number(4, 300) + text(5, RECEIPT)
                      + signed(11, SERVER_TIME_MS) + number(24, 1)),
        "next key": (text(1, REQUEST_SHA) + text(2, INCARNATION) + number(4, 300) + text(5, RECEIPT)
                     + signed(11, SERVER_TIME_MS) + text(23, b"a certificate")),
        "backed up log": (text(1, REQUEST_SHA) + text(2, INCARNATION)
                          + field(25, number(1, 700) + text(2, leaf_hash(b"root")))),
    },
    "refusal": {
        "full": (text(1, REQUEST_SHA) + number(2, 3) + text(3, "quota of 1 GiB used") + number(4, 21600)
                 + signed(5, SERVER_TIME_MS)),
        "busy": (text(1, REQUEST_SHA) + number(2, 6) + text(3, "the centre's disk is full") + number(4, 10)
                 + signed(5, SERVER_TIME_MS) + number(6, 1)),
    },
    "audit_request": {
        "empty": text(1, REQUEST_ID) + text(2, LOG.bytes),
        "full": (text(1, REQUEST_ID) + text(2, LOG.bytes) + number(3, 2) + number(4, 65536) + text(5, RECEIPT)
                 + text(6, PHOTO) + text(7, COMMAND_ID) + number(8, 1) + number(9, 1000000)),
    },
    "audit_answer": {
        "empty": text(1, REQUEST_SHA) + text(2, INCARNATION),
        "full": (text(1, REQUEST_SHA) + text(2, INCARNATION) + number(3, 1000000) + text(4, RECEIPT) + number(5, 65536)
                 + number(6, 131072) + number(7, 65530) + text(8, sha256(b"root"))
                 + each(9, [sha256(b"tile 256"), sha256(b"tile 257")])
                 + each(10, [run(0, 1), run(65540, 2), run(65542, 1)]) + each(11, [run(70000, 1)])
                 + each(12, [run(70001, 3)]) + each(13, [run(80000, 1000)])
                 + number(14, 12) + number(15, 30000000)
                 + each(16, [text(1, PHOTO), text(1, PREVIEW) + number(2, 1), text(1, SECOND_PHOTO) + number(2, 3)])
                 + text(17, SECOND_PHOTO) + signed(18, SERVER_TIME_MS) + number(19, 4) + number(22, 1)),
        "run_lists": (text(1, REQUEST_SHA) + text(2, INCARNATION) + number(3, 1000000)
                      + field(21, packed(1, [0, 1, 65539, 2, 0, 1]) + packed(2, [70000, 1]) + packed(3, [70001, 3])
                              + packed(4, [80000, 1000]))),
    },
    "repair_request": {
        "empty": text(1, REQUEST_ID) + text(2, LOG.bytes),
        "full": (text(1, REQUEST_ID) + text(2, LOG.bytes) + number(3, 200)
                 + field(4, number(1, 7) + each(2, [RECORDS["finding_without_position"], RECORDS["closed"]])
                         + each(3, [sha256(b"left"), sha256(b"right")]))
                 + field(4, number(1, 199) + each(2, [b"x"]))
                 + packed(5, [0, 150, 199]) + each(6, [leaf_hash(b"0"), leaf_hash(b"150"), leaf_hash(b"199")])
                 + each(7, [PHOTO])),
        "lost_without_leaves": (text(1, REQUEST_ID) + text(2, LOG.bytes) + number(3, 2**40)
                                + packed(5, [2**40 - 1])),
        "erased": (text(1, REQUEST_ID) + text(2, LOG.bytes) + number(3, 200)
                   + packed(8, [0, 150]) + each(9, [leaf_hash(b"0"), leaf_hash(b"150")])),
        "bare": (text(1, REQUEST_ID) + text(2, LOG.bytes) + number(3, 200) + packed(10, [7, 2, 190, 1])
                 + each(11, [RECORDS["finding_without_position"], RECORDS["closed"], b"x"])),
    },
    "repair_answer": {
        "full": text(1, REQUEST_SHA) + number(2, 2) + number(3, 1) + number(4, 200) + signed(5, SERVER_TIME_MS),
    },
    "enrol_request": {
        "full": (text(1, TOKEN) + text(2, make_vectors.DEVICE.bytes) + text(3, PUBLIC_KEY)
                 + text(4, make_vectors.sign(make_vectors.DEVICE_SEED, ENROL_SIGNED)) + text(5, "gridpatrol 0.1.0")),
    },
    "enrol_answer": {
        "full": (text(1, REQUEST_SHA) + text(2, b"a certificate") + text(3, "a key") + text(4, "a CA")
                 + field(5, CAPABILITIES) + signed(6, SERVER_TIME_MS) + text(7, "grid 12 西") + text(8, "inspector-1")
                 + text(9, b"statements")),
    },
    "bundle_head": {
        "empty": text(1, REQUEST_ID) + text(2, make_vectors.DEVICE.bytes),
        "full": (text(1, REQUEST_ID) + text(2, make_vectors.DEVICE.bytes) + signed(3, WALL_MS)
                 + text(4, "gridpatrol 0.1.0")),
    },
    "bundle_receipts": {
        "empty": text(1, REQUEST_ID) + text(2, make_vectors.DEVICE.bytes),
        "full": (text(1, REQUEST_ID) + text(2, make_vectors.DEVICE.bytes) + signed(3, SERVER_TIME_MS) + number(4, 2)
                 + number(5, 1) + text(6, LOG.bytes) + text(7, RECEIPT)
                 + field(8, number(1, 42) + text(2, "unknown record kind")) + field(8, number(1, 43)) + number(9, 1)
                 + field(10, text(1, SECOND_PHOTO) + number(2, 1)) + field(10, text(1, PHOTO))),
        "erasures": text(1, REQUEST_ID) + text(2, make_vectors.DEVICE.bytes) + number(4, 3) + each(11, ORDERS),
    },
}


def refused_messages():
    request = MESSAGES["exchange_request"]["empty"]
    yield "exchange_request", "no request id", text(2, LOG.bytes)
    yield "exchange_request", "no log", text(1, REQUEST_ID)
    yield "exchange_request", "short request id", text(1, REQUEST_ID[1:]) + text(2, LOG.bytes)
    yield "exchange_request", "long log id", text(1, REQUEST_ID) + text(2, LOG.bytes + b"x")
    yield "exchange_request", "nil log", text(1, REQUEST_ID) + text(2, bytes(16))
    yield "exchange_answer", "nil incarnation", text(1, REQUEST_SHA) + text(2, bytes(16))
    yield "exchange_request", "two logs", request + text(2, LOG.bytes)
    yield "exchange_request", "records beyond the largest log", request + number(3, 2**40) + each(4, [b"x"])
    yield "exchange_request", "receipt beyond the largest log", request + number(6, 2**40 + 1)
    yield "exchange_request", "checkpoint too long", request + text(5, b"c" * 4097)
    yield "exchange_request", "software not UTF-8", request + field(8, text(4, b"\xff"))
    yield "exchange_request", "short blob hash", request + text(9, PHOTO[1:])
    yield "exchange_request", "record of another wire type", request + number(4, 1)
    yield "exchange_request", "asked position without log", request + field(11, number(2, 7))
    yield "exchange_request", "asked position beyond the largest log", request + field(11, text(1, LOG.bytes) + number(2, 2**40))
    yield "exchange_request", "command result without id", request + field(15, number(2, 1))
    yield "exchange_request", "unknown outcome of a command", request + field(15, text(1, COMMAND_ID) + number(2, 3))
    yield "exchange_request", "problem not UTF-8", request + field(15, text(1, COMMAND_ID) + text(3, b"\xff"))
    yield "exchange_request", "17 command results", request + each(15, [text(1, COMMAND_ID)] * 17)
    yield "exchange_request", "257 asked positions", request + each(11, [text(1, LOG.bytes)] * 257)
    yield "exchange_request", "leaf of a record that is not empty", request + each(4, [b"x"]) + text(16, PHOTO)
    yield "exchange_request", "fewer leaves than empty records", request + each(4, [b"", b""]) + text(16, PHOTO)
    answer = MESSAGES["exchange_answer"]["empty"]
    yield "exchange_answer", "order without a number", answer + field(21, text(4, PHOTO))
    yield "exchange_answer", "orders that do not ascend", answer + each(21, [number(1, 7), number(1, 7)])
    yield "exchange_answer", "erased record without its leaf", answer + field(21, number(1, 1) + field(3, text(1, LOG.bytes)))
    yield "exchange_answer", "erased record beyond the largest log", answer + field(
        21, number(1, 1) + field(3, erased(LOG, 2**40, PHOTO)))
    yield "exchange_answer", "513 entries in two orders", answer + field(21, number(1, 1) + each(4, [PHOTO] * 512)) + field(
        21, number(1, 2) + text(4, PHOTO))
    yield "exchange_answer", "no request hash", text(2, INCARNATION)
    yield "exchange_answer", "no incarnation", text(1, REQUEST_SHA)
    yield "exchange_answer", "unknown outcome", answer + number(3, 4)
    yield "exchange_answer", "fork without its leaf", answer + number(3, 2) + number(18, 1)
    yield "exchange_answer", "leaf without a fork", answer + text(17, PHOTO)
    yield "exchange_answer", "size beyond the largest log", answer + number(4, 2**40 + 1)
    yield "exchange_answer", "wanted blob without hash", answer + field(7, number(2, 1))
    yield "exchange_answer", "wanted blob over the limit", answer + field(7, text(1, PHOTO) + number(2, 2**26 + 1))
    yield "exchange_answer", "stored blob neither true nor false", answer + field(8, text(1, PHOTO) + number(2, 2))
    yield "exchange_answer", "reason not UTF-8", answer + field(6, text(2, b"\xff"))
    yield "exchange_answer", "command without id", answer + field(14, number(2, 1))
    yield "exchange_answer", "17 commands", answer + each(14, [text(1, COMMAND_ID)] * 17)
    yield "exchange_answer", "129 wanted blobs", answer + each(7, [text(1, PHOTO)] * 129)
    yield "exchange_answer", "broken list of dictionaries", answer + field(16, text(2, b"abc"))
    yield "exchange_answer", "contact in 2^32 s", answer + number(15, 2**32)
    yield "exchange_answer", "released position without log", answer + field(20, number(2, 7))
    yield "exchange_answer", "257 released positions", answer + each(20, [text(1, LOG.bytes)] * 257)
    yield "exchange_answer", "trust over the limit", answer + text(22, b"t" * 40961)
    yield "refusal", "no request hash", number(2, 1)
    yield "refusal", "no reason", text(1, REQUEST_SHA)
    yield "refusal", "reason 0", text(1, REQUEST_SHA) + number(2, 0, True)
    yield "refusal", "unknown reason", text(1, REQUEST_SHA) + number(2, 11)
    yield "refusal", "message too long", text(1, REQUEST_SHA) + number(2, 1) + text(3, "m" * 1025)
    audit = MESSAGES["audit_request"]["empty"]
    yield "audit_request", "unknown level", audit + number(3, 3)
    yield "audit_request", "start beyond the largest log", audit + number(4, 2**40 + 1)
    yield "audit_request", "short blob hash", audit + text(6, PHOTO[1:])
    yield "audit_request", "receipt beyond the largest log", audit + number(9, 2**40 + 1)
    yield "audit_request", "long command id", audit + text(7, COMMAND_ID + b"x")
    found = MESSAGES["audit_answer"]["empty"]
    yield "audit_answer", "no incarnation", text(1, REQUEST_SHA)
    yield "audit_answer", "empty run", found + field(10, number(1, 5))
    yield "audit_answer", "runs that overlap", found + each(10, [run(5, 2), run(6, 1)])
    yield "audit_answer", "runs that descend", found + each(13, [run(5, 1), run(3, 1)])
    yield "audit_answer", "run beyond the largest log", found + each(11, [run(2**40, 1)])
    yield "audit_answer", "run that overflows", found + each(12, [run(1, 2**64 - 1)])
    yield "audit_answer", "unknown state of a blob", found + field(16, text(1, PHOTO) + number(2, 4))
    yield "audit_answer", "half a run in a list", found + field(21, packed(1, [5, 1, 5]))
    yield "audit_answer", "empty run in a list", found + field(21, packed(2, [5, 0]))
    yield "audit_answer", "list beyond the largest log", found + field(21, packed(3, [2**40 - 1, 1, 0, 1]))
    yield "audit_answer", "list that overflows", found + field(21, packed(4, [2**64 - 1, 2]))
    yield "audit_answer", "runs in both forms", found + each(10, [run(5, 1)]) + field(21, packed(1, [5, 1]))
    yield "audit_answer", "short tile root", found + text(9, PHOTO[1:])
    repair = MESSAGES["repair_request"]["empty"]
    yield "repair_request", "run without records", repair + number(3, 9) + field(4, number(1, 1))
    yield "repair_request", "run beyond the tree", repair + number(3, 9) + field(4, number(1, 8) + each(2, [b"x", b"y"]))
    yield "repair_request", "lost beyond the tree", repair + number(3, 9) + packed(5, [9])
    yield "repair_request", "fewer leaves than positions", repair + number(3, 9) + packed(5, [1, 2]) + text(6, PHOTO)
    yield "repair_request", "leaves without positions", repair + number(3, 9) + text(6, PHOTO)
    yield "repair_request", "positions not packed", repair + number(3, 9) + number(5, 1)
    yield "repair_request", "position cut", repair + number(3, 9) + text(5, b"\x80")
    yield "repair_request", "proof too long", repair + number(3, 9) + field(4, each(2, [b"x"]) + each(3, [PHOTO] * 83))
    yield "repair_request", "bare run without its records", repair + number(3, 9) + packed(10, [1, 2]) + each(11, [b"x"])
    yield "repair_request", "bare records without a run", repair + number(3, 9) + each(11, [b"x"])
    yield "repair_request", "bare run beyond the tree", repair + number(3, 9) + packed(10, [8, 2]) + each(11, [b"x", b"y"])
    yield "repair_answer", "size beyond the largest log", text(1, REQUEST_SHA) + number(4, 2**40 + 1)
    yield "repair_answer", "no request hash", number(4, 1)
    enrol = MESSAGES["enrol_request"]["full"]
    yield "enrol_request", "no token", enrol[18:]
    yield "enrol_request", "device twice", enrol + text(2, make_vectors.DEVICE.bytes)
    yield "enrol_answer", "no certificate", text(1, REQUEST_SHA) + text(3, "a key") + field(5, CAPABILITIES)
    granted = text(1, REQUEST_SHA) + text(2, b"c") + text(3, "k") + field(5, CAPABILITIES)
    yield "enrol_answer", "no capabilities", text(1, REQUEST_SHA) + text(2, b"c") + text(3, "k")
    yield "enrol_answer", "list of versions cut", text(1, REQUEST_SHA) + text(2, b"c") + text(3, "k") + field(5, text(1, b"\x80"))
    yield "enrol_answer", "name not UTF-8", granted + text(7, b"\xff")
    yield "enrol_answer", "trust over the limit", granted + text(9, b"t" * 40961)
    head = MESSAGES["bundle_head"]["empty"]
    yield "bundle_head", "no bundle", text(2, make_vectors.DEVICE.bytes)
    yield "bundle_head", "no device", text(1, REQUEST_ID)
    yield "bundle_head", "short bundle", text(1, REQUEST_ID[1:]) + text(2, make_vectors.DEVICE.bytes)
    yield "bundle_head", "software not UTF-8", head + text(4, b"\xff")
    receipts = MESSAGES["bundle_receipts"]["empty"]
    yield "bundle_receipts", "no bundle", text(2, make_vectors.DEVICE.bytes)
    yield "bundle_receipts", "nil device", text(1, REQUEST_ID) + text(2, bytes(16))
    yield "bundle_receipts", "receipt without a log", receipts + text(7, RECEIPT)
    yield "bundle_receipts", "log without a receipt", receipts + text(6, LOG.bytes)
    yield "bundle_receipts", "quarantine without a log", receipts + field(8, number(1, 1))
    yield "bundle_receipts", "all of no log", receipts + number(9, 1)
    yield "bundle_receipts", "last neither true nor false", receipts + number(5, 2)
    yield "bundle_receipts", "2049 stored blobs", receipts + each(10, [text(1, PHOTO)] * 2049)
    yield "bundle_receipts", "stored blob without hash", receipts + field(10, number(2, 1))


def messages_lines():
    for what, messages in MESSAGES.items():
        for name, data in messages.items():
            yield "message", what, name, data
    for what, messages in MESSAGES.items():
        yield "newer", what, next(iter(messages.values())) + number(30, 5) + field(31, b"later") + field(31, b"again")
    for what, name, data in refused_messages():
        yield "refused", what, name, data


if __name__ == "__main__":
    sys.exit(make_vectors.run({"records": records_lines, "messages": messages_lines}, ["records", "messages"]))
