#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The made findings stay what the benchmarks take them for."""

import datetime
import json
import lzma
import pathlib
import statistics
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[3]
MAKE = ROOT / "tests" / "data" / "make_findings.py"
DIRECTORY = ROOT / "collector" / "directory" / "gbt47678.5-2026.tsv"


def make(*arguments):
    return subprocess.run([sys.executable, MAKE, *arguments], capture_output=True, check=True).stdout


class MakeFindings(unittest.TestCase):
    def test_same_seed_gives_same_bytes_and_another_seed_gives_others(self):
        first = make("--count", "500", "--seed", "7", "--observed")
        self.assertEqual(first, make("--count", "500", "--seed", "7", "--observed"))
        self.assertNotEqual(first, make("--count", "500", "--seed", "8", "--observed"))

    def test_ten_thousand_findings_weigh_what_real_ones_do(self):
        data = make("--count", "10000")
        findings = [json.loads(line) for line in data.splitlines()]
        self.assertEqual(len(findings), 10000)
        notes = [len(finding["note"].encode()) for finding in findings]
        self.assertAlmostEqual(statistics.mean(notes), 116, delta=6)
        self.assertAlmostEqual(len(lzma.compress(data, preset=9)) / 10000, 24.4, delta=1.5)

    def test_every_category_is_a_matter_of_the_built_in_directory(self):
        rows = [line.split("\t") for line in DIRECTORY.read_text().splitlines()]
        matters = {row[1] for row in rows if row[0] == "matter"}
        used = {json.loads(line)["category"] for line in make("--count", "10000").splitlines()}
        self.assertGreater(len(used), 25)
        self.assertEqual(used - matters, set())

    def test_places_are_on_earth_and_severities_known(self):
        for line in make("--count", "2000").splitlines():
            finding = json.loads(line)
            self.assertTrue(-90 <= finding["lat"] <= 90 and -180 <= finding["lon"] <= 180)
            self.assertTrue(2 <= finding["accuracy_m"] <= 20)
            self.assertIn(finding["severity"], ("minor", "normal", "serious", "urgent"))

    def test_observed_times_rise_at_the_spacing_asked_for_and_end_before_the_fixed_date(self):
        lines = make("--count", "4000", "--observed", "--observed-spacing-s", "60").splitlines()
        times = [datetime.datetime.fromisoformat(json.loads(line)["observed_at"]) for line in lines]
        self.assertEqual(times, sorted(times))
        end = datetime.datetime.fromisoformat("2026-10-30T18:00:00+08:00")
        self.assertLessEqual(times[-1], end)
        self.assertAlmostEqual((times[-1] - times[0]).total_seconds() / 3999, 60, delta=4)

    def test_without_the_option_no_time_of_observation_is_given(self):
        self.assertNotIn(b"observed_at", make("--count", "100"))


if __name__ == "__main__":
    unittest.main()
