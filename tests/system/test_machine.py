# SPDX-License-Identifier: Apache-2.0
"""What the machine under the programs gives or denies: a disk that is full, photos that grow old, a terminal, groups, and a
daemon that is only just starting."""

import grp
import hashlib
import json
import os
import pathlib
import pty
import re
import sqlite3
import subprocess
import threading

import pytest

import harness
from harness import Handheld, assert_delivered, wait_for

AGEING = harness.QUICK.replace("slow-poll = 1h", "slow-poll = 5s") + "[photos]\nfree-after = 0s\n"


def photo_of(tmp_path, seed):
    return harness.make_photo(tmp_path / f"photo-{seed}.jpg", seed)


# ---- space ----


def test_photos_that_the_centre_stores_are_freed_when_they_are_old(server, make_real_handheld, tmp_path):
    handheld = make_real_handheld(server, config=AGEING, start=True)
    photo = photo_of(tmp_path, 1)
    bytes_of_photo = photo.read_bytes()
    finding = handheld.record(photos=[photo])
    handheld.wait_until_drained()
    wait_for(lambda: not any(path.is_file() for path in (handheld.data / "photos").rglob("*")), "the photos are freed")
    [listed] = handheld.list()
    assert [item["state"] for item in listed["photos"]] == ["freed"] * len(listed["photos"])
    assert_delivered(server, handheld, [finding])
    sha256 = hashlib.sha256(bytes_of_photo).hexdigest()
    server.run("blob", sha256, "-o", tmp_path / "copy.jpg")
    assert (tmp_path / "copy.jpg").read_bytes() == bytes_of_photo
    assert "removed from this handheld" in handheld.log.read_text()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 32 MiB."""
    where = tmp_path / "disk"
    where.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "none", where], stderr=subprocess.PIPE, text=True)
    if made.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {made.stderr.strip()}")
    yield where
    subprocess.run(["umount", "--lazy", where], check=True)


def fill(path, leave):
    """Takes all of the file system but `leave` bytes."""
    space = os.statvfs(path.parent)
    with open(path, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, space.f_bavail * space.f_frsize - leave)


def test_a_full_disk_refuses_photos_first_and_text_last_and_keeps_all_that_was_said(small_disk, tmp_path):
    handheld = Handheld(tmp_path / "h")
    handheld.data = small_disk / "data"
    photo = photo_of(tmp_path, 1)
    kept = [handheld.record("before", photos=[photo])]
    fill(small_disk / "filler", 64 * 1024)

    refused = handheld.run("record", "--category", "06010", "--no-fix", "x", "--photo", photo_of(tmp_path, 2), status=4)
    assert refused.stdout == "" and "space" in refused.stderr and refused.stderr.count("\n") == 1
    while True:  # until even the reserve is used up
        result = handheld.run("record", "--category", "06010", "--no-fix", "x", "--note", "n" * 4000, status=None)
        if result.returncode != 0:
            break
        kept.append(result.stdout.strip())
    assert result.returncode == 4 and result.stdout == "" and "space" in result.stderr
    assert len(kept) > 100, "the reserve carries a day's text"
    assert [finding["id"] for finding in handheld.list()] == kept

    (small_disk / "filler").unlink()
    kept.append(handheld.record("after", photos=[photo_of(tmp_path, 3)]))
    assert [finding["id"] for finding in handheld.list()] == kept
    assert {path.name for path in (handheld.data / "photos").rglob("*") if path.is_file()} >= {
        item["sha256"] for finding in handheld.list() for item in finding["photos"]}


# ---- memory ----

MEMORY_MAX = 64 * 1024 * 1024
BACKLOG = int(os.environ.get("BACKLOG", "25000"))  # scripts/soak: a million
WORDS = "人行道上有建筑垃圾 "
# However many they are, they take more than the memory that there is.
NOTE = WORDS * min(140, max(2, 3 * MEMORY_MAX // 2 // BACKLOG // len(WORDS.encode())))


def peak_memory(process):
    lines = pathlib.Path(f"/proc/{process.child.pid}/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM:")))


def test_backlog_larger_than_memory_is_recorded_and_sent_in_64_mib(server, make_real_handheld):
    if "GRIDPATROL_SANITIZED" in os.environ:
        pytest.skip("a sanitizer build takes more")
    patience_s = harness.PATIENCE_S * (1 + BACKLOG / 25000)
    handheld = make_real_handheld(server)
    handheld.machine = harness.Machine()
    handheld.machine.prefix = ["prlimit", f"--data={MEMORY_MAX}"]
    line = json.dumps({"category": "06010", "no_fix": "indoors", "note": NOTE}) + "\n"
    printed = subprocess.run(handheld.command("record", "--from", "-"), env=harness.environment(), input=line * BACKLOG, text=True,
                             check=True, timeout=patience_s * 4, stdout=subprocess.PIPE).stdout
    assert printed.count("\n") == BACKLOG and (handheld.data / "queue.db").stat().st_size > MEMORY_MAX
    handheld.start()
    wait_for(lambda: handheld.call("Status")["records_sent"] > BACKLOG // 2, "half of it is sent", patience_s)
    assert peak_memory(handheld.process) < MEMORY_MAX
    assert server.devices()[0]["records"] > BACKLOG // 2


# ---- waiting for the daemon ----


def test_sync_waits_for_a_daemon_that_is_just_starting(server, make_real_handheld):
    handheld = make_real_handheld(server)
    finding = handheld.record()
    waiting = subprocess.Popen(handheld.command("sync", "--wait", "60"), env=harness.environment(), stderr=subprocess.PIPE, text=True)
    try:
        watched = pathlib.Path(f"/proc/{waiting.pid}/fd")
        wait_for(lambda: any(os.readlink(file) == "anon_inode:inotify" for file in watched.iterdir() if file.is_symlink()),
                 "it watches for the control socket")
        handheld.start(wait=False)
        _, said = waiting.communicate(timeout=harness.PATIENCE_S * 2)
    finally:
        waiting.kill()
    assert waiting.returncode == 0, said
    assert_delivered(server, handheld, [finding])


def test_sync_without_a_daemon_says_how_to_start_it(make_real_handheld):
    handheld = make_real_handheld()
    handheld.record()
    assert "systemctl start patrol-syncd" in handheld.run("sync", "--wait", "1", status=1).stderr


def on_a_terminal(command):
    """(exit status, what a terminal of standard error was sent)"""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(command, env=harness.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    pieces = []

    def read():
        try:
            while piece := os.read(ours, 4096):
                pieces.append(piece)
        except OSError:  # the other end was closed
            pass

    reader = threading.Thread(target=read)
    reader.start()
    status = child.wait(timeout=harness.PATIENCE_S * 2)
    reader.join()
    os.close(ours)
    return status, b"".join(pieces).decode()


def test_sync_shows_a_bar_on_a_terminal_and_clears_it(make_server, make_real_handheld):
    server = make_server()
    handheld = make_real_handheld(server)
    server.stop()
    handheld.record_many(20)
    handheld.start()
    status, shown = on_a_terminal(handheld.command("sync", "--wait", "2"))
    assert status == 1
    assert re.search(r"\r\x1b\[K\[[#.]{30}\] 20 records, 0 photos left", shown), shown
    assert "\r\x1b[K" in shown[shown.rindex("photos left"):], "the bar is cleared before the last words"
    server.start()
    status, shown = on_a_terminal(handheld.command("sync", "--wait", "60"))
    assert status == 0, shown


# ---- groups ----


def test_a_member_of_group_patrol_is_let_in_whatever_its_main_group(make_real_handheld, tmp_path):
    handheld = make_real_handheld()
    groups = tmp_path / "group"
    lines = pathlib.Path("/etc/group").read_text()
    number = next((group.gr_gid for group in grp.getgrall() if group.gr_name == "patrol"), 54321)
    groups.write_text(lines if number != 54321 else f"{lines}patrol:x:{number}:\n")
    probe = subprocess.run(["unshare", "--mount", "true"], stderr=subprocess.PIPE, text=True)
    if probe.returncode != 0:
        pytest.skip(f"no mount namespaces here: {probe.stderr.strip()}")
    handheld.machine = harness.Machine()
    handheld.machine.prefix = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/group && exec "$@"', groups]
    handheld.start()
    (handheld.data / "control.sock").chmod(0o666)
    handheld.data.chmod(0o777)
    descriptor = os.open(handheld.data, os.O_PATH)

    def answered(supplementary):
        """The length of what somebody who is neither root nor the daemon's user is answered."""
        script = ("import os, socket, sys\n"
                  "os.chdir(f'/proc/self/fd/{sys.argv[1]}')\n"
                  "os.setgroups([int(word) for word in sys.argv[2:]]); os.setgid(65534); os.setuid(65534)\n"
                  "client = socket.socket(socket.AF_UNIX); client.connect('control.sock')\n"
                  "try:\n    client.sendall(b'{\"method\": \"Status\"}\\0'); print(len(client.recv(100)))\n"
                  "except (BrokenPipeError, ConnectionResetError):\n    print(0)\n")
        told = subprocess.run(["/usr/bin/python3", "-c", script, str(descriptor), *map(str, supplementary)], pass_fds=[descriptor],
                              stdout=subprocess.PIPE, text=True, timeout=harness.PATIENCE_S)
        return int(told.stdout)

    try:
        assert answered([number + 1, number]) > 0
        assert answered([number + 1]) == 0
    finally:
        os.close(descriptor)


# ---- the centre's tables ----


def test_derived_tables_are_made_again_from_the_records(server, make_real_handheld, tmp_path):
    handheld = make_real_handheld(server, start=True)
    ids = [handheld.record("kept", photos=[photo_of(tmp_path, 1)]), handheld.record("changed"), handheld.record("taken back")]
    handheld.run("amend", ids[1], "--note", "changed since")
    handheld.run("withdraw", ids[2], "--reason", "seen twice")
    handheld.wait_until_drained()
    before = server.findings()
    server.stop()
    with sqlite3.connect(server.data / "centre.db") as database:
        for table in ("findings", "versions"):
            assert database.execute(f"DELETE FROM {table}").rowcount > 0
    assert server.findings() == []
    told = server.run("check", "--rebuild").stdout
    assert "0 bad" in told and re.search(r"\b[1-9]\d* findings rebuilt", told)
    assert server.findings() == before
    server.start()
    handheld.wait_until_drained()
    assert server.findings() == before
