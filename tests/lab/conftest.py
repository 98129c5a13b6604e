# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the network lab's tests."""

import contextlib

import pytest

import lab as network_lab  # puts tests/system on the path
import harness

FIGURES = pytest.StashKey()


@pytest.fixture
def make_lab():
    """Makes labs that are gone after the test; the test is skipped where the system allows none."""
    with contextlib.ExitStack() as labs:
        def make(**options):
            try:
                return labs.enter_context(network_lab.Lab(**options))
            except network_lab.NotAllowed as refused:
                pytest.skip(str(refused))

        yield make


@pytest.fixture
def lab(make_lab):
    """A lab whose link has neither limits nor delay."""
    return make_lab()


@pytest.fixture
def measured(record_property, request):
    """Keeps a figure: in the report, and at the end of what pytest prints."""
    figures = request.config.stash.setdefault(FIGURES, [])

    def measure(**values):
        for name, value in values.items():
            record_property(name, value)
        figures.append(f"{request.node.name}: " + ", ".join(f"{name} {value}" for name, value in values.items()))

    return measure


def pytest_terminal_summary(terminalreporter, config):
    for line in config.stash.get(FIGURES, []):
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    return harness.Certificates(tmp_path_factory.mktemp("certificates"), addresses=network_lab.ADDRESSES["centre"])


@pytest.fixture
def make_pair(tmp_path, certificates):
    """Makes a running server in a lab's centre and an enrolled handheld at its other end, whose daemon is not started."""
    with contextlib.ExitStack() as programs:
        def make(lab, config=harness.QUICK):
            server = harness.Server(tmp_path / "server", certificates, machine=lab.centre)
            programs.callback(server.close)
            handheld = harness.Handheld(tmp_path / "handheld", config, machine=lab.handheld)
            programs.callback(handheld.close)
            server.start()
            handheld.enroll(server)
            return server, handheld

        yield make
