# SPDX-License-Identifier: Apache-2.0
"""Bundles: what a handheld has to send goes to the centre on a data carrier, and the centre's receipts come back on it.
Twice, in part, or beside the network: each record once, and nothing is removed before a receipt is back."""

import hashlib
import json
import random
import shutil
import signal
import subprocess

import pytest

import harness
from harness import assert_delivered, make_photo


def photos_of(tmp_path, count, first=1, **size):
    return [make_photo(tmp_path / f"photo-{first + index}.jpg", first + index, **size) for index in range(count)]


def export(handheld, name="bundle"):
    """A bundle of all that is unsent: its path, and what `patrol` says of it."""
    path = handheld.directory / name
    return path, json.loads(handheld.run("export", "--bundle", path, "--json").stdout)


def load(server, bundle, receipts, status=0):
    """`import-bundle`: what it says of the bundle, or its error."""
    result = server.run("import-bundle", bundle, "-o", receipts, "--json", status=status)
    return json.loads(result.stdout) if result.stdout else result.stderr


def take(handheld, receipts):
    return json.loads(handheld.run("import-receipts", receipts, "--json").stdout)


def counts(report):
    return {name: report[name] for name in ("records_new", "records_held", "records_refused", "photos_new", "photos_held",
                                            "photos_refused")}


def photo_files(directory):
    return {path.name for path in directory.glob("??/*")}


def keep(handheld, kept):
    """A copy of all that a handheld has; its daemon does not run."""
    shutil.copytree(handheld.data, kept, ignore=shutil.ignore_patterns("*.sock"))


def put_back(handheld, kept):
    handheld.stop()
    shutil.rmtree(handheld.data)
    shutil.copytree(kept, handheld.data)
    handheld.start()


@pytest.fixture
def apart(server, make_real_handheld):
    """(server, handheld): enrolled, then without any network; the daemon runs."""
    handheld = make_real_handheld(server)
    server.stop()
    return server, handheld.start()


# ---- there and back ----


def test_handheld_without_a_network_delivers_all_on_a_carrier_and_hears_of_it(apart, tmp_path):
    server, handheld = apart
    photos = photos_of(tmp_path, 4)
    ids = handheld.record_many(300) + [handheld.record(f"with photo {index}", photos=[photo])
                                       for index, photo in enumerate(photos)]
    kept = photo_files(handheld.data / "photos")
    bundle, exported = export(handheld)
    assert (exported["photos"], exported["photos_gone"]) == (8, 0) and exported["records"] >= 304
    assert handheld.status()["records_queued"] == 304, "an export acknowledges nothing"
    told = load(server, bundle, tmp_path / "receipts")
    assert counts(told) == {"records_new": exported["records"], "records_held": 0, "records_refused": 0, "photos_new": 8,
                            "photos_held": 0, "photos_refused": 0}
    assert told["device"] == server.devices()[0]["id"] and told["whole"]
    assert {item["id"] for item in server.findings()} == set(ids)
    assert all(item["complete"] for item in server.findings())

    taken = take(handheld, tmp_path / "receipts")
    assert (taken["records_acknowledged"], taken["photos_stored"], taken["ok"]) == (exported["records"], 8, True)
    status = handheld.call("Status")
    assert (status["records_queued"], status["photos_pending"], status["all_acknowledged"]) == (0, 0, True)
    assert_delivered(server, handheld, ids)
    assert photo_files(handheld.data / "photos") == kept, "nothing was removed here"
    for path in (handheld.data / "photos").glob("??/*"):
        copy = tmp_path / "copy"
        server.run("blob", path.name, "-o", copy)
        assert copy.read_bytes() == path.read_bytes()
    server.run("check", "--media")
    assert "nothing to carry" in handheld.run("export", "--bundle", tmp_path / "empty").stdout
    assert not (tmp_path / "empty").exists()


def test_bundle_imported_twice_stores_each_record_once(server, make_real_handheld, tmp_path):
    handheld = make_real_handheld(server)
    server.stop()
    handheld.start()
    ids = handheld.record_many(50) + [handheld.record("photo", photos=photos_of(tmp_path, 1))]
    bundle, exported = export(handheld)
    server.start()  # imports go beside a running server
    handheld.stop()
    first, second = load(server, bundle, tmp_path / "receipts"), load(server, bundle, tmp_path / "again")
    assert (first["records_new"], first["records_held"]) == (exported["records"], 0)
    assert (second["records_new"], second["records_held"]) == (0, exported["records"])
    assert (first["photos_new"], second["photos_new"], second["photos_held"]) == (2, 0, 2)
    assert sorted(item["id"] for item in server.findings()) == sorted(ids)
    server.stop()
    handheld.start()
    take(handheld, tmp_path / "again")
    assert take(handheld, tmp_path / "again")["records_acknowledged"] == 0
    assert_delivered(server, handheld, ids)


def test_bundle_after_a_part_was_sent_online_and_online_after_the_bundle(server, make_real_handheld, tmp_path):
    handheld = make_real_handheld(server, start=True)
    ids = handheld.record_many(20, "online") + [handheld.record("photo", photos=photos_of(tmp_path, 1))]
    handheld.wait_until_drained()
    server.stop()
    ids += handheld.record_many(30, "carried") + [handheld.record("another", photos=photos_of(tmp_path, 1, 2))]
    bundle, exported = export(handheld)
    assert (exported["records"], exported["photos"]) == (31, 2), "what has a receipt needs no carrier"
    assert load(server, bundle, tmp_path / "receipts")["records_new"] == 31
    # The receipts are still on their way when there is a network again: all is offered once more.
    server.start()
    handheld.wait_until_drained()
    handheld.run("sync", "--wait", "30")
    ids += handheld.record_many(5, "online again")
    handheld.wait_until_drained()
    assert_delivered(server, handheld, ids)
    taken = take(handheld, tmp_path / "receipts")
    assert taken["records_acknowledged"] == 0
    assert handheld.status()["last_receipt_size"] == handheld.status()["log_size"], "older receipts take nothing back"
    # What came online is in a bundle that was made before it, and counts as here.
    assert counts(load(server, bundle, tmp_path / "late"))["records_held"] == 31
    assert_delivered(server, handheld, ids)


def test_import_beside_an_online_sync_of_the_same_records_and_photos_stores_each_once(server, make_real_handheld, tmp_path):
    handheld = make_real_handheld(server)
    server.stop()
    handheld.start()
    ids = handheld.record_many(2000) + [handheld.record(f"photo {index}", photos=[photo])
                                        for index, photo in enumerate(photos_of(tmp_path, 12, width=1600, height=1200))]
    bundle, _ = export(handheld)
    server.start()
    importing = [subprocess.Popen([str(word) for word in server.command("import-bundle", bundle, "-o", tmp_path / f"r{index}")],
                                  env=harness.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                 for index in range(2)]
    handheld.run("sync", "--wait", "60")
    ended = [(child.communicate()[1], child.returncode) for child in importing]
    assert any(code == 0 for _, code in ended)
    assert all(code == 0 or "another import is running" in told for told, code in ended), ended
    assert_delivered(server, handheld, ids)
    server.run("check", "--media")


def test_amendments_withdrawals_and_quarantine_come_back_as_from_the_network(apart, tmp_path):
    server, handheld = apart
    finding, other = handheld.record("first"), handheld.record("second")
    handheld.run("amend", finding, "--note", "amended")
    handheld.run("withdraw", other, "--reason", "twice")
    bad = subprocess.run([harness.program("append"), handheld.data, "raw"], check=True, stdout=subprocess.PIPE,
                         input=b"\xda\x3e\x04abcd").stdout.decode().strip()  # a field that a newer version may write
    bundle, exported = export(handheld)
    told = load(server, bundle, tmp_path / "receipts")
    assert told["records_quarantined"] == 1 and told["records_refused"] == 0
    assert take(handheld, tmp_path / "receipts")["records_quarantined"] == 1
    assert {item["id"]: item["state"] for item in server.findings()}[finding] == "amended"
    assert handheld.status()["records_quarantined"] == 1 and bad
    assert handheld.status()["last_receipt_size"] == exported["records"]


# ---- a bundle that is not whole, or not right ----


def test_bundle_cut_anywhere_brings_what_is_whole_and_a_whole_one_completes_it(apart, tmp_path):
    server, handheld = apart
    ids = handheld.record_many(3000) + [handheld.record(f"photo {index}", photos=[photo])
                                        for index, photo in enumerate(photos_of(tmp_path, 3))]
    bundle, exported = export(handheld)
    whole = bundle.read_bytes()
    chance = random.Random(3)
    points = sorted({0, 10, 124, 125, 200, len(whole) - 1, *(chance.randrange(len(whole)) for _ in range(10)),
                     *(chance.randrange(20_000) for _ in range(10))})  # the records come first
    before = (0, 0)
    receipts = []
    for point in points:
        cut, path = tmp_path / "cut", tmp_path / f"receipts-{point}"
        cut.write_bytes(whole[:point])
        result = server.run("import-bundle", cut, "-o", path, "--json", status=None)
        if result.returncode == 3:
            assert point < 1000 and "nothing was imported" in result.stderr and not path.exists()
            continue
        assert result.returncode == 1 and "is cut; what is whole was imported" in result.stderr
        told = json.loads(result.stdout)
        assert not told["whole"] and told["records_refused"] == 0 and told["photos_refused"] <= 1
        now = (told["records_new"] + told["records_held"], told["photos_new"] + told["photos_held"])
        assert now >= before, "a longer part brings no less"
        before = now
        receipts.append((path, now))
    assert len({records for _, (records, _) in receipts}) >= 3 and len({photos for _, (_, photos) in receipts}) >= 3
    assert before == (exported["records"], exported["photos"])
    # What a cut one brought is acknowledged, that and no more.
    path, (records, _) = receipts[len(receipts) // 2]
    assert take(handheld, path)["records_acknowledged"] == records
    told = load(server, bundle, tmp_path / "receipts")
    assert told["whole"] and told["records_held"] == exported["records"]
    assert told["photos_new"] + told["photos_held"] == exported["photos"]
    take(handheld, tmp_path / "receipts")
    assert_delivered(server, handheld, ids)


def test_altered_bundle_is_told_and_only_what_stands_before_the_place_counts(apart, tmp_path):
    server, handheld = apart
    ids = handheld.record_many(3000) + [handheld.record("photo", photos=photos_of(tmp_path, 1))]
    bundle, exported = export(handheld)
    whole = bytearray(bundle.read_bytes())
    bad = tmp_path / "bad"

    def altered(place):
        whole[place] ^= 0x10
        bad.write_bytes(whole)
        whole[place] ^= 0x10
        return bad

    assert "is no bundle" in load(server, altered(3), tmp_path / "receipts", status=3)
    assert "another version" in load(server, altered(18), tmp_path / "receipts", status=3)
    for place in (20, 90, 110, 130, 300):  # the sealed key, the stream's header, head and first request
        assert "nothing was imported" in load(server, altered(place), tmp_path / "receipts", status=3)
    assert server.findings() == [] and not (tmp_path / "receipts").exists()
    told = load(server, altered(len(whole) - 40), tmp_path / "receipts", status=1)
    assert not told["whole"] and told["records_new"] == exported["records"] and told["photos_new"] >= 1
    assert load(server, altered(len(whole) // 2), tmp_path / "receipts", status=1)["records_new"] == 0
    assert "is no bundle" in load(server, harness.TOP / "README.md", tmp_path / "receipts", status=3)
    load(server, bundle, tmp_path / "receipts")
    take(handheld, tmp_path / "receipts")
    assert_delivered(server, handheld, ids)


def test_bundle_of_another_centres_handheld_is_refused(apart, make_server, make_real_handheld, tmp_path):
    _, handheld = apart
    other = make_server("other")
    handheld.record("for the first centre")
    bundle, _ = export(handheld)
    assert "another centre" in load(other, bundle, tmp_path / "receipts", status=3)
    assert other.findings() == [] and not (tmp_path / "receipts").exists()


def test_bundle_of_a_revoked_handheld_is_refused_until_it_is_restored(apart, tmp_path):
    server, handheld = apart
    ids = handheld.record_many(10)
    bundle, _ = export(handheld)
    device = server.devices()[0]["id"]
    server.run("revoke", device)
    refused = load(server, bundle, tmp_path / "receipts", status=3)
    assert "refused: this device is revoked; an admin at the centre can restore it" in refused
    assert server.findings() == [] and not (tmp_path / "receipts").exists()
    assert len(handheld.list("--state", "queued")) == 10
    server.run("restore", device)
    load(server, bundle, tmp_path / "receipts")
    take(handheld, tmp_path / "receipts")
    assert_delivered(server, handheld, ids)


def test_centre_that_lost_its_database_takes_the_bundle_by_the_certificate_in_it(apart, tmp_path):
    server, handheld = apart
    ids = handheld.record_many(40) + [handheld.record("photo", photos=photos_of(tmp_path, 1))]
    bundle, _ = export(handheld)
    for path in server.data.iterdir():
        if path.name not in ("keys", "revocations"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    server.start()
    assert server.devices() == []
    assert load(server, bundle, tmp_path / "receipts")["whole"]
    take(handheld, tmp_path / "receipts")
    assert_delivered(server, handheld, ids)


def test_centre_that_was_set_back_says_what_it_lacks_and_a_bundle_of_all_mends_it(server, make_real_handheld, tmp_path):
    handheld = make_real_handheld(server, start=True)
    ids = handheld.record_many(10, "in the backup")
    handheld.wait_until_drained()
    server.run("backup", tmp_path / "backup")
    ids += handheld.record_many(10, "lost") + [handheld.record("photo", photos=photos_of(tmp_path, 1))]
    handheld.wait_until_drained()
    server.stop()
    shutil.rmtree(server.data)
    shutil.copytree(tmp_path / "backup", server.data)
    ids += handheld.record_many(5, "since")
    bundle, exported = export(handheld)
    assert exported["records"] == 5
    result = server.run("import-bundle", bundle, "-o", tmp_path / "receipts", "--json", status=1)
    assert json.loads(result.stdout)["records_refused"] == 5
    assert "the centre lacks those before them" in result.stderr and "patrol export --bundle FILE --all" in result.stderr
    taken = take(handheld, tmp_path / "receipts")
    assert taken["records_acknowledged"] == 0 and len(handheld.list("--state", "queued")) == 5

    everything = tmp_path / "everything"
    handheld.run("export", "--bundle", everything, "--all")
    told = load(server, everything, tmp_path / "receipts")
    assert told["whole"] and told["records_new"] >= 16 and told["photos_new"] == 2
    take(handheld, tmp_path / "receipts")
    assert_delivered(server, handheld, ids)
    server.run("check", "--media")


# ---- receipts that are not right ----


def test_wrong_receipts_are_told_apart_and_change_nothing(server, make_server, make_real_handheld, tmp_path):
    handheld, neighbour = make_real_handheld(server, "h"), make_real_handheld(server, "n")
    server.stop()
    handheld.start(), neighbour.start()
    handheld.record_many(20), neighbour.record_many(20)
    mine, theirs = export(handheld)[0], export(neighbour)[0]
    load(server, mine, tmp_path / "mine"), load(server, theirs, tmp_path / "theirs")
    right = (tmp_path / "mine").read_bytes()

    def refused(data):
        path = tmp_path / "wrong"
        path.write_bytes(data)
        result = handheld.run("import-receipts", path, status=3)
        assert "nothing was changed" in result.stderr and result.stdout == ""
        return result.stderr

    assert "for another handheld" in refused((tmp_path / "theirs").read_bytes())
    assert "is no file of receipts" in refused(mine.read_bytes())
    assert "is no file of receipts" in refused(b"")
    assert "another version" in refused(right.replace(b"receipts 1", b"receipts 2", 1))
    for length in range(23, len(right) - 1, 37):
        assert "cut" in refused(right[:length]) or length < 30
    for place in range(30, len(right), 61):
        told = refused(right[:place] + bytes([right[place] ^ 1]) + right[place + 1:])
        assert any(word in told for word in ("damaged", "not signed", "another handheld", "cut", "do not belong")), told
    # Of a centre with another key.
    other = make_server("other")
    handheld.stop()
    keep(handheld, tmp_path / "kept")
    handheld.enroll(other, "--replace")
    handheld.start()
    assert "not signed by the centre" in refused(right) or "another handheld" in refused(right)
    put_back(handheld, tmp_path / "kept")
    assert len(handheld.list("--state", "queued")) == 20
    assert take(handheld, tmp_path / "mine")["records_acknowledged"] > 20
    assert handheld.list("--state", "queued") == []


@pytest.mark.parametrize("mine,theirs", [(1, 3), (3, 1)], ids=["the-copy-is-shorter", "the-copy-is-longer"])
def test_clone_that_is_never_online_hears_of_the_fork_by_receipts_and_nothing_is_lost(apart, tmp_path, mine, theirs):
    server, handheld = apart
    ids = [handheld.record("before there were two")]
    handheld.stop()
    keep(handheld, tmp_path / "copy")
    handheld.start()
    ids += [handheld.record(f"the one, {index}") for index in range(mine)]
    load(server, export(handheld, "one")[0], tmp_path / "receipts-of-one")
    put_back(handheld, tmp_path / "copy")  # from here on it is the other one
    ids += [handheld.record(f"the other, {index}") for index in range(theirs)]
    bundle, _ = export(handheld, "other")
    assert load(server, bundle, tmp_path / "receipts", status=1)["records_refused"] > 0

    told = handheld.run("import-receipts", tmp_path / "receipts", status=1).stderr
    assert "new log" in told
    assert handheld.status()["records_queued"] == 1 + theirs, "nothing counts as sent, nothing is gone"
    bundle, _ = export(handheld, "again")
    assert load(server, bundle, tmp_path / "receipts-again")["records_refused"] == 0
    assert take(handheld, tmp_path / "receipts-again")["ok"]
    assert handheld.status()["records_queued"] == 0
    assert {item["id"] for item in server.findings()} == set(ids)
    assert len(server.findings()) == len(ids), "what both had is there once"
    assert server.devices()[0]["alarms"] >= 1
    server.run("check")


def test_older_receipts_never_take_back_newer_ones(apart, tmp_path):
    server, handheld = apart
    handheld.record_many(10)
    bundle, _ = export(handheld)
    load(server, bundle, tmp_path / "old")
    load(server, bundle, tmp_path / "new")
    handheld.record_many(10)
    second, _ = export(handheld, "second")
    load(server, second, tmp_path / "second-receipts")
    take(handheld, tmp_path / "second-receipts")
    size = handheld.status()["last_receipt_size"]
    assert size >= 20
    assert take(handheld, tmp_path / "new")["records_acknowledged"] == 0
    assert "older than what the centre has said since" in handheld.run("import-receipts", tmp_path / "old", status=3).stderr
    assert handheld.status()["last_receipt_size"] == size and handheld.list("--state", "queued") == []


def test_receipts_from_before_the_centre_lost_a_photo_do_not_count(server, make_real_handheld, tmp_path):
    handheld = make_real_handheld(server)
    server.stop()
    handheld.start()
    finding = handheld.record("photo", photos=photos_of(tmp_path, 1))
    bundle, _ = export(handheld)
    load(server, bundle, tmp_path / "receipts")
    server.start()
    handheld.run("sync", "--wait", "30")
    for path in (server.data / "blobs").glob("??/*"):
        path.unlink()
    server.run("check", "--media", status=1)
    handheld.run("resync", "--level", "media")
    told = handheld.run("import-receipts", tmp_path / "receipts", status=3).stderr
    assert "older than what the centre has said since" in told
    handheld.run("sync", "--wait", "30")
    assert_delivered(server, handheld, [finding])


def test_receipts_of_a_bundle_that_was_never_exported_here_are_refused(apart, tmp_path):
    server, handheld = apart
    handheld.stop()
    keep(handheld, tmp_path / "before")
    handheld.start()
    handheld.record_many(5)
    bundle, _ = export(handheld)
    load(server, bundle, tmp_path / "receipts")
    put_back(handheld, tmp_path / "before")
    assert "no bundle that this handheld remembers" in handheld.run("import-receipts", tmp_path / "receipts", status=3).stderr


# ---- crashes and full disks ----


def bytes_read_by(process):
    """By how much it has read, so that the moment does not depend on how fast the machine is."""
    try:
        with open(f"/proc/{process}/io", encoding="ascii") as file:
            return int(file.readline().split()[1])
    except (OSError, IndexError):  # it has just ended
        return 0


def test_import_killed_anywhere_leaves_the_centre_whole_and_goes_on(server, make_real_handheld, tmp_path):
    handheld = make_real_handheld(server)
    server.stop()
    handheld.start()
    ids = handheld.record_many(12000) + [handheld.record(f"photo {index}", photos=[photo])
                                        for index, photo in enumerate(photos_of(tmp_path, 12))]
    bundle, exported = export(handheld)
    server.start()
    handheld.stop()
    chance, killed, parts = random.Random(5), 0, set()
    for share in sorted(chance.uniform(0.02, 0.98) for _ in range(12)):
        running = subprocess.Popen([str(word) for word in server.command("import-bundle", bundle, "-o", tmp_path / "never")],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=harness.environment())
        while running.poll() is None and bytes_read_by(running.pid) < share * bundle.stat().st_size:
            pass
        running.kill()
        server.kill()
        server.start()
        killed += running.wait() == -signal.SIGKILL
        held = [item["id"] for item in server.findings()]
        assert len(held) == len(set(held)) and set(held) <= set(ids)
        parts.add(len(held))
    assert killed >= 6, "too few were killed in the middle for this to say anything"
    assert any(0 < count < len(ids) for count in parts), "none was killed between two records"
    told = load(server, bundle, tmp_path / "receipts")
    assert told["records_new"] + told["records_held"] == exported["records"]
    assert told["photos_new"] + told["photos_held"] == exported["photos"]
    server.run("check", "--media")
    server.stop()
    handheld.start()
    take(handheld, tmp_path / "receipts")
    assert_delivered(server, handheld, ids)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], stderr=subprocess.PIPE, text=True)
    if made.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {made.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_photo_that_is_damaged_on_the_handheld_is_counted_and_never_taken_for_whole(apart, tmp_path):
    server, handheld = apart
    for index, photo in enumerate(photos_of(tmp_path, 3, width=1600, height=1200)):
        handheld.record(f"with photo {index}", photos=[photo])
    largest = max((handheld.data / "photos").glob("??/*"), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    assert len(content) > 64 * 1024, "several chunks"
    content[1000] ^= 1
    largest.write_bytes(content)
    bundle, exported = export(handheld)
    assert (exported["photos"], exported["photos_gone"]) == (5, 1)
    told = load(server, bundle, tmp_path / "receipts", status=1)
    assert (told["photos_new"], told["photos_refused"], told["whole"]) == (5, 1, True)
    assert take(handheld, tmp_path / "receipts")["photos_stored"] == 5
    server.run("check", "--media")


def test_carrier_that_is_full_is_told_and_nothing_half_written_is_left(apart, small_disk, tmp_path):
    server, handheld = apart
    for photo in photos_of(tmp_path, 4, width=3000, height=2000):
        handheld.record("large", photos=[photo])
    (small_disk / "bundle").write_bytes(b"another one")
    told = handheld.run("export", "--bundle", small_disk / "bundle", status=4).stderr
    assert "the disk is full; nothing was written" in told
    assert {path.name: path.read_bytes() for path in small_disk.iterdir()} == {"bundle": b"another one"}
    assert export(handheld, "elsewhere")[1]["photos"] == 8
    # The same for the receipts: what was imported stays.
    (small_disk / "filler").touch()
    with pytest.raises(OSError), open(small_disk / "filler", "ab", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))
    bundle = handheld.directory / "elsewhere"
    assert "import it again" in load(server, bundle, small_disk / "receipts", status=4)
    assert {path.name for path in small_disk.iterdir()} == {"bundle", "filler"}
    assert len(server.findings()) <= 4
    told = load(server, bundle, tmp_path / "receipts")
    assert told["whole"] and told["photos_new"] + told["photos_held"] == 8
    assert len(server.findings()) == 4 and all(item["complete"] for item in server.findings())


def test_what_is_no_regular_file_is_never_replaced(apart, tmp_path):
    server, handheld = apart
    handheld.record("x")
    (tmp_path / "directory").mkdir()
    assert "nothing was written" in handheld.run("export", "--bundle", tmp_path / "directory", status=1).stderr
    assert "nothing was written" in handheld.run("export", "--bundle", tmp_path / "missing/bundle", status=1).stderr
    bundle, _ = export(handheld)
    assert "nothing was imported" in load(server, bundle, tmp_path / "directory", status=1)
    assert server.findings() == []
    assert "no regular file" in load(server, tmp_path / "directory", tmp_path / "receipts", status=3)
    assert "no regular file" in handheld.run("import-receipts", tmp_path / "directory", status=3).stderr


# ---- how to do it ----


def test_export_without_daemon_or_enrolment_names_the_way_out(server, make_real_handheld, tmp_path):
    handheld = make_real_handheld()
    handheld.record("x")
    told = handheld.run("export", "--bundle", tmp_path / "bundle", status=5).stderr
    assert "patrol enroll TOKEN-URL" in told
    handheld.enroll(server)
    told = handheld.run("export", "--bundle", tmp_path / "bundle", status=1).stderr
    assert "start it with: systemctl start patrol-syncd" in told
    assert not (tmp_path / "bundle").exists()
    (tmp_path / "receipts").write_bytes(b"gridpatrol receipts 1\n")
    assert "start it with" in handheld.run("import-receipts", tmp_path / "receipts", status=1).stderr
    for wrong in (["export", "--bundle", tmp_path / "b", "--evidence", "x"], ["export", "--bundle", "-"], ["import-receipts"],
                  ["export", "--bundle", tmp_path / "b", "-o", tmp_path / "c"]):
        handheld.run(*wrong, status=2)
    for wrong in (["import-bundle"], ["import-bundle", tmp_path / "b"], ["import-bundle", tmp_path / "b", "-o", "-"]):
        server.run(*wrong, status=2)


def test_the_daemon_signs_nothing_but_requests_of_its_own_store(apart):
    _, handheld = apart
    ids = handheld.record_many(10)
    log = handheld.list()[0]["log"]
    assert ids and set(handheld.call("Bundle", log=log, from_seq=3)) == {"envelope", "next_seq"}
    for wrong in ({}, {"log": "x", "from_seq": 0}, {"log": log, "from_seq": -1}, {"log": log, "from_seq": 10**6},
                  {"log": "00000000-0000-4000-8000-000000000000", "from_seq": 0}):
        assert "message" in handheld.call("Bundle", **wrong)
    for wrong in ({}, {"envelope": "!"}, {"envelope": "AAAA"}, {"envelope": "A" * 200000}):
        assert "message" in handheld.call("Receipts", **wrong)
    assert handheld.process.alive()


def test_a_bundle_holds_nothing_that_can_be_read_on_the_way(apart, tmp_path):
    _, handheld = apart
    photo = photos_of(tmp_path, 1)[0]
    handheld.record("盲道破损 never to be read on the way", photos=[photo])
    data = export(handheld)[0].read_bytes()
    device = bytes.fromhex(handheld.status()["device"].replace("-", ""))
    for plain in ("盲道破损".encode(), device, photo.read_bytes()[:64], hashlib.sha256(photo.read_bytes()).digest()):
        assert plain not in data
