# SPDX-License-Identifier: Apache-2.0
"""Handhelds whose wall clock is wrong by decades: they enrol, record and deliver over TLS all the same, and certificates
are verified all the same."""

import calendar
import time

import pytest

import harness
from harness import assert_delivered, openssl, wait_for

CLOCKS = {"1970": calendar.timegm((1970, 1, 1, 0, 0, 30)), "2099": calendar.timegm((2099, 6, 1, 12, 0, 0))}


def set_clock(handheld, clock):
    handheld.more_environment = {
        "LD_PRELOAD": harness.program("libclock_shim.so"),
        "CLOCK_SHIM_OFFSET_S": int(CLOCKS[clock] - time.time()),
        "ASAN_OPTIONS": "verify_asan_link_order=0",
    }


@pytest.fixture(params=CLOCKS)
def wrong(request, make_real_handheld):
    """A handheld with a wrong clock, not enrolled."""
    handheld = make_real_handheld()
    set_clock(handheld, request.param)
    handheld.year = request.param
    return handheld


def year_of(item):
    # In the handheld's zone, which may be hours ahead.
    return item["recorded_at"][:4]


def test_wrong_clock_does_not_keep_anything_from_the_centre(server, wrong, tmp_path):
    wrong.enroll(server)
    wrong.start()
    ids = [wrong.record(photos=[harness.make_photo(tmp_path / "photo.jpg")]), *wrong.record_many(10)]
    wrong.wait_until_drained()
    assert {year_of(item) for item in wrong.list()} == {wrong.year}, "the clock was not wrong at all"
    assert_delivered(server, wrong, ids)
    wrong.run("resync", "--level", "media", "--wait", "30")
    expected = {"1970": ["clock_behind"], "2099": ["clock_ahead"]}[wrong.year]
    assert [item["flags"] for item in server.findings()] == [expected] * len(ids)


def instant(seconds_ago):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - seconds_ago))


def test_stale_fix_and_a_receiver_1024_weeks_off_are_accepted_and_flagged(server, make_real_handheld):
    handheld = make_real_handheld(server)
    week = 7 * 86400
    cases = {"good": (60, []), "old": (600, ["fix_old"]), "rollover": (1024 * week, ["fix_disagrees"]),
             "ahead": (-1024 * week, ["fix_disagrees"])}
    ids = {name: handheld.record(name, "--fix-time", instant(ago)) for name, (ago, _) in cases.items()}
    assert {item["note"]: item["flags"] for item in handheld.list()} == {name: flags for name, (_, flags) in cases.items()}
    handheld.start()
    handheld.wait_until_drained()
    assert {item["note"]: item["flags"] for item in server.findings()} == {name: flags for name, (_, flags) in cases.items()}
    assert_delivered(server, handheld, list(ids.values()))


def test_clock_set_back_after_a_receipt_is_flagged_once_the_handheld_has_booted(server, make_real_handheld, tmp_path):
    handheld = make_real_handheld(server)
    handheld.start()
    handheld.record("right")
    handheld.wait_until_drained()
    handheld.stop()
    next_boot = tmp_path / "boot_id"
    next_boot.write_text("8d0f7a52-7f1c-4f0e-9f6c-2b1b8a1f6c11\n")
    set_clock(handheld, "1970")
    handheld.more_environment |= {"CLOCK_SHIM_OFFSET_S": -7 * 86400, "CLOCK_SHIM_BOOT_ID": next_boot}
    handheld.start()
    handheld.record("set back")
    handheld.wait_until_drained()
    assert {item["note"]: item["flags"] for item in server.findings()} == {"right": [], "set back": ["clock_behind"]}


def test_clock_that_jumps_under_way_changes_neither_order_nor_delivery(server, make_real_handheld):
    handheld = make_real_handheld(server)
    ids, years = [], []
    for clock in (None, "2099", "1970", None):
        if clock:
            set_clock(handheld, clock)
        else:
            handheld.more_environment = {}
        handheld.start()
        ids.append(handheld.record(f"clock {clock}"))
        years.append(clock)
        handheld.wait_until_drained()
        handheld.stop()
    listed = handheld.list()
    assert [item["id"] for item in listed] == ids
    assert [year_of(item) for item, year in zip(listed, years) if year] == ["2099", "1970"]
    held = sorted(server.findings(), key=lambda item: item["seq"])
    assert [item["id"] for item in held] == ids
    assert_delivered(server, handheld, ids)


def test_wrong_clock_does_not_open_the_door_to_another_ca(server, wrong, make_relay, tmp_path):
    wrong.enroll(server)
    server.stop()
    other = harness.Certificates(tmp_path / "other", "other")
    context = harness.ssl.SSLContext(harness.ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(other.chain, other.key)
    portal = make_relay(port=server.port, context=context)
    wrong.record()
    wrong.start()
    wait_for(lambda: portal.connections >= 2, "it tries")
    wait_for(lambda: wrong.call("Status")["failures"] >= 2, "it fails")
    assert portal.calls == [] and wrong.status()["records_sent"] == 0


def expired(certificates, directory):
    """A certificate of the right CA that has expired yesterday."""
    directory.mkdir()
    made = harness.Certificates.__new__(harness.Certificates)
    made.ca, made.key, made.chain = certificates.ca, certificates.key, directory / "chain.pem"
    source = certificates.ca.parent
    openssl("x509", "-req", "-in", source / "server.csr", "-CA", certificates.ca, "-CAkey", source / "ca.key",
            "-CAcreateserial", "-days", "-1", "-extfile", source / "server.ext", "-out", directory / "leaf.pem")
    made.chain.write_text((directory / "leaf.pem").read_text() + certificates.ca.read_text())
    return made


def test_credentials_that_have_expired_or_are_gone_never_block_recording(server, make_real_handheld, certificates, tmp_path):
    handheld = make_real_handheld(server, start=True)
    photo = harness.make_photo(tmp_path / "photo.jpg")
    server.stop()
    valid, server.certificates = server.certificates, expired(certificates, tmp_path / "expired")
    server.start()
    ids = [handheld.record("the centre's certificate has expired", photos=[photo])]
    wait_for(lambda: handheld.call("Status")["failures"] >= 2, "it tries and fails")
    ids.append(handheld.record("it was told"))
    server.stop()
    handheld.stop()
    kept = {name: (handheld.data / name).read_bytes() for name in ("device.key", "enrolment.conf", "ca.pem")}
    (handheld.data / "device.key").unlink()
    (handheld.data / "enrolment.conf").write_text("damaged")
    ids.append(handheld.record("the handheld's own are gone", photos=[photo]))
    (handheld.data / "enrolment.conf").unlink()
    (handheld.data / "ca.pem").unlink()
    ids.append(handheld.record("and all else with them"))
    assert [item["id"] for item in handheld.list()] == ids and handheld.status()["records_queued"] == 4

    for name, content in kept.items():
        (handheld.data / name).write_bytes(content)
    server.certificates = valid
    server.start()
    handheld.start()
    handheld.wait_until_drained()
    assert_delivered(server, handheld, ids)


# Receivers whose count of weeks has gone round tell a day 1,024 weeks before the true one.
ROLLOVER_S = 1024 * 7 * 86400


def test_fix_of_another_time_is_taken_with_the_time_that_it_has(server, make_real_handheld):
    handheld = make_real_handheld(server, start=True)
    now = int(time.time())
    times = [now - ROLLOVER_S, now - 3600, now + ROLLOVER_S]
    written = [time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(fix)) for fix in times]
    ids = [handheld.record("fix", "--fix-time", fix) for fix in written]
    handheld.wait_until_drained()
    assert [item["fix_time"] for item in handheld.list()] == written
    held = {item["id"]: item for item in server.findings()}
    assert [held[record_id]["fix_time"] for record_id in ids] == written
    assert all(abs(calendar.timegm(time.strptime(held[record_id]["recorded_at"][:19], "%Y-%m-%dT%H:%M:%S")) - now) < 86400
               for record_id in ids), "when it was recorded is another thing"
    assert_delivered(server, handheld, ids)


def test_certificate_that_expired_before_the_last_contact_is_refused_at_any_clock(server, wrong, make_relay, certificates,
                                                                                  tmp_path):
    wrong.enroll(server)
    wrong.start()
    ids = [wrong.record("first")]
    wrong.wait_until_drained()  # from now on it knows what time it is at least
    server.stop()
    old = expired(certificates, tmp_path / "expired")
    context = harness.ssl.SSLContext(harness.ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(old.chain, old.key)
    portal = make_relay(port=server.port, context=context)
    ids.append(wrong.record("second"))
    wait_for(lambda: portal.connections >= 2 and wrong.call("Status")["failures"] >= 2, "it tries and fails")
    assert portal.calls == []
    portal.close()
    server.start()
    wrong.wait_until_drained()
    assert_delivered(server, wrong, ids)
