# SPDX-License-Identifier: Apache-2.0
"""One finding's evidence, from the handheld that recorded it to the auditor who trusts neither network nor carrier."""

import json

import harness
import pytest


class Exported:
    def __init__(self, handheld, finding, path, key):
        self.handheld, self.finding, self.path, self.key = handheld, finding, path, key

    def verify(self, path=None, key=None, status=0, arguments=()):
        return self.handheld.run("verify", path or self.path, "--server-key", key or self.key, *arguments, status=status)

    def gives_no_evidence(self, path):
        told = self.handheld.run("export", "--evidence", self.finding, "-o", path, status=1).stderr
        assert told == ("patrol: evidence: a photo of this finding is damaged or no longer on this handheld; "
                        "nothing was written\n")
        assert not list(path.parent.glob(path.name + "*"))

    def refuses(self, path):
        """1: forged; 3: so damaged that it is no evidence file any more."""
        refused = self.verify(path, status=None)
        assert refused.returncode in (1, 3) and "is genuine" not in refused.stdout


@pytest.fixture
def exported(server, make_real_handheld, tmp_path):
    handheld = make_real_handheld(server, start=True)
    photo = tmp_path / "photo.jpg"
    harness.make_photo(photo)
    finding = handheld.record("a torn hoarding", photos=[photo])
    handheld.record("another one")
    handheld.wait_until_drained()
    path, key = tmp_path / "finding.evidence", tmp_path / "receipt.key"
    handheld.run("export", "--evidence", finding, "-o", path)
    server.run("key", "-o", key)
    handheld.stop()
    server.stop()  # it is checked offline
    return Exported(handheld, finding, path, key)


def test_a_photo_that_is_damaged_or_gone_on_the_handheld_is_told_and_no_evidence_is_written(exported, tmp_path):
    photo_and_preview = sorted((exported.handheld.data / "photos").glob("??/*"))
    assert len(photo_and_preview) == 2
    for kept in photo_and_preview:
        whole = kept.read_bytes()
        changed = bytearray(whole)
        changed[len(whole) // 2] ^= 1
        for damaged in (bytes(changed), whole[:-1], whole[:0]):
            kept.write_bytes(damaged)
            exported.gives_no_evidence(tmp_path / "again")
        kept.unlink()
        exported.gives_no_evidence(tmp_path / "again")
        kept.write_bytes(whole)
    exported.handheld.run("export", "--evidence", exported.finding, "-o", tmp_path / "again")
    exported.verify(tmp_path / "again")


def test_evidence_is_genuine_to_whoever_has_the_centres_key(exported):
    assert exported.finding in exported.verify().stdout
    verdict = json.loads(exported.verify(arguments=["--json"]).stdout)
    assert verdict["genuine"] is True and verdict["id"] == exported.finding
    assert verdict["note"] == "a torn hoarding"


def test_evidence_with_one_changed_bit_anywhere_is_refused(exported, tmp_path):
    data = exported.path.read_bytes()
    forged = tmp_path / "forged"
    places = sorted({round(part / 60 * (len(data) - 1)) for part in range(61)})
    for place in places:
        changed = bytearray(data)
        changed[place] ^= 1
        forged.write_bytes(changed)
        exported.refuses(forged)


def test_evidence_that_was_cut_or_has_something_behind_it_is_refused(exported, tmp_path):
    data = exported.path.read_bytes()
    other = tmp_path / "other"
    for changed in (data[:-1], data[:len(data) // 2], data[:10], b"", data + b"x"):
        other.write_bytes(changed)
        exported.refuses(other)


def test_evidence_under_another_centres_key_is_refused(exported, make_server, tmp_path):
    other = make_server("other")
    other.run("key", "-o", tmp_path / "other.key")
    exported.verify(key=tmp_path / "other.key", status=1)
