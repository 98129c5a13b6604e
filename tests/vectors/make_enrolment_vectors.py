#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the golden vectors of enrolment, upload tokens, sealed boxes, certificates, evidence files: enrolment.tsv,
evidence.tsv.

From the definitions, like make_vectors.py and make_record_vectors.py, whose writers it uses.

Usage: make_enrolment_vectors.py [DIRECTORY]     (default: its own folder). The output never changes from run to run.
Each line is: what, then its fields; bytes are in hex, an empty field is "-".
"""

import base64
import hashlib
import hmac
import struct
import sys
import zlib

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import make_vectors
from make_record_vectors import (FINDING, PUBLIC_KEY, RECORDS, TOKEN, WALL_MS, category, each, fixed32, number, packed,
                                 photo, record, signed, text)
from make_vectors import LOG, field, leaf_hash, sha256


# ---- Enrolment and trust


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


SERVER_PUBLIC = make_vectors.public_key(make_vectors.SERVER_SEED)
CA = sha256(b"a CA certificate")
UPLOAD_SECRET = bytes(range(0x80, 0xA0))
SEAL_SEED = bytes(range(0x60, 0x80))
ISSUED_MS = WALL_MS - 1000


def upload_token(device, expires_s, quota_bytes, secret):
    """HMAC-SHA-512-256 (the first half of HMAC-SHA-512) behind the fields."""
    fields = device.bytes + struct.pack(">QQ", expires_s, quota_bytes)
    return base64url(fields + hmac.new(secret, b"gridpatrol upload v1\n" + fields, "sha512").digest()[:32])


# A sealed box of NaCl: X25519, XSalsa20, Poly1305, the nonce from BLAKE2b. From the papers, for vectors only.

P25519 = 2**255 - 19


def montgomery(ed25519_public):
    """The X25519 key of an Ed25519 key: u = (1 + y) / (1 - y)."""
    y = int.from_bytes(ed25519_public, "little") & (2**255 - 1)
    return ((1 + y) * pow(1 - y, P25519 - 2, P25519) % P25519).to_bytes(32, "little")


def rotate(value, bits):
    value &= 0xFFFFFFFF
    return (value << bits | value >> (32 - bits)) & 0xFFFFFFFF


def salsa20_rounds(state):
    x = list(state)
    quarters = [(0, 4, 8, 12), (5, 9, 13, 1), (10, 14, 2, 6), (15, 3, 7, 11),
                (0, 1, 2, 3), (5, 6, 7, 4), (10, 11, 8, 9), (15, 12, 13, 14)]
    for _ in range(10):
        for a, b, c, d in quarters:
            x[b] ^= rotate(x[a] + x[d], 7)
            x[c] ^= rotate(x[b] + x[a], 9)
            x[d] ^= rotate(x[c] + x[b], 13)
            x[a] ^= rotate(x[d] + x[c], 18)
    return x


def salsa20_state(key, middle):
    c, k, m = (struct.unpack("<%dI" % (len(data) // 4), data) for data in (b"expand 32-byte k", key, middle))
    return [c[0], *k[:4], c[1], *m, c[2], *k[4:], c[3]]


def hsalsa20(key, middle):
    x = salsa20_rounds(salsa20_state(key, middle))
    return struct.pack("<8I", *(x[i] for i in (0, 5, 10, 15, 6, 7, 8, 9)))


def xsalsa20(key, nonce, length):
    key, out = hsalsa20(key, nonce[:16]), b""
    for block in range((length + 63) // 64):
        state = salsa20_state(key, nonce[16:] + struct.pack("<Q", block))
        out += struct.pack("<16I", *((a + b) & 0xFFFFFFFF for a, b in zip(salsa20_rounds(state), state)))
    return out[:length]


def poly1305(key, data):
    r = int.from_bytes(key[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    total = 0
    for start in range(0, len(data), 16):
        total = (total + int.from_bytes(data[start:start + 16] + b"\x01", "little")) * r % (2**130 - 5)
    return ((total + int.from_bytes(key[16:], "little")) % 2**128).to_bytes(16, "little")


def seal(plain, ed25519_public, seed):
    recipient = montgomery(ed25519_public)
    ephemeral = X25519PrivateKey.from_private_bytes(hashlib.sha512(seed).digest()[:32])
    public = ephemeral.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    nonce = hashlib.blake2b(public + recipient, digest_size=24).digest()
    shared = hsalsa20(ephemeral.exchange(X25519PublicKey.from_public_bytes(recipient)), bytes(16))
    stream = xsalsa20(shared, nonce, 32 + len(plain))
    cipher = bytes(a ^ b for a, b in zip(plain, stream[32:]))
    return public + poly1305(stream[:32], cipher) + cipher


CERTIFICATE_PLAIN = (text(1, make_vectors.AUTHORITY) + text(2, make_vectors.TENANT) + text(3, make_vectors.DEVICE.bytes)
                     + text(4, PUBLIC_KEY) + signed(5, ISSUED_MS) + text(6, "grid 12 西") + text(7, "inspector-1"))
CERTIFICATE = make_vectors.envelope(make_vectors.payload_type("device-certificate"),
                                    zlib.compress(CERTIFICATE_PLAIN, 9), make_vectors.SERVER_SEED, None)


# ---- Evidence


def inclusion(records, seq):
    """PATH of RFC 9162, section 2.1.3.1, and the root."""
    if len(records) == 1:
        return [], leaf_hash(records[0])
    middle = make_vectors.split(len(records))
    left, right = records[:middle], records[middle:]
    if seq < middle:
        path, root = inclusion(left, seq)
        other = inclusion(right, 0)[1]
        return path + [other], make_vectors.node_hash(root, other)
    path, root = inclusion(right, seq - middle)
    other = inclusion(left, 0)[1]
    return path + [other], make_vectors.node_hash(other, root)


BLOBS = [b"photo", b"preview", b"second photo"]
EVIDENCE_FINDING = record(FINDING, field(1, category("01028", "0217")) + number(2, 4) + text(3, "盲道破损")
                          + field(4, fixed32(1, 230065906) + fixed32(2, 1202398237) + number(3, 32))
                          + field(7, photo(sha256(BLOBS[0]), 5, 0, sha256(BLOBS[1]), 7))
                          + field(7, photo(sha256(BLOBS[2]), 12, 1)))


def evidence():
    records = [RECORDS["opened"], RECORDS["device_event"], RECORDS["finding_without_position"], EVIDENCE_FINDING,
               RECORDS["withdrawal"], RECORDS["rehomed"], RECORDS["closed"]]
    path, root = inclusion(records, 3)
    note = make_vectors.checkpoint(make_vectors.ORIGIN, len(records), root, make_vectors.DEVICE_NAME,
                                   make_vectors.DEVICE_SEED)
    cosigned = make_vectors.receipt(note, make_vectors.SERVER_NAME, make_vectors.SERVER_SEED, 1795430099).encode()
    head = (text(1, LOG.bytes) + number(2, 3) + text(3, EVIDENCE_FINDING) + each(4, path) + text(5, cosigned)
            + text(6, CERTIFICATE) + each(7, [sha256(blob) for blob in BLOBS])
            + packed(8, [len(blob) for blob in BLOBS]))
    return b"gridpatrol evidence 1\n" + struct.pack(">I", len(head)) + head + b"".join(BLOBS)


def enrolment_lines():
    key = sha256(SERVER_PUBLIC)
    yield ("token_url", "https://centre.example:8443", TOKEN, key, CA,
           b"https://centre.example:8443/enrol#token=" + base64url(TOKEN) + b"&key=" + base64url(key)
           + b"&ca=" + base64url(CA))
    yield ("token_url", "http://127.0.0.1:8080/grid", TOKEN, key, b"",
           b"http://127.0.0.1:8080/grid/enrol#token=" + base64url(TOKEN) + b"&key=" + base64url(key))
    for expires_s, quota_bytes in [(1795430900, 2**30), (1, 0), (2**64 - 1, 2**64 - 1)]:
        yield ("upload_token", make_vectors.DEVICE.bytes, expires_s, quota_bytes, UPLOAD_SECRET,
               upload_token(make_vectors.DEVICE, expires_s, quota_bytes, UPLOAD_SECRET))
    for plain in [b"", b"x", bytes(range(200))]:
        yield "sealed", plain, PUBLIC_KEY, SEAL_SEED, seal(plain, PUBLIC_KEY, SEAL_SEED)


def evidence_lines():
    yield "certificate", CERTIFICATE_PLAIN, CERTIFICATE
    yield "evidence", evidence()


if __name__ == "__main__":
    # Another zlib may write another stream in the certificate, which means the same.
    sys.exit(make_vectors.run({"enrolment": enrolment_lines, "evidence": evidence_lines}, ["enrolment"]))
