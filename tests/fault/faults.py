# SPDX-License-Identifier: Apache-2.0
"""Single calls of a program that fail: a Fault says which, tests/fault/inject.c makes them fail. A sweep tries them one after
the other: all there are (FAULT_POINTS=0), or FAULT_POINTS of each that follow from SEED."""

import errno
import os
import random
import shlex
import struct
import zlib

import harness

POINTS = int(os.environ.get("FAULT_POINTS", "2"))
SEED = int(os.environ.get("SEED", "1"))
TALLY = struct.Struct("=QQ")  # of inject.c: calls of this kind, how many of them failed

# What each kind of call fails with.
KINDS = {"memory": errno.ENOMEM, "read": errno.EIO, "write": errno.ENOSPC, "sync": errno.EIO, "open": errno.EMFILE,
         "rename": errno.ENOSPC, "truncate": errno.ENOSPC, "map": errno.ENOMEM}


class Fault:
    """The `at`-th call of `kind` in `program` fails, and with `goes_on` all later ones. `at` 0: none does."""

    def __init__(self, directory, program, kind, at=0, goes_on=False):
        self.program, self.kind, self.at, self.goes_on = program, kind, at, goes_on
        self.file = directory / "tally"
        self.file.write_bytes(TALLY.pack(0, 0))

    def __str__(self):
        return f"{self.program}: {self.kind} {self.at}{' and all after it' if self.goes_on else ''}"

    def tally(self):
        return TALLY.unpack(self.file.read_bytes())

    def environment(self):
        """For the program itself, or one that starts it and hands its environment on."""
        words = {"LD_PRELOAD": harness.program("libinject.so"), "FAULT_PROGRAM": self.program, "FAULT_KIND": self.kind,
                 "FAULT_AT": str(self.at), "FAULT_ERRNO": str(KINDS[self.kind]), "FAULT_FILE": str(self.file)}
        return {**words, **({"FAULT_ON": "1"} if self.goes_on else {})}

    def helper(self, directory):
        """A helper is started without its parent's environment: this is a script to start it by."""
        words = " ".join(f"{name}={shlex.quote(value)}" for name, value in self.environment().items())
        script = directory / f"start-{self.program}"
        script.write_text(f"#!/bin/sh\nexec env {words} {shlex.quote(harness.program(self.program))}\n")
        script.chmod(0o755)
        return str(script)


def sweep(directory, program, kind, attempt, points=None):
    """Calls `attempt(fault)` for the chosen faults; fails with all that went wrong. The first attempt only counts."""
    points = POINTS if points is None else points
    counted = Fault(directory, program, kind)
    attempt(counted)
    calls, _ = counted.tally()
    print(f"{program}: {calls} calls of {kind}", flush=True)
    assert calls > 0 or kind != "memory", f"{program} allocates nothing: inject.c is not in it"
    generator = random.Random(zlib.crc32(f"{SEED} {program} {kind}".encode()))
    problems = []
    for goes_on in (False, True):
        chosen = range(1, calls + 1)
        if 0 < points < calls:
            chosen = sorted(generator.sample(chosen, points))
        for at in chosen:
            fault = Fault(directory, program, kind, at, goes_on)
            try:
                attempt(fault)
            except Exception as problem:  # the others may show what it has in common with them
                problems.append(f"{fault}: {type(problem).__name__}: {problem}")
    assert not problems, "\n".join([f"{len(problems)} went wrong", *problems])
