# SPDX-License-Identifier: Apache-2.0
"""The systemd units: they are sound, and what a service that was taken over could reach is little. systemd need not run here."""

import re
import shutil
import subprocess

import pytest

import harness

EXPOSURE_MAX = 1.5  # of 10, by systemd's own reckoning


@pytest.fixture(params=["patrol-syncd", "patrol-server"])
def unit(request, tmp_path):
    """A unit whose program is the one that was built."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    text = (harness.TOP / f"system/{request.param}.service").read_text()
    (tmp_path / "sbin").mkdir()
    (tmp_path / "sbin" / request.param).symlink_to(harness.program(request.param))
    path = tmp_path / f"{request.param}.service"
    path.write_text(text.replace("@sbindir@", str(tmp_path / "sbin")))
    return path


def analyze(*arguments):
    return subprocess.run(["systemd-analyze", "--no-pager", *map(str, arguments)], env=harness.environment(SYSTEMD_LOG_LEVEL="warning"),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_a_unit_is_understood_whole(unit):
    told = analyze("verify", "--man=no", unit)
    ours = [line for line in told.stdout.splitlines() if unit.name in line]
    assert told.returncode == 0 and ours == [], told.stdout


def test_a_unit_that_is_wrong_is_found_out(unit):
    unit.write_text(unit.read_text().replace("Restart=always", "Restart=whenever"))
    assert "whenever" in analyze("verify", "--man=no", unit).stdout


def test_a_service_that_was_taken_over_can_reach_little(unit):
    told = analyze("security", "--offline=true", f"--threshold={EXPOSURE_MAX * 10:.0f}", unit)
    exposure = float(re.search(r"Overall exposure level for \S+: ([\d.]+)", told.stdout).group(1))
    assert exposure <= EXPOSURE_MAX, told.stdout
    assert told.returncode == 0, told.stdout
