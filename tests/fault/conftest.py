# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests that cut the power."""

import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "system"))

import disk  # noqa: E402
import harness  # noqa: E402


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    return harness.Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def power():
    """Skips where a disk whose power can be cut is not to be had. Later such a failure is one."""
    try:
        with disk.Disk() as tried:
            tried.cut(check_first=True)
    except disk.Unavailable as why:
        pytest.skip(f"no disk to cut the power of: {why}")


@pytest.fixture
def make_disk(power):
    """Makes disks that are gone after the test."""
    disks = []

    def make():
        disks.append(disk.Disk())
        return disks[-1]

    yield make
    for made in disks:
        made.close()
