#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a dictionary as a C array, at build time.     Usage: embed.py dictionary_N.bin dictionary_N.c"""

import pathlib
import sys


def main():
    source, output = map(pathlib.Path, sys.argv[1:3])
    data = source.read_bytes()
    lines = [", ".join(f"0x{byte:02x}" for byte in data[at:at + 16]) for at in range(0, len(data), 16)]
    output.write_text(f'/* Made of {source.name}. */\n#include "proto/dictionary/dictionaries.h"\n\n'
                      "static const uint8_t data[] = {\n    " + ",\n    ".join(lines) + ",\n};\n"
                      f"const struct bytes {source.stem} = {{.data = data, .len = sizeof(data)}};\n")


if __name__ == "__main__":
    main()
