# SPDX-License-Identifier: Apache-2.0
"""The server's HTTP surface: every route, wrong input, deadlines, stopping and dying. Handhelds are seeded ones."""

import concurrent.futures
import csv
import json
import re
import signal
import socket
import sqlite3
import time

import pytest

import harness
from harness import wait_for

EXCHANGE_BYTES_MAX = 257 * 1024
ENROLMENT_BYTES_MAX = 4 * 1024


def read_to_end(connection):
    """What comes until the peer closes; a reset counts as the end."""
    data = b""
    try:
        while piece := connection.recv(65536):
            data += piece
    except (ConnectionResetError, BrokenPipeError, OSError):
        pass
    return data


# ---- start, refusals, help ----


def test_plain_http_is_refused_on_any_but_a_loopback_address(make_server):
    server = make_server(tls=False, start=False)
    for address in ("0.0.0.0:0", "[::]:0", "192.0.2.1:8443"):
        result = server.run("serve", "--listen", address, status=2)
        assert "--tls-cert" in result.stderr and result.stderr.count("\n") == 1
    assert not (server.data / "serve.conf").exists()


@pytest.mark.parametrize("arguments, word", [
    (["serve"], "--listen"),
    (["serve", "--listen", "127.0.0.1"], "ADDRESS:PORT"),
    (["serve", "--listen", "127.0.0.1:99999"], "ADDRESS:PORT"),
    (["serve", "--listen", "127.0.0.1:0", "--tls-cert", "/nowhere.pem"], "--tls-key"),
    (["serve", "--listen", "127.0.0.1:0", "--tls-cert", "/nowhere.pem", "--tls-key", "/nowhere.key"], "/nowhere.pem"),
    (["serve", "--listen", "127.0.0.1:0", "--public-url", "ftp://example.org"], "public-url"),
    (["serve", "--listen", "127.0.0.1:0", "extra"], "extra"),
    (["serve", "--geojson"], "--geojson"),
    (["serve", "--liste", "127.0.0.1:0"], "--liste"),
    (["token", "--listen", "127.0.0.1:0"], "--listen"),
    (["nothing"], "nothing"),
    ([], "command"),
    (["findings", "--json", "--csv"], "--csv"),
    (["revoke"], "DEVICE"),
    (["resync"], "--all"),
    (["resync", "--all", "aaaa"], "--all"),
    (["blob"], "HASH"),
    (["key"], "-o"),
])
def test_wrong_usage_is_one_line_with_the_fix_and_status_2(make_server, arguments, word):
    result = make_server(start=False).run(*arguments, status=2)
    assert word in result.stderr and result.stderr.count("\n") == 1 and result.stdout == ""


def test_certificate_that_no_handheld_could_pin_is_refused(make_server, certificates, tmp_path):
    server = make_server(tls=False, start=False)

    def refused(cert, key):
        return server.run("serve", "--listen", "127.0.0.1:0", "--tls-cert", cert, "--tls-key", key, status=2).stderr

    assert "CA" in refused(certificates.leaf, certificates.key)  # the CA is not in the chain
    other = harness.Certificates(tmp_path / "other", "other")
    assert "key" in refused(certificates.chain, other.key)
    backwards = tmp_path / "backwards.pem"
    backwards.write_text(certificates.ca.read_text() + certificates.leaf.read_text())
    assert "issued" in refused(backwards, certificates.key)
    garbage = tmp_path / "garbage.pem"
    garbage.write_bytes(b"\0\xff" * 500)
    assert "PEM" in refused(garbage, certificates.key)
    assert "PEM" in refused(certificates.chain, garbage)


def test_wrong_configuration_stops_with_file_and_line(make_server):
    server = make_server(start=False, config="[serve]\nlisten = 127.0.0.1:0\nthreds = 3\n")
    error = server.run("serve", status=2).stderr
    assert f"{server.config}:3: " in error and "threds" in error
    server.config.write_text("[serve]\nmetrics = everybody\n")
    assert "metrics" in server.run("devices", status=2).stderr


def test_help_and_version_are_printed_for_every_command(make_server):
    server = make_server(start=False)
    overview = server.run("--help").stdout
    assert re.fullmatch(r"patrol-server \d+\.\d+\.\d+\n", server.run("--version").stdout)
    for name in ("serve", "token", "devices", "revoke", "restore", "key", "blob", "check", "resync", "findings"):
        assert f"\n  {name} " in overview
        assert f"usage: patrol-server {name}" in server.run(name, "--help").stdout
    assert "header_timeout" in server.run("serve", "--help").stdout


def test_second_serve_on_the_same_data_is_refused(server):
    again = server.run("serve", "--listen", "127.0.0.1:0", "--tls-cert", server.certificates.chain, "--tls-key",
                       server.certificates.key, status=1)
    assert "another" in again.stderr
    assert server.request("GET", "/healthz").status == 200


def test_free_port_is_told_to_token(server):
    assert server.port != 0
    assert server.token().startswith(f"https://127.0.0.1:{server.port}/enrol#token=")


def test_public_url_goes_into_tokens(make_server):
    server = make_server(start=False).start("--public-url", "https://centre.example/grid/", wait=False)
    wait_for(lambda: (server.data / "serve.conf").exists(), "serve.conf")
    assert server.token().startswith("https://centre.example/grid/enrol#")


def test_token_without_serve_says_what_to_do(make_server):
    server = make_server(start=False)
    server.data.mkdir()
    error = server.run("token", status=1).stderr
    assert "serve.conf" in error and "serve" in error and error.count("\n") == 1


def test_token_waits_for_a_serve_that_is_just_starting(make_server):
    server = make_server(start=False)
    server.start(wait=False)
    assert server.token().startswith(("https://", "http://"))


@pytest.mark.parametrize("arguments, field", [
    (["--valid", "soon"], "valid"), (["--valid", "0s"], "valid"), (["--valid", "900d"], "valid"),
    (["--valid", "1h\nname = x"], "valid"), (["--name", "n" * 200], "name"), (["--inspector", "\udcff"], "inspector"),
])
def test_token_refuses_bad_values_by_name(server, arguments, field):
    error = server.run("token", *arguments, status=3).stderr
    assert error.startswith(f"patrol-server: {field}: ")


# ---- plain routes ----


def test_health_and_metrics(server, make_handheld):
    make_handheld(server).exchange(0, 5)
    assert server.request("GET", "/healthz").content == b"ok\n"
    text = server.request("GET", "/metrics").content.decode()
    assert 'gridpatrol_http_requests_total{method="POST",route="/v1/exchange",status="200"} 1\n' in text
    assert re.search(r"^gridpatrol_records_stored_total 5$", text, re.M)
    names = [line.split(" ")[0] for line in text.splitlines() if not line.startswith("#")]
    assert len(names) == len(set(names))  # no series stands twice
    assert all(re.fullmatch(r"[a-z_]+(\{[^}]*\})? [0-9.e+]+", line) for line in text.splitlines() if line[:1] != "#")


def test_metrics_can_be_switched_off(make_server):
    server = make_server(config="[serve]\nmetrics = off\n")
    assert server.request("GET", "/metrics").status == 404


def test_everything_else_is_a_short_404(server):
    for path in ("/", "/v1", "/v1/exchange/", "/v1/blobs/a/b", "/..%2f..%2fetc/passwd", "/enrol", "/%00", "/" + "a" * 3000):
        response = server.request("GET", path)
        assert (response.status, response.content) == (404, b"not found\n"), path


def test_other_methods_are_405_with_allow(server):
    response = server.request("GET", "/v1/exchange")
    assert (response.status, response.headers["Allow"]) == (405, "POST")
    response = server.request("DELETE", "/v1/blobs/" + "0" * 64)
    assert (response.status, response.headers["Allow"]) == (405, "OPTIONS, HEAD, PATCH, POST")


def test_every_request_has_one_log_line_without_contents(server, make_handheld):
    handheld = make_handheld(server)
    handheld.exchange(0, 5)
    server.request("GET", "/nothing")
    lines = wait_for(lambda: len(server.requests()) == 3 and server.requests(), "three log lines")
    enrol, exchange, nothing = lines
    assert (enrol["route"], enrol["status"], enrol["device"]) == ("/v1/enrol", "200", handheld.device)
    assert (exchange["method"], exchange["outcome"], exchange["records"]) == ("POST", "stored", "5")
    assert int(exchange["bytes_in"]) > 300 and int(exchange["bytes_out"]) > 100 and exchange["tls"].startswith("TLS1.")
    assert (nothing["route"], nothing["status"], nothing["device"]) == ("none", "404", "-")
    assert "record 1 of" not in server.process.text() and "token=" not in server.process.text()


# ---- enrolment ----


def test_enrolment_is_idempotent_and_its_token_is_good_once(server, make_handheld):
    token = server.token("--name", "hand held", "--inspector", "王")
    first, second = make_handheld(server, 1, enrol=False), make_handheld(server, 2, enrol=False)
    status, answer = first.enrol(token)
    assert (status, answer["name"], answer["inspector"]) == (200, "hand held", "王")
    assert answer["ca_pem"] == server.certificates.ca.read_text()
    status, again = first.enrol(token)
    assert (status, again["type"]) == (200, "enrol")
    status, refusal = second.enrol(token)
    assert (status, refusal["type"]) == (409, "refusal") and "used" in refusal["reason"]
    assert [device["id"] for device in server.devices()] == [first.device]


def test_token_that_was_never_made_or_has_expired_is_refused(server, make_handheld):
    handheld = make_handheld(server, enrol=False)
    token = server.token()
    forged = re.sub(r"token=[^&]*", "token=" + "A" * 22, token)
    status, refusal = handheld.enrol(forged)
    assert (status, refusal["type"]) == (403, "refusal") and "unknown" in refusal["reason"]
    assert server.devices() == []


def test_expired_token_is_refused(server, make_handheld):
    handheld, began = make_handheld(server, enrol=False), time.time()
    token = server.token("--valid", "1s")
    wait_for(lambda: time.time() > began + 2.5, "the token's time is over")
    status, refusal = handheld.enrol(token)
    assert (status, refusal["type"]) == (403, "refusal") and "expired" in refusal["reason"]


@pytest.mark.parametrize("body", [b"", b"x", b"\0" * 100, b"\xff" * ENROLMENT_BYTES_MAX])
@pytest.mark.parametrize("path", ["/v1/enrol", "/v1/exchange", "/v1/audit", "/v1/repair"])
def test_bodies_that_are_no_request_are_refused(server, path, body):
    assert 400 <= server.request("POST", path, body).status < 500
    assert server.request("GET", "/healthz").status == 200


# ---- exchange ----


def test_exchange_is_stored_and_acknowledged_with_a_receipt(server, make_handheld):
    handheld = make_handheld(server)
    status, answer = handheld.exchange(0, 10)
    assert (status, answer["outcome"], answer["size"], answer["receipt_size"]) == (200, "stored", 10, 10)
    notes = [finding["note"] for finding in server.findings()]
    assert notes == [f"record {seq} of handheld 1" for seq in range(1, 10)]


@pytest.mark.smoke
def test_five_identical_parallel_posts_are_one_record_each_and_the_same_receipt(server, make_handheld):
    handheld = make_handheld(server)
    body = handheld.tool("exchange", "--first", 0, "--count", 20)
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(lambda _: handheld.server.request("POST", "/v1/exchange", body), range(5)))
    assert {answer.status for answer in answers} == {200}
    said = [handheld.read(body, answer.content) for answer in answers]
    assert {(answer["outcome"], answer["receipt_size"]) for answer in said} == {("stored", 20)}
    assert len(server.findings()) == 19


def test_exchange_ahead_is_held_until_the_one_before_has_come(server, make_handheld):
    handheld = make_handheld(server)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(handheld.exchange, 10, 10)
        wait_for(lambda: re.search(r"^gridpatrol_writer_held 1$", server.request("GET", "/metrics").content.decode(), re.M),
                 "the second exchange is held")
        assert handheld.exchange(0, 10)[1]["size"] == 10
        status, answer = ahead.result(timeout=8)  # less than the ten seconds for which it would be held
    assert (status, answer["outcome"], answer["size"]) == (200, "stored", 20)
    assert len(server.findings()) == 19


def test_exchange_ahead_of_nothing_is_answered_ahead_after_ten_seconds(server, make_handheld):
    handheld = make_handheld(server)
    began = time.monotonic()
    status, answer = handheld.exchange(10, 10)
    assert (status, answer["outcome"], answer["size"]) == (200, "ahead", 0)
    assert 9.5 < time.monotonic() - began < 15


def test_altered_requests_store_nothing(server, make_handheld):
    handheld = make_handheld(server)
    handheld.exchange(0, 5)
    assert handheld.exchange(5, 5, "--wrong-root")[1]["outcome"] == "root_mismatch"
    status, _ = handheld.exchange(5, 5, "--wrong-signature")
    assert 400 <= status < 500
    body = bytearray(handheld.tool("exchange", "--first", 5, "--count", 5))
    for position in range(0, len(body), 37):
        changed = bytes(body[:position]) + bytes([body[position] ^ 0x10]) + bytes(body[position + 1:])
        assert server.request("POST", "/v1/exchange", changed).status != 500
    for length in range(0, len(body), 41):
        assert 400 <= server.request("POST", "/v1/exchange", bytes(body[:length])).status < 500
    assert len(server.findings()) == 4
    assert handheld.exchange(5, 5)[1]["size"] == 10


def test_record_that_cannot_be_applied_is_acknowledged_and_blocks_nothing(server, make_handheld):
    handheld = make_handheld(server)
    _, answer = handheld.exchange(0, 100, "--garbage", 50)
    assert (answer["outcome"], answer["receipt_size"]) == ("stored", 100)
    assert [item["seq"] for item in answer["quarantined"]] == [50] and answer["quarantined"][0]["reason"]
    findings = server.findings()
    assert len([finding for finding in findings if finding["state"] == "stored"]) == 98


def test_clone_of_a_handheld_is_told_of_the_fork(server, make_handheld):
    handheld = make_handheld(server)
    handheld.exchange(0, 10)
    _, answer = handheld.exchange(0, 12, "--variant", 5)
    assert (answer["outcome"], answer["size"]) == ("fork", 10)
    assert [finding["note"] for finding in server.findings()] == [f"record {seq} of handheld 1" for seq in range(1, 10)]
    assert server.devices()[0]["alarms"] == 1


def test_unknown_device_is_refused_and_adopted_with_its_certificate(make_server, make_handheld, tmp_path):
    server = make_server()
    stranger = make_handheld(server, 5, enrol=False)
    status, refusal = stranger.exchange(0, 5)
    assert (status, refusal["type"], refusal["reason"]) == (401, "refusal", "unknown device")
    handheld = make_handheld(server, 6)
    server.stop()
    with sqlite3.connect(next(server.data.glob("*.db"))) as database:  # as an old backup would be: without it
        database.execute("DELETE FROM devices")
    database.close()
    server.start()
    assert handheld.exchange(0, 5)[1]["reason"] == "unknown device"
    handheld.exchange(0, 0, "--certificate", handheld.certificate)
    assert handheld.exchange(0, 5)[1]["outcome"] == "stored"


def test_body_of_unknown_device_is_refused_before_it_is_read(server, make_handheld):
    stranger = make_handheld(server, 5, enrol=False)
    response = server.request("POST", "/v1/exchange", b"x" * 100000, {"patrol-device": stranger.device})
    assert response.status == 413
    assert server.request("POST", "/v1/exchange", b"x", {"patrol-device": "nobody"}).status == 400


def test_body_of_a_sender_that_does_not_say_who_it_is_is_refused_before_it_is_read(server):
    for path in ("/v1/exchange", "/v1/repair", "/v1/audit"):
        assert server.request("POST", path, b"x" * (2 * ENROLMENT_BYTES_MAX + 1)).status == 413, path


def test_revoked_device_is_refused_and_loses_nothing(server, make_handheld):
    handheld = make_handheld(server)
    handheld.exchange(0, 5)
    assert handheld.device in server.run("revoke", handheld.device[:8]).stdout
    status, refusal = handheld.exchange(5, 5)
    assert (status, refusal["type"], refusal["reason"]) == (403, "refusal", "revoked")
    assert server.devices()[0]["revoked"] is True
    server.run("restore", handheld.device)
    assert handheld.exchange(5, 5)[1]["size"] == 10


def test_full_file_of_revocations_is_told_with_what_to_do_and_stays_as_it_is(server, make_handheld):
    handheld = make_handheld(server)
    file = server.data / "revocations"
    server.run("revoke", handheld.device)
    server.run("restore", handheld.device)
    with open(file, "a") as lines:
        lines.write("x" * (64 * 1024 * 1024 - file.stat().st_size))
    told = server.run("revoke", handheld.device, status=3).stderr
    assert "revocations in the data directory is full; take out lines" in told
    assert file.stat().st_size == 64 * 1024 * 1024
    assert handheld.exchange(0, 1)[0] == 200


def test_revoked_device_that_a_restored_centre_does_not_know_is_restored_by_its_whole_id(server):
    device = "6fa12345-0000-4000-8000-000000000001"
    assert "none begins with" in server.run("restore", device, status=3).stderr
    with open(server.data / "revocations", "a", encoding="ascii") as revocations:  # all that is left of it
        revocations.write(f"revoke {device} 2026-11-23T16:33:53Z\n")
    assert server.run("restore", device).stdout == f"restored {device}\n"
    assert "none begins with" in server.run("restore", device, status=3).stderr, "once"


def test_device_is_named_by_the_start_of_its_id_when_that_is_clear(server, make_handheld):
    for seed in range(1, 20):
        make_handheld(server, seed)
    assert server.run("revoke", "zz", status=3).stderr.startswith("patrol-server: device: ")
    assert "begin" in server.run("revoke", "0123456789", status=3).stderr
    first_digits = [device["id"][0] for device in server.devices()]
    shared = next(digit for digit in first_digits if first_digits.count(digit) > 1)  # 19 ids, 16 digits
    assert f"begin with {shared}" in server.run("findings", "--device", shared, status=3).stderr


# ---- audit, repair, and commands of the centre ----


def test_audit_finds_what_is_missing_and_repair_mends_it(server, make_handheld):
    handheld = make_handheld(server)
    handheld.exchange(0, 300)
    server.stop()
    with sqlite3.connect(next(server.data.glob("*.db"))) as database:
        key = database.execute("SELECT key FROM records ORDER BY key LIMIT 1 OFFSET 100").fetchone()[0]
        database.execute("DELETE FROM records WHERE key = ?", (key,))
    database.close()
    server.start()
    assert server.run("check", status=1).stdout
    _, answer = handheld.audit("records")
    assert (answer["type"], answer["size"], answer["missing"]) == ("audit", 300, [[100, 1]])
    _, mended = handheld.repair(100, 1, 300)
    assert (mended["mended"], mended["refused"]) == (1, 0)
    assert handheld.audit("records")[1]["missing"] == []
    assert "0 bad" in server.run("check").stdout


def test_resync_is_asked_for_with_the_next_exchange(server, make_handheld):
    handheld = make_handheld(server)
    assert "asked 1 handheld" in server.run("resync", "--all", "--level", "media").stdout
    assert handheld.exchange(0, 5)[1]["commands"] == ["media"]
    server.run("resync", handheld.device, "--level", "everything", status=3)


def test_some_handhelds_are_asked_for_a_resync_or_none_when_one_is_not_known(server, make_handheld):
    handhelds = [make_handheld(server, seed) for seed in (1, 2, 3)]
    assert "begins with" in server.run("resync", handhelds[0].device, "ffffffffffff", status=3).stderr
    assert all(device["asked_resyncs"] == [] for device in server.devices())
    assert "asked 2 handhelds" in server.run("resync", handhelds[0].device, handhelds[2].device, "--level", "presence").stdout
    states = {device["id"]: [asked["state"] for asked in device["asked_resyncs"]] for device in server.devices()}
    assert states == {handhelds[0].device: ["asked"], handhelds[1].device: [], handhelds[2].device: ["asked"]}
    assert server.run("devices").stdout.count(": not delivered yet") == 2
    assert handhelds[0].exchange(0, 5)[1]["commands"] == ["presence"]
    assert handhelds[1].exchange(0, 5)[1]["commands"] == []


def test_resync_that_was_asked_for_is_followed_until_its_end(server, make_real_handheld):
    handheld = make_real_handheld(server, start=True)
    make_real_handheld(server, "away")
    handheld.record_many(20)
    handheld.wait_until_drained()
    server.run("resync", "--all")
    handheld.run("sync")

    def asked():
        """Of the handheld that is there, and of the one that is away."""
        here, not_here = sorted(server.devices(), key=lambda device: device["records"] == 0)
        return here["asked_resyncs"][0], not_here["asked_resyncs"][0]

    wait_for(lambda: asked()[0]["state"] == "finished", "the resync has ended")
    here, away = asked()
    assert here["complete"] and here["level"] == "records" and here["records_checked"] >= 20 and here["records_missing"] == 0
    assert here["asked_at"] <= here["delivered_at"] <= here["finished_at"] and here["problem"] is None
    assert away["state"] == "asked" and away["delivered_at"] is None
    told = server.run("devices").stdout
    assert "nothing is in neither place" in told and ": not delivered yet" in told
    handheld.run("sync", "--wait", "30")
    assert asked()[0]["finished_at"] == here["finished_at"]


def test_findings_in_every_form(server, make_handheld):
    handheld = make_handheld(server)
    handheld.exchange(0, 4)
    geojson = json.loads(server.run("findings", "--geojson").stdout)
    assert geojson["type"] == "FeatureCollection" and len(geojson["features"]) == 3
    assert geojson["features"][0]["geometry"] == {"type": "Point", "coordinates": [116.3, 39.9000001]}
    rows = list(csv.DictReader(server.run("findings", "--csv").stdout.splitlines()))
    assert [row["note"] for row in rows] == [f"record {seq} of handheld 1" for seq in (1, 2, 3)]
    assert rows[0]["lat"] == "39.9000001"
    lines = server.findings()
    assert set(lines[0]) == {"id", "kind", "parent", "device", "inspector", "log", "seq", "category", "component", "severity",
                             "note",
                             "lat", "lon", "accuracy_m", "fix_time", "no_fix", "observed_at", "recorded_at",
                             "received_at", "state", "complete", "flags", "photos", "arrival"}
    assert server.findings("--since", lines[1]["arrival"]) == lines[2:]
    assert len(server.findings("--device", handheld.device)) == 3
    assert server.run("findings").stdout.count("\n") == 3
    assert server.run("findings", "--since", "yesterday", status=3).stderr.startswith("patrol-server: since: ")
    empty = make_handheld(server, 2)
    assert json.loads(server.run("findings", "--geojson", "--device", empty.device).stdout)["features"] == []


def test_commands_on_a_directory_without_data_fail_and_create_nothing(make_server):
    server = make_server(start=False)
    for command in (["devices"], ["findings"], ["check"], ["key", "-o", "-"]):
        assert server.run(*command, status=1).stderr.count("\n") == 1
    assert not server.data.exists()


# ---- limits and deadlines ----


def test_oversize_bodies_are_413_and_the_connection_stays_good(server, make_handheld):
    connection, device = server.connection(), {"patrol-device": make_handheld(server).device}
    for path, limit in (("/v1/exchange", EXCHANGE_BYTES_MAX), ("/v1/repair", EXCHANGE_BYTES_MAX),
                        ("/v1/enrol", ENROLMENT_BYTES_MAX), ("/v1/audit", 16 * 1024), ("/healthz", 0)):
        method = "GET" if path == "/healthz" else "POST"
        assert server.request(method, path, b"x" * (limit + 1), device, connection).status == 413, path
    assert server.request("GET", "/healthz", connection=connection).status == 200
    connection.close()


def test_very_long_body_is_refused_before_it_is_read(server):
    with server.socket() as connection:
        connection.sendall(b"POST /v1/exchange HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
        assert read_to_end(connection).startswith(b"HTTP/1.1 413 ")


def test_chunked_body_is_cut_off_at_the_limit(server):
    with server.socket() as connection:
        connection.sendall(b"POST /v1/exchange HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        sent = 0
        try:
            for _ in range(1000):
                connection.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
                sent += 65536
        except OSError:
            pass
        assert sent < 20 * 1024 * 1024  # socket buffers included
    assert server.request("GET", "/healthz").status == 200


def test_long_head_is_refused(server):
    with server.socket() as connection:
        try:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 200000 + b"\r\n\r\n")
        except OSError:
            pass
        assert b" 200 " not in read_to_end(connection)
    assert server.request("GET", "/healthz").status == 200


@pytest.fixture
def impatient(make_server):
    return make_server(config="[serve]\nheader_timeout = 500ms\nidle_timeout = 500ms\nstall_timeout = 500ms\n"
                              "body_grace = 500ms\nbody_rate_min = 100KiB\n")


def assert_cut(connection, seconds=5):
    connection.settimeout(seconds)
    began = time.monotonic()
    assert read_to_end(connection) == b""
    assert time.monotonic() - began < seconds


def test_slow_head_is_cut_off(impatient):
    with impatient.socket() as connection:
        connection.sendall(b"GET /healthz HT")
        assert_cut(connection)


def test_head_that_trickles_is_cut_off(impatient):
    with impatient.socket() as connection:
        connection.settimeout(5)
        began = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() - began < 10:
                connection.sendall(b"X")
                time.sleep(0.05)
                connection.setblocking(False)
                try:
                    if connection.recv(1) == b"":
                        raise ConnectionResetError
                except (BlockingIOError, harness.ssl.SSLWantReadError):
                    pass
                connection.settimeout(5)
        assert time.monotonic() - began < 5


def test_silent_connection_is_closed_before_and_after_a_request(impatient):
    with impatient.socket() as connection:
        assert_cut(connection)
    with impatient.socket() as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.settimeout(5)
        assert b"200 OK" in read_to_end(connection)  # answered, then closed when idle for too long


def test_connection_without_tls_handshake_is_closed(impatient):
    with socket.create_connection(("127.0.0.1", impatient.port)) as connection:
        assert_cut(connection)


def test_stalled_body_is_cut_off_and_logged(impatient):
    with impatient.socket() as connection:
        connection.sendall(b"POST /v1/exchange HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + b"x" * 10)
        assert_cut(connection)
    wait_for(lambda: [line for line in impatient.requests() if line["outcome"] == "broken_off"], "its log line")


def test_body_below_the_least_rate_is_cut_off(impatient):
    with impatient.socket() as connection:
        connection.sendall(b"POST /v1/exchange HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n")
        began = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() - began < 10:
                connection.sendall(b"x" * 100)
                time.sleep(0.02)
        assert time.monotonic() - began < 5


def test_connections_over_the_limit_are_not_served_and_come_later(make_server):
    server = make_server(config="[serve]\nconnections_max = 16\nheader_timeout = 1s\n", tls=False)
    sockets = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(40)]
    try:
        def served():
            try:
                return server.request("GET", "/healthz", connection=None).status == 200
            except OSError:
                return False
        wait_for(served, "it serves again when the idle ones are gone")
    finally:
        for one in sockets:
            one.close()


def test_large_requests_over_the_memory_limit_are_told_to_come_again(make_server, make_handheld):
    server = make_server(config="[serve]\nmemory_max = 1MiB\n")
    handheld, other = make_handheld(server), make_handheld(server, 2)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(handheld.exchange, 10, 3000)  # alone, and so carried out; held, and so in memory
        wait_for(lambda: b"gridpatrol_writer_held 1\n" in server.request("GET", "/metrics").content, "it is held")
        response = server.request("POST", "/v1/exchange", other.tool("exchange", "--first", 0, "--count", 10))
        assert (response.status, response.headers["Retry-After"]) == (503, "5")
        assert ahead.result()[1]["outcome"] == "ahead"
    assert other.exchange(0, 10)[1]["size"] == 10
    assert handheld.exchange(0, 3000)[1]["size"] == 3000


def test_bodies_that_are_being_received_count_against_the_memory_limit(make_server, make_handheld):
    server = make_server(config="[serve]\nmemory_max = 1MiB\n")
    handheld, other = make_handheld(server), make_handheld(server, 2)
    head = (f"POST /v1/exchange HTTP/1.1\r\nHost: x\r\npatrol-device: {handheld.device}\r\n"
            f"Content-Length: {EXCHANGE_BYTES_MAX}\r\n\r\n").encode()
    sockets = [server.socket() for _ in range(3)]  # a fourth body would make it more than 1 MiB
    try:
        for one in sockets:
            one.sendall(head + b"x" * 10)
        wait_for(lambda: b"requests_in_flight 4\n" in server.request("GET", "/metrics").content, "three are in flight")
        response = server.request("POST", "/v1/exchange", b"x" * EXCHANGE_BYTES_MAX, {"patrol-device": other.device})
        assert (response.status, response.headers["Retry-After"]) == (503, "5")
    finally:
        for one in sockets:
            one.close()
    wait_for(lambda: b"requests_in_flight 1\n" in server.request("GET", "/metrics").content, "they are gone")
    assert server.request("POST", "/v1/exchange", b"x" * EXCHANGE_BYTES_MAX, {"patrol-device": other.device}).status == 400


def test_one_address_may_not_have_all_connections(make_server):
    def is_served(source):
        try:
            with socket.create_connection(("127.0.0.1", server.port), harness.PATIENCE_S, (source, 0)) as one:
                one.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                return read_to_end(one).startswith(b"HTTP/1.1 200 ")
        except ConnectionError:
            return False

    for config, count in (("connections_max = 32", 16), ("connections_max = 32\nconnections_per_address_max = 3", 3)):
        server = make_server(config=f"[serve]\n{config}\n", tls=False)
        sockets = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(count)]
        try:
            wait_for(lambda: not is_served("127.0.0.1"), "the address has all that it may have")
            assert is_served("127.0.0.2")
        finally:
            for one in sockets:
                one.close()
        wait_for(lambda: is_served("127.0.0.1"), "one was given back")
        server.stop()


def test_server_listens_on_ipv6_loopback(make_server):
    server = make_server(start=False, tls=False)
    process = harness.Process(server.command("serve", "--listen", "[::1]:0"), server.log, env=harness.environment())
    server.process = process
    text = wait_for(lambda: (server.data / "serve.conf").exists() and (server.data / "serve.conf").read_text(), "serve.conf")
    port = int(re.search(r"url = http://\[::1\]:(\d+)\n", text)[1])
    wait_for(lambda: "serving" in process.text(), "it serves")
    connection = harness.http.client.HTTPConnection("::1", port, timeout=harness.PATIENCE_S)
    assert server.request("GET", "/healthz", connection=connection).status == 200
    connection.close()


def test_service_manager_is_told_of_start_and_stop(make_server, tmp_path):
    server = make_server(start=False)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(tmp_path / "notify"))
        notify.settimeout(harness.PATIENCE_S)
        server.process = harness.Process(
            server.command("serve", "--listen", "127.0.0.1:0", "--tls-cert", server.certificates.chain, "--tls-key",
                           server.certificates.key), server.log,
            env=harness.environment(NOTIFY_SOCKET=tmp_path / "notify"))
        assert notify.recv(4096).startswith(b"READY=1\n")
        assert server.listens()
        server.process.child.terminate()
        assert notify.recv(4096).startswith(b"STOPPING=1\n")
        assert server.process.child.wait(timeout=10) == 0


# ---- TLS ----


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_tls_is_refused_and_sessions_are_resumed(server):
    context = harness.ssl.SSLContext(harness.ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(str(server.certificates.ca))
    old = harness.ssl.SSLContext(harness.ssl.PROTOCOL_TLS_CLIENT)
    old.load_verify_locations(str(server.certificates.ca))
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = old.maximum_version = harness.ssl.TLSVersion.TLSv1_1
    with pytest.raises(OSError):
        old.wrap_socket(socket.create_connection(("127.0.0.1", server.port)), server_hostname="127.0.0.1").close()
    for version in (harness.ssl.TLSVersion.TLSv1_2, harness.ssl.TLSVersion.TLSv1_3):
        context.minimum_version = context.maximum_version = version
        session = None
        for attempt in range(2):
            with context.wrap_socket(socket.create_connection(("127.0.0.1", server.port)), server_hostname="127.0.0.1",
                                     session=session) as connection:
                connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert b"200 OK" in read_to_end(connection)
                session = connection.session
                assert connection.session_reused == (attempt == 1), version


def test_whole_chain_is_presented_so_that_a_handheld_can_pin_the_ca(server):
    result = harness.subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-showcerts"],
                                    input=b"", stdout=harness.subprocess.PIPE, stderr=harness.subprocess.DEVNULL)
    shown = re.findall(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", result.stdout, re.S)
    assert shown[-1].decode() == server.certificates.ca.read_text().strip()


# ---- stopping and dying ----


@pytest.mark.smoke
def test_sigterm_answers_requests_in_flight_and_commits_what_is_queued(server, make_handheld):
    handheld, slow = make_handheld(server), make_handheld(server, 2)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        held = pool.submit(handheld.exchange, 10, 5)  # ahead of its log: held for ten seconds
        wait_for(lambda: b"gridpatrol_writer_held 1\n" in server.request("GET", "/metrics").content, "it is held")
        body = slow.tool("exchange", "--first", 0, "--count", 10)
        with server.socket() as connection:
            connection.sendall(b"POST /v1/exchange HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:50])
            wait_for(lambda: b"requests_in_flight 3\n" in server.request("GET", "/metrics").content, "three are in flight")
            began = time.monotonic()
            server.process.child.send_signal(signal.SIGTERM)
            assert held.result(timeout=5)[1]["outcome"] == "ahead"  # at once, not after ten seconds
            with pytest.raises(OSError):
                while time.monotonic() - began < 5:
                    socket.create_connection(("127.0.0.1", server.port), timeout=1).close()
            connection.sendall(body[50:])
            answer = read_to_end(connection)
    assert answer.startswith(b"HTTP/1.1 200 OK") and b"Connection: close" in answer
    assert server.process.child.wait(timeout=10) == 0
    assert slow.read(body, answer.split(b"\r\n\r\n", 1)[1])["receipt_size"] == 10
    assert len(server.findings()) == 9


def test_sigterm_does_not_wait_for_ever_for_a_client_that_stalls(make_server):
    server = make_server(config="[serve]\nstop_timeout = 500ms\n")
    with server.socket() as connection:
        connection.sendall(b"POST /v1/exchange HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + b"x" * 10)
        wait_for(lambda: b"requests_in_flight 2\n" in server.request("GET", "/metrics").content, "it is in flight")
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 5


def test_kill_and_restart_keeps_every_receipt_true(server, make_handheld):
    handheld = make_handheld(server)
    acknowledged = 0
    for round_number in range(6):
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            def send():
                nonlocal acknowledged
                for first in range(acknowledged, acknowledged + 200, 10):
                    _, answer = handheld.exchange(first, 10)
                    acknowledged = max(acknowledged, answer["receipt_size"])
            before = acknowledged
            sending = pool.submit(send)
            wait_for(lambda: acknowledged > before + 10 * round_number or sending.done(), "some exchanges")
            server.kill()
            assert sending.exception() is not None
        server.start()
        size = handheld.exchange(acknowledged, 0)[1]["size"]
        assert size >= acknowledged
        acknowledged = size
    notes = [finding["note"] for finding in server.findings()]
    assert notes == [f"record {seq} of handheld 1" for seq in range(1, acknowledged)]
    assert "0 bad" in server.run("check").stdout


def test_many_handhelds_at_once_share_commits(server, make_handheld):
    handhelds = [make_handheld(server, seed) for seed in range(1, 25)]
    bodies = [handheld.tool("exchange", "--first", 0, "--count", 50) for handheld in handhelds]
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda body: server.request("POST", "/v1/exchange", body), bodies))
    for handheld, body, answer in zip(handhelds, bodies, answers):
        assert handheld.read(body, answer.content)["receipt_size"] == 50
    assert len(server.findings()) == 24 * 49
