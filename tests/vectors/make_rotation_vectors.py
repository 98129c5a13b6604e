#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the golden vectors of the record that announces a device's next key: key_rotation.tsv.

From the definitions, like the other scripts here, whose writers it uses.

Usage: make_rotation_vectors.py [DIRECTORY]     (default: its own folder). The output never changes from run to run.
Each line is: what, then its fields; bytes are in hex, an empty field is "-".
"""

import sys

import make_vectors
from make_record_vectors import record, text

OLD = make_vectors.public_key(make_vectors.DEVICE_SEED)
NEXT_SEED = bytes(range(0x80, 0xA0))
NEXT = make_vectors.public_key(NEXT_SEED)
DEVICE = make_vectors.DEVICE.bytes
OTHER_DEVICE = bytes([DEVICE[0] ^ 1]) + DEVICE[1:]


def signature(device=DEVICE, old=OLD, new=NEXT, seed=NEXT_SEED, context=b"gridpatrol device key v1\n"):
    return make_vectors.sign(seed, context + device + old + new)


def rotation(old=OLD, new=NEXT, signed=None):
    return record(31, text(1, old) + text(2, new) + text(3, signature() if signed is None else signed), inspector="")


def rotation_lines():
    yield "keys", DEVICE, OLD, NEXT_SEED, NEXT
    yield "record", "announces a key", rotation()
    # These can be read, and mean nothing: nobody who holds the new key has said it of this device and this old key.
    yield "unsigned", "of another device", rotation(signed=signature(device=OTHER_DEVICE))
    yield "unsigned", "in the place of another key", rotation(signed=signature(old=NEXT))
    yield "unsigned", "signed by the old key", rotation(signed=signature(seed=make_vectors.DEVICE_SEED))
    yield "unsigned", "of another purpose", rotation(signed=signature(context=b"gridpatrol enrol v1\n"))
    yield "unsigned", "one bit altered", rotation(signed=bytes([signature()[0] ^ 1]) + signature()[1:])
    yield "refused", "to itself", rotation(new=OLD)
    yield "refused", "a short key", rotation(new=NEXT[1:])
    yield "refused", "a long signature", rotation(signed=signature() + b"x")
    yield "refused", "no old key", rotation(old=b"")
    yield "refused", "no new key", rotation(new=b"")
    yield "refused", "no signature", rotation(signed=b"")


if __name__ == "__main__":
    sys.exit(make_vectors.run({"key_rotation": rotation_lines}, ["key_rotation"]))
