# SPDX-License-Identifier: Apache-2.0
"""A handheld is given another key of its own: wherever that is broken off it goes on, nothing is lost, and whoever has a
copy of the old key is refused."""

import re
import shutil
import sqlite3

import pytest
from harness import assert_delivered, wait_for


def seed_of(handheld, name="device.key"):
    return (handheld.data / name).read_text().split()[1]


def is_rotated(handheld, before):
    return seed_of(handheld) != before and not (handheld.data / "device-next.key").exists()


def wait_until_rotated(handheld, before):
    wait_for(lambda: is_rotated(handheld, before), "the new key has taken the place of the old one")
    wait_for(lambda: handheld.call("Status")["key_waits"] is False, "the daemon says so")


def rotate(handheld):
    before = seed_of(handheld)
    handheld.run("rotate-key")
    wait_until_rotated(handheld, before)
    handheld.run("sync", "--wait", "30")


def retired(server):
    """How many keys of handhelds are retired at the centre."""
    with sqlite3.connect(f"file:{server.data / 'centre.db'}?mode=ro", uri=True) as database:
        return database.execute("SELECT count(*) FROM device_keys WHERE state = 0").fetchone()[0]


def quarantined(server):
    return [finding for finding in server.findings() if finding["state"] == "quarantined"]


def evidence_holds(server, handheld, finding, tmp_path):
    key, path = tmp_path / "auditor.key", tmp_path / f"evidence {finding}"
    server.run("key", "-o", key)
    handheld.run("export", "--evidence", finding, "-o", path)
    handheld.run("verify", path, "--server-key", key)
    return path


def test_handheld_goes_on_with_its_new_key_and_evidence_from_before_and_after_verifies(server, make_real_handheld, tmp_path):
    handheld = make_real_handheld(server, start=True)
    ids = [handheld.record("before")]
    handheld.wait_until_drained()
    early = evidence_holds(server, handheld, ids[0], tmp_path)
    before = seed_of(handheld)
    assert "A new key was made" in handheld.run("rotate-key").stdout
    wait_until_rotated(handheld, before)
    assert (handheld.data / "device.key").stat().st_mode & 0o777 == 0o600
    ids.append(handheld.record("after"))
    handheld.wait_until_drained()
    wait_for(lambda: retired(server) == 1, "the first exchange by the new key retires the old one")
    rotate(handheld)
    ids.append(handheld.record("after another one"))
    handheld.wait_until_drained()
    assert retired(server) == 2 and not quarantined(server)
    for finding in ids:
        evidence_holds(server, handheld, finding, tmp_path)
    handheld.run("verify", early, "--server-key", tmp_path / "auditor.key")
    handheld.run("resync", "--level", "media", "--wait", "30")
    assert server.run("check").returncode == 0
    handheld.stop()
    handheld.start()
    ids.append(handheld.record("after a restart"))
    handheld.wait_until_drained()
    assert_delivered(server, handheld, ids)


def write_key(handheld, name, device, seed):
    path = handheld.data / name
    path.write_text(f"{device} {seed}\n")
    shutil.copymode(handheld.data / "device.key", path)


def announce_offline(server, handheld):
    server.stop()
    handheld.start()
    handheld.run("rotate-key")
    assert "waits already" in handheld.run("rotate-key").stdout and handheld.call("Status")["key_waits"] is True
    assert "a new one waits" in handheld.run("status").stdout


POINTS = ["there is no record yet", "the record was not sent", "the answer was lost",
          "the certificate was kept, and enrolment.conf has the old one", "the certificate is there and the old key, too"]


def certificate_line(handheld):
    return re.search(r"^certificate = .*$", (handheld.data / "enrolment.conf").read_text(), re.MULTILINE)[0]


def write_certificate_line(handheld, line):
    path = handheld.data / "enrolment.conf"
    path.write_text(path.read_text().replace(certificate_line(handheld), line))


@pytest.mark.parametrize("point", POINTS)
def test_rotation_goes_on_at_the_next_start_wherever_it_was_broken_off(server, make_real_handheld, tmp_path, point):
    handheld = make_real_handheld(server, start=True)
    ids = [handheld.record("before")]
    handheld.wait_until_drained()
    old = seed_of(handheld)
    device = (handheld.data / "device.key").read_text().split()[0]
    line = certificate_line(handheld)
    if point == POINTS[0]:
        handheld.stop()
        write_key(handheld, "device-next.key", device, "5a" * 32)
    elif point in POINTS[3:]:
        rotate(handheld)
        handheld.stop()
        write_key(handheld, "device-next.key", device, seed_of(handheld))
        write_key(handheld, "device.key", device, old)
        if point == POINTS[3]:
            write_certificate_line(handheld, line)
    else:
        announce_offline(server, handheld)
        if point != POINTS[1]:  # the centre has the record, and the handheld has not heard of it
            handheld.run("export", "--bundle", tmp_path / "bundle")
            server.run("import-bundle", tmp_path / "bundle", "-o", tmp_path / "receipts")
        handheld.kill()
        assert seed_of(handheld) == old
        server.start()
    handheld.start()
    wait_until_rotated(handheld, old)
    ids.append(handheld.record("after"))
    handheld.wait_until_drained()
    wait_for(lambda: retired(server) == 1, "the old key is retired")
    assert not quarantined(server) and certificate_line(handheld) != line
    for finding in ids:
        evidence_holds(server, handheld, finding, tmp_path)
    assert_delivered(server, handheld, ids)


def test_certificate_that_another_program_wrote_over_is_found_again(server, make_real_handheld, tmp_path):
    handheld = make_real_handheld(server, start=True)
    handheld.record("before")
    handheld.wait_until_drained()
    line = certificate_line(handheld)
    rotate(handheld)
    rotated = certificate_line(handheld)
    handheld.stop()
    write_certificate_line(handheld, line)  # as `patrol server-url` does that has read the file just before
    handheld.start()
    finding = handheld.record("after")
    handheld.wait_until_drained()
    assert certificate_line(handheld) == rotated != line
    evidence_holds(server, handheld, finding, tmp_path)


def test_copy_with_the_old_key_is_refused_and_keeps_what_it_records(server, make_real_handheld, tmp_path):
    handheld = make_real_handheld(server, start=True)
    handheld.record("before")
    handheld.wait_until_drained()
    handheld.stop()
    shutil.copytree(handheld.data, tmp_path / "copy", ignore=shutil.ignore_patterns("*.sock"))
    handheld.start()
    rotate(handheld)
    copy = make_real_handheld(name="copy")
    shutil.copytree(tmp_path / "copy", copy.data, dirs_exist_ok=True)
    copy.start()
    copy.record("by whoever has the copy")
    wait_for(lambda: copy.call("Status")["refused"] is True, "the copy is refused")
    copy.run("rotate-key")  # what it announces is never heard
    assert copy.status()["records_queued"] == 1
    handheld.record("after")
    handheld.wait_until_drained()
    assert len(server.findings()) == 2 and retired(server) == 1
    assert copy.call("Status")["key_waits"] is True


def test_centre_that_was_set_back_to_before_the_rotation_takes_the_new_key_by_its_certificate(
        server, make_real_handheld, tmp_path):
    handheld = make_real_handheld(server, start=True)
    ids = [handheld.record("in the copy")]
    handheld.wait_until_drained()
    server.run("backup", tmp_path / "copy")
    rotate(handheld)
    ids.append(handheld.record("after the rotation"))
    handheld.wait_until_drained()
    server.stop()
    shutil.rmtree(server.data)
    shutil.move(tmp_path / "copy", server.data)
    server.start()
    assert retired(server) == 0
    ids.append(handheld.record("after the restore"))
    handheld.run("sync", "--wait", "60")
    handheld.wait_until_drained()
    assert retired(server) == 1 and not quarantined(server)
    assert_delivered(server, handheld, ids)
    rotate(handheld)
    ids.append(handheld.record("and on"))
    handheld.wait_until_drained()
    assert retired(server) == 2
    assert_delivered(server, handheld, ids)


def test_bundle_from_before_the_rotation_is_imported_after_it_but_brings_nothing_new(server, make_real_handheld, tmp_path):
    handheld = make_real_handheld(server, start=True)
    ids = [handheld.record("before")]
    handheld.wait_until_drained()
    handheld.stop()
    shutil.copytree(handheld.data, tmp_path / "copy", ignore=shutil.ignore_patterns("*.sock"))
    handheld.start()
    handheld.run("export", "--bundle", tmp_path / "old", "--all")
    rotate(handheld)
    imported = server.run("import-bundle", tmp_path / "old", "-o", tmp_path / "old receipts")
    assert "was not taken" not in imported.stdout + imported.stderr
    handheld.run("import-receipts", tmp_path / "old receipts")
    copy = make_real_handheld(name="copy")
    shutil.copytree(tmp_path / "copy", copy.data, dirs_exist_ok=True)
    copy.start()
    copy.record("stolen")
    wait_for(lambda: copy.call("Status")["refused"] is True, "it is refused")
    copy.run("export", "--bundle", tmp_path / "forked")
    told = server.run("import-bundle", tmp_path / "forked", "-o", tmp_path / "forked receipts", status=None)
    assert "two copies of this handheld are in use" in told.stderr
    copy.run("import-receipts", tmp_path / "forked receipts", status=None)  # it opens another log
    copy.run("export", "--bundle", tmp_path / "stolen")
    told = server.run("import-bundle", tmp_path / "stolen", "-o", tmp_path / "stolen receipts", status=None)
    assert "a key that this handheld has replaced" in told.stdout + told.stderr
    assert_delivered(server, handheld, ids)


def test_revoked_handheld_rotates_nothing(server, make_real_handheld):
    handheld = make_real_handheld(server, start=True)
    handheld.record("before")
    handheld.wait_until_drained()
    device = (handheld.data / "device.key").read_text().split()[0]
    old = seed_of(handheld)
    server.run("revoke", device)
    handheld.run("rotate-key")
    wait_for(lambda: handheld.call("Status")["refused"] is True, "it is refused")
    assert seed_of(handheld) == old and handheld.call("Status")["key_waits"] is True
    server.run("restore", device)
    handheld.run("sync", "--wait", "30")
    wait_until_rotated(handheld, old)
