# SPDX-License-Identifier: Apache-2.0
"""Files that vanish, copies that come back, clones, many writers at once: nothing is overwritten, and whatever was
acknowledged stays at the centre."""

import concurrent.futures
import fcntl
import hashlib
import json
import os
import re
import shutil
import sqlite3
import subprocess

import pytest

import harness
from harness import Handheld, assert_delivered, wait_for


def sha256_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def photo_of(tmp_path, seed):
    return harness.make_photo(tmp_path / f"photo-{seed}.jpg", seed)


def files_below(directory):
    return {str(path.relative_to(directory)): sha256_of(path) for path in directory.rglob("*")
            if path.is_file() and not path.is_socket()}


def is_sound(handheld):
    connection = sqlite3.connect(f"file:{handheld.data / 'queue.db'}?mode=ro", uri=True)
    try:
        return connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    finally:
        connection.close()


def held_ids(server):
    return [item["id"] for item in server.findings()]


# ---- many writers ----


def test_many_recording_processes_beside_a_running_daemon_lose_and_double_nothing(server, make_real_handheld, tmp_path):
    handheld = make_real_handheld(server, start=True)
    photo = photo_of(tmp_path, 1)

    def one_by_one(worker):
        return [handheld.record(f"worker {worker}, {index}", photos=[photo] if index == 0 else ()) for index in range(12)]

    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        single = [pool.submit(one_by_one, worker) for worker in range(4)]
        file = pool.submit(handheld.record_many, 600)
        ids = file.result() + [record_id for future in single for record_id in future.result()]
    assert len(set(ids)) == 648
    handheld.wait_until_drained()
    assert_delivered(server, handheld, ids)
    assert is_sound(handheld)


def test_processes_that_write_and_move_the_wal_at_once_keep_the_database_whole(server, make_real_handheld):
    handheld = make_real_handheld(server, start=True)
    hammers = [subprocess.Popen([harness.program("append"), handheld.data, "hammer", "150"], stdout=subprocess.PIPE, text=True)
               for _ in range(2)]
    ids = handheld.record_many(300)
    for hammer in hammers:
        ids += hammer.communicate(timeout=harness.PATIENCE_S * 4)[0].split()
        assert hammer.returncode == 0
    assert len(set(ids)) == 600
    wait_for(handheld.is_drained, "drained", harness.PATIENCE_S * 2)
    handheld.stop()
    assert is_sound(handheld)
    assert_delivered(server, handheld, ids)


LOCKED = re.compile(r"flock\(\d+<[^>]*queue\.lock>, LOCK_EX\S*\) += 0")
UNLOCKED = re.compile(r"(flock\(\d+<[^>]*queue\.lock>, LOCK_UN\)|close\(\d+<[^>]*queue\.lock>\)) += 0")
WRITTEN = re.compile(r"(pwrite64|write|ftruncate|fdatasync|fsync)\(\d+<[^>]*queue\.db(-wal)?>")


def assert_writes_only_under_the_lock(trace):
    held, writes = False, 0
    for line in trace.read_text(errors="replace").splitlines():
        if LOCKED.search(line):
            held = True
        elif UNLOCKED.search(line):
            held = False
        elif WRITTEN.search(line):
            assert held, f"written without the lock: {line}"
            writes += 1
    assert writes > 0, "nothing was seen"


def traced(trace):
    return ["strace", "-qq", "-y", "-e", "trace=flock,close,write,pwrite64,ftruncate,fsync,fdatasync", "-o", str(trace)]


@pytest.fixture
def strace(tmp_path):
    if not shutil.which("strace") or subprocess.run([*traced(tmp_path / "try"), "true"], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("strace is not there, or may not trace here")
    return traced


def test_every_write_to_the_database_is_made_under_the_lock(server, make_real_handheld, strace, tmp_path):
    tracing = harness.environment(ASAN_OPTIONS="detect_leaks=0")  # LeakSanitizer cannot work beside another tracer
    handheld = make_real_handheld(server)
    handheld.record("first")
    subprocess.run([*strace(tmp_path / "record"), *handheld.command("record", "--from", "-")], check=True, text=True,
                   input='{"category": "06010", "lat": 31.2, "lon": 121.4, "note": "traced"}\n' * 300,
                   env=tracing, stdout=subprocess.DEVNULL)
    assert_writes_only_under_the_lock(tmp_path / "record")
    subprocess.run([*strace(tmp_path / "hammer"), harness.program("append"), handheld.data, "hammer", "10"], check=True,
                   env=tracing, stdout=subprocess.DEVNULL)
    assert_writes_only_under_the_lock(tmp_path / "hammer")
    daemon = harness.Process([*strace(tmp_path / "daemon"), harness.program("patrol-syncd"), "--data", handheld.data,
                              "--config", handheld.syncd_config], tmp_path / "daemon.log", env=tracing)
    try:
        handheld.wait_until_drained()
        # the traced program, not strace, is told to end
        children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(daemon.child.pid)], stdout=subprocess.PIPE, text=True)
        os.kill(int(children.stdout), harness.signal.SIGTERM)
        daemon.child.wait(timeout=harness.PATIENCE_S)
    finally:
        daemon.close()
    assert_writes_only_under_the_lock(tmp_path / "daemon")


# ---- files that vanish from the handheld ----


class Damaged:
    """A handheld with findings at the centre and others that only it has; the daemon is stopped."""

    def __init__(self, server, handheld, tmp_path):
        self.server, self.handheld = server, handheld
        handheld.start()
        self.sent = [handheld.record("sent", photos=[photo_of(tmp_path, 1)]), *handheld.record_many(9, "sent")]
        handheld.wait_until_drained()
        handheld.stop()
        self.sent_lines = server.findings()
        self.queued = [handheld.record("queued", photos=[photo_of(tmp_path, 2)]), *handheld.record_many(4, "queued")]

    def assert_sent_stays_sent(self):
        after = {item["id"]: item for item in self.server.findings()}
        for line in self.sent_lines:
            assert after[line["id"]] == line

    def assert_set_aside(self, files):
        """Whatever was left of the database lies, byte for byte, in the one directory that the tool names."""
        aside, = self.handheld.data.glob("damaged-*")
        kept = files_below(aside)
        for name, sha256 in files.items():
            if name in ("queue.db", "queue.db-wal"):
                assert kept.get(name) == sha256, f"{name} was not kept as it was: {sorted(kept)}"
        return aside.name


@pytest.fixture
def damaged(server, make_real_handheld, tmp_path):
    return Damaged(server, make_real_handheld(server), tmp_path)


@pytest.mark.parametrize("name", ["queue.db", "queue.db-wal"])
@pytest.mark.parametrize("first", ["patrol", "patrol-syncd"])
def test_deleted_database_file_costs_nothing_that_was_sent_and_recording_goes_on(damaged, name, first):
    handheld = damaged.handheld
    (handheld.data / name).unlink()
    (handheld.data / "queue.db-shm").unlink(missing_ok=True)
    files = files_below(handheld.data)
    if first == "patrol-syncd":
        handheld.start()
        told = handheld.process.text()
        new = handheld.record("after")
    else:
        result = handheld.run("record", "--category", "06010", "--no-fix", "indoors", "--note", "after")
        new, told = result.stdout.strip(), result.stderr
        handheld.start()
    aside = damaged.assert_set_aside(files)
    assert aside in told
    handheld.wait_until_drained()
    damaged.assert_sent_stays_sent()
    held = held_ids(damaged.server)
    assert new in held and len(held) == len(set(held))
    # Whatever else came through is something that was recorded.
    assert set(held) <= {*damaged.sent, *damaged.queued, new}
    here = [item["id"] for item in handheld.list()]
    assert new in here and len(here) == len(set(here))
    assert is_sound(handheld)


def test_deleted_shared_memory_costs_nothing(damaged):
    handheld = damaged.handheld
    (handheld.data / "queue.db-shm").unlink()
    ids = [*damaged.sent, *damaged.queued, handheld.record("after")]
    handheld.start()
    handheld.wait_until_drained()
    assert_delivered(damaged.server, handheld, ids)
    assert not list(handheld.data.glob("damaged-*"))


def test_deleted_photo_directory_is_told_and_blocks_no_text(damaged):
    handheld = damaged.handheld
    shutil.rmtree(handheld.data / "photos")
    new = handheld.record("after")
    handheld.start()
    handheld.wait_until_drained()
    damaged.assert_sent_stays_sent()
    held = {item["id"]: item for item in damaged.server.findings()}
    assert set(held) == {*damaged.sent, *damaged.queued, new}
    assert not held[damaged.queued[0]]["complete"]
    here = {item["id"]: item for item in handheld.list()}
    assert {photo["state"] for photo in here[damaged.queued[0]]["photos"]} == {"lost"}
    assert "a photo is gone" in handheld.process.text()


def test_everything_deleted_starts_a_new_log_and_leaves_the_centre_alone(damaged, tmp_path):
    handheld = damaged.handheld
    for path in handheld.data.iterdir():
        if path.name not in ("enrolment.conf", "ca.pem", "device.key"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    new = handheld.record("after", photos=[photo_of(tmp_path, 3)])
    handheld.start()
    handheld.wait_until_drained()
    damaged.assert_sent_stays_sent()
    assert sorted(held_ids(damaged.server)) == sorted([*damaged.sent, new])


def test_database_deleted_under_a_running_daemon_is_noticed(server, make_real_handheld):
    handheld = make_real_handheld(server, start=True)
    sent = handheld.record_many(5, "sent")
    handheld.wait_until_drained()
    for name in ("queue.db", "queue.db-wal", "queue.db-shm"):
        (handheld.data / name).unlink(missing_ok=True)
    new = handheld.record("after")

    def delivered():
        if not handheld.process.alive():
            handheld.start()  # as its supervisor would
        return new in held_ids(server)

    wait_for(delivered, "what was recorded after it is delivered")
    held = held_ids(server)
    assert sorted(held) == sorted([*sent, new])


def test_photo_that_vanished_before_it_was_sent_is_reported_lost_and_holds_nothing_up(server, make_real_handheld, tmp_path):
    handheld = make_real_handheld(server)
    first = handheld.record("its photo vanishes", photos=[photo_of(tmp_path, 1)])
    second = handheld.record("its photo stays", photos=[photo_of(tmp_path, 2)])
    gone = next(photo["sha256"] for item in handheld.list() if item["id"] == first for photo in item["photos"]
                if photo["role"] == "photo")
    path, = handheld.data.glob(f"photos/*/{gone}")
    path.unlink()
    handheld.start()
    handheld.wait_until_drained()
    here = {item["id"]: item for item in handheld.list()}
    assert {photo["sha256"]: photo["state"] for photo in here[first]["photos"]}[gone] == "lost"
    assert not here[first]["complete"] and here[second]["complete"]
    wait_for(lambda: {photo["sha256"]: photo["state"] for item in server.findings() for photo in item["photos"]}[gone] == "lost",
             "the centre is told")
    held = {item["id"]: item for item in server.findings()}
    assert not held[first]["complete"] and held[second]["complete"]
    assert "a photo is gone" in handheld.process.text()


# ---- a centre that was set back ----


@pytest.mark.parametrize("before_enrolment", [False, True])
def test_server_restored_from_an_old_copy_heals_with_the_next_exchange(server, make_real_handheld, tmp_path, before_enrolment):
    handheld = make_real_handheld(None if before_enrolment else server)
    copy = tmp_path / "copy"
    ids = []
    if before_enrolment:
        server.stop()
        shutil.copytree(server.data, copy)
        server.start()
        handheld.enroll(server)
        handheld.start()
    else:
        handheld.start()
        ids += [handheld.record("before", photos=[photo_of(tmp_path, 1)]), *handheld.record_many(20, "before")]
        handheld.wait_until_drained()
        server.stop()
        shutil.copytree(server.data, copy)
        server.start()
    ids += [handheld.record("after", photos=[photo_of(tmp_path, 2)]), *handheld.record_many(20, "after")]
    handheld.wait_until_drained()
    server.stop()
    shutil.rmtree(server.data)
    shutil.copytree(copy, server.data)
    server.start()
    assert len(held_ids(server)) < len(ids)
    ids.append(handheld.record("next"))

    def healed():
        held = server.findings()
        return len(held) == len(ids) and all(item["complete"] for item in held)

    wait_for(healed, "everything is there again")
    handheld.wait_until_drained()
    assert_delivered(server, handheld, ids)
    server.run("check", "--media")


def blob_path(server, sha256):
    path, = server.data.rglob(sha256)
    return path


def test_blob_removed_behind_the_servers_back_is_mended_by_resync(server, make_real_handheld, tmp_path):
    handheld = make_real_handheld(server, start=True)
    ids = [handheld.record(photos=[photo_of(tmp_path, seed)]) for seed in range(3)]
    handheld.wait_until_drained()
    names = [photo["sha256"] for item in server.findings() for photo in item["photos"] if photo["role"] == "photo"]
    blob_path(server, names[0]).unlink()
    blob_path(server, names[1]).write_bytes(b"\0" * blob_path(server, names[1]).stat().st_size)
    told = json.loads(handheld.run("resync", "--level", "media", "--wait", "30", "--json").stdout)
    assert told["ok"] and told["blobs_missing"] == 2 and told["blobs_sent_again"] == 2 and told["blobs_gone"] == 0
    assert_delivered(server, handheld, ids)
    server.run("check", "--media")
    again = json.loads(handheld.run("resync", "--level", "media", "--wait", "30", "--json").stdout)
    assert again["ok"] and again["blobs_missing"] == 0


def test_blob_that_neither_side_has_is_said_to_be_gone(server, make_real_handheld, tmp_path):
    handheld = make_real_handheld(server, start=True)
    handheld.record(photos=[photo_of(tmp_path, 1)])
    handheld.wait_until_drained()
    name, = [photo["sha256"] for item in server.findings() for photo in item["photos"] if photo["role"] == "photo"]
    blob_path(server, name).unlink()
    next(handheld.data.glob(f"photos/*/{name}")).unlink()
    told = json.loads(handheld.run("resync", "--level", "media", "--wait", "30", "--json", status=1).stdout)
    assert told["finished"] and not told["ok"] and told["blobs_gone"] == 1


def sqlite_script(directory, script):
    """Behind a program's back, but not beside a write of its own."""
    database, = directory.glob("*.db")
    with open(database.with_suffix(".lock"), "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        connection = sqlite3.connect(database)
        connection.executescript(script)
        connection.close()


def test_record_and_photo_that_neither_side_has_are_plainly_said_to_be_lost_at_both_ends(server, make_real_handheld, tmp_path):
    handheld = make_real_handheld(server, start=True)
    handheld.record("is kept", photos=[photo_of(tmp_path, 1)])
    handheld.record("will be lost")
    handheld.record("is kept too")
    handheld.wait_until_drained()
    seq, = [item["seq"] for item in handheld.list() if item["note"] == "will be lost"]
    name, = [photo["sha256"] for item in server.findings() for photo in item["photos"] if photo["role"] == "photo"]
    sqlite_script(server.data, f"DELETE FROM records WHERE key & ((1 << 40) - 1) = {seq}")
    sqlite_script(handheld.data, f"UPDATE records SET bytes = x'00' WHERE key & ((1 << 40) - 1) = {seq}")
    blob_path(server, name).unlink()
    next(handheld.data.glob(f"photos/*/{name}")).unlink()

    said = handheld.run("resync", "--level", "media", "--wait", "30", status=1).stdout
    assert re.search(r" 1  records are in neither place", said), said
    assert re.search(r" 1  photos and previews are in neither place", said), said
    assert "Not everything could be mended: something is in neither place" in said
    assert "something is in neither place" in handheld.run("status").stdout
    photo, = [photo for item in server.findings() for photo in item["photos"] if photo["role"] == "photo"]
    assert photo["state"] == "lost"
    assert server.devices()[0]["alarms"] >= 2

    # From now on both ends know, and say so again whenever they are asked.
    server.run("resync", "--all", "--level", "media")
    handheld.run("sync")
    wait_for(lambda: server.devices()[0]["asked_resyncs"][0]["state"] == "finished", "the resync that the centre asked for has ended")
    order, = server.devices()[0]["asked_resyncs"]
    assert (order["records_lost"], order["records_gone"], order["blobs_lost"], order["blobs_gone"]) == (1, 0, 1, 0)
    assert "in neither place: 1 records, 1 photos and previews" in server.run("devices").stdout
    said = handheld.run("resync", "--level", "media", "--wait", "30").stdout
    assert "but for what is marked lost: that is in neither place" in said


def test_rows_deleted_behind_the_servers_back_are_mended_by_resync(server, make_real_handheld):
    handheld = make_real_handheld(server, start=True)
    ids = handheld.record_many(300)
    handheld.wait_until_drained()
    server.stop()
    connection = sqlite3.connect(next(server.data.glob("*.db")))
    keys = [row[0] for row in connection.execute("SELECT key FROM records ORDER BY key")]
    connection.executemany("DELETE FROM records WHERE key = ?", [(keys[index],) for index in (5, 6, 7, 100, 250)])
    connection.commit()
    connection.close()
    server.start()
    told = json.loads(handheld.run("resync", "--level", "records", "--wait", "30", "--json").stdout)
    assert told["ok"] and told["records_missing"] == 5 and told["records_sent_again"] == 5
    assert_delivered(server, handheld, ids)
    server.run("check")


def test_amendment_that_came_while_its_finding_was_gone_is_quarantined_until_both_ends_know_better(
        server, make_real_handheld, tmp_path):
    handheld = make_real_handheld(server, start=True)
    finding = handheld.record("the first word")
    handheld.wait_until_drained()
    seq, = [item["seq"] for item in handheld.list()]
    server.stop()
    connection = sqlite3.connect(next(server.data.glob("*.db")))
    connection.execute("DELETE FROM records WHERE key & ((1 << 40) - 1) = ?", (seq,))
    connection.commit()
    connection.close()
    server.start()
    amendment = handheld.run("amend", finding, "--note", "the last word").stdout.strip()
    handheld.wait_until_drained()
    assert handheld.status()["records_quarantined"] == 1
    assert [item["id"] for item in handheld.list("--state", "quarantined")] == [amendment]
    # What is in quarantine is a record as any other: it proves itself, and goes on to be amended.
    evidence, key = tmp_path / "amendment.evidence", tmp_path / "receipt.key"
    server.run("key", "-o", key)
    handheld.run("export", "--evidence", amendment, "-o", evidence)
    verdict = json.loads(handheld.run("verify", evidence, "--server-key", key, "--json").stdout)
    assert (verdict["genuine"], verdict["id"], verdict["note"]) == (True, amendment, "the last word")
    last = handheld.run("amend", finding, "--severity", "urgent").stdout.strip()
    handheld.wait_until_drained()
    changed, = [item for item in handheld.list("--state", "quarantined") if item["id"] == last]
    assert (changed["note"], changed["severity"]) == ("the last word", "urgent")

    told = json.loads(handheld.run("resync", "--level", "records", "--wait", "30", "--json").stdout)
    assert told["ok"] and told["records_sent_again"] == 1
    wait_for(lambda: handheld.status()["records_quarantined"] == 0, "the handheld has heard of it")
    assert {item["id"]: item["state"] for item in handheld.list()} == {finding: "sent", amendment: "sent", last: "sent"}
    assert {item["id"]: item["state"] for item in server.findings()} == {finding: "amended", amendment: "amended",
                                                                         last: "stored"}


# ---- clones ----


def test_clone_raises_an_alarm_and_nothing_of_either_is_lost(server, make_real_handheld, tmp_path):
    first = make_real_handheld(server, "a")
    ids = [first.record("of both")]
    shutil.copytree(first.data, tmp_path / "b" / "data", ignore=shutil.ignore_patterns("*.sock"))
    second = make_real_handheld(name="b")
    mine, theirs = [], []
    for handheld, own in ((first, mine), (second, theirs)):
        own.append(handheld.record(f"of {handheld.directory.name}", photos=[photo_of(tmp_path, ord(handheld.directory.name))]))
        own += handheld.record_many(20, f"of {handheld.directory.name}")
        handheld.start()
    for handheld in (first, second):
        handheld.wait_until_drained()
    for handheld, own in ((first, mine), (second, theirs)):
        own += handheld.record_many(5, "later")
        handheld.wait_until_drained()
    held = held_ids(server)
    assert len(held) == len(set(held))
    assert set(held) == {*ids, *mine, *theirs}
    assert all(item["complete"] for item in server.findings())
    alarm = re.compile("fork|clone|copy|copied", re.IGNORECASE)
    assert alarm.search(first.process.text()) or alarm.search(second.process.text())
    assert any(line["outcome"] == "fork" for line in server.requests())
    assert server.devices()[0]["alarms"] >= 1


def set_back(handheld, copy):
    """What was sent since stays at the centre: what is recorded next stands where that stood, and is carried over."""
    handheld.stop()
    shutil.rmtree(handheld.data)
    shutil.copytree(copy, handheld.data)


def test_handheld_set_back_to_an_old_copy_loses_nothing_at_the_centre(server, make_real_handheld, tmp_path):
    handheld = make_real_handheld(server)
    ids = handheld.record_many(5, "before")
    shutil.copytree(handheld.data, tmp_path / "old")
    handheld.start()
    ids += handheld.record_many(5, "after the copy")
    handheld.wait_until_drained()
    set_back(handheld, tmp_path / "old")
    ids += handheld.record_many(5, "after the return")
    handheld.start()
    handheld.wait_until_drained()
    assert sorted(held_ids(server)) == sorted(ids)


def test_finding_that_was_carried_into_another_log_is_amended_and_withdrawn_as_any_other(server, make_real_handheld, tmp_path):
    handheld = make_real_handheld(server)
    before = handheld.record("before")
    old_log = handheld.list()[0]["log"]
    shutil.copytree(handheld.data, tmp_path / "old")
    handheld.start()
    since = handheld.record_many(3, "since")
    handheld.wait_until_drained()
    set_back(handheld, tmp_path / "old")
    finding = handheld.record("as it was seen")
    first = handheld.run("amend", finding, "--note", "worse").stdout.strip()
    handheld.start()
    handheld.wait_until_drained()
    log = {item["id"]: item["log"] for item in handheld.list()}
    assert log[finding] == log[first] != old_log, "they were carried over"

    for command in (["amend", "--note", "x"], ["withdraw", "--reason", "x"]):
        assert "this is the id of an amendment" in handheld.run(*command, first, status=3).stderr
    second = handheld.run("amend", finding, "--severity", "urgent").stdout.strip()
    third = handheld.run("amend", finding, "--component", "01002").stdout.strip()
    handheld.wait_until_drained()
    assert handheld.list("--state", "quarantined") == []
    held = {item["id"]: item for item in server.findings()}
    assert {item_id: held[item_id]["state"] for item_id in (finding, first, second, third)} == {
        finding: "amended", first: "amended", second: "amended", third: "stored"}
    assert all(held[amendment]["parent"] == finding for amendment in (first, second, third))
    assert (held[third]["note"], held[third]["severity"], held[third]["component"]) == ("worse", "urgent", "01002")

    withdrawal = handheld.run("withdraw", finding, "--reason", "seen twice").stdout.strip()
    handheld.wait_until_drained()
    assert handheld.status()["records_quarantined"] == 0
    assert {item["id"]: item["state"] for item in server.findings()} == {
        **dict.fromkeys([before, *since], "stored"), **dict.fromkeys([finding, first, second, third], "withdrawn"),
        withdrawal: "stored"}
    for command in (["amend", "--note", "x"], ["withdraw", "--reason", "x"]):
        assert "was withdrawn" in handheld.run(*command, finding, status=3).stderr
    server.run("check")


def test_second_daemon_on_the_same_data_is_refused(make_real_handheld):
    handheld = make_real_handheld(start=True)
    second = Handheld(handheld.directory)
    second.start(wait=False)
    assert second.process.child.wait(timeout=harness.PATIENCE_S) == 1
    assert "another patrol-syncd" in second.process.text()
    assert handheld.answers()
