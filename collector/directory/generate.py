#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Turn a category directory (TSV) into the C table that is compiled into the collector.

Usage: generate.py DIRECTORY.tsv OUTPUT.c

Runs at build time only. The file has `# scheme:` and `# version:` lines, any number of other
comments, one line of column names, and one line for each code. What is wrong with it stops the
build with the file and the line, so nothing has to be checked when the program runs. A
replacement that arrives later as reference data is read by directory_parse() in
collector/core/directory.c; unlike there, an entry built in here must have its English names.
"""

import re
import sys

COLUMNS = ["kind", "code", "major_zh", "major_en", "name_zh", "name_en"]
# In the order of enum category_kind, by which the table is sorted.
KINDS = ["matter", "component"]
CODE = re.compile(r"[0-9A-Za-z._-]{1,32}\Z")
ENTRIES_MAX = 4096
TEXT_BYTES_MAX = 256
SCHEME_BYTES_MAX = 64


class DirectoryError(Exception):
    """Says what is wrong, with the line where it is."""


def check_text(field, number, bytes_max=TEXT_BYTES_MAX):
    if not field:
        raise DirectoryError(f"{number}: empty field")
    if len(field.encode()) > bytes_max:
        raise DirectoryError(f"{number}: a field is longer than {bytes_max} bytes")
    if any(ord(char) < 0x20 or ord(char) == 0x7F for char in field):
        raise DirectoryError(f"{number}: control character")


def read_row(line, number):
    row = line.split("\t")
    if len(row) != len(COLUMNS):
        raise DirectoryError(f"{number}: {len(row)} fields, not {len(COLUMNS)}")
    for field in row:
        check_text(field, number)
    if row[0] not in KINDS:
        raise DirectoryError(f"{number}: kind {row[0]!r} is none of {', '.join(KINDS)}")
    if not CODE.match(row[1]):
        raise DirectoryError(f"{number}: code {row[1]!r} must be 1 to 32 letters, digits, '.', '_' or '-'")
    return row


def read_directory(data):
    """Return (header, rows): the scheme and version by name, and the rows in table order."""
    header, rows, columns_seen = {}, {}, False
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise DirectoryError(f"{data[:error.start].count(10) + 1}: not UTF-8") from None
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith("#"):
            key, _, value = line[1:].partition(":")
            if key.strip() in ("scheme", "version"):
                check_text(value.strip(), number, SCHEME_BYTES_MAX)
                header[key.strip()] = value.strip()
        elif line == "":
            continue
        elif not columns_seen:
            if line.split("\t") != COLUMNS:
                raise DirectoryError(f"{number}: column names must be {' '.join(COLUMNS)}")
            columns_seen = True
        else:
            row = read_row(line, number)
            key = (KINDS.index(row[0]), row[1].encode())
            if key in rows:
                raise DirectoryError(f"{number}: {row[0]} {row[1]} stands twice")
            rows[key] = row
    for key in ("scheme", "version"):
        if key not in header:
            raise DirectoryError(f"1: no '# {key}:' line")
    if len(rows) > ENTRIES_MAX:
        raise DirectoryError(f"1: more than {ENTRIES_MAX} codes")
    if not any(kind == KINDS.index("matter") for kind, _ in rows):
        raise DirectoryError("1: no matter")
    return header, [rows[key] for key in sorted(rows)]


def c_string(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def write_table(header, rows):
    lines = [
        "/* SPDX-License-Identifier: Apache-2.0 */",
        "/* Made by collector/directory/generate.py; change the directory file, not this. */",
        '#include "collector/core/directory.h"',
        "",
        "static const struct directory_entry entries[] = {",
    ]
    for kind, *fields in rows:
        lines.append(f"    {{CATEGORY_{kind.upper()}, {', '.join(map(c_string, fields))}}},")
    lines += [
        "};",
        "",
        "const struct directory *directory_built_in(void)",
        "{",
        "    static const struct directory built_in = {",
        f"        .scheme = {c_string(header['scheme'])},",
        f"        .version = {c_string(header['version'])},",
        "        .entries = entries,",
        "        .count = sizeof(entries) / sizeof(entries[0]),",
        "    };",
        "    return &built_in;",
        "}",
        "",
    ]
    return "\n".join(lines)


def main(argv):
    if len(argv) != 3:
        print("usage: generate.py DIRECTORY.tsv OUTPUT.c", file=sys.stderr)
        return 2
    with open(argv[1], "rb") as source:
        data = source.read()
    try:
        header, rows = read_directory(data)
    except DirectoryError as error:
        print(f"{argv[1]}:{error}", file=sys.stderr)
        return 1
    with open(argv[2], "w", encoding="utf-8") as output:
        output.write(write_table(header, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
