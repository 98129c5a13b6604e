# SPDX-License-Identifier: Apache-2.0
"""The centre under load: who is kept out, whose turn comes all the same, and what it costs."""

import re
import socket
import subprocess

import pytest

import harness
from harness import wait_for

EXCHANGE_BYTES_MAX = 256 * 1024  # of a body that is worth sending; the envelope's limit is a little higher


def resident_bytes(server):
    return int(re.search(r"^VmRSS:\s+(\d+) kB$", open(f"/proc/{server.process.child.pid}/status").read(), re.M)[1]) * 1024


def counted(server, name):
    """A counter of /metrics; 0 when it does not stand there."""
    text = server.request("GET", "/metrics").content.decode()
    found = re.search(rf"^{re.escape(name)} ([0-9.e+]+)$", text, re.M)
    return float(found[1]) if found else 0


def refused(server, reason):
    return counted(server, f'gridpatrol_http_refused_total{{reason="{reason}"}}')


def head(device, length, more=""):
    return (f"POST /v1/exchange HTTP/1.1\r\nHost: x\r\npatrol-device: {device}\r\n"
            f"Content-Length: {length}\r\n{more}\r\n").encode()


def answer_to_head(server, device, length=100000):
    """What is answered to the head alone: the body is not sent, as nobody asks for it."""
    with server.socket() as connection:
        connection.sendall(head(device, length, "Expect: 100-continue\r\n"))
        return connection.recv(4096).decode()


# ---- rates ----


@pytest.fixture
def strict(make_server):
    """What is charged wears off slowly, one request in twelve seconds, so that a slow machine sees the same."""
    return make_server(config="[serve]\ndevice_requests_per_minute = 5\nunproven_requests_per_minute = 5\n")


def until_told_to_wait(send):
    """The statuses of what `send` sends, up to the first 429."""
    statuses = []
    while not statuses or statuses[-1] != 429:
        assert len(statuses) < 40, f"nobody is kept out: {statuses}"
        statuses.append(send(len(statuses)))
    return statuses


def test_device_over_its_rate_is_told_to_wait_before_its_body_is_read_and_others_go_on(strict, make_handheld):
    eager, other = make_handheld(strict), make_handheld(strict, 2)
    body = eager.tool("exchange", "--first", 0, "--count", 2)
    statuses = until_told_to_wait(
        lambda _: strict.request("POST", "/v1/exchange", body, {"patrol-device": eager.device}).status)
    assert statuses.count(200) >= 5 and set(statuses) == {200, 429}
    text = answer_to_head(strict, eager.device)
    assert text.startswith("HTTP/1.1 429 ")
    assert 1 <= int(re.search(r"\r\nRetry-After: (\d+)\r\n", text)[1]) <= 60
    assert other.exchange(0, 10)[1]["size"] == 10
    assert answer_to_head(strict, other.device).startswith("HTTP/1.1 100 ")
    assert refused(strict, "device_rate") == statuses.count(429) + 1


def test_device_over_its_rate_in_bytes_is_told_to_wait(make_server, make_handheld):
    server = make_server(config="[serve]\ndevice_bytes_per_minute = 16KiB\n")
    handheld = make_handheld(server)
    assert handheld.exchange(0, 2000)[0] == 200  # what brings it over is taken
    assert handheld.exchange(2000, 1)[0] == 429


def test_forger_locks_out_nobody_whose_name_he_gives(strict, make_handheld):
    victim, forger = make_handheld(strict), make_handheld(strict, 2)
    assert victim.exchange(0, 1)[0] == 200
    # In the victim's name within and without; and in its name without only.
    bodies = [one.tool("exchange", "--first", 0, "--count", 2, "--wrong-signature") for one in (victim, forger)]
    for index in range(80):
        headers = {"patrol-device": victim.device}
        assert strict.request("POST", "/v1/exchange", bodies[index % 2], headers).status in (400, 401, 429)
    # The address is over its rate by now, but the victim was seen there.
    assert victim.exchange(1, 9)[1]["size"] == 10


def test_flood_of_unknown_devices_is_kept_out_and_those_at_home_there_go_on(strict, make_handheld):
    known = make_handheld(strict)
    stranger = make_handheld(strict, 5, enrol=False)
    assert known.exchange(0, 1)[0] == 200
    body = stranger.tool("exchange", "--first", 0, "--count", 2)
    statuses = until_told_to_wait(
        lambda _: strict.request("POST", "/v1/exchange", body, {"patrol-device": stranger.device}).status)
    assert statuses[0] == 401
    assert answer_to_head(strict, stranger.device, 5000).startswith("HTTP/1.1 429 ")
    assert known.exchange(1, 9)[1]["size"] == 10
    assert strict.request("GET", "/healthz").status == 200
    assert refused(strict, "address_rate") > 0


def test_uploads_count_for_the_device_of_their_token(strict, make_handheld):
    handheld = make_handheld(strict)
    token = handheld.exchange(0, 1)[1]["token"]
    headers = {"Tus-Resumable": "1.0.0", "Authorization": f"Bearer {token}"}
    path = "/v1/blobs/" + "0" * 64
    statuses = until_told_to_wait(lambda _: strict.request("HEAD", path, headers=headers).status)
    assert statuses[0] == 404
    assert handheld.exchange(1, 1)[0] == 429
    # A token that nobody was given charges nobody but the address.
    other = make_handheld(strict, 2)
    until_told_to_wait(
        lambda _: strict.request("HEAD", path, headers={**headers, "Authorization": "Bearer " + "x" * 86}).status)
    assert other.exchange(0, 1)[0] == 200


def test_what_the_centre_itself_cannot_read_is_charged_to_nobody(strict, make_handheld):
    token = make_handheld(strict).exchange(0, 1)[1]["token"]
    headers = {"Tus-Resumable": "1.0.0", "Authorization": f"Bearer {token}"}
    (strict.data / "revocations").mkdir()
    for _ in range(20):
        assert strict.request("HEAD", "/v1/blobs/" + "0" * 64, headers=headers).status == 503


# ---- slow senders ----


def test_two_hundred_slow_senders_take_bounded_memory_and_keep_out_nobody(make_server, make_handheld):
    # No deadline helps: what hangs up in its body must be noticed.
    server = make_server(config="[serve]\nmemory_max = 256MiB\nstall_timeout = 10min\nbody_grace = 10min\n", tls=False)
    slow, good = make_handheld(server), make_handheld(server, 2)
    good.exchange(0, 1)
    before = resident_bytes(server)
    sockets = [socket.create_connection(("127.0.0.1", server.port), timeout=harness.PATIENCE_S) for _ in range(200)]
    piece, sent, peak, size = b"x" * 4096, 0, before, 1
    try:
        for one in sockets:
            one.sendall(head(slow.device, EXCHANGE_BYTES_MAX))
        wait_for(lambda: counted(server, "gridpatrol_http_requests_in_flight") == 201, "all are in flight")
        while sent + len(piece) < EXCHANGE_BYTES_MAX:
            for one in sockets:
                one.sendall(piece)
            sent += len(piece)
            if sent % (8 * len(piece)) == 0:  # and again and again in the meantime
                assert good.exchange(size, 100)[1]["size"] == size + 100
                size += 100
            peak = max(peak, resident_bytes(server))
        # All but the last piece of each is there, and none of it was carried out.
        assert counted(server, "gridpatrol_http_requests_in_flight") == 201
        assert good.exchange(size, 100)[1]["size"] == size + 100
        announced = len(sockets) * EXCHANGE_BYTES_MAX
        print(f"# 200 senders of {EXCHANGE_BYTES_MAX} bytes: resident {before >> 20} MiB, at most {peak >> 20} MiB")
        # What they announce, what a growing buffer has beside it for a moment, and libmicrohttpd's 32 KiB each.
        assert peak - before < 2 * announced + len(sockets) * 64 * 1024
    finally:
        for one in sockets:
            one.close()
    wait_for(lambda: counted(server, "gridpatrol_http_requests_in_flight") == 1, "they are gone")


@pytest.mark.parametrize("length, more", [
    (EXCHANGE_BYTES_MAX, ""),
    (1, "Transfer-Encoding: chunked\r\n"),  # beside which a length says nothing
])
def test_senders_that_are_too_many_for_the_memory_are_told_so_at_once(make_server, make_handheld, length, more):
    server = make_server(config="[serve]\nmemory_max = 8MiB\n", tls=False)
    slow, good = make_handheld(server), make_handheld(server, 2)
    sockets = [socket.create_connection(("127.0.0.1", server.port), timeout=harness.PATIENCE_S) for _ in range(60)]
    try:
        for one in sockets:
            one.sendall(head(slow.device, length, more))
        wait_for(lambda: counted(server, "gridpatrol_http_requests_in_flight") == 61, "all are in flight")
        answers = [answer_to_head(server, slow.device, EXCHANGE_BYTES_MAX) for _ in range(5)]
        assert all(text.startswith("HTTP/1.1 503 ") and "\r\nRetry-After: " in text for text in answers)
        assert refused(server, "busy") == 5
    finally:
        for one in sockets:
            one.close()
    assert wait_for(lambda: good.exchange(0, 10)[0] == 200, "the memory is free again")


# ---- quotas, a full disk ----


def test_handheld_over_its_quota_waits_loses_nothing_and_goes_on_when_it_may(make_server, make_real_handheld):
    server = make_server(config="[quota]\nrecords_per_day = 5\n")
    handheld = make_real_handheld(server, start=True)
    handheld.record_many(20)
    handheld.wait_until_drained()  # the batch that brings it over is taken whole
    late = handheld.record("one more")
    wait_for(lambda: "over its quota" in (handheld.status()["reason"] or ""), "the handheld says why it waits")
    assert late not in [finding["id"] for finding in server.findings()]
    (device,) = server.devices()
    assert (device["over_quota"], device["photos_over_quota"], device["alarms"]) == (True, False, 1)
    assert ", over its quota of the day\n" in server.run("devices").stdout
    refusals = refused(server, "refused_over_quota")
    assert 1 <= refusals <= 2
    server.stop()
    server.config.write_text("[quota]\nrecords_per_day = 100\n")
    server.start()
    assert (server.devices()[0]["over_quota"], server.devices()[0]["alarms"]) == (False, 0)
    handheld.run("sync")
    handheld.wait_until_drained()
    harness.assert_delivered(server, handheld)


def test_photos_over_their_quota_wait_and_text_gets_through(make_server, make_real_handheld, tmp_path):
    photo = harness.make_photo(tmp_path / "1.jpg", 1)
    server = make_server(config=f"[quota]\nphoto_bytes = {photo.stat().st_size}\n")  # its preview goes first
    handheld = make_real_handheld(server, start=True)
    handheld.record("first", photos=[photo])
    handheld.wait_until_drained()
    handheld.record("second", photos=[harness.make_photo(tmp_path / "2.jpg", 2)])
    wait_for(lambda: handheld.status()["records_queued"] == 0, "text gets through")
    wait_for(lambda: "quota of photos" in (handheld.status()["reason"] or ""), "the handheld says why photos wait")
    handheld.record("third")
    wait_for(lambda: handheld.status()["records_queued"] == 0, "and again")
    assert handheld.status()["photos_pending"] > 0
    assert server.devices()[0]["photos_over_quota"]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 8 MiB where the server's data will be."""
    data = tmp_path / "server" / "centre"
    data.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "none", data], stderr=subprocess.PIPE,
                             check=False)
    if mounted.returncode != 0:
        pytest.skip(f"mounting is not allowed here: {mounted.stderr.decode().strip()}")
    yield data
    subprocess.run(["umount", "-l", data], check=True)


def fill(disk):
    """The file that takes all of its room."""
    filler = disk / "filler"
    with open(filler, "wb", buffering=0) as file, pytest.raises(OSError):
        while True:
            file.write(b"x" * 65536)
    return filler


def test_full_disk_at_the_centre_is_called_so_at_the_handheld(small_disk, make_server, make_real_handheld):
    server = make_server()
    handheld = make_real_handheld(server, start=True)
    handheld.record("while there is room")
    handheld.wait_until_drained()
    filler = fill(small_disk)
    ids = handheld.record_many(200)
    wait_for(lambda: "disk is full" in (handheld.status()["reason"] or ""), "the handheld says what is wrong")
    assert handheld.status()["records_queued"] == len(ids)
    filler.unlink()
    handheld.run("sync")
    handheld.wait_until_drained()
    harness.assert_delivered(server, handheld)


def test_what_the_centre_fails_in_counts_for_nobodys_rate(small_disk, make_server, make_handheld):
    server = make_server(config="[serve]\nunproven_requests_per_minute = 5\n")
    handheld = make_handheld(server, enrol=False)
    token = server.token()
    filler = fill(small_disk)
    assert {handheld.enrol(token)[0] for _ in range(20)} == {503}
    filler.unlink()
    assert handheld.enrol(token)[0] == 200
