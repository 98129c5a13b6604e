#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Holds proto/README.md to the vectors and to limits.h: what the page shows must be what the tests prove.

Every run of hex digits must stand in a vector file (a run may go on in the lines below, at the same column), every
```note block in notes.tsv, every row of the table of limits must have its value in limits.h, and limits.h must not be
contradicted. Usage: check_readme.py (no arguments); prints what is wrong, one line each, and then exits 1.
"""

import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
README = TOP / "proto" / "README.md"


def hex_runs(lines):
    """(line, digits) of all hex of 16 digits or more. Digits alone in a line below, at the same column, go on."""
    runs = []
    for number, line in enumerate(lines, 1):
        alone = re.fullmatch(r"( {5,})([0-9a-f]+)", line)
        if alone and runs and runs[-1][:2] == (number - 1, len(alone.group(1))):
            _, column, start, digits = runs.pop()
            runs.append((number, column, start, digits + alone.group(2)))
            continue
        runs += [(number, match.start(), number, match.group()) for match in re.finditer(r"\b[0-9a-f]{16,}\b", line)]
    return [(start, digits) for _, _, start, digits in runs]


def main():
    text = README.read_text(encoding="utf-8")
    lines = text.splitlines()
    vectors = "\n".join(path.read_text() for path in sorted((TOP / "tests" / "vectors").glob("*.tsv")))
    cells = set(re.split(r"[\t\n]", vectors))
    faults, examples = [], 0

    for number, run in hex_runs(lines):
        examples += 1
        # A row of a frontier or a proof is a part of its vector.
        if run not in cells and not (len(run) == 64 and run in vectors):
            faults.append(f"line {number}: {run} is in no vector file")
    for block in re.findall(r"```note\n(.*?)```", text, re.S):
        examples += 1
        if block.encode().hex() not in cells and block.rstrip("\n").encode().hex() not in cells:
            faults.append(f"note block is in no vector file: {block.splitlines()[0]}")

    limits = {}
    for name, value in re.findall(r"^#define (\w+_\w+) +(.+?)(?: */\*.*)?$", (TOP / "proto" / "limits.h").read_text(), re.M):
        value = re.sub(r"UINT64_C\((\d+)\)", r"\1", re.sub(r"(\d)u\b", r"\1", value))
        limits[name] = eval(value, {"__builtins__": {}}, limits)  # pylint: disable=eval-used
    rows = re.findall(r"^\| `([A-Z_0-9]+)` \| (\d+) \|", text, re.M)
    for name, value in rows:
        if limits.get(name) != int(value):
            faults.append(f"{name} is {limits.get(name)} in limits.h, {value} on the page")
    for name in limits:
        if f"`{name}`" not in text:
            faults.append(f"{name} of limits.h is not on the page")
    if examples < 12 or len(rows) < 30:
        faults.append(f"only {examples} examples and {len(rows)} limits were found: the page's form has changed")

    for fault in faults:
        print(f"{README.relative_to(TOP)}: {fault}")
    print(f"{examples} examples, {len(rows)} limits, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
