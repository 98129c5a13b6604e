#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the golden vectors: a second implementation of proto/README.md, from the definitions, in another language.

It shares nothing with the C code but the text of the specifications (RFC 9162, RFC 9562, C2SP signed-note,
tlog-checkpoint and tlog-cosignature, DSSE). Trees are computed by the recursive definitions, not by a frontier.

Usage: make_vectors.py [DIRECTORY]     (default: its own folder). The output never changes from run to run.
       make_vectors.py --check         compares instead, but for what depends on the version of zlib
Each line of a .tsv file is: what, then its fields; bytes are in hex, an empty field is "-".
"""

import base64
import hashlib
import pathlib
import struct
import sys
import uuid
import zlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def sha256(data):
    return hashlib.sha256(data).digest()


# ---- Logs (RFC 9162, section 2.1)


def record(seq):
    """The test log's record at `seq`: any bytes will do."""
    return b"record %d" % seq


def leaf_hash(data):
    return sha256(b"\x00" + data)


def node_hash(left, right):
    return sha256(b"\x01" + left + right)


def split(count):
    """The largest power of two smaller than count."""
    k = 1
    while k * 2 < count:
        k *= 2
    return k


class Tree:
    """MTH over record(0), record(1), ... with the definition's recursion, remembering what it computed."""

    def __init__(self):
        self.known = {}

    def root(self, start, end):
        if start == end:
            return sha256(b"")
        key = (start, end)
        if key not in self.known:
            if end - start == 1:
                self.known[key] = leaf_hash(record(start))
            else:
                middle = start + split(end - start)
                self.known[key] = node_hash(self.root(start, middle), self.root(middle, end))
        return self.known[key]

    def inclusion(self, seq, start, end):
        """PATH of RFC 9162, section 2.1.3.1, for the leaf at `seq` in the subtree start .. end."""
        if end - start == 1:
            return []
        middle = start + split(end - start)
        if seq < middle:
            return self.inclusion(seq, start, middle) + [self.root(middle, end)]
        return self.inclusion(seq, middle, end) + [self.root(start, middle)]

    def outside(self, first, after, start, end):
        """The maximal subtrees of start .. end that have no leaf of first .. after, left to right."""
        if end <= first or start >= after:
            return [self.root(start, end)]
        if first <= start and end <= after:
            return []
        middle = start + split(end - start)
        return self.outside(first, after, start, middle) + self.outside(first, after, middle, end)

    def frontier(self, size):
        """Roots of the perfect subtrees that cover the log, the largest first."""
        roots, start = [], 0
        for bit in reversed(range(size.bit_length())):
            if size >> bit & 1:
                roots.append(self.root(start, start + (1 << bit)))
                start += 1 << bit
        return roots


def merkle_lines():
    tree = Tree()
    for data in [b"", b"\x00", b"a", record(0), bytes(range(256))]:
        yield "leaf", data, leaf_hash(data)
    yield "node", leaf_hash(record(0)), leaf_hash(record(1)), node_hash(leaf_hash(record(0)), leaf_hash(record(1)))
    sizes = list(range(41)) + [63, 64, 65, 255, 256, 257, 511, 512, 513, 1000, 4095, 4096, 10000, 70001]
    for size in sizes:
        yield "root", size, tree.root(0, size)
    for size in [0, 1, 2, 3, 5, 7, 8, 255, 256, 1000, 70001]:
        yield "frontier", size, b"".join(tree.frontier(size))
    inclusions = [(seq, size) for size in range(1, 11) for seq in range(size)]
    inclusions += [(0, 1000), (999, 1000), (512, 1000), (255, 257), (256, 257), (70000, 70001), (65535, 70001), (33333, 70001)]
    for seq, size in inclusions:
        yield "inclusion", seq, size, b"".join(tree.inclusion(seq, 0, size))
    ranges = [(f, c, n) for n in range(1, 8) for f in range(n) for c in range(1, n - f + 1)]
    ranges += [(0, 1000, 1000), (3, 500, 1000), (999, 1, 1000), (256, 256, 1000), (255, 258, 1000), (0, 1, 70001),
               (70000, 1, 70001), (12345, 300, 70001), (65535, 2, 70001), (69000, 1001, 70001)]
    for first, count, size in ranges:
        yield "range", first, count, size, b"".join(tree.outside(first, first + count, 0, size))


# ---- Ids

LOG = uuid.UUID("6fa1c0de-0102-4304-8506-0708090a0b0c")
OTHER_LOG = uuid.UUID("00112233-4455-4677-8899-aabbccddeeff")
DEVICE = uuid.UUID("d0000000-1111-4222-8333-444444444444")


def ids_lines():
    for log in [LOG, OTHER_LOG]:
        for seq in [0, 1, 9, 10, 255, 1000000, 2**40 - 1]:
            leaf = leaf_hash(record(seq))
            yield "public_id", log.bytes, seq, leaf, uuid.uuid5(log, "%d:%s" % (seq, leaf.hex())).bytes
    for filler in [0x00, 0xFF, 0x5A]:
        data = bytes([filler] * 16)
        yield "uuid4", data, uuid.UUID(bytes=data, version=4).bytes


# ---- Keys, checkpoints, receipts (C2SP)

DEVICE_SEED = bytes(range(32))
SERVER_SEED = bytes(range(100, 132))
AUTHORITY, TENANT = "gridpatrol.example", "default"
ORIGIN = "%s/%s/%s" % (AUTHORITY, TENANT, LOG)
DEVICE_NAME = "%s/%s/device/%s" % (AUTHORITY, TENANT, DEVICE)
SERVER_NAME = "%s/receipt" % AUTHORITY
TYPE_ED25519, TYPE_COSIGNATURE = 1, 4


def public_key(seed):
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def sign(seed, message):
    return Ed25519PrivateKey.from_private_bytes(seed).sign(message)


def key_id(name, kind, public):
    return sha256(name.encode() + b"\n" + bytes([kind]) + public)[:4]


def verifier_key(name, kind, public):
    return "%s+%s+%s" % (name, key_id(name, kind, public).hex(), base64.b64encode(bytes([kind]) + public).decode())


def signature_line(name, data):
    return "\u2014 %s %s\n" % (name, base64.b64encode(data).decode())


def checkpoint_body(origin, size, root):
    return "%s\n%d\n%s\n" % (origin, size, base64.b64encode(root).decode())


def checkpoint(origin, size, root, name, seed):
    body = checkpoint_body(origin, size, root)
    return body + "\n" + signature_line(name, key_id(name, TYPE_ED25519, public_key(seed)) + sign(seed, body.encode()))


def receipt(note, name, seed, time_s):
    body = note[: note.rindex("\n\n") + 1]
    signed = "cosignature/v1\ntime %d\n%s" % (time_s, body)
    identifier = key_id(name, TYPE_COSIGNATURE, public_key(seed))
    return note + signature_line(name, identifier + struct.pack(">Q", time_s) + sign(seed, signed.encode()))


def notes_lines():
    tree = Tree()
    for name, seed in [(DEVICE_NAME, DEVICE_SEED), (SERVER_NAME, SERVER_SEED)]:
        public = public_key(seed)
        yield ("key", name.encode(), seed, public, sha256(public)[:8], verifier_key(name, TYPE_ED25519, public).encode(),
               verifier_key(name, TYPE_COSIGNATURE, public).encode())
    for size in [0, 1, 7, 200, 70001]:
        note = checkpoint(ORIGIN, size, tree.root(0, size), DEVICE_NAME, DEVICE_SEED)
        yield "checkpoint", ORIGIN.encode(), size, tree.root(0, size), note.encode()
        for time_s in [0, 1679315147, 1784000000]:
            yield "receipt", size, time_s, receipt(note, SERVER_NAME, SERVER_SEED, time_s).encode()


# ---- Envelopes (DSSE)

TYPES = ["exchange-request", "exchange-answer", "audit-request", "audit-answer", "repair-request", "repair-answer",
         "refusal", "enrol-answer", "device-certificate", "bundle-receipts", "trust-statement"]


def payload_type(name):
    return ("application/vnd.gridpatrol.%s+zlib;v=1" % name).encode()


def pae(kind, payload):
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def varint(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def envelope(kind, payload, seed, device):
    """Envelope of gridpatrol.proto, the payload last."""
    out = field(1, kind) + field(3, sha256(public_key(seed))[:8]) + field(4, sign(seed, pae(kind, payload)))
    if device:
        out += field(5, device.bytes)
    return out + varint(6 << 3) + varint(1) + field(2, payload)


def envelopes_lines():
    for index, name in enumerate(TYPES):
        kind = payload_type(name)
        plain = b"plain bytes of %s; " % name.encode() * (index + 1)
        payload = zlib.compress(plain, 9)
        device = None if name == "enrol-answer" else DEVICE
        seed = DEVICE_SEED if name.endswith("request") else SERVER_SEED
        yield "pae", kind, payload, pae(kind, payload)
        yield ("envelope", index, kind, plain, payload, sha256(payload), device.bytes if device else b"", seed,
               envelope(kind, payload, seed, device))


# ---- Compression (RFC 1950 with a preset dictionary)

DICTIONARY_1 = pathlib.Path(__file__).resolve().parents[2] / "proto" / "dictionary" / "dictionary_1.bin"


def compression_lines():
    dictionary = DICTIONARY_1.read_bytes()
    for plain in [b"", b"GB/T 47678.5", b"manhole cover problem, manhole cover problem", dictionary[::-1]]:
        stream = zlib.compressobj(9, zdict=dictionary)
        yield "stream", zlib.adler32(dictionary), plain, stream.compress(plain) + stream.flush()


def cell(value):
    if isinstance(value, bytes):
        return value.hex() or "-"
    return str(value)


FILES = {"merkle": merkle_lines, "ids": ids_lines, "notes": notes_lines, "envelopes": envelopes_lines,
         "compression": compression_lines}
# Another zlib may write other streams, which mean the same.
WITHOUT_STREAMS = ["merkle", "ids", "notes"]


def run(files, without_streams):
    """The command line of each of these scripts: writes the files, or with --check compares those that can be."""
    folder = pathlib.Path(__file__).resolve().parent
    contents = {name: "".join("\t".join(cell(value) for value in line) + "\n" for line in lines())
                for name, lines in files.items()}
    if sys.argv[1:] == ["--check"]:
        altered = [name for name in without_streams if (folder / (name + ".tsv")).read_text() != contents[name]]
        for name in altered:
            print(f"tests/vectors/{name}.tsv is not what {pathlib.Path(sys.argv[0]).name} writes")
        return 1 if altered else 0
    if sys.argv[1:]:
        folder = pathlib.Path(sys.argv[1])
    for name, content in contents.items():
        (folder / (name + ".tsv")).write_text(content, encoding="ascii", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(run(FILES, WITHOUT_STREAMS))
