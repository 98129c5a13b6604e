# SPDX-License-Identifier: Apache-2.0
"""Bash completion, asked as bash asks it: the words before the cursor, the last one unfinished."""

import subprocess

import pytest

import harness

SCRIPT = r"""
. "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
compopt() { :; }
function=$(complete -p "$1" | grep -oE -- '-F [a-z_]+' | cut -c4-)
"$function" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def completed(server, make_real_handheld, tmp_path):
    """What is offered for some words; `patrol` and the others are those of this build, with data of their own."""
    handheld = make_real_handheld(server)
    (tmp_path / "bin").mkdir()
    for name in ("patrol", "patrol-server", "patrol-syncd"):
        (tmp_path / "bin" / name).symlink_to(harness.program(name))
    environment = harness.environment(GRIDPATROL_DATA=handheld.data, GRIDPATROL_SERVER_DATA=server.data)
    environment["PATH"] = f"{tmp_path / 'bin'}:{environment['PATH']}"

    def complete(*words):
        script = harness.TOP / "system/patrol.bash-completion"
        result = subprocess.run(["bash", "-c", SCRIPT, "bash", script, *words], env=environment, text=True, cwd=tmp_path,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert (result.returncode, result.stderr) == (0, "")
        return result.stdout.split()

    complete.handheld, complete.server = handheld, server
    return complete


def test_commands_and_their_options_are_offered(completed):
    assert completed("patrol", "re") == ["record", "resync"]
    assert completed("patrol-server", "re") == ["revoke", "restore", "resync"]
    assert completed("patrol", "--data", "/tmp", "li") == ["list"]
    assert sorted(completed("patrol", "--")) == ["--config", "--data", "--help", "--version"]
    assert sorted(completed("patrol-server", "--")) == ["--config", "--data", "--help", "--version"]
    assert sorted(completed("patrol", "list", "--")) == ["--config", "--data", "--help", "--json", "--state", "--version"]
    assert sorted(completed("patrol-server", "check", "--")) == ["--config", "--data", "--help", "--media", "--rebuild", "--version"]
    assert completed("patrol-syncd", "--e") == ["--enroll"]
    assert completed("patrol", "im") == ["import-receipts"] and completed("patrol-server", "im") == ["import-bundle"]


def test_words_and_codes_are_offered_as_values(completed):
    assert completed("patrol", "record", "--severity", "u") == ["urgent"]
    assert completed("patrol", "record", "--severity", "=", "u") == ["urgent"]  # bash takes --severity=u apart
    assert completed("patrol", "resync", "--level", "=") == ["presence", "records", "media"]
    assert completed("patrol-server", "resync", "--level", "m") == ["media"]
    assert "06010" in completed("patrol", "record", "--category", "0601")
    assert completed("patrol", "record", "--component", "0100")[0] == "01001"
    assert completed("patrol", "categories", "--kind", "c") == ["component"]


def test_ids_that_are_there_are_offered(completed):
    identity, device = completed.handheld.record(), completed.server.devices()[0]["id"]
    for words in (["show"], ["amend"], ["withdraw"], ["export", "--evidence"]):
        assert completed("patrol", *words, identity[:6]) == [identity]
    for words in (["revoke"], ["restore"], ["resync"], ["findings", "--device"]):
        assert completed("patrol-server", *words, device[:6]) == [device]


def test_files_are_offered_where_a_file_is_wanted_and_nothing_where_a_text_is(completed, tmp_path):
    (tmp_path / "only.jpg").touch()
    (tmp_path / "only directory").mkdir()
    for words in (["patrol", "record", "--photo"], ["patrol", "verify"], ["patrol", "export", "--bundle"], ["patrol", "import-receipts"],
                  ["patrol-server", "import-bundle"], ["patrol-server", "serve", "--tls-cert"],
                  ["patrol-syncd", "--config"]):
        assert "only.jpg" in completed(*words, "only")
    for words in (["patrol", "list", "--data"], ["patrol-server", "devices", "--data"], ["patrol-syncd", "--data"]):
        assert completed(*words, "only") == ["only", "directory"]  # one name; split() takes it apart
    for words in (["patrol", "record", "--note"], ["patrol", "list"], ["patrol-server", "token", "--name"], ["patrol", "enroll"]):
        assert completed(*words, "on") == []
