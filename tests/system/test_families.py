# SPDX-License-Identifier: Apache-2.0
"""IPv6 and IPv4: a server of either, and a name that has both while one leads nowhere. The name is localhost: to libcurl
it is ::1 and 127.0.0.1 whatever the machine's own list says."""

import socket
import time

import pytest

import harness
from harness import assert_delivered

BOUND_S = 10


class Six(harness.Machine):
    address = "[::1]"

    def connect(self, address, timeout):
        return socket.create_connection(("::1", address[1]), timeout=timeout)


def can_listen_on_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not can_listen_on_ipv6(), reason="no ::1 here")


class BlackHole:
    """A port whose backlog is full: SYNs get no answer."""

    def __init__(self, address, port):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.sockets = [socket.socket(family)]
        self.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sockets[0].bind((address, port))
        self.sockets[0].listen(0)
        for _ in range(8):
            filler = socket.socket(family)
            filler.setblocking(False)
            try:
                filler.connect((address, port))
            except BlockingIOError:
                pass
            self.sockets.append(filler)

    def close(self):
        for one in self.sockets:
            one.close()


@pytest.fixture
def make_server_at(tmp_path, certificates):
    made = []

    def make(machine):
        server = harness.Server(tmp_path / "server", certificates, machine=machine)
        server.port = harness.free_port()
        made.append(server)
        return server.start()

    yield make
    for server in made:
        server.close()


def deliver_through_localhost(server, handheld):
    handheld.enroll(server, token=server.token().replace(f"{server.machine.address}:", "localhost:"))
    handheld.start()
    started = time.monotonic()
    ids = handheld.record_many(3)
    handheld.wait_until_drained(BOUND_S)
    assert time.monotonic() - started < BOUND_S
    assert_delivered(server, handheld, ids)


@needs_ipv6
def test_a_server_on_ipv6_alone_is_reached(make_server_at, make_real_handheld):
    deliver_through_localhost(make_server_at(Six()), make_real_handheld())


@needs_ipv6
def test_a_dead_ipv4_beside_a_living_ipv6_costs_no_more_than_seconds(make_server_at, make_real_handheld):
    server = make_server_at(Six())
    hole = BlackHole("127.0.0.1", server.port)
    deliver_through_localhost(server, make_real_handheld())
    hole.close()


@needs_ipv6
def test_a_dead_ipv6_beside_a_living_ipv4_costs_no_more_than_seconds(make_server_at, make_real_handheld):
    server = make_server_at(harness.HERE)
    hole = BlackHole("::1", server.port)
    deliver_through_localhost(server, make_real_handheld())
    hole.close()
