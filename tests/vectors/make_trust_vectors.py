#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the golden vectors of trust statements and of the chain of receipt keys that they make: trust.tsv.

From the definitions, like the other scripts here, whose writers it uses.

Usage: make_trust_vectors.py [DIRECTORY]     (default: its own folder). The output never changes from run to run.
Each line is: what, then its fields; bytes are in hex, an empty field is "-".
"""

import sys
import zlib

import make_vectors
from make_record_vectors import each, number, signed, text

KIND = make_vectors.payload_type("trust-statement")
SEEDS = [make_vectors.SERVER_SEED] + [bytes([0xC0 + index]) * 32 for index in range(1, 4)]
KEYS = [make_vectors.public_key(seed) for seed in SEEDS]
VALID_FROM_MS = [0, 1795430400000, 1826966400000, 1858502400000]
CAS = ["-----BEGIN CERTIFICATE-----\nb25l\n-----END CERTIFICATE-----\n",
       "-----BEGIN CERTIFICATE-----\ndHdv\n-----END CERTIFICATE-----\n"]


def plain(generation, key=None, cas="", authority=make_vectors.AUTHORITY):
    named = text(3, KEYS[key]) + signed(4, VALID_FROM_MS[key]) if key is not None else b""
    return text(1, authority) + number(2, generation) + named + text(5, cas)


def seal(data, signer):
    return make_vectors.envelope(KIND, zlib.compress(data, 9), SEEDS[signer], None)


def statement(generation, signer, key=None, cas="", **more):
    return seal(plain(generation, key, cas, **more), signer)


def listed(*envelopes):
    return each(1, envelopes)


# The life of a centre: three keys, and CAs that were changed between them.
FIRST = statement(1, 0, key=1)
SECOND = statement(2, 1, cas=CAS[0])
THIRD = statement(3, 1, key=2)
FOURTH = statement(4, 2, cas=CAS[0] + CAS[1])
LIFE = listed(FIRST, SECOND, THIRD, FOURTH)


def refused():
    yield "the second statement signed by the first key", listed(FIRST, statement(2, 0, cas=CAS[0]))
    yield "a successor signed by a stranger", listed(FIRST, statement(2, 3, key=2))
    yield "a chain without its middle", listed(FIRST, FOURTH)
    yield "a generation twice", listed(FIRST, statement(1, 1, cas=CAS[0]))
    yield "generation 0", listed(statement(0, 0, key=1))
    yield "another authority", listed(statement(1, 0, key=1, authority="other.example"))
    yield "an authority with a slash", listed(statement(1, 0, key=1, authority="gridpatrol.example/x"))
    yield "no authority", listed(seal(number(2, 1) + text(3, KEYS[1]), 0))
    yield "a key that was retired", listed(FIRST, THIRD, statement(5, 2, key=1))
    yield "the first key again", listed(FIRST, statement(2, 1, key=0))
    yield "a key and CAs", listed(seal(plain(1, key=1) + text(5, CAS[0]), 0))
    yield "a short key", listed(seal(text(1, make_vectors.AUTHORITY) + number(2, 1) + text(3, KEYS[1][1:]), 0))
    yield "CAs not UTF-8", listed(seal(text(1, make_vectors.AUTHORITY) + number(2, 1) + text(5, b"\xff"), 0))
    yield "a statement cut short", listed(FIRST, SECOND[:-1])
    yield "an envelope of another type", listed(make_vectors.envelope(make_vectors.payload_type("refusal"),
                                                                      zlib.compress(plain(1, key=1), 9), SEEDS[0], None))
    yield "a device outside", listed(make_vectors.envelope(KIND, zlib.compress(plain(1, key=1), 9), SEEDS[0],
                                                           make_vectors.DEVICE))
    yield "65 statements", listed(*[FIRST] * 65)


def trust_lines():
    for index, (seed, key) in enumerate(zip(SEEDS, KEYS)):
        yield "key", index, seed, key, VALID_FROM_MS[index]
    for name, signer, envelope in (("first", 0, FIRST), ("second", 1, SECOND), ("third", 1, THIRD), ("fourth", 2, FOURTH)):
        yield "statement", name, signer, envelope
    yield "plain", "first", plain(1, key=1)
    # What leads where: the list, the number of the anchor, then of the newest key that it leads to, the generation, CAs.
    yield "list", "empty", b"", 0, 0, 0, b""
    yield "list", "one successor", listed(FIRST), 0, 1, 1, b""
    yield "list", "a whole life", LIFE, 0, 2, 4, (CAS[0] + CAS[1]).encode()
    yield "list", "from the middle", LIFE, 1, 2, 4, (CAS[0] + CAS[1]).encode()
    yield "list", "from the end", LIFE, 2, 2, 4, (CAS[0] + CAS[1]).encode()
    yield "list", "without what is no longer true", listed(FIRST, THIRD, FOURTH), 0, 2, 4, (CAS[0] + CAS[1]).encode()
    yield "list", "twice the same", LIFE + LIFE, 0, 2, 4, (CAS[0] + CAS[1]).encode()
    yield "list", "of another centre", LIFE, 3, 3, 0, b""
    yield "list", "a later one first", listed(SECOND, FIRST), 0, 1, 1, b""
    yield "list", "no new CAs", listed(FIRST, SECOND, THIRD, statement(4, 2)), 0, 2, 4, CAS[0].encode()
    for name, data in refused():
        yield "refused", name, data


if __name__ == "__main__":
    # Another zlib may write other streams, which mean the same.
    sys.exit(make_vectors.run({"trust": trust_lines}, []))
