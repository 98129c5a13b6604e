# SPDX-License-Identifier: Apache-2.0
"""`patrol-server backup`: one moment of the centre, taken while handhelds send, from which a centre can be served again."""

import fcntl
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import threading

import pytest

import harness
from harness import assert_delivered, wait_for


def photo_of(tmp_path, seed):
    return harness.make_photo(tmp_path / f"photo-{seed}.jpg", seed)


def backed_up(data):
    """The hashes that the centre tells handhelds as backed up."""
    with sqlite3.connect(data / "centre.db") as database:
        return {row[0].hex() for row in database.execute("SELECT sha256 FROM blobs WHERE backed_up = 1")}


def incarnation(data):
    return (data / "incarnation").read_text().split()[0]


def photo_files(data):
    return {path.name for path in (data / "blobs").glob("??/*")}


def check_copy(copy, *arguments):
    """`check` on a backup, by the server's own program."""
    result = subprocess.run([harness.program("patrol-server"), "check", *arguments, "--data", copy], env=harness.environment(),
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert result.returncode == 0, result.stdout
    return result.stdout


def test_a_backup_made_while_a_handheld_sends_can_be_served_and_heals(server, make_real_handheld, tmp_path):
    handheld = make_real_handheld(server, start=True)
    target = tmp_path / "backup"
    ids, photos = [], [photo_of(tmp_path, seed) for seed in range(6)]
    stop = threading.Event()

    def record():
        for index, photo in enumerate(photos):
            ids.append(handheld.record(f"with a photo {index}", photos=[photo]))
            ids.extend(handheld.record_many(100, f"part {index}"))
            if stop.is_set():
                return

    recorder = threading.Thread(target=record)
    recorder.start()
    try:
        wait_for(lambda: server.findings(), "something has come")
        told = [server.run("backup", target).stdout for _ in range(3)]
    finally:
        stop.set()
        recorder.join()
    assert all(re.fullmatch(r"\d+ records, \d+ photos \(\d+ copied now\) are in .*\n", line) for line in told)
    counts = [int(line.split()[0]) for line in told]
    assert counts == sorted(counts) and counts[0] > 0
    ids.append(handheld.record("only after the backup", photos=[photo_of(tmp_path, 99)]))
    handheld.wait_until_drained()

    copy = tmp_path / "copy"
    shutil.copytree(target, copy)
    assert "0 bad" in check_copy(copy, "--media")

    # The centre burns down; its operator serves from the backup, at the same address.
    server.stop()
    before = incarnation(server.data)
    shutil.rmtree(server.data)
    shutil.copytree(target, server.data)
    server.start()
    assert len(server.findings()) < len(ids)
    assert incarnation(server.data) != before, "handhelds must learn that the centre is another one"
    ids.append(handheld.record("the next one"))
    wait_for(lambda: len(server.findings()) == len(ids) and all(item["complete"] for item in server.findings()),
             "everything is there again", harness.PATIENCE_S * 2)
    handheld.wait_until_drained()
    assert_delivered(server, handheld, ids)
    server.run("check", "--media")


def test_photos_count_as_backed_up_when_the_backup_is_whole_and_only_then(server, make_real_handheld, tmp_path):
    handheld = make_real_handheld(server, start=True)
    handheld.record(photos=[photo_of(tmp_path, 1)])
    handheld.wait_until_drained()
    assert backed_up(server.data) == set()
    server.run("backup", tmp_path / "backup")
    first = photo_files(tmp_path / "backup")
    assert first and backed_up(server.data) == first == photo_files(server.data)
    handheld.record(photos=[photo_of(tmp_path, 2)])
    handheld.wait_until_drained()
    assert backed_up(server.data) == first
    assert " (2 copied now)" in server.run("backup", tmp_path / "backup").stdout
    assert backed_up(server.data) == photo_files(tmp_path / "backup") == photo_files(server.data)


def test_a_handheld_frees_its_photos_when_the_centre_has_them_in_a_backup(server, make_real_handheld, tmp_path):
    handheld = make_real_handheld(server, config=harness.QUICK.replace("slow-poll = 1h", "slow-poll = 5s"), start=True)
    finding = handheld.record(photos=[photo_of(tmp_path, 1)])
    handheld.wait_until_drained()
    handheld.run("sync", "--wait", "20")
    [before] = handheld.list()
    assert {photo["state"] for photo in before["photos"]} == {"stored"}
    server.run("backup", tmp_path / "backup")
    handheld.run("sync", "--wait", "20")
    wait_for(lambda: not any(path.is_file() for path in (handheld.data / "photos").rglob("*")), "the photos are freed")
    [after] = handheld.list()
    assert {photo["state"] for photo in after["photos"]} == {"freed"}
    assert_delivered(server, handheld, [finding])


def test_a_photo_that_is_damaged_is_told_and_does_not_stop_the_backup(server, make_real_handheld, tmp_path):
    handheld = make_real_handheld(server, start=True)
    for seed in range(3):
        handheld.record(photos=[photo_of(tmp_path, seed)])
    handheld.wait_until_drained()
    bad, gone, *good = sorted(path for path in (server.data / "blobs").glob("??/*"))
    bad.write_bytes(bad.read_bytes()[:-1] + b"?")
    gone.unlink()
    told = server.run("backup", tmp_path / "backup", status=1)
    assert f"photo {bad.name}: its bytes have another hash" in told.stderr
    assert f"photo {gone.name}: its file is gone" in told.stderr and "2 photos could not be copied" in told.stdout
    assert backed_up(server.data) == photo_files(tmp_path / "backup") == {path.name for path in good}


def test_a_backup_that_is_killed_leaves_a_whole_one_and_the_next_goes_on(server, make_real_handheld, tmp_path):
    handheld = make_real_handheld(server, start=True)
    target = tmp_path / "backup"
    for seed in range(8):
        handheld.record(photos=[photo_of(tmp_path, seed)])
    handheld.wait_until_drained()
    server.run("backup", target)
    chance = random.Random(1)
    killed = 0
    for index in range(12):
        handheld.record_many(50, f"round {index}")
        handheld.record(photos=[photo_of(tmp_path, 100 + index)])
        handheld.wait_until_drained()
        running = subprocess.Popen([str(word) for word in server.command("backup", target)], stdout=subprocess.DEVNULL)
        try:
            running.wait(timeout=chance.uniform(0.0, 0.04))
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGKILL)
        killed += running.wait() == -signal.SIGKILL
        assert backed_up(server.data) <= photo_files(target)
        copy = tmp_path / f"copy-{index}"
        shutil.copytree(target, copy)
        assert "0 bad" in check_copy(copy, "--media")
        shutil.rmtree(copy)
    assert killed >= 3, "too few were killed in the middle for this to say anything"
    server.run("backup", target)
    assert backed_up(server.data) == photo_files(target) == photo_files(server.data)


def test_a_backup_is_refused_where_it_would_be_none_or_spoil_another(server, make_server, make_real_handheld, tmp_path):
    assert "data directory itself" in server.run("backup", server.data, status=3).stderr
    assert "DIR" in server.run("backup", status=2).stderr
    server.run("backup", tmp_path / "backup")
    other = make_server("other")
    refused = other.run("backup", tmp_path / "backup", status=3)
    assert "another centre" in refused.stderr and refused.stdout == ""
    served = make_server("served", start=False)
    shutil.copytree(tmp_path / "backup", served.data)
    served.start()
    wait_for(lambda: (served.data / "centre.db-wal").exists(), "it serves")
    assert "another directory" in server.run("backup", served.data, status=3).stderr


def test_two_backups_to_one_directory_do_not_meet(server, tmp_path):
    server.run("backup", tmp_path / "backup")
    with open(tmp_path / "backup/backup.lock") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert "another backup goes there" in server.run("backup", tmp_path / "backup", status=1).stderr
    server.run("backup", tmp_path / "backup")


def test_a_backup_that_does_not_fit_is_told_and_the_one_before_stays(server, make_real_handheld, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], stderr=subprocess.PIPE, text=True)
    if made.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {made.stderr.strip()}")
    try:
        server.run("backup", disk / "backup")
        before = check_copy(shutil.copytree(disk / "backup", tmp_path / "before"))
        handheld = make_real_handheld(server, start=True)
        handheld.record(photos=[harness.make_photo(tmp_path / "large.jpg", 5, 3000, 2000)])
        handheld.wait_until_drained()
        assert "disk is full" in server.run("backup", disk / "backup", status=4).stderr
        assert backed_up(server.data) == set()
        assert check_copy(shutil.copytree(disk / "backup", tmp_path / "after")) == before
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


PRUNES = harness.QUICK.replace("slow-poll = 1h", "slow-poll = 5s") + "\n[sync]\nrecords-age = 0s\n"


def receipts_are_of_last_year(handheld):
    """As if the centre had signed last for this log before the turn of the year."""
    with open(handheld.data / "queue.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        database = sqlite3.connect(handheld.data / "queue.db")
        database.execute("UPDATE logs SET receipt_time_s = receipt_time_s - 366 * 86400")
        database.commit()
        database.close()


def prune(handheld):
    """Exchanges until the records of the closed log are gone; what is asked goes with one that is made anyway."""
    def is_pruned():
        handheld.run("sync", "--wait", "20")
        return handheld.status()["records_pruned"] > 250
    wait_for(is_pruned, "the closed log is pruned")


def restore(server, backup):
    server.stop()
    shutil.rmtree(server.data)
    shutil.copytree(backup, server.data)
    server.start()


def held_ids(server):
    return [item["id"] for item in server.findings()]


def test_last_years_records_go_from_a_handheld_when_a_backup_has_them_and_only_that_backup_brings_them_back(
        server, make_real_handheld, tmp_path):
    handheld = make_real_handheld(server, config=PRUNES, start=True)
    first = handheld.record("the first")
    ids = [first, *handheld.record_many(99, "early")]
    handheld.wait_until_drained()
    server.run("backup", tmp_path / "early")
    ids += handheld.record_many(200, "late")
    handheld.wait_until_drained()
    receipts_are_of_last_year(handheld)
    ids.append(handheld.record("a receipt of the new year comes for it"))
    handheld.wait_until_drained()
    ids.append(handheld.record("begins a new log"))
    handheld.wait_until_drained()
    assert len({item["log"] for item in handheld.list()}) == 2

    # No backup has all of it: whatever is asked, nothing goes.
    for _ in range(3):
        handheld.run("sync", "--wait", "20")
    assert handheld.status()["records_pruned"] == 0 and len(handheld.list()) == len(ids)

    server.run("backup", tmp_path / "whole")
    prune(handheld)
    pruned = handheld.status()["records_pruned"]
    assert len(handheld.list()) == len(ids) - pruned
    assert handheld.status()["records_sent"] == len(ids)
    assert f"{pruned} records of closed logs: removed here, as the centre has a backup of them" in handheld.run("status").stdout
    assert f"{pruned} records of closed logs are not listed" in handheld.run("list").stderr
    for command in (("show", first), ("export", "--evidence", first, "-o", tmp_path / "evidence"), ("withdraw", first, "--reason", "x")):
        refused = handheld.run(*command, status=3).stderr
        assert f"{pruned} of closed logs were removed here, as the centre has them in a backup: ask there" in refused, refused
    carried = handheld.run("export", "--bundle", tmp_path / "bundle", "--all").stdout
    assert " records are not in it: they are of logs from which this handheld has removed what the centre has in a backup" in carried, carried
    # All is at the centre: a resync of the log, compared by what is left of it, finds nothing to say.
    said = handheld.run("resync", "--level", "records", "--wait", "30").stdout
    assert "The centre holds everything that this handheld has recorded and sent." in said, said
    assert sorted(held_ids(server)) == sorted(ids)

    # The centre is set up anew from the older backup: what it lacks is in neither place, and both ends say so.
    restore(server, tmp_path / "early")
    ids.append(handheld.record("after the fire"))
    wait_for(lambda: ids[-1] in held_ids(server), "the centre goes on", harness.PATIENCE_S * 2)
    handheld.wait_until_drained()
    gone = set(ids) - set(held_ids(server))
    assert gone and gone <= set(ids[100:300])
    wait_for(lambda: "can only come from that backup" in handheld.process.text(), "the handheld says what is gone")
    assert f"{handheld.status()['resync']['records_gone']} records that the centre does not have any more" in handheld.process.text()
    assert handheld.status()["resync"]["records_gone"] >= len(gone)
    assert "something is in neither place" in handheld.run("status").stdout
    assert server.devices()[0]["alarms"] > 0, "the log that the next one names is not whole"
    said = handheld.run("resync", "--wait", "30", status=1).stdout
    assert "something is in neither place" in said, "it says so whenever it is asked"

    # With the backup that the handheld was told of everything is there again, once.
    restore(server, tmp_path / "whole")
    ids.append(handheld.record("after the right backup was found"))
    wait_for(lambda: sorted(held_ids(server)) == sorted(ids), "everything is there again", harness.PATIENCE_S * 2)
    handheld.wait_until_drained()
    said = handheld.run("resync", "--level", "records", "--wait", "30").stdout
    assert "The centre holds everything that this handheld has recorded and sent." in said, said
    server.run("check", "--media")
