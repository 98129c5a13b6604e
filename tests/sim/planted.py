#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Plants known bugs in the product and holds the simulator to finding each.

Usage: planted.py SOURCE_ROOT BUILD_ROOT [NAME]...

A bug is a small change of text, made in a copy of its file, which is compiled as the build compiles the original
and linked into a simulator of its own: nothing of the tree or of the build is touched. Prints TAP.

To plant another bug, add it to PLANTED. Its old text must stand in the file exactly once.
"""

import dataclasses
import os
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "mutation"))
from plant import Build, Edit  # noqa: E402

SIMULATOR = "tests/sim/sim"
SEEDS_MAX = 1500
LIMIT_S = 900


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

ANSWER_AND_RECEIPT_UNCHECKED = [
    ENVELOPE_UNCHECKED,
    Edit("proto/checkpoint.c",
         "    r = verify_server(&parts, server, &time_s);\n    if (r < 0)\n        return r;\n",
         "    time_s = 0;\n    (void)verify_server(&parts, server, &time_s);\n"),
]

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
             "    end_transaction(sqlite);\n    r = trust_disk_again(sqlite);\n    if (r >= 0)\n"
             "        r = execute(sqlite, \"BEGIN IMMEDIATE\");\n    if (r < 0)\n        lock_release(sqlite);\n",
             "    (void)trust_disk_again(sqlite);\n"
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
    Bug("records count as sent by an answer that nobody signed", ANSWER_AND_RECEIPT_UNCHECKED),
    Bug("photos count as stored by an answer that nobody signed", [
        ENVELOPE_UNCHECKED,
    ]),
    Bug("a restart gives back the day's budget", [
        Edit("syncd/agent/agent.c", "    if (memory_budget(agent, &event.budget) >= 0)\n",
             "    if (memory_budget(agent, &event.budget) >= 0 && !agent->enrolled)\n"),
    ]),
]


def hunt(program):
    """Runs a simulator with a bug until a seed fails. (the lines about that seed, what became of the run)"""
    done = subprocess.run([program, "--seeds", str(SEEDS_MAX), "--stop-at-first"], text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT_S)
    found = [line for line in done.stdout.splitlines() if line.startswith("seed ") and " failed: " in line]
    return found if done.returncode == 1 else [], f"status {done.returncode}: {done.stdout[-300:]!r}"


def main():
    build = Build(*sys.argv[1:3])
    bugs = [bug for bug in PLANTED if not sys.argv[3:] or bug.name in sys.argv[3:]]
    failed = 0
    print(f"1..{len(bugs)}")
    for number, bug in enumerate(bugs, 1):
        with tempfile.TemporaryDirectory(prefix="gridpatrol-planted-") as folder:
            program = os.path.join(folder, "sim")
            build.plant(bug.edits, {SIMULATOR: program}, folder)
            found, told = hunt(program)
        failed += not found
        print(f"{'ok' if found else 'not ok'} {number} - caught: {bug.name}")
        print("# " + (found[0] if found else told), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
