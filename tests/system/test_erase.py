# SPDX-License-Identifier: Apache-2.0
"""`patrol-server erase`: what the law wants gone is in no file of the centre and of the handhelds, and never comes back."""

import contextlib
import json
import shutil
import sqlite3

import harness
from harness import wait_for

MARKER = "Mrs-Abernathy-at-the-window"
OFTEN = harness.QUICK.replace("slow-poll = 1h", "slow-poll = 5s")


def files_with(directory, marker):
    return [path for path in directory.rglob("*") if path.is_file() and marker.encode() in path.read_bytes()]


def photo_hashes(server, finding):
    return [photo["sha256"] for photo in next(item for item in server.findings() if item["id"] == finding)["photos"]]


def has_file(directory, sha256):
    return any(path.name == sha256 for path in directory.rglob("*"))


def order(server, *arguments, status=0):
    return server.run("erase", *arguments, "--reason", "judgement 12/3", "--by", "A. Clerk", status=status)


def orders(server):
    return [json.loads(line) for line in server.run("orders", "--json").stdout.splitlines()]


def test_an_erased_finding_and_its_photos_are_gone_from_both_ends_and_all_else_stays(server, make_real_handheld, tmp_path):
    handheld = make_real_handheld(server, config=OFTEN, start=True)
    before = handheld.record_many(300, "before")
    finding = handheld.record(MARKER, photos=[harness.make_photo(tmp_path / "photo.jpg")])
    handheld.run("amend", finding, "--note", MARKER + " amended")
    after = handheld.record_many(300, "after")
    handheld.wait_until_drained()
    hashes = photo_hashes(server, finding)
    assert len(hashes) == 2 and all(has_file(server.data, name) and has_file(handheld.data, name) for name in hashes)

    planned = server.run("erase", finding, "--dry-run").stdout
    assert "would erase 2 records and 2 photos" in planned and "amendment" in planned and orders(server) == []
    told = order(server, finding).stdout
    assert "order 1: erased 2 records and 2 photos" in told
    assert files_with(server.data, MARKER) == [] and not any(has_file(server.data, name) for name in hashes)
    assert {item["id"] for item in server.findings()} == {*before, *after}
    server.run("check", "--media", "--rebuild")
    device = server.devices()[0]["id"]
    assert orders(server)[0]["waiting"] == [device]
    assert f"not yet carried out by handheld {device}" in server.run("orders").stdout

    handheld.run("sync", "--wait", "20")
    wait_for(lambda: files_with(handheld.data, MARKER) == [], "the handheld has carried it out")
    assert not any(has_file(handheld.data, name) for name in hashes)
    handheld.record("one more, with which it says so")
    wait_for(lambda: orders(server)[0]["waiting"] == [], "the centre has heard of it")
    [shown] = [item for item in handheld.list() if item["id"] == finding]
    assert shown["state"] == "erased" and shown["erased_by"] == 1
    assert "by order 1 of the centre" in handheld.run("show", finding).stdout
    assert "erased by order 1" in handheld.run("export", "--evidence", finding, "-o", tmp_path / "evidence", status=3).stderr
    assert "erased by order 1" in handheld.run("amend", finding, "--note", "no", status=3).stderr
    resync = handheld.run("resync", "--level", "records").stdout
    assert "2 records are erased by order" in " ".join(resync.split())
    assert order(server, finding, status=3).stdout.startswith(f"record {finding}: none has this id, or it is erased already")

    handheld.stop()
    with contextlib.closing(sqlite3.connect(handheld.data / "queue.db")) as database:
        database.execute("DELETE FROM erased")  # as a recovery may lose the row; the last to close would take the WAL away
        database.commit()
        assert "by an order of the centre" in handheld.run("show", finding).stdout
        assert "by an order of the centre" in handheld.run("export", "--evidence", finding, "-o", tmp_path / "evidence", status=3).stderr
        assert "by an order of the centre" in handheld.run("amend", finding, "--note", "no", status=3).stderr


def test_a_centre_set_back_erases_again_what_the_backup_has_and_takes_the_hash_of_what_it_has_not(
        server, make_real_handheld, tmp_path):
    handheld = make_real_handheld(server, config=OFTEN, start=True)
    old = handheld.record(MARKER + " old")
    handheld.wait_until_drained()
    server.run("backup", tmp_path / "backup")
    new, kept = handheld.record(MARKER + " new"), handheld.record("kept")
    handheld.wait_until_drained()
    order(server, old, new)
    handheld.run("sync", "--wait", "20")
    wait_for(lambda: files_with(handheld.data, MARKER) == [], "the handheld has carried it out")

    server.stop()
    newest = (server.data / "orders").read_bytes()
    shutil.rmtree(server.data)
    shutil.copytree(tmp_path / "backup", server.data)
    assert files_with(server.data, MARKER)
    (server.data / "orders").write_bytes(newest)
    server.start()
    wait_for(lambda: files_with(server.data, MARKER) == [], "what the backup brought back is erased again")
    handheld.record("since")
    wait_for(lambda: len(server.findings()) == 2, "what the backup lacks has come again")
    assert kept in {item["id"] for item in server.findings()}
    handheld.wait_until_drained()
    server.run("check")
    assert server.devices()[0]["alarms"] == 0
    assert orders(server)[0]["order"] == 1


def test_a_handheld_that_only_bundles_reach_hears_of_an_order_with_its_receipts(server, make_real_handheld, tmp_path):
    handheld = make_real_handheld(server, start=True)
    finding = handheld.record(MARKER)
    handheld.wait_until_drained()
    server.stop()  # from now on there is no network between them
    order(server, finding)
    handheld.record("by hand")
    handheld.run("export", "--bundle", tmp_path / "bundle")
    server.run("import-bundle", tmp_path / "bundle", "-o", tmp_path / "receipts")
    assert files_with(handheld.data, MARKER)
    handheld.run("import-receipts", tmp_path / "receipts")
    wait_for(lambda: files_with(handheld.data, MARKER) == [], "the handheld has carried it out")
    handheld.record("by hand again")
    handheld.run("export", "--bundle", tmp_path / "second")
    server.run("import-bundle", tmp_path / "second", "-o", tmp_path / "receipts")
    assert orders(server)[0]["waiting"] == []


def test_an_order_needs_a_reason_a_name_and_something_that_is_there(server, make_real_handheld):
    make_real_handheld(server)
    unknown = "6fa1c0de-0102-4304-8506-0708090a0b0c"
    assert "reason: write --reason" in server.run("erase", unknown, "--by", "me", status=2).stderr
    assert "by: write --by" in server.run("erase", unknown, "--reason", "why", status=2).stderr
    assert "say what" in server.run("erase", "--reason", "why", "--by", "me", status=2).stderr
    assert "give the id of a record" in order(server, "nonsense", status=3).stderr
    assert "nothing was erased" in order(server, unknown, status=3).stderr
    assert "nothing was erased" in order(server, "0" * 64, status=3).stderr
    assert orders(server) == [] and not (server.data / "orders").exists()
