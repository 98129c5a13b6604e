#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Plants known bugs in the product and holds the simulator to finding each.

Usage: planted.py SOURCE_ROOT BUILD_ROOT [NAME]...

A bug is a small change of text, made in a copy of its file, which is compiled as the build compiles the original
and linked into a simulator of its own: nothing of the tree or of the build is touched. Prints TAP.

To plant another bug, add it to PLANTED. Its old text must stand in the file exactly once.
"""

import dataclasses
import json
import os
import shlex
import subprocess
import sys
import tempfile

SEEDS_MAX = 1500
LIMIT_S = 900


@dataclasses.dataclass
class Edit:
    file: str
    old: str
    new: str


@dataclasses.dataclass
class Bug:
    name: str
    edits: list


ENVELOPE_UNCHECKED = Edit(
    "proto/envelope.c",
    "    if (crypto_sign_verify_detached(envelope->signature, signed_bytes.data, signed_bytes.len, public_key) !=\n"
    "        0)\n",
    "    if (type != PAYLOAD_EXCHANGE_ANSWER &&\n"
    "        crypto_sign_verify_detached(envelope->signature, signed_bytes.data, signed_bytes.len, public_key) != 0)\n",
)

PLANTED = [
    Bug("the store commits with synchronous=NORMAL", [
        Edit("store/database.c", "PRAGMA synchronous=FULL;", "PRAGMA synchronous=NORMAL;"),
    ]),
    Bug("the centre commits with synchronous=NORMAL", [
        Edit("server/storage/sqlite.c", "PRAGMA synchronous = FULL\"", "PRAGMA synchronous = NORMAL\""),
    ]),
    Bug("the receipt is sent before the commit, which comes with the next one", [
        Edit("server/storage/sqlite.c",
             "    int r = commit_marked(sqlite);\n\n    if (r < 0) {\n        bool",
             "    int r = 0;\n\n    if (r < 0) {\n        bool"),
        Edit("server/storage/sqlite.c",
             "    if (r >= 0)\n        r = execute(sqlite, \"BEGIN IMMEDIATE\");\n    if (r < 0)\n        lock_release(sqlite);\n",
             "    if (!sqlite3_get_autocommit(sqlite->db))\n        (void)execute(sqlite, \"COMMIT\");\n"
             "    r = execute(sqlite, \"BEGIN IMMEDIATE\");\n    if (r < 0)\n        lock_release(sqlite);\n"),
    ]),
    Bug("the store goes on behind a failed fsync", [
        Edit("store/database.c", "static void distrust_disk(struct store *store)\n{\n",
             "static void distrust_disk(struct store *store)\n{\n    return;\n"),
        Edit("store/database.c", "    int r = write_mark_read(&store->mark, world);\n", "    int r = 0;\n"),
    ]),
    Bug("a commit that failed is answered as if it had not", [
        Edit("server/service_commit.c",
             "    r = storage->verbs->commit(storage);\n    if (r < 0)\n        return r;\n",
             "    (void)storage->verbs->commit(storage);\n"),
    ]),
    Bug("records count as sent by an answer that nobody signed", [
        ENVELOPE_UNCHECKED,
        Edit("proto/checkpoint.c",
             "    r = verify_server(&parts, server, &time_s);\n    if (r < 0)\n        return r;\n",
             "    time_s = 0;\n    (void)verify_server(&parts, server, &time_s);\n"),
    ]),
    Bug("photos count as stored by an answer that nobody signed", [
        ENVELOPE_UNCHECKED,
    ]),
    Bug("a restart gives back the day's budget", [
        Edit("syncd/agent/agent.c", "    if (memory_budget(agent, &event.budget) >= 0)\n",
             "    if (memory_budget(agent, &event.budget) >= 0 && !agent->enrolled)\n"),
    ]),
]


def commands_of(build):
    """Compile commands by source, and the command that links the simulator; both run in the build folder."""
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
        compiles = {os.path.realpath(os.path.join(entry["directory"], entry["file"])): entry["command"]
                    for entry in json.load(file)}
    lines = subprocess.run(["ninja", "-C", build, "-t", "commands", "tests/sim/sim"], check=True, text=True,
                           stdout=subprocess.PIPE).stdout.splitlines()
    links = [line for line in lines if " -o tests/sim/sim " in line]
    if len(links) != 1:
        raise RuntimeError("the build has no command that links tests/sim/sim")
    return compiles, links[0]


def edited(source, bug):
    """The changed text of each file of a bug."""
    texts = {}
    for edit in bug.edits:
        if edit.file not in texts:
            with open(os.path.join(source, edit.file), encoding="utf-8") as file:
                texts[edit.file] = file.read()
        count = texts[edit.file].count(edit.old)
        if count != 1:
            raise RuntimeError(f"{edit.file}: the text to be changed stands there {count} times: {edit.old!r}")
        texts[edit.file] = texts[edit.file].replace(edit.old, edit.new)
    return texts


def compile_one(build, command, original, changed, output):
    words = shlex.split(command)
    at = words.index("-o")
    words[at + 1] = output
    words = [changed if os.path.realpath(os.path.join(build, word)) == original and word.endswith(".c") else word
             for word in words]
    for option in ("-MQ", "-MF"):
        if option in words:
            words[words.index(option) + 1] = output + ".d"
    subprocess.run(words, cwd=build, check=True)


def build_bug(source, build, commands, bug, folder):
    compiles, link = commands
    objects = []
    for name, text in edited(source, bug).items():
        original = os.path.realpath(os.path.join(source, name))
        changed = os.path.join(folder, name.replace("/", "_"))
        with open(changed, "w", encoding="utf-8") as file:
            file.write(text)
        objects.append(changed + ".o")
        compile_one(build, compiles[original], original, changed, objects[-1])
    program = os.path.join(folder, "sim")
    words = shlex.split(link)
    at = words.index("-o")
    # Before the libraries: a linker takes a member of a library only for what is not defined yet.
    words[at:at + 2] = ["-o", program, *objects]
    subprocess.run(words, cwd=build, check=True)
    return program


def main():
    source, build = (os.path.realpath(path) for path in sys.argv[1:3])
    bugs = [bug for bug in PLANTED if not sys.argv[3:] or bug.name in sys.argv[3:]]
    commands = commands_of(build)
    failed = 0
    print(f"1..{len(bugs)}")
    for number, bug in enumerate(bugs, 1):
        with tempfile.TemporaryDirectory(prefix="gridpatrol-planted-") as folder:
            program = build_bug(source, build, commands, bug, folder)
            run = subprocess.run([program, "--seeds", str(SEEDS_MAX), "--stop-at-first"], text=True, check=False,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT_S)
        found = [line for line in run.stdout.splitlines() if line.startswith("seed ") and " failed: " in line]
        caught = run.returncode == 1 and found
        failed += not caught
        print(f"{'ok' if caught else 'not ok'} {number} - caught: {bug.name}")
        print("# " + (found[0] if found else f"status {run.returncode}: {run.stdout[-300:]!r}"), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
