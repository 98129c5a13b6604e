#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Holds one pure static library to its word: `nm -u` against a list of allowed symbols, and no writable data.

Run by the tests of meson for each pure library. Knows nothing of what the libraries do.
"""

import argparse
import os
import re
import subprocess
import sys

ALLOWED_FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "allowed_symbols.txt")

# Sections whose content can change while the program runs. Read-only tables of pointers lie in .data.rel.ro,
# which the loader fills once.
WRITABLE_SECTION = re.compile(r"^(\.data(?!\.rel\.ro)|\.bss|\.tdata|\.tbss|\*COM\*)")
# Variables of threads and uninitialised global ones are not marked as objects.
UNTYPED_SECTIONS = (".tdata", ".tbss", "*COM*")


def output_of(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout


def undefined_symbols(library):
    """{symbol: object that wants it}"""
    wanted = {}
    for line in output_of("nm", "-u", "-A", library).splitlines():
        place, _, symbol = line.rpartition(" ")
        wanted.setdefault(symbol, place.split(":")[1] if ":" in place else place)
    return wanted


def defined_symbols(library):
    lines = output_of("nm", "--defined-only", "--extern-only", library).splitlines()
    return {fields[2] for fields in map(str.split, lines) if len(fields) == 3}


def writable_objects(library):
    """[(symbol, section)] of every variable that can change, local ones too."""
    found = []
    for line in output_of("objdump", "--syms", library).splitlines():
        # value, seven columns of flags, section, size, name: "0000000000000000 l     O .bss	0000000000000004 count"
        match = re.match(r"^[0-9a-f]+ .{6}([O ]) (\S+)\t([0-9a-f]+)\s+(\S+)$", line)
        if match and WRITABLE_SECTION.match(match[2]) and (match[1] == "O" or match[2] in UNTYPED_SECTIONS):
            found.append((match[4], match[2]))
    return found


def read_allowed(path, name):
    """The exact symbols and the prefixes allowed for the library `name`."""
    exact, prefixes, applies = set(), [], False
    with open(path, encoding="utf-8") as file:
        for line in file:
            line = line.partition("#")[0].strip()
            if line.startswith("["):
                names = line.strip("[]").split()
                applies = "*" in names or name in names
            elif line and applies and line.endswith("*"):
                prefixes.append(line[:-1])
            elif line and applies:
                exact.add(line)
    return exact, tuple(prefixes)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="name of the library in the list")
    parser.add_argument("--library", required=True, help="the static library")
    parser.add_argument("--below", nargs="*", default=[], help="pure static libraries that it may call")
    parser.add_argument("--allowed", default=ALLOWED_FILE, help="the list")
    options = parser.parse_args()

    exact, prefixes = read_allowed(options.allowed, options.name)
    known = set().union(*map(defined_symbols, [options.library, *options.below]))
    wanted = undefined_symbols(options.library)
    refused = {
        symbol: place
        for symbol, place in wanted.items()
        if symbol not in exact and symbol not in known and not (prefixes and symbol.startswith(prefixes))
    }
    for symbol, place in sorted(refused.items()):
        print(f"{options.name}: {place} calls {symbol}, which is not allowed in pure code: pass what it would "
              f"tell as an argument, or list it in {os.path.basename(options.allowed)} if it is a function of "
              "its arguments only")
    writable = writable_objects(options.library)
    for symbol, section in writable:
        print(f"{options.name}: {symbol} lies in {section}: pure code has no variables of its own; make it "
              "const or put it into a struct of the caller")
    if not known:
        # An empty library would pass whatever it was meant to hold.
        print(f"{options.name}: {options.library} defines nothing")
        return 1
    print(f"{options.name}: {len(wanted)} symbols wanted, {len(refused)} refused, {len(writable)} variables")
    return 1 if refused or writable else 0


if __name__ == "__main__":
    sys.exit(main())
