# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the system tests."""

import pytest

import harness
import relay


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


@pytest.fixture
def make_real_handheld(tmp_path):
    """Makes handhelds with the real programs that are gone after the test; enrolled when a server is given."""
    handhelds = []

    def make(server=None, name="h", config=harness.QUICK, start=False):
        handheld = harness.Handheld(tmp_path / name, config)
        handhelds.append(handheld)
        if server:
            handheld.enroll(server)
        return handheld.start() if start else handheld

    yield make
    for handheld in handhelds:
        handheld.close()


@pytest.fixture
def make_relay():
    """Makes relays, in front of a port or of nothing."""
    relays = []

    def make(*arguments, **options):
        relays.append(relay.Relay(*arguments, **options))
        return relays[-1]

    yield make
    for made in relays:
        made.close()


@pytest.fixture
def relayed(make_server, make_relay, make_real_handheld):
    """(server, relay, handheld): plain HTTP, so that the relay can read what it passes on; the daemon is not started."""
    between = make_relay()
    server = make_server(tls=False, start=False)
    server.port = between.target = harness.free_port()
    server.start("--public-url", between.url)
    return server, between, make_real_handheld(server)
