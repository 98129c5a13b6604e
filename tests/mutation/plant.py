# SPDX-License-Identifier: Apache-2.0
"""Plants a change into a copy of a source file, and links a program of the build with it.

The changed copy is compiled as the build compiles the original, and its object takes the original's place when the
program is linked: nothing of the tree or of the build is touched, and only what was changed is compiled. Used by
scripts/mutate and by the simulator's planted bugs; knows no test.
"""

import dataclasses
import json
import os
import shlex
import subprocess


class PlantError(Exception):
    """The change cannot be made: its text is not there (once), or what it makes cannot be compiled."""


@dataclasses.dataclass(frozen=True)
class Edit:
    """`old` must stand in `file` exactly once."""

    file: str
    old: str
    new: str


def edited(source, edits):
    """The changed text of each file."""
    texts = {}
    for edit in edits:
        if edit.file not in texts:
            try:
                with open(os.path.join(source, edit.file), encoding="utf-8") as file:
                    texts[edit.file] = file.read()
            except OSError as error:
                raise PlantError(f"{edit.file}: {error.strerror}") from error
        count = texts[edit.file].count(edit.old)
        if count != 1:
            raise PlantError(f"{edit.file}: the text to be changed stands there {count} times: {edit.old!r}")
        texts[edit.file] = texts[edit.file].replace(edit.old, edit.new)
    return texts


def run(words, folder):
    done = subprocess.run(words, cwd=folder, text=True, errors="replace", check=False, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise PlantError(f"{os.path.basename(words[0])} ended with status {done.returncode}:\n{done.stdout[-4000:]}")
    return done.stdout


class Build:
    """A build folder of meson, up to date, of the tree `source`."""

    def __init__(self, source, folder):
        self.source, self.folder = os.path.realpath(source), os.path.realpath(folder)
        self.commands = {}
        with open(os.path.join(self.folder, "compile_commands.json"), encoding="utf-8") as file:
            self.compiles = {os.path.realpath(os.path.join(entry["directory"], entry["file"])): entry
                             for entry in json.load(file)}

    def commands_of(self, program):
        """What ninja would run to make a program from nothing; the last one links it."""
        if program not in self.commands:
            self.commands[program] = run(["ninja", "-C", self.folder, "-t", "commands", program], ".").splitlines()
        return self.commands[program]

    def is_made_of(self, program, file):
        """Is this source compiled for the program?"""
        entry = self.compiles.get(os.path.join(self.source, file))
        return entry is not None and entry["command"] in self.commands_of(program)

    def compile(self, name, text, folder):
        """The object of a source of the tree with another text. (path of the object, the original's in the build)"""
        original = os.path.join(self.source, name)
        if original not in self.compiles:
            raise PlantError(f"{name}: the build does not compile this file")
        changed = os.path.join(folder, name.replace("/", "_"))
        with open(changed, "w", encoding="utf-8") as file:
            file.write(text)
        words = shlex.split(self.compiles[original]["command"])
        at = words.index("-o")
        replaces, words[at + 1] = words[at + 1], changed + ".o"
        words = [changed if word.endswith(".c") and os.path.realpath(os.path.join(self.folder, word)) == original else word
                 for word in words]
        for option in ("-MQ", "-MF"):
            if option in words:
                words[words.index(option) + 1] = changed + ".d"
        run(words, self.folder)
        return changed + ".o", replaces

    def link(self, program, objects, output):
        """Links a program with objects that stand for others: (object, the one it stands for or None)."""
        line = self.commands_of(program)[-1]
        words = shlex.split(line)
        if "-o" not in words or words[words.index("-o") + 1] != program:
            raise PlantError(f"the build has no command that links {program}")
        replaced = {before for _, before in objects}
        at = words.index("-o")
        words = [word for word in words if word not in replaced]
        # Before the libraries: a linker takes a member of a library only for what is not defined yet.
        words[at:at + 2] = ["-o", output, *(path for path, _ in objects)]
        run(words, self.folder)
        return output

    def plant(self, edits, programs, folder, more_objects=()):
        """Links each of the programs, {program: where it is to be put}, with the change, and with more objects."""
        objects = [self.compile(name, text, folder) for name, text in edited(self.source, edits).items()]
        objects += [(path, None) for path in more_objects]
        for program, output in programs.items():
            self.link(program, objects, output)
