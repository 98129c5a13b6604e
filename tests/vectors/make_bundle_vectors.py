#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the golden vectors of bundles: bundle.tsv.

From the definitions (RFC 8439, draft-irtf-cfrg-xchacha, and libsodium's description of its secretstream), like the other
scripts here, whose writers it uses.

Usage: make_bundle_vectors.py [DIRECTORY]     (default: its own folder). The output never changes from run to run.
Each line is: what, then its fields; bytes are in hex, an empty field is "-".
"""

import struct
import sys

import make_vectors
from make_enrolment_vectors import SEAL_SEED, SERVER_PUBLIC, poly1305, rotate, seal
from make_record_vectors import MESSAGES
from make_vectors import sha256

KEY = bytes(range(0xA0, 0xC0))
HEADER = bytes(range(0xC0, 0xD8))
TAG_MESSAGE, TAG_FINAL = 0, 3
HEAD, EXCHANGE, PHOTO, CHUNK, END = range(1, 6)
CHUNK_BYTES = 40  # of a photo in these vectors: small, so that a photo has several


# ---- ChaCha20


def chacha20_rounds(state):
    x = list(state)
    columns = [(0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)]
    diagonals = [(0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)]
    for _ in range(10):
        for a, b, c, d in columns + diagonals:
            for left, right, bits in ((a, b, 16), (c, d, 12), (a, b, 8), (c, d, 7)):
                x[left] = (x[left] + x[right]) & 0xFFFFFFFF
                other = d if left == a else b
                x[other] = rotate(x[other] ^ x[left], bits)
    return x


def chacha20_state(key, rest):
    return list(struct.unpack("<4I", b"expand 32-byte k") + struct.unpack("<8I", key) + struct.unpack("<4I", rest))


def hchacha20(key, nonce):
    x = chacha20_rounds(chacha20_state(key, nonce))
    return struct.pack("<8I", *x[:4], *x[12:])


def chacha20(key, nonce, first_block, length):
    """The key stream of RFC 8439, section 2.4."""
    out = b""
    for block in range(first_block, first_block + (length + 63) // 64):
        state = chacha20_state(key, struct.pack("<I", block) + nonce)
        out += struct.pack("<16I", *((a + b) & 0xFFFFFFFF for a, b in zip(chacha20_rounds(state), state)))
    return out[:length]


def xor(data, stream):
    return bytes(a ^ b for a, b in zip(data, stream))


# ---- the stream


class Stream:
    """crypto_secretstream_xchacha20poly1305: a key and a nonce that changes with every message."""

    def __init__(self, key, header):
        self.key, self.inner, self.counter = hchacha20(key, header[:16]), header[16:], 1

    def push(self, plain, tag):
        nonce = struct.pack("<I", self.counter) + self.inner
        block = xor(bytes([tag]) + bytes(63), chacha20(self.key, nonce, 1, 64))
        cipher = xor(plain, chacha20(self.key, nonce, 2, len(plain)))
        # The padding goes by the length of the plain bytes, not by what stands before it.
        checked = block + cipher + bytes(len(plain) % 16) + struct.pack("<QQ", 0, 64 + len(plain))
        mac = poly1305(chacha20(self.key, nonce, 0, 32), checked)
        self.inner = xor(self.inner, mac[:8])
        self.counter += 1
        return block[:1] + cipher + mac


# ---- bundles


def bundle(envelopes, photos):
    """(kind and plain bytes of each message, the file)"""
    messages = [(HEAD, MESSAGES["bundle_head"]["full"])]
    messages += [(EXCHANGE, envelope) for envelope in envelopes]
    for photo in photos:
        messages.append((PHOTO, sha256(photo) + struct.pack(">Q", len(photo))))
        messages += [(CHUNK, photo[at:at + CHUNK_BYTES]) for at in range(0, len(photo), CHUNK_BYTES)]
    messages.append((END, b""))
    stream, out = Stream(KEY, HEADER), b"gridpatrol bundle 1\n" + seal(KEY, SERVER_PUBLIC, SEAL_SEED) + HEADER
    for kind, body in messages:
        frame = stream.push(bytes([kind]) + body, TAG_FINAL if kind == END else TAG_MESSAGE)
        out += struct.pack(">I", len(frame)) + frame
    return out


def bundle_lines():
    stream = Stream(KEY, HEADER)
    for length in (1, 15, 16, 17, 63, 64, 65, 200):
        plain = bytes(range(length))
        yield "stream", KEY, HEADER, plain, TAG_MESSAGE, stream.push(plain, TAG_MESSAGE)
    yield "stream", KEY, HEADER, b"the end", TAG_FINAL, stream.push(b"the end", TAG_FINAL)
    yield "head", KEY, SEAL_SEED, HEADER, MESSAGES["bundle_head"]["full"], b"", b"", bundle([], [])
    photos = [b"a photo in three chunks, " * 4, b"!"]
    yield ("bundle", KEY, SEAL_SEED, HEADER, MESSAGES["bundle_head"]["full"], b"an envelope", b"".join(photos),
           bundle([b"an envelope"], photos))
    parts = [b"the first part's envelope", b"the second's"]
    yield ("receipts", *parts, b"gridpatrol receipts 1\n" + b"".join(struct.pack(">I", len(part)) + part for part in parts))


if __name__ == "__main__":
    sys.exit(make_vectors.run({"bundle": bundle_lines}, ["bundle"]))
