# SPDX-License-Identifier: Apache-2.0
"""The real programs over TLS across the lab's link."""

import pathlib
import signal
import time

import harness
import lab as network_lab
from harness import assert_delivered, wait_for

FINDINGS = 200
PHOTO_WIDTH = 1280
PATIENCE_S = 120
BACKOFF_S = 15
# The daemon's own waits, as they are in the field.
FIELD = ""


def record_all(handheld, directory):
    photos = [harness.make_photo(directory / f"{seed}.jpg", seed, PHOTO_WIDTH, PHOTO_WIDTH * 3 // 4) for seed in (1, 2)]
    ids = handheld.record_many(FINDINGS)
    ids += [handheld.record("with a photo", photos=[photo]) for photo in photos]
    assert len(set(ids)) == FINDINGS + 2
    return ids, sum(photo.stat().st_size for photo in photos)


def deliver(made, handheld, measured, photo_bytes):
    """From the daemon's start until all is acknowledged: seconds and IP bytes, kept as figures."""
    before, begun = made.link.counters(), time.monotonic()
    handheld.start()
    wait_for(handheld.is_drained, "everything is acknowledged", PATIENCE_S)
    seconds, after = time.monotonic() - begun, made.link.counters()
    measured(photo_bytes=photo_bytes, seconds=round(seconds, 1), outages=after["outages"],
             **{f"{direction}_{kind}_bytes": after[direction][kind]["bytes"] - before[direction][kind]["bytes"]
                for direction in ("up", "down") for kind in ("offered", "carried")},
             **{f"up_{kind}": after["up"][kind]["packets"] - before["up"][kind]["packets"]
                for kind in ("lost", "overflowed", "cut")})
    return after


def test_two_hundred_findings_and_two_photos_arrive_exactly_once_across_a_poor_link(
        make_lab, make_pair, tmp_path, measured):
    made = make_lab(seed=11, **network_lab.CELL)
    server, handheld = make_pair(made, FIELD)
    ids, photo_bytes = record_all(handheld, tmp_path)
    state = deliver(made, handheld, measured, photo_bytes)
    assert state["up"]["lost"]["packets"] > 0
    assert_delivered(server, handheld, ids)


def test_they_arrive_exactly_once_though_the_link_is_cut_every_twenty_seconds_for_five(
        make_lab, make_pair, tmp_path, measured):
    made = make_lab(seed=12, **network_lab.CELL)
    server, handheld = make_pair(made, FIELD)
    ids, photo_bytes = record_all(handheld, tmp_path)
    made.link.schedule(every_s=20, for_s=5)
    state = deliver(made, handheld, measured, photo_bytes)
    assert state["outages"] > 0 and state["up"]["cut"]["packets"] > 0
    made.link.schedule()
    assert_delivered(server, handheld, ids)


def next_attempt_s(handheld):
    return handheld.call("Status").get("next_attempt_in_ms", 0) / 1000


def test_interface_that_comes_back_brings_the_findings_long_before_the_backoff_ends(make_lab, make_pair, measured):
    made = make_lab(seed=13, **network_lab.CELL)
    server, handheld = make_pair(made, "[syncd]\nbackoff-min = 500ms\n")
    handheld.start()
    made.link.down(seen=True)
    ids = handheld.record_many(FINDINGS)
    wait_for(lambda: next_attempt_s(handheld) > BACKOFF_S, "the waits are long", PATIENCE_S)
    status = handheld.call("Status")
    assert (status["link"], status["records_sent"]) == (False, 0)
    begun, due_s = time.monotonic(), next_attempt_s(handheld)
    made.link.up()
    handheld.wait_until_drained(PATIENCE_S)
    seconds = round(time.monotonic() - begun, 1)
    measured(failures=status["failures"], due_s=due_s, seconds=seconds)
    assert seconds < due_s
    assert_delivered(server, handheld, ids)


def netlink_drops(handheld):
    """How many messages of the kernel did not fit into the socket on which the daemon watches the network."""
    pid = handheld.process.child.pid
    sockets = {str(entry.readlink()) for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir()}
    lines = [line.split() for line in pathlib.Path(f"/proc/{pid}/net/netlink").read_text().splitlines()[1:]]
    return sum(int(words[8]) for words in lines if f"socket:[{words[9]}]" in sockets)


def test_more_changes_of_the_network_than_its_socket_holds_do_not_leave_the_daemon_deaf(make_lab, make_pair, measured):
    made = make_lab(seed=14, **network_lab.CELL)
    server, handheld = make_pair(made, "[syncd]\nbackoff-min = 500ms\n")
    handheld.start()
    made.link.down(seen=True)
    ids = [handheld.record()]
    wait_for(lambda: next_attempt_s(handheld) > BACKOFF_S, "the waits are long", PATIENCE_S)
    begun, due_s = time.monotonic(), next_attempt_s(handheld)
    handheld.process.child.send_signal(signal.SIGSTOP)
    network_lab.ip("-n", made.handheld.name, "-batch", "-",
                   commands="address add 127.0.1.1/32 dev lo\naddress del 127.0.1.1/32 dev lo\n" * 5000)
    drops = netlink_drops(handheld)
    made.link.up()
    handheld.process.child.send_signal(signal.SIGCONT)
    handheld.wait_until_drained(PATIENCE_S)
    seconds = round(time.monotonic() - begun, 1)
    measured(drops=drops, due_s=due_s, seconds=seconds)
    assert drops > 0, "everything fitted"
    assert seconds < due_s
    assert_delivered(server, handheld, ids)
