# SPDX-License-Identifier: Apache-2.0
"""The network worker of the daemon: what it costs when it dies, that it goes when there is nothing to do, what it can see,
who links what, and that TLS sessions are resumed."""

import base64
import os
import pathlib
import re
import selectors
import signal
import socket
import subprocess
import threading

import pytest

import harness
import relay
from harness import assert_delivered, wait_for


def proc(pid, name):
    return pathlib.Path(f"/proc/{pid}/{name}")


def is_gone(pid):
    try:
        return proc(pid, "stat").read_text().rsplit(") ", 1)[1][0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def is_sanitized(pid):
    return "asan" in proc(pid, "maps").read_text()


def pss_of(pid):
    lines = (line.split() for line in proc(pid, "smaps_rollup").read_text().splitlines())
    return next(int(words[1]) for words in lines if words[0] == "Pss:")


class Holding:
    """A policy of a relay that lets the server answer the first request to a path, and holds that answer back."""

    def __init__(self, path="/v1/exchange"):
        self.path, self.held, self.go = path, threading.Event(), threading.Event()

    def __call__(self, call):
        if call.path != self.path or self.held.is_set():
            return relay.forward(call)
        answer = call.forward()
        self.held.set()
        assert self.go.wait(harness.PATIENCE_S)
        return call.answer(*answer)


@pytest.fixture
def holding(relayed):
    """(server, relay, handheld, policy) with an exchange under way that the server has answered."""
    server, between, handheld = relayed
    policy = between.policy = Holding()
    handheld.record("under way")
    handheld.start()
    wait_for(policy.held.is_set, "an exchange is under way")
    yield server, between, handheld, policy
    policy.go.set()


# ---- it dies ----


def test_a_worker_that_is_killed_in_the_middle_of_an_exchange_costs_a_retry_and_nothing_else(holding, tmp_path):
    server, between, handheld, policy = holding
    daemon, first = handheld.process.child.pid, handheld.worker()
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: "ended with signal 9" in handheld.process.text(), "the daemon sees it")
    policy.go.set()
    handheld.record(photos=[harness.make_photo(tmp_path / "photo.jpg")])
    handheld.wait_until_drained()
    assert_delivered(server, handheld)
    assert handheld.process.child.pid == daemon and handheld.process.alive()
    assert handheld.worker() not in (None, first)
    failed = [line for line in handheld.process.text().splitlines() if "did not come through" in line]
    assert len(failed) == 1 and "signal 9" in failed[0], failed


def test_a_worker_that_is_killed_in_the_middle_of_a_photo_costs_no_more_than_a_chunk(relayed, tmp_path):
    server, between, handheld = relayed
    killed = []

    def kill_half_way(call):
        if call.method == "PATCH" and call.body_left > 20000 and not killed:
            call.read_some_of_body(call.body_left // 2)
            killed.append(call)
            os.kill(handheld.worker(), signal.SIGKILL)
            call.wait_until_client_leaves()
        relay.forward(call)

    between.policy = kill_half_way
    photo = harness.make_photo(tmp_path / "photo.jpg", 9, 1280, 960)
    handheld.record(photos=[photo])
    handheld.start()
    handheld.wait_until_drained()
    assert killed, "no chunk was large enough"
    [cut] = killed
    later = [int(call.header("upload-offset")) for call in between.calls
             if call.method == "PATCH" and call.path == cut.path and call.at > cut.at]
    assert later and min(later) >= int(cut.header("upload-offset"))
    assert_delivered(server, handheld)
    assert handheld.process.alive()


def test_a_worker_that_hangs_is_replaced_and_the_daemon_delivers(relayed, make_real_handheld):
    server, between, _ = relayed
    handheld = make_real_handheld(server, name="hanging", config=harness.QUICK.replace("20s", "1s"))
    policy = between.policy = Holding()
    handheld.record()
    handheld.start()
    wait_for(policy.held.is_set, "an exchange is under way")
    first = handheld.worker()
    os.kill(first, signal.SIGSTOP)
    policy.go.set()
    handheld.wait_until_drained()
    assert is_gone(first)
    assert_delivered(server, handheld)


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_killing_the_daemon_ends_the_worker(holding, state):
    _, _, handheld, _ = holding
    worker = handheld.worker()
    if state == "stopped":  # so that it cannot see the end of its socket
        os.kill(worker, signal.SIGSTOP)
    handheld.kill()
    wait_for(lambda: is_gone(worker), "it is gone")


def test_the_end_of_the_daemon_ends_the_worker(holding):
    _, _, handheld, _ = holding
    worker = handheld.worker()
    assert handheld.stop() == 0
    assert is_gone(worker)


# ---- nothing to do ----


def test_the_worker_ends_when_there_is_nothing_to_do_and_comes_back(server, make_real_handheld):
    handheld = make_real_handheld(server)
    handheld.start()
    assert handheld.worker() is None, "nothing is to be sent"
    ids = handheld.record_many(500)
    handheld.wait_until_drained()
    first = wait_for(handheld.worker, "there is one")
    wait_for(lambda: handheld.worker() is None, "it ends", harness.PATIENCE_S + 70)  # it stays for a minute
    assert is_gone(first)
    daemon = handheld.process.child.pid
    if not is_sanitized(daemon):
        assert pss_of(daemon) <= 6 * 1024
    ids.append(handheld.record("later"))
    handheld.wait_until_drained()
    assert handheld.worker() not in (None, first)
    assert_delivered(server, handheld, ids)
    assert "did not come through" not in handheld.process.text()


# ---- what it can see ----


def memory_holds(pid, wanted):
    """Whether these bytes are anywhere in the memory of a process that it can write to."""
    with open(proc(pid, "mem"), "rb") as memory:
        for line in proc(pid, "maps").read_text().splitlines():
            span, rights = line.split()[:2]
            if not rights.startswith("rw"):
                continue
            begin, end = (int(word, 16) for word in span.split("-"))
            memory.seek(begin)
            try:
                if wanted in memory.read(end - begin):
                    return True
            except OSError:  # [vvar] and the like
                pass
    return False


def test_the_worker_holds_no_key_and_no_database(holding):
    _, _, handheld, _ = holding
    if os.geteuid() != 0:
        pytest.skip("only root can look into these processes")
    worker, daemon = handheld.worker(), handheld.process.child.pid
    data = str(handheld.data)
    opened = {int(entry.name): os.readlink(entry) for entry in proc(worker, "fd").iterdir()}
    assert opened[0].startswith("socket:") and opened[1] == "/dev/null"
    assert all(name.startswith(("socket:", "anon_inode:", "pipe:")) for number, name in opened.items() if number > 2), opened
    assert any(os.readlink(entry).startswith(data) for entry in proc(daemon, "fd").iterdir()), "the daemon's would be found"
    environment = proc(worker, "environ").read_bytes().rstrip(b"\0").split(b"\0")
    assert [line for line in environment if not line.startswith((b"ASAN_OPTIONS=", b"UBSAN_OPTIONS="))] == [b"LC_ALL=C"]
    assert len(environment) == 1 or is_sanitized(worker)
    assert proc(worker, "cmdline").read_bytes() == b"patrol-transport\0"
    maps = proc(worker, "maps").read_text()
    assert data not in maps and "libsqlite3" not in maps and "libsodium" not in maps
    assert data in proc(daemon, "maps").read_text()

    seed = bytes.fromhex((handheld.data / "device.key").read_text().split()[1])
    assert len(seed) == 32 and memory_holds(daemon, seed), "the search finds it where it is"
    for secret in (seed, seed.hex().encode()):
        assert not memory_holds(worker, secret)

    status = dict(line.split(":\t", 1) for line in proc(worker, "status").read_text().splitlines() if ":\t" in line)
    assert status["NoNewPrivs"] == "1"
    if not is_sanitized(worker):
        assert status["Seccomp"] == "2"


@pytest.mark.parametrize("program, links", [("patrol-transport", True), ("patrol-syncd", False), ("patrol", False)])
def test_only_the_worker_links_libcurl_and_openssl(program, links):
    told = subprocess.run(["ldd", harness.program(program)], check=True, text=True, stdout=subprocess.PIPE).stdout
    assert "libc.so" in told
    for library in ("libcurl", "libssl", "libcrypto"):
        assert (library in told) == links, told


def test_a_server_is_found_by_its_name(server, make_real_handheld):
    handheld = make_real_handheld(server)
    handheld.run("server-url", server.url.replace("127.0.0.1", "localhost"))
    ids = [handheld.record()]
    handheld.start()
    handheld.wait_until_drained()
    assert_delivered(server, handheld, ids)


# ---- TLS sessions ----


class Pump:
    """A relay of bytes on loopback that counts what comes down each connection, and cuts them when it is told to."""

    def __init__(self, target):
        self.target, self.down, self.pairs = target, [], []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            pair = (client, socket.create_connection(("127.0.0.1", self.target)))
            self.pairs.append(pair)
            self.down.append(0)
            threading.Thread(target=self.serve, args=(pair, len(self.down) - 1), daemon=True).start()

    def serve(self, pair, number):
        client, server = pair
        chooser = selectors.DefaultSelector()
        chooser.register(client, selectors.EVENT_READ, server)
        chooser.register(server, selectors.EVENT_READ, client)
        try:
            while True:
                for key, _ in chooser.select():
                    data = key.fileobj.recv(65536)
                    if not data:
                        return
                    if key.fileobj is server:
                        self.down[number] += len(data)
                    key.data.sendall(data)
        except OSError:
            pass
        finally:
            self.close_pair(pair)

    def close_pair(self, pair):
        for end in pair:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        for pair in self.pairs:
            self.close_pair(pair)

    def close(self):
        self.close_pair((self.listener,))
        self.listener.close()
        self.cut()


def size_of(certificates):
    """Of a chain, as it is sent."""
    return sum(len(base64.b64decode(part.split("-----")[-1])) for part in certificates.chain.read_text().split("-----END")[:-1])


def test_a_second_connection_of_the_same_worker_resumes_the_session(server, make_real_handheld):
    handheld = make_real_handheld(server)
    between = Pump(server.port)
    try:
        handheld.run("server-url", between.url)
        handheld.start()
        for number in range(3):
            handheld.record(f"number {number}")
            handheld.wait_until_drained()
            worker = handheld.worker()
            between.cut()  # a kept connection of the worker ends, as on a link that flaps
        assert handheld.worker() == worker
        first, *others = between.down
        assert len(others) == 2, between.down
        certificates = size_of(server.certificates)
        assert certificates > 500
        for other in others:
            assert other < first - certificates, (between.down, certificates)
        assert_delivered(server, handheld)
    finally:
        between.close()


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_the_server_resumes_sessions_by_tickets_and_not_after_a_restart(server, tmp_path, version):
    session = tmp_path / "session.pem"

    def connect(*arguments):
        told = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-CAfile", server.certificates.ca,
                               version, *map(str, arguments)], input=b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=harness.PATIENCE_S).stdout
        assert b"HTTP/1.1 200" in told, told
        return re.search(rb"^(New|Reused), TLSv1", told, re.MULTILINE).group(1)

    assert connect("-ign_eof", "-sess_out", session) == b"New"
    assert connect("-ign_eof", "-sess_in", session) == b"Reused"
    server.stop()
    server.start()
    assert connect("-ign_eof", "-sess_in", session) == b"New"
