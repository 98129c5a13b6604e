# SPDX-License-Identifier: Apache-2.0
"""From the handheld to the centre with the real programs, through networks that fail, lie and lose answers."""

import collections
import concurrent.futures
import pathlib
import socket
import subprocess
import threading
import time

import pytest

import harness
import relay
from harness import assert_delivered, wait_for

PATIENT = harness.QUICK.replace("backoff-max = 1s", "backoff-max = 1h").replace("backoff-min = 100ms", "backoff-min = 1h")


def make_photos(directory, count, width=320):
    return [harness.make_photo(directory / f"{seed}.jpg", seed, width, width * 3 // 4) for seed in range(count)]


def failed_attempts(handheld):
    return handheld.call("Status")["failures"]


# ---- starting, stopping, moving ----


def test_daemon_started_offline_delivers_when_the_server_appears(server, make_real_handheld, tmp_path):
    handheld = make_real_handheld(server)
    server.stop()
    handheld.start()
    ids = [handheld.record(photos=make_photos(tmp_path, 1)), *handheld.record_many(20)]
    wait_for(lambda: failed_attempts(handheld) >= 2, "it tries and fails")
    assert handheld.status()["records_sent"] == 0
    first = handheld.process.child.pid
    server.start()
    handheld.wait_until_drained()
    assert handheld.process.alive() and handheld.process.child.pid == first
    assert_delivered(server, handheld, ids)


def test_daemon_started_before_enrolment_delivers_after_it_without_restart(server, make_real_handheld):
    handheld = make_real_handheld().start()
    ids = handheld.record_many(3)
    assert handheld.status()["records_queued"] == 3
    handheld.run("sync", "--wait", "5", status=5)
    handheld.enroll(server)
    handheld.wait_until_drained()
    assert_delivered(server, handheld, ids)


def test_moved_server_gets_the_backlog(server, make_real_handheld):
    handheld = make_real_handheld(server, start=True)
    ids = handheld.record_many(5)
    handheld.wait_until_drained()
    server.stop()
    ids += handheld.record_many(5)
    wait_for(lambda: failed_attempts(handheld) >= 1, "the old address fails")
    server.port = harness.free_port()
    server.start()
    handheld.run("server-url", server.url)
    handheld.wait_until_drained()
    assert_delivered(server, handheld, ids)


def black_hole():
    """A port on loopback whose backlog is full: SYNs get no answer."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    fillers = []
    for _ in range(8):
        filler = socket.socket()
        filler.setblocking(False)
        try:
            filler.connect(listener.getsockname())
        except BlockingIOError:
            pass
        fillers.append(filler)
    return listener, fillers


def test_connect_into_a_black_hole_delays_neither_control_socket_nor_sigterm(server, make_real_handheld):
    handheld = make_real_handheld(server)
    listener, fillers = black_hole()
    handheld.run("server-url", f"https://127.0.0.1:{listener.getsockname()[1]}")
    ids = [handheld.record()]
    handheld.start()
    wait_for(lambda: "SYN-SENT" in connections_of(handheld), "a connect hangs")
    for _ in range(5):
        asked = time.monotonic()
        assert handheld.call("Status", timeout=1)["records_queued"] == 1
        assert time.monotonic() - asked < 1
    assert "SYN-SENT" in connections_of(handheld)
    told = time.monotonic()
    assert handheld.stop() == 0
    assert time.monotonic() - told < 5
    for one in (listener, *fillers):
        one.close()
    handheld.run("server-url", server.url)
    handheld.start()
    handheld.wait_until_drained()
    assert_delivered(server, handheld, ids)


@pytest.fixture
def hung_resolver(tmp_path):
    """(socket, prefix): a name server that hears every question and answers none, and how a program is made to ask it."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.settimeout(harness.PATIENCE_S)
    probe = subprocess.run(["unshare", "--mount", "true"], stderr=subprocess.PIPE, text=True)
    try:
        if probe.returncode:
            pytest.skip(f"no mount namespaces here: {probe.stderr.strip()}")
        listener.bind(("127.0.0.77", 53))
    except OSError as error:
        pytest.skip(f"no name server can be made here: {error}")
    settings = tmp_path / "resolv.conf"
    settings.write_text("nameserver 127.0.0.77\noptions timeout:30 attempts:5\n")
    yield listener, ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"', settings]
    listener.close()


def test_resolver_that_never_answers_delays_neither_control_socket_nor_sigterm(server, make_real_handheld, hung_resolver):
    resolver, prefix = hung_resolver
    handheld = make_real_handheld(server)
    handheld.run("server-url", f"https://centre.example:{server.port}")
    handheld.machine = harness.Machine()
    handheld.machine.prefix = prefix
    ids = [handheld.record()]
    handheld.start()
    assert b"centre" in resolver.recv(512), "it has asked"
    for _ in range(5):
        asked = time.monotonic()
        assert handheld.call("Status", timeout=1)["records_queued"] == 1
        assert time.monotonic() - asked < 1
    told = time.monotonic()
    assert handheld.stop() == 0
    assert time.monotonic() - told < 5
    handheld.machine = harness.HERE
    handheld.run("server-url", server.url)
    handheld.start()
    handheld.wait_until_drained()
    assert_delivered(server, handheld, ids)


def connections_of(handheld):
    """States of the TCP connections of the daemon's network worker, from /proc."""
    pid = handheld.worker()
    if not pid:
        return []
    names = {"01": "ESTABLISHED", "02": "SYN-SENT"}
    inodes = set()
    for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    lines = (line.split() for line in pathlib.Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:])
    return [names.get(words[3], words[3]) for words in lines if words[9] in inodes]


# ---- answers lost, late, cut, doubled ----


def test_every_answer_dropped_once_stores_each_record_once(relayed, tmp_path):
    server, between, handheld = relayed
    seen = collections.Counter()
    lost = []

    def drop_every_second(call):
        answer = call.forward()
        with between.lock:
            seen[call.method, call.path] += 1
            drop = seen[call.method, call.path] % 2 == 1
        if drop:
            lost.append(call.path)
            call.reset()
        call.answer(*answer)

    between.policy = drop_every_second
    handheld.start()
    ids = [handheld.record(photos=make_photos(tmp_path, 3)), *handheld.record_many(300)]
    handheld.wait_until_drained()
    assert len(lost) >= 5 and "/v1/exchange" in lost
    assert_delivered(server, handheld, ids)
    server.run("check", "--media")


def test_answer_after_the_deadline_makes_no_duplicate_and_no_loop(relayed, make_real_handheld):
    server, between, _ = relayed
    handheld = make_real_handheld(server, "impatient", harness.QUICK.replace("20s", "1s"))
    late = []

    def too_late_twice(call):
        answer = call.forward()
        if call.path == "/v1/exchange" and len(late) < 2:
            late.append(answer)
            call.wait_until_client_leaves()
        call.answer(*answer)

    between.policy = too_late_twice
    ids = handheld.record_many(50)
    handheld.start()
    handheld.wait_until_drained()
    assert len(late) == 2
    assert_delivered(server, handheld, ids)
    handheld.run("sync", "--wait", "20")
    assert between.count() <= 8, "it asks again and again"


def test_answer_cut_anywhere_keeps_the_payload(relayed):
    server, between, handheld = relayed
    handheld.syncd_config.write_text(PATIENT)
    cuts = []

    def cut(call):
        head, body = call.forward()
        whole = head + body
        number = len(cuts)
        if number % 2 == 0:  # the connection ends in the middle
            length = min(number * 41, len(whole) - 1)
            cuts.append(length)
            call.answer(whole[:length])
            raise relay.Closed
        # a proxy makes a whole answer of it
        length = min(number * 23, len(body) - 1)
        cuts.append(length)
        call.answer_text("200 OK", body[:length])

    def state():
        status = handheld.call("Status")
        return status["records_sent"], status["records_queued"], status["wait"]

    between.policy = cut
    ids = [handheld.record()]
    handheld.start()
    for number in range(40):
        wait_for(lambda: len(cuts) > number and failed_attempts(handheld) > number, "the cut answer is seen")
        assert state()[:2] == (0, 1)
        if number == 39:
            between.policy = relay.forward
        handheld.call("Sync")
    handheld.wait_until_drained()
    assert len(set(cuts)) > 25
    assert_delivered(server, handheld, ids)


def test_every_request_posted_five_times_in_parallel_stores_each_record_once(relayed, tmp_path):
    server, between, handheld = relayed
    answers = []

    def five_times(call):
        call.body()
        with concurrent.futures.ThreadPoolExecutor(5) as pool:
            all_five = [future.result() for future in [pool.submit(call.forward) for _ in range(5)]]
        if call.path == "/v1/exchange":
            answers.append(all_five)
        call.answer(*all_five[call.number_on_connection % 5])

    between.policy = five_times
    handheld.start()
    ids = [handheld.record(photos=make_photos(tmp_path, 1)), *handheld.record_many(50)]
    handheld.wait_until_drained()
    assert_delivered(server, handheld, ids)
    assert answers and all(head.startswith(b"HTTP/1.1 200 ") for five in answers for head, _ in five)
    server.run("check", "--media")


def test_record_added_while_an_exchange_is_under_way_is_sent_without_a_poll(relayed):
    server, between, handheld = relayed
    held, go = threading.Event(), threading.Event()

    def hold_the_first(call):
        answer = call.forward()
        if not held.is_set():
            held.set()
            assert go.wait(harness.PATIENCE_S)
        call.answer(*answer)

    between.policy = hold_the_first
    ids = [handheld.record("before")]
    handheld.start()
    assert held.wait(harness.PATIENCE_S)
    ids.append(handheld.record("meanwhile"))
    go.set()
    handheld.wait_until_drained()  # the slow poll is an hour away
    assert_delivered(server, handheld, ids)


def test_what_a_program_recorded_that_was_killed_before_it_rang_is_sent_without_a_poll(server, make_real_handheld):
    handheld = make_real_handheld(server, start=True)
    with subprocess.Popen([harness.program("append"), handheld.data, "hammer", "1000000"], stdout=subprocess.PIPE,
                          text=True) as never_rings:
        promised = never_rings.stdout.readline().strip()
        never_rings.kill()
    handheld.wait_until_drained()  # the slow poll is an hour away
    assert promised in {item["id"] for item in handheld.list()}
    assert_delivered(server, handheld)


def test_connection_reset_in_the_middle_of_a_body_is_made_good(relayed, tmp_path):
    server, between, handheld = relayed
    resets = []

    def reset_on_reuse(call):
        if call.number_on_connection > 0 and call.body_left > 2000 and len(resets) < 3:
            call.read_some_of_body(1000)
            resets.append(call.path)
            call.reset()
        relay.forward(call)

    between.policy = reset_on_reuse
    handheld.start()
    ids = [handheld.record(photos=make_photos(tmp_path, 4, 1024))]
    handheld.wait_until_drained()
    assert len(resets) == 3
    assert_delivered(server, handheld, ids)


def test_kept_connection_that_breaks_off_in_the_middle_of_a_body_costs_no_wait(relayed):
    server, between, handheld = relayed
    handheld.syncd_config.write_text(PATIENT)
    resets = []

    def reset_on_reuse(call):
        if call.number_on_connection > 0 and not resets:
            call.read_some_of_body(call.body_left // 2)
            resets.append(call.path)
            call.reset()
        relay.forward(call)

    between.policy = reset_on_reuse
    handheld.start()
    ids = [handheld.record("over a new connection")]
    handheld.wait_until_drained()
    ids.append(handheld.record("over the same one " * 50))
    handheld.wait_until_drained()  # the first wait after a failure is an hour
    assert resets
    assert_delivered(server, handheld, ids)


def test_retry_after_of_a_busy_server_is_obeyed(relayed):
    server, between, handheld = relayed
    refused = []

    def busy_once(call):
        if not refused:
            refused.append(call.at)
            call.answer_text("503 Service Unavailable", b"busy", "Retry-After: 3")
            return
        relay.forward(call)

    between.policy = busy_once
    ids = [handheld.record()]
    handheld.start()
    handheld.wait_until_drained()
    waited = min(call.at for call in between.calls if call.at > refused[0]) - refused[0]
    assert 3 <= waited < 8, waited  # as asked, and at most as much again
    assert_delivered(server, handheld, ids)


# ---- others who answer ----


def test_captive_portal_that_says_200_to_everything_acknowledges_nothing(relayed, tmp_path):
    server, between, handheld = relayed
    pages = [("200 OK", b"<html>Welcome! Please log in.</html>"), ("200 OK", b""), ("204 No Content", b""),
             ("302 Found", b"moved"), ("403 Forbidden", b"log in first"), ("200 OK", b"\x0a\x02\x08\x01" * 50)]
    answered = []

    def portal(call):
        status, body = pages[len(answered) % len(pages)]
        answered.append(status)
        call.answer_text(status, body, "Location: http://127.0.0.1:1/login", "Upload-Offset: 999999")

    between.policy = portal
    photo, = make_photos(tmp_path, 1)
    ids = [handheld.record(photos=[photo])]
    handheld.start()
    for _ in range(2 * len(pages)):
        count = len(answered)
        handheld.call("Sync")
        wait_for(lambda: len(answered) > count, "another attempt")
    status = handheld.status()
    assert status["records_sent"] == 0 and status["records_queued"] == 1 and status["photos_pending"] == 2
    assert not handheld.call("Status")["refused"]
    assert server.findings() == []
    handheld.run("sync", "--wait", "1", status=1)
    between.policy = relay.forward  # somebody has logged in
    handheld.run("sync", "--wait", "20")
    assert_delivered(server, handheld, ids)


def test_captive_portal_between_text_and_photos_acknowledges_no_photo(relayed, tmp_path):
    server, between, handheld = relayed
    answered = []

    def portal_for_photos(call):
        if not call.path.startswith("/v1/blobs"):
            relay.forward(call)
        elif call.method == "POST":
            call.answer_text("201 Created", b"", "Location: /v1/blobs/x", "Upload-Offset: 0", "Tus-Resumable: 1.0.0")
        else:  # says that it has whatever it is given
            taken = int(call.header("upload-offset") or 0) + len(call.body())
            answered.append(taken)
            call.answer_text("200 OK" if call.method == "HEAD" else "204 No Content", b"", f"Upload-Offset: {taken}",
                             "Tus-Resumable: 1.0.0")

    between.policy = portal_for_photos
    ids = [handheld.record(photos=make_photos(tmp_path, 2))]
    handheld.start()
    # Every byte is "there", and the centre was asked what it knows of it.
    wait_for(lambda: len(answered) >= 4 and between.count() >= 2, "uploads are tried")
    wait_for(lambda: handheld.call("Status")["exchanges"] >= 2, "the centre has answered")
    assert handheld.status()["photos_pending"] == 4
    assert all(photo["state"] != "stored" for item in handheld.list() for photo in item["photos"])
    handheld.run("sync", "--wait", "1", status=1)
    between.policy = relay.forward
    # It asks a few times before it believes that an upload went nowhere.
    wait_for(lambda: handheld.run("sync", "--wait", "1", status=None).returncode == 0, "all is delivered")
    assert_delivered(server, handheld, ids)


def test_portal_with_a_certificate_of_another_ca_is_not_spoken_to(server, make_real_handheld, make_relay, tmp_path):
    handheld = make_real_handheld(server)
    ids = handheld.record_many(5)
    server.stop()
    other = harness.Certificates(tmp_path / "other", "other")
    context = harness.ssl.SSLContext(harness.ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(other.chain, other.key)
    portal = make_relay(port=server.port, context=context)
    portal.policy = lambda call: call.answer_text("200 OK", b"welcome")
    handheld.start()
    wait_for(lambda: portal.connections >= 3 and failed_attempts(handheld) >= 2, "it tries and fails")
    assert portal.calls == []
    assert handheld.status()["records_sent"] == 0
    portal.close()
    server.start()
    handheld.wait_until_drained()
    assert_delivered(server, handheld, ids)


def test_token_url_that_leads_to_another_ca_or_server_enrols_nothing(server, make_server, make_real_handheld, tmp_path):
    other = make_server("other")
    token = server.token()
    swapped = token.replace(f":{server.port}/", f":{other.port}/")
    handheld = make_real_handheld()
    handheld.run("enroll", swapped, status=5)  # the same CA, but it does not know the token
    alien = harness.Server(tmp_path / "alien", harness.Certificates(tmp_path / "alien-ca", "alien")).start()
    try:
        result = handheld.run("enroll", token.replace(f":{server.port}/", f":{alien.port}/"), status=1)
        assert result.stderr.count("\n") == 1
    finally:
        alien.close()
    assert not (handheld.data / "enrolment.conf").exists()
    handheld.enroll(server, token=token)


# ---- refusals, and records that cannot be applied ----


def test_revoked_handheld_keeps_quiet_and_everything_and_delivers_after_restore(server, make_real_handheld, tmp_path):
    handheld = make_real_handheld(server, start=True)
    ids = handheld.record_many(3)
    handheld.wait_until_drained()
    device = server.devices()[0]["id"]
    server.run("revoke", device)
    before = len(server.requests())
    ids += handheld.record_many(3)
    wait_for(lambda: handheld.call("Status")["refused"], "it is told")
    for _ in range(5):
        ids.append(handheld.record(photos=make_photos(tmp_path, 1)))  # recording goes on
    status = handheld.call("Status")
    assert status["next_attempt_in_ms"] > 20 * 60 * 1000
    assert len(server.requests()) - before <= 2
    told = handheld.run("sync", "--wait", "10", status=5)
    assert told.stderr.count("\n") == 1
    assert "revoked" in handheld.run("resync", "--wait", "10", status=5).stderr
    assert handheld.status()["records_queued"] == 8
    first = handheld.process.child.pid
    server.run("restore", device)
    handheld.run("sync", "--wait", "20")
    assert handheld.process.alive() and handheld.process.child.pid == first
    assert_delivered(server, handheld, ids)


def test_record_of_an_unknown_kind_is_quarantined_and_blocks_nothing(server, make_real_handheld):
    handheld = make_real_handheld(server)
    ids = handheld.record_many(49)
    unknown = b"\xda\x3e\x04abcd"  # protobuf field 1003, four bytes: what a newer version may write
    bad = subprocess.run([harness.program("append"), handheld.data, "raw"], input=unknown, stdout=subprocess.PIPE,
                         check=True).stdout.decode().strip()
    ids += handheld.record_many(50)
    handheld.start()
    wait_for(lambda: handheld.call("Status")["all_acknowledged"], "everything is acknowledged")
    status = handheld.status()
    assert (status["records_queued"], status["records_quarantined"]) == (0, 1)
    held = {item["id"]: item for item in server.findings()}
    assert len(held) == 100 and held[bad]["state"] == "quarantined" and held[bad]["reason"]
    assert all(held[record_id]["state"] == "stored" for record_id in ids)
    told = handheld.run("list", "--state", "quarantined").stderr  # this program cannot read it, and says so
    assert told.count("\n") == 1 and "cannot be read" in told
