# SPDX-License-Identifier: Apache-2.0
"""The command lines with a daemon and a centre, as people meet them: what they say when something is in the way."""

import csv
import errno
import functools
import io
import json
import os
import pathlib
import re
import resource
import signal
import subprocess
import sys
import tempfile

import pytest

import harness

# After one failed attempt the next is far away.
PATIENT = harness.QUICK.replace("100ms", "10min").replace("backoff-max = 1s", "backoff-max = 30min")


def one_line(result):
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


# ---- sync and resync that run out of time ----

def test_a_sync_that_runs_out_of_time_says_why_and_when_it_goes_on(server, make_real_handheld):
    handheld = make_real_handheld(server, config=PATIENT)
    server.stop()
    handheld.start()
    handheld.record()
    told = one_line(handheld.run("sync", "--wait", "1", status=1))
    assert re.search(r"the sync is not done yet: the centre could not be reached; next attempt \d\d:\d\d:\d\d;", told), told


def test_a_resync_that_runs_out_of_time_says_why_and_when_it_goes_on(server, make_real_handheld):
    handheld = make_real_handheld(server, config=PATIENT, start=True)
    handheld.record()
    handheld.run("sync", "--wait", "20")
    server.stop()
    told = one_line(handheld.run("resync", "--wait", "1", status=1))
    assert re.search(r"the resync is not done yet: the centre could not be reached; next attempt \d\d:\d\d:\d\d;", told), told


def test_a_resync_with_nothing_receipted_claims_nothing(server, make_real_handheld):
    handheld = make_real_handheld(server, config=PATIENT)
    server.stop()
    handheld.start()
    handheld.record()
    told = handheld.run("resync").stdout
    assert "nothing to compare" in told and "holds everything" not in told


# ---- enrol: the device's key belongs to the daemon ----

# For root permission bits do not count, unless it gives up the right to pass over them.
PLAIN_RIGHTS = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
AS_NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


def run_as(who, handheld, *arguments):
    return subprocess.run([*who, *map(str, handheld.command(*arguments))], env=harness.environment(), text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=harness.PATIENCE_S)


def test_who_may_not_read_the_key_is_told_to_enrol_as_root_or_as_the_daemons_user(server, make_real_handheld):
    handheld = make_real_handheld(server)
    (handheld.data / "device.key").chmod(0)
    result = run_as(PLAIN_RIGHTS, handheld, "enroll", server.token())
    told = one_line(result)
    assert result.returncode == 1 and "device key" in told and "enrol as root, or as the daemon's user" in told


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_key_that_the_daemon_could_not_read_is_not_made(server):
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        handheld = harness.Handheld(pathlib.Path(place) / "h")
        os.chmod(handheld.directory, 0o755)
        handheld.data.mkdir()
        os.chmod(handheld.data, 0o2777)  # its owner is root, whoever may write
        if run_as(AS_NOBODY, handheld, "--version").returncode != 0:
            pytest.skip("others may not run this build")
        result = run_as(AS_NOBODY, handheld, "enroll", server.token())
        assert result.returncode == 1 and "enrol as root, or as the daemon's user" in one_line(result)
        assert not (handheld.data / "device.key").exists()
        assert handheld.enroll(server).returncode == 0


def test_a_centre_with_another_certificate_than_the_token_url_names_is_told(server, make_real_handheld):
    other_ca = re.sub("ca=.{6}", "ca=AAAAAA", server.token())
    told = one_line(make_real_handheld().run("enroll", other_ca, status=1))
    assert "certificate must be of the CA, and for the host" in told


# ---- one line each ----

@pytest.mark.parametrize("arguments", [
    ["a\nb"], ["list", "a\nb", "c"], ["list", "--a\nb"], ["list", "--state", "a\nb"], ["show", "a\nb"], ["sync", "--wait", "a\n"],
    ["record", "--category", "06010", "--no-fix", "x", "--photo", "a\nb"], ["record", "--from", "a\n\x1b[2Jb"],
    ["verify", "a\nb", "--server-key", "/dev/null"], ["categories", "a\nb"], ["list", "--data", "/proc/a\nb/c"]])
def test_what_a_message_quotes_of_patrol_stays_in_its_line(make_real_handheld, arguments):
    result = subprocess.run([harness.program("patrol"), *arguments], env=harness.environment(GRIDPATROL_DATA=make_real_handheld().data),
                            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert result.returncode in (0, 1, 2, 3) and "\x1b" not in result.stderr
    assert result.stderr.count("\n") == (result.returncode != 0)


@pytest.mark.parametrize("arguments", [["a\nb"], ["list", "a\nb"], ["devices", "--a\nb"], ["devices", "--data", "/proc/a\nb/c"],
                                       ["blob", "a\nb", "-o", "x"], ["revoke", "a\n\x1b[2Jb"], ["findings", "--since", "a\nb"]])
def test_what_a_message_quotes_of_the_server_stays_in_its_line(server, arguments):
    result = subprocess.run([harness.program("patrol-server"), *arguments], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            env=harness.environment(GRIDPATROL_SERVER_DATA=server.data))
    assert result.returncode in (1, 2, 3) and "\x1b" not in result.stderr and result.stderr.count("\n") == 1


# ---- files that are written for people ----

@pytest.fixture
def delivered(server, make_real_handheld, tmp_path):
    """(server, handheld, id of a finding with a photo that the centre has acknowledged)"""
    handheld = make_real_handheld(server, start=True)
    identity = handheld.record(photos=[harness.make_photo(tmp_path / "photo.jpg", 1, 1600, 1200)])
    handheld.run("sync", "--wait", "30")
    return server, handheld, identity


def small_files_only():
    """The disk takes the first 64 KiB of each file, as one does that is nearly full: a part of a write, then none."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, resource.RLIM_INFINITY))


def test_an_export_that_does_not_fit_is_told_and_leaves_nothing(delivered, tmp_path):
    _, handheld, identity = delivered
    handheld.stop()
    result = handheld.run("export", "--evidence", identity, "-o", tmp_path / "x.evidence", status=1, preexec_fn=small_files_only)
    assert "output: " in one_line(result) and "nothing was written" in result.stderr
    assert not list(tmp_path.glob("x.evidence*"))


def write_to_odd_places(command, tmp_path):
    """A command that ends with -o, at names that are no regular file: never replaced."""
    run = functools.partial(subprocess.run, env=harness.environment(), stderr=subprocess.PIPE, timeout=harness.PATIENCE_S)
    words, plain, link = [str(word) for word in command], tmp_path / "plain", tmp_path / "link"
    run([*words, plain], check=True)
    (tmp_path / "target").touch()
    link.symlink_to(tmp_path / "target")
    run([*words, link], check=True)
    assert link.is_symlink() and link.read_bytes() == plain.read_bytes()
    assert run([*words, "-"], check=True, stdout=subprocess.PIPE).stdout == plain.read_bytes()
    for name, why in ((tmp_path, b"Is a directory"), ("", b"No such file")):
        refused = run([*words, name])
        assert refused.returncode == 1 and b"output: " in refused.stderr and why in refused.stderr


def test_an_export_replaces_nothing_but_regular_files(delivered, tmp_path):
    _, handheld, identity = delivered
    write_to_odd_places([harness.program("patrol"), "--data", handheld.data, "export", "--evidence", identity, "-o"], tmp_path)


@pytest.mark.parametrize("command", ["key", "blob"])
def test_the_server_replaces_nothing_but_regular_files(delivered, tmp_path, command):
    server, handheld, _ = delivered
    photo = [handheld.list()[0]["photos"][0]["sha256"]] if command == "blob" else []
    write_to_odd_places([*server.command(command, *photo), "-o"], tmp_path)


def test_a_pipe_can_hold_the_key_but_not_the_evidence(delivered, tmp_path):
    server, handheld, identity = delivered
    evidence, key, pipe = tmp_path / "x", tmp_path / "key", tmp_path / "pipe"
    handheld.run("export", "--evidence", identity, "-o", evidence)
    server.run("key", "-o", key)
    os.mkfifo(pipe)
    told = one_line(handheld.run("verify", pipe, "--server-key", key, status=3))  # nobody writes into it: it must not wait
    assert "no regular file" in told
    verify = harness.Process(handheld.command("verify", evidence, "--server-key", pipe), tmp_path / "log", env=harness.environment())
    pipe.write_bytes(key.read_bytes())
    assert verify.child.wait(timeout=harness.PATIENCE_S) == 0, verify.text()


# ---- patrol-server ----

ON_DATA = (["devices"], ["findings"], ["check"], ["check", "--rebuild"], ["key", "-o", "-"], ["blob", "00" * 32, "-o", "-"],
           ["revoke", "aa"], ["restore", "aa"], ["resync", "--all"])


@pytest.mark.parametrize("there", [False, True])
def test_a_server_command_makes_no_data_where_there_is_none(make_server, there):
    server = make_server(start=False)
    if there:
        server.data.mkdir()
    for command in ON_DATA:
        told = one_line(server.run(*command, status=1))
        assert "no server's data there" in told and "serve" in told and told.count(str(server.data)) == 1
    assert list(server.data.glob("*")) == [] and server.data.exists() == there


def test_server_data_that_may_not_be_read_says_who_may(server):
    keys = server.data / "keys"
    keys.chmod(0)
    for command in (["devices"], ["revoke", "aa"], ["token"]):
        result = subprocess.run([*PLAIN_RIGHTS, *map(str, server.command(*command))], env=harness.environment(), text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        told = one_line(result)
        assert result.returncode == 1 and "as root, or as the user of patrol-server serve" in told
        assert told.count(str(server.data)) == 1
    keys.chmod(0o700)


def test_a_wrong_start_of_serve_makes_nothing_and_says_what_to_mend(make_server, server):
    other = make_server("other", tls=False, start=False)
    assert "public-url: " in one_line(other.run("serve", "--listen", "127.0.0.1:0", "--public-url", "ftp://x", status=2))
    other.config.write_text("[server]\nauthority = a b\n")
    told = one_line(other.run("serve", "--listen", "127.0.0.1:0", status=2))
    assert "authority" in told and str(other.config) in told
    other.config.write_text("")
    assert not other.data.exists()
    told = one_line(other.run("serve", "--listen", f"127.0.0.1:{server.port}", status=1))
    assert "another program listens there" in told


def test_an_empty_data_directory_is_refused_and_not_taken_for_another(make_real_handheld, make_server):
    environment = harness.environment(GRIDPATROL_DATA="/nonexistent", GRIDPATROL_SERVER_DATA="/nonexistent")
    for name, command in (("patrol", ["list"]), ("patrol-server", ["devices"])):
        result = subprocess.run([harness.program(name), *command, "--data", ""], env=environment, text=True, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE)
        assert result.returncode == 2 and "data: empty" in one_line(result)


def test_numbers_beyond_all_arrivals_show_nothing(delivered):
    server, _, _ = delivered
    assert server.findings("--since", 2**63 - 1) == []
    assert "since: " in one_line(server.run("findings", "--since", str(2**63), status=3))


@pytest.mark.parametrize("option", ["--name", "--inspector"])
def test_names_that_would_steer_a_terminal_are_refused(server, option):
    assert f"{option[2:]}: " in one_line(server.run("token", option, "a\nb\x1b[2J", status=3))


def test_csv_has_what_since_needs_and_why_something_was_withdrawn(delivered):
    server, handheld, identity = delivered
    handheld.run("withdraw", identity, "--reason", "=1+1, twice\nreported")
    handheld.run("sync", "--wait", "30")
    finding, withdrawal = server.findings()
    rows = list(csv.DictReader(io.StringIO(server.run("findings", "--csv").stdout, newline="")))
    assert [int(row["arrival"]) for row in rows] == [finding["arrival"], withdrawal["arrival"]]
    assert withdrawal["reason"] == rows[1]["reason"] == handheld.list()[1]["reason"] == "=1+1, twice\nreported"
    assert "reason" not in finding and rows[0]["reason"] == ""


def test_a_finding_whose_id_cannot_be_printed_is_told_with_its_id(make_real_handheld):
    handheld = make_real_handheld()
    with open("/dev/full", "w") as full:
        result = subprocess.run(handheld.command("record", "--category", "06010", "--no-fix", "x"), env=harness.environment(),
                                stdout=full, stderr=subprocess.PIPE, text=True)
    told = one_line(result)
    assert result.returncode == 1 and handheld.list()[0]["id"] in told and "No space left on device" in told


def test_an_output_that_cannot_be_written_is_told_by_every_command(delivered):
    server, handheld, identity = delivered
    commands = [server.command(*words) for words in (["devices"], ["findings"], ["check"], ["token"], ["--version"], ["--help"],
                                                     ["serve", "--help"], ["key", "-o", "-"])]
    commands += [handheld.command(*words) for words in (["list"], ["list", "--json"], ["status"], ["status", "--json"],
                                                        ["show", identity], ["show", identity, "--json"], ["categories"],
                                                        ["categories", "--json"], ["--help"], ["list", "--help"], ["--version"],
                                                        ["sync"], ["resync", "--json"], ["server-url", server.url])]
    for command in commands:
        with open("/dev/full", "w") as full:
            result = subprocess.run([str(word) for word in command], env=harness.environment(), stdout=full, stderr=subprocess.PIPE,
                                    text=True)
        assert result.returncode in (1, 4) and "No space left on device" in one_line(result), command
        assert str(handheld.data) not in result.stderr and str(server.data) not in result.stderr


# ---- what patrol says of its own data ----

def run_with_data(data, *arguments, who=()):
    command = [*who, harness.program("patrol"), *arguments, "--data", data]
    return subprocess.run([str(word) for word in command], env=harness.environment(), text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=harness.PATIENCE_S)


def test_looking_for_a_record_makes_no_store(tmp_path):
    result = run_with_data(tmp_path / "none", "show", "00000000-0000-4000-8000-000000000000")
    assert result.returncode == 3 and "id: no record" in one_line(result) and not (tmp_path / "none").exists()


def test_a_directory_that_cannot_be_made_is_told_as_that(tmp_path):
    result = run_with_data(tmp_path / "a/b", "record", "--category", "06010", "--no-fix", "x")
    assert result.returncode == 1 and "its parent directory is not there" in one_line(result)


def test_data_that_may_not_be_read_says_who_may_in_one_line(server, make_real_handheld):
    handheld = make_real_handheld(server)
    identity = handheld.record()
    handheld.data.chmod(0)
    try:
        for command in (["record", "--category", "06010", "--no-fix", "x"], ["list"], ["status"], ["show", identity],
                        ["export", "--evidence", identity, "-o", "x"], ["server-url", "https://centre.example"], ["sync"]):
            result = run_with_data(handheld.data, *command, who=PLAIN_RIGHTS)
            told = one_line(result)
            assert result.returncode == 1 and "member of group patrol" in told and "not enrolled" not in told, command
    finally:
        handheld.data.chmod(0o770)


def test_a_damaged_database_is_told_with_what_recovers_it(make_real_handheld):
    handheld = make_real_handheld()
    handheld.record()
    for path in handheld.data.glob("queue.db*"):
        path.write_bytes(b"no database" * 1000)
    assert "patrol record or a restart of patrol-syncd recovers it" in one_line(handheld.run("list", status=1))
    assert handheld.record() and len(handheld.list()) >= 1


@pytest.mark.skipif("GRIDPATROL_SANITIZED" in os.environ, reason="a sanitizer has malloc for itself")
@pytest.mark.parametrize("words", [["list"], ["show"], ["amend", "--note", "x"]], ids=lambda words: words[0])
def test_no_memory_is_never_told_as_a_record_that_cannot_be_read(make_real_handheld, tmp_path, words):
    handheld, tally = make_real_handheld(), tmp_path / "tally"
    identity = handheld.record(photos=[harness.make_photo(tmp_path / "photo.jpg")])  # a list takes memory to decode
    command = handheld.command(*words, *([] if words == ["list"] else [identity]))

    def run(at):
        """The `at`-th allocation fails; 0: none. What came of it, and how many there were."""
        tally.write_bytes(bytes(16))
        fault = {"LD_PRELOAD": harness.program("libinject.so"), "FAULT_PROGRAM": "patrol", "FAULT_KIND": "memory",
                 "FAULT_AT": at, "FAULT_ERRNO": errno.ENOMEM, "FAULT_FILE": tally}
        result = subprocess.run(command, env=harness.environment(**fault), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, timeout=harness.PATIENCE_S)
        return result, int.from_bytes(tally.read_bytes()[:8], sys.byteorder)

    # Opening the store comes before the record is read, and is swept elsewhere.
    allocations = run(0)[1]
    for at in range(allocations - 500, allocations + 1):
        result, _ = run(at)
        assert result.returncode in (0, 1) and not re.search(r"record (at \d+ )?cannot be", result.stderr), (at, result.stderr)


def test_status_knows_no_free_space_where_nothing_was_recorded(tmp_path):
    status = json.loads(run_with_data(tmp_path / "none", "status", "--json").stdout)
    assert status["free_bytes"] is None and status["records_queued"] == 0
    assert "free space" not in run_with_data(tmp_path / "none", "status").stdout


def test_status_counts_lost_photos_and_what_the_last_receipt_covers(delivered, tmp_path):
    _, handheld, _ = delivered
    status = handheld.status()
    assert status["last_receipt_size"] == status["log_size"] and status["photos_lost"] == 0
    assert f"covers {status['log_size']} of the log's {status['log_size']} records" in handheld.run("status").stdout


def test_status_tells_of_the_resync_that_goes_on_or_was_the_last(delivered):
    server, handheld, _ = delivered
    assert handheld.status()["resync"] is None and "resync" not in handheld.run("status").stdout
    handheld.run("resync", "--level", "media")
    assert handheld.status()["resync"]["level"] == "media" and handheld.status()["resync"]["ok"]
    assert "resync        media: nothing is missing at the centre" in handheld.run("status").stdout
    server.stop()
    handheld.run("resync", "--wait", "1", status=1)
    assert "resync        records: goes on" in handheld.run("status").stdout


def test_help_of_a_command_is_aligned_and_says_what_all_take(make_real_handheld):
    handheld = make_real_handheld()
    overview = handheld.run("--help").stdout
    assert all(option in overview for option in ("--data DIR", "--config FILE", "--help", "--version"))
    options = [line for line in handheld.run("record", "--help").stdout.splitlines() if "--" in line[:8]]
    assert len({re.search(r"\S  +(?=\S)", line[8:]).end() for line in options}) == 1
