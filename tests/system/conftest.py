# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the system tests."""

import pytest

import harness


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    return harness.Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def make_server(tmp_path, certificates):
    """Makes servers, started or not, that are gone after the test. `tls=False` for plain HTTP."""
    servers = []

    def make(name="server", tls=True, start=True, config=None):
        server = harness.Server(tmp_path / name, certificates if tls else None, config)
        servers.append(server)
        return server.start() if start else server

    yield make
    for server in servers:
        server.close()


@pytest.fixture
def server(make_server):
    """A server with TLS that is running."""
    return make_server()


@pytest.fixture
def make_handheld(tmp_path):
    """Makes a seeded handheld of a server, enrolled or not."""

    def make(server, seed=1, enrol=True):
        handheld = harness.SeededHandheld(tmp_path, server, seed)
        if enrol:
            status, answer = handheld.enrol()
            assert (status, answer["type"]) == (200, "enrol")
        return handheld

    return make
