# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests against other implementations of tus. The packages are those of package-lock.json."""

import fcntl
import hashlib
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "system"))

import harness  # noqa: E402


@pytest.fixture(scope="session")
def packages():
    """tests/tus/node_modules as the lock file says; installed once, again when the lock file changes."""
    modules, mark = HERE / "node_modules", HERE / "node_modules" / ".installed"
    wanted = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()
    with open(HERE / "package-lock.json") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not mark.exists() or mark.read_text() != wanted:
            subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--omit=optional"], cwd=HERE,
                           check=True, timeout=300)
            mark.write_text(wanted)
    return modules


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    return harness.Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def server(tmp_path, certificates):
    server = harness.Server(tmp_path / "server", certificates).start()
    yield server
    server.close()
