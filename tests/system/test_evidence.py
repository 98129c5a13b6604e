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
