# SPDX-License-Identifier: Apache-2.0
"""The daemon itself: its control socket, what it tells its supervisor, enrolment, what it costs, and photo uploads that
go on where they were after a kill."""

import json
import os
import pathlib
import random
import signal
import socket
import stat
import subprocess

import pytest

import harness
import relay
from harness import assert_delivered, wait_for


def talk(connection, data):
    """Sends bytes; everything that comes back until the other side closes or a message ends."""
    connection.sendall(data)
    answer = b""
    while not answer.endswith(b"\0"):
        try:
            piece = connection.recv(65536)
        except ConnectionResetError:
            break
        if not piece:
            break
        answer += piece
    return answer


# ---- control socket ----


@pytest.mark.parametrize("garbage", [
    b"not json\0", b"\0", b"[]\0", b"42\0", b'{"method": 7}\0', b'{"parameters": {}}\0', b'{"method": "Status"\0',
    b'{"method": "Status", "method": "Sync"}\0', b"\xff\xfe\xfd\0", b"{" * 5000 + b"\0", b"x" * 300000,
], ids=range(11))
def test_malformed_message_closes_that_client_only(make_real_handheld, garbage):
    handheld = make_real_handheld(start=True)
    with handheld.control() as bystander, handheld.control() as client:
        bystander.sendall(b'{"method": "Sta')
        try:
            assert talk(client, garbage) == b""
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert b"records_queued" in talk(bystander, b'tus"}\0')
    assert handheld.process.alive() and handheld.answers()


def test_messages_in_pieces_and_together_are_answered_in_order(make_real_handheld):
    handheld = make_real_handheld(start=True)
    with handheld.control() as client:
        message = b'{"method": "Status", "parameters": {}}\0'
        for index in range(len(message)):
            client.sendall(message[index:index + 1])
        assert b"records_queued" in talk(client, b"")
        client.sendall(b'{"method": "Nothing"}\0{"method": "Pause", "parameters": {"paused": true}}\0{"method": "Status"}\0')
        data = b""
        while data.count(b"\0") < 3:
            data += client.recv(65536)
    unknown, paused, status = (json.loads(part) for part in data.split(b"\0")[:3])
    assert "error" in unknown and unknown["parameters"]["message"]
    assert paused == {"parameters": {}}
    assert "records_queued" in status["parameters"]


def test_clients_that_never_read_or_crowd_in_do_not_stop_the_daemon(server, make_real_handheld):
    handheld = make_real_handheld(server, start=True)
    crowd = []
    for _ in range(40):
        try:
            client = handheld.control()
            client.setblocking(False)
            crowd.append(client)
            client.send(b'{"method": "Status"}\0' * 200)
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            pass
    assert len(crowd) > 8
    ids = handheld.record_many(3)
    wait_for(lambda: len(server.findings()) == 3, "it delivers all the same")
    for client in crowd:
        client.close()
    wait_for(handheld.answers, "it answers again")
    handheld.wait_until_drained()
    assert_delivered(server, handheld, ids)


def test_control_socket_is_for_the_owner_and_the_group_alone(make_real_handheld):
    handheld = make_real_handheld(start=True)
    assert stat.S_IMODE((handheld.data / "control.sock").stat().st_mode) == 0o660
    assert stat.S_IMODE((handheld.data / "doorbell.sock").stat().st_mode) == 0o660
    assert handheld.data.stat().st_mode & stat.S_ISGID
    if os.geteuid() != 0:
        pytest.skip("only root can try as somebody else")
    # Even if the file's mode were wrong, a stranger is not spoken to.
    (handheld.data / "control.sock").chmod(0o666)
    descriptor = os.open(handheld.data, os.O_PATH)
    script = ("import os, socket, sys\n"
              "os.chdir(f'/proc/self/fd/{sys.argv[1]}')\n"
              "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
              "client = socket.socket(socket.AF_UNIX); client.connect('control.sock')\n"
              "try:\n    client.sendall(b'{\"method\": \"Status\"}\\0'); print(len(client.recv(100)))\n"
              "except (BrokenPipeError, ConnectionResetError):\n    print(0)\n")
    handheld.data.chmod(0o777)
    told = subprocess.run(["/usr/bin/python3", "-c", script, str(descriptor)], pass_fds=[descriptor], stdout=subprocess.PIPE,
                          text=True, timeout=harness.PATIENCE_S)
    os.close(descriptor)
    assert told.stdout == "0\n"
    assert handheld.answers()


def test_pause_holds_everything_until_sync_or_resume(server, make_real_handheld):
    handheld = make_real_handheld(server, start=True)
    ids = handheld.record_many(2)
    handheld.wait_until_drained()
    handheld.call("Pause", paused=True)
    ids += handheld.record_many(2)
    # The doorbell of the last record has been heard when Status counts it.
    wait_for(lambda: handheld.call("Status")["wait"] == "paused", "it says that it is paused")
    assert handheld.call("Status")["records_queued"] == 2 and len(server.findings()) == 2
    handheld.run("sync", "--wait", "20")
    assert_delivered(server, handheld, ids)
    ids += handheld.record_many(1)
    handheld.call("Pause", paused=False)
    handheld.wait_until_drained()
    assert_delivered(server, handheld, ids)


# ---- its supervisor ----


def test_supervisor_is_told_of_readiness_state_life_and_end(server, make_real_handheld, tmp_path):
    handheld = make_real_handheld(server)
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(address))
        notify.settimeout(harness.PATIENCE_S)
        handheld.more_environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": 400000}
        handheld.start()
        heard = []

        def hear(word):
            while not any(word in line for line in heard):
                heard.extend(notify.recv(4096).decode().splitlines())

        hear("READY=1")
        hear("WATCHDOG=1")
        handheld.record()
        hear("STATUS=")
        handheld.wait_until_drained()
        count = len(heard)
        while sum(line == "WATCHDOG=1" for line in heard[count:]) < 2:  # idle, it is alive still
            heard.extend(notify.recv(4096).decode().splitlines())
        assert handheld.stop() == 0
        hear("STOPPING=1")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_it_and_its_sockets(make_real_handheld, number):
    handheld = make_real_handheld(start=True)
    assert handheld.stop(number) == 0
    assert not (handheld.data / "control.sock").exists()


@pytest.mark.parametrize("line, word", [
    ("backoff-mni = 5s", "backoff-mni"), ("backoff-min = soon", "backoff-min"), ("slow-poll = 1ms", "slow-poll"),
])
def test_wrong_configuration_stops_with_file_and_line(make_real_handheld, line, word):
    handheld = make_real_handheld(config=f"[syncd]\n{line}\n")
    handheld.start(wait=False)
    assert handheld.process.child.wait(timeout=harness.PATIENCE_S) == 2
    told = handheld.process.text()
    assert f"{handheld.syncd_config}:2" in told and word in told and told.count("\n") == 1


def test_daemon_that_has_drained_is_small(server, make_real_handheld, tmp_path):
    handheld = make_real_handheld(server, start=True)
    if "asan" in pathlib.Path(f"/proc/{handheld.process.child.pid}/maps").read_text():
        pytest.skip("a sanitizer build is larger")
    handheld.record_many(2000)
    handheld.record(photos=[harness.make_photo(tmp_path / "photo.jpg", 1, 1600, 1200)])
    handheld.wait_until_drained()
    lines = (line.split() for line in pathlib.Path(f"/proc/{handheld.process.child.pid}/smaps_rollup").read_text().splitlines())
    sizes = {words[0]: int(words[1]) for words in lines if len(words) == 3}
    # After its burst, and without its network worker; the bench measures the idle figure of both.
    assert sizes["Pss:"] <= 8 * 1024, sizes
    assert sizes["Private_Dirty:"] <= 6 * 1024, sizes


# ---- enrolment ----


def test_enrolment_is_idempotent_and_its_files_are_private(server, make_real_handheld):
    handheld = make_real_handheld()
    token = server.token("--name", "handheld 7")
    first = handheld.enroll(server, token=token).stdout
    assert "handheld 7" in first and server.url in first and first.count("\n") == 1
    kept = {name: (handheld.data / name).read_bytes() for name in ("device.key", "enrolment.conf", "ca.pem")}
    assert handheld.enroll(server, token=token).stdout == first
    assert {name: (handheld.data / name).read_bytes() for name in kept} == kept
    assert stat.S_IMODE((handheld.data / "device.key").stat().st_mode) == 0o600
    assert len(server.devices()) == 1


def test_token_is_good_for_one_handheld(server, make_real_handheld):
    token = server.token()
    make_real_handheld(name="a").enroll(server, token=token)
    second = make_real_handheld(name="b")
    told = second.enroll(server, token=token, status=5).stderr
    assert "new token" in told and told.count("\n") == 1
    assert not (second.data / "enrolment.conf").exists()


def test_handheld_of_one_centre_is_not_moved_to_another_by_chance(server, make_server, make_real_handheld):
    other = make_server("other")
    handheld = make_real_handheld(server)
    ids = handheld.record_many(3)
    told = handheld.enroll(other, status=3).stderr
    assert "--replace" in told and told.count("\n") == 1
    handheld.start()
    handheld.wait_until_drained()
    assert_delivered(server, handheld, ids)
    handheld.enroll(other, "--replace")
    later = handheld.record_many(2)
    handheld.wait_until_drained()
    held = {item["id"] for item in other.findings()}
    assert set(later) <= held
    assert {item["id"] for item in server.findings()} == set(ids)


@pytest.mark.parametrize("url", ["nonsense", "https://127.0.0.1:1/enrol", "ftp://127.0.0.1/enrol#token=x",
                                 "http://192.0.2.1/enrol#token=AAAA"])
def test_url_that_is_no_token_url_is_refused(make_real_handheld, url):
    handheld = make_real_handheld()
    told = handheld.run("enroll", url, status=3).stderr
    assert told.count("\n") == 1
    assert not (handheld.data / "enrolment.conf").exists()


def test_centre_that_cannot_be_reached_is_said_so(server, make_real_handheld):
    token = server.token()
    server.stop()
    told = make_real_handheld().run("enroll", token, status=1).stderr
    assert "cannot be reached" in told and told.count("\n") == 1


# ---- photo uploads ----


def large_photo(path):
    """A real JPEG of more than a megabyte: many chunks."""
    harness.make_photo(path, 9, 2560, 1920)
    data = path.read_bytes()
    path.write_bytes(data + random.Random(9).randbytes(max(0, 1_500_000 - len(data))))  # bytes after its end are kept
    return path


def patches(between):
    with between.lock:
        return [call for call in between.calls if call.method == "PATCH"]


@pytest.mark.parametrize("victim", ["patrol-syncd", "patrol-server"])
def test_upload_goes_on_where_it_was_after_a_kill(relayed, tmp_path, victim):
    server, between, handheld = relayed
    killed = []

    def kill_half_way(call):
        offset = int(call.header("upload-offset") or 0)
        if call.method == "PATCH" and offset > 700_000 and not killed:
            killed.append(offset)
            (handheld if victim == "patrol-syncd" else server).kill()
            call.reset()
        relay.forward(call)

    between.policy = kill_half_way
    ids = [handheld.record(photos=[large_photo(tmp_path / "large.jpg")])]
    handheld.start()
    wait_for(lambda: killed, "it is half way")
    wait_for(lambda: not (handheld if victim == "patrol-syncd" else server).process.alive(), "it is dead")
    before = len(patches(between))
    if victim == "patrol-syncd":
        handheld.start()
    else:
        server.start("--public-url", between.url)
    handheld.wait_until_drained()
    assert_delivered(server, handheld, ids)
    later = [int(call.header("upload-offset")) for call in patches(between)[before:]]
    assert later and min(later) == killed[0], (killed, later)  # what the server had promised to have
