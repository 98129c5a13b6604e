# SPDX-License-Identifier: Apache-2.0
"""The man pages: they are well formed, and tell of every command and option that a program has."""

import re
import shutil
import subprocess

import pytest

import harness

PAGES = {"patrol": "patrol.1", "patrol-syncd": "patrol-syncd.8", "patrol-server": "patrol-server.8"}


def page(program):
    return harness.BUILD / "docs/man" / PAGES[program]


def rendered(program):
    if not shutil.which("man"):
        pytest.skip("man is not installed")
    result = subprocess.run(["man", "--warnings", "-l", page(program)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env=harness.environment(LC_ALL="C.UTF-8", MANWIDTH="200", MANPAGER="cat", MAN_KEEP_FORMATTING=""))
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def help_of(program, *arguments):
    return subprocess.run([harness.program(program), *arguments, "--help"], stdout=subprocess.PIPE, text=True, check=True,
                          env=harness.environment()).stdout


def commands_of(program):
    return re.findall(r"^  ([a-z-]+) ", help_of(program), re.MULTILINE)


@pytest.mark.parametrize("program", PAGES)
def test_a_page_has_every_section_and_no_fault(program):
    text = rendered(program)
    for section in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "SEE ALSO"):
        assert re.search(rf"^{section}$", text, re.MULTILINE), section


@pytest.mark.parametrize("program", PAGES)
def test_a_page_tells_of_every_command_and_option(program):
    text = rendered(program)
    commands = commands_of(program) if program != "patrol-syncd" else []
    if program != "patrol-syncd":
        assert len(commands) > 8
    missing = [command for command in commands if not re.search(rf"(^|[\s,|]){command}\b", text, re.MULTILINE)]
    options = {option for command in [[], *([name] for name in commands)]
               for option in re.findall(r"^ +(?:-[a-z], )?(--[a-z-]+)", help_of(program, *command), re.MULTILINE)}
    assert len(options) >= 4
    missing += [option for option in sorted(options - {"--help", "--version"}) if option not in text]
    assert not missing
