# SPDX-License-Identifier: Apache-2.0
"""What a day's budget lets through, and what NetworkManager says of the network: the real programs, a bus of the test's
own, and a NetworkManager by python3-dbusmock."""

import re
import subprocess
import sys

import pytest

import harness
from harness import assert_delivered, wait_for

BUDGET_BYTES = 100 * 1024
SMALLEST_CHUNK_BYTES = 16 * 1024
TOKENS_BYTES = 4096  # asking for them counts, too
METERED = harness.QUICK + """[network]
kind = metered
"""
PHOTOS_LIMITED = "[budget]\nmetered-photos = 100 KiB\n"
PHOTOS_NEVER = "[budget]\nmetered-photos = 0\n"
SERVICE, OBJECT = "org.freedesktop.NetworkManager", "/org/freedesktop/NetworkManager"
METERED_YES, METERED_NO, METERED_GUESS_YES = 1, 2, 3
CONNECTIVITY_NONE, CONNECTIVITY_FULL = 1, 4


def make_photo(directory, seed):
    photo = harness.make_photo(directory / f"{seed}.jpg", seed, 1600, 1200)
    assert photo.stat().st_size > 2 * BUDGET_BYTES
    return photo


def lane(handheld, name):
    return next(one for one in handheld.status()["lanes"] if one["lane"] == name)


def waits_for_budget(handheld):
    """True when only full photos are left, and they wait for their budget."""
    status = handheld.status()
    return (status["records_queued"] == 0 and lane(handheld, "previews")["waiting"] == 0
            and lane(handheld, "photos")["wait"] == "budget")


@pytest.fixture
def relayed_with(make_server, make_relay, make_real_handheld):
    """Like `relayed`, with this configuration of the daemon."""

    def make(config):
        between = make_relay()
        server = make_server(tls=False, start=False)
        server.port = between.target = harness.free_port()
        server.start("--public-url", between.url)
        return server, between, make_real_handheld(server, config=config)

    return make


def carried(between, handheld):
    """Bytes of each chunk of full photos that passed the relay."""
    photos = {photo["sha256"] for item in handheld.list() for photo in item["photos"] if photo["role"] == "photo"}
    with between.lock:
        return [len(call.body_read) for call in between.calls
                if call.method == "PATCH" and call.path.rsplit("/", 1)[1] in photos]


# ---- budgets ----


def test_photos_keep_to_the_days_budget_over_restarts_and_all_else_goes_on(relayed_with, tmp_path):
    server, between, handheld = relayed_with(METERED + PHOTOS_LIMITED)
    handheld.start()
    ids = [handheld.record(photos=[make_photo(tmp_path, 1)])]
    wait_for(lambda: waits_for_budget(handheld), "the budget is used up")
    chunks = carried(between, handheld)
    assert BUDGET_BYTES - TOKENS_BYTES <= sum(chunks) < BUDGET_BYTES + SMALLEST_CHUNK_BYTES
    for _ in range(2):
        handheld.kill()
        handheld.start()
        ids += handheld.record_many(3)
        wait_for(lambda: waits_for_budget(handheld), "text goes on")
        assert carried(between, handheld) == chunks
    assert len(server.findings()) == len(ids)
    # Nobody's budget holds up what is urgent.
    urgent = handheld.record("danger", "--severity", "urgent", photos=[make_photo(tmp_path, 2)])
    wait_for(lambda: handheld.status()["photos_pending"] == 1, "the urgent photo is stored")
    assert next(item for item in server.findings() if item["id"] == urgent)["complete"]
    # On another network another budget counts.
    handheld.stop()
    handheld.syncd_config.write_text(harness.QUICK + "[network]\nkind = unmetered\n" + PHOTOS_LIMITED)
    handheld.start()
    handheld.wait_until_drained()
    assert_delivered(server, handheld, [*ids, urgent])


def test_status_says_what_waits_and_why_until_when(relayed_with, tmp_path):
    _, _, handheld = relayed_with(METERED + PHOTOS_LIMITED)
    handheld.start()
    handheld.record(photos=[make_photo(tmp_path, 1)])
    wait_for(lambda: waits_for_budget(handheld), "the budget is used up")
    text = handheld.run("status").stdout
    assert re.search(r"^photos        1 waits: the day's budget of 100 KiB on the metered network is used up until "
                     r"(\d{4}-\d\d-\d\dT)?\d\d:\d\d:\d\d", text, re.MULTILINE), text
    status = handheld.status()
    assert (status["network"], status["wait"]) == ("metered", "budget")
    photos = lane(handheld, "photos")
    assert photos["budget_bytes"] == BUDGET_BYTES and photos["used_bytes"] >= BUDGET_BYTES
    assert photos["until"] > handheld.list()[0]["recorded_at"]
    assert lane(handheld, "text") == {"lane": "text", "waiting": 0, "wait": "idle", "reason": None, "until": None,
                                      "used_bytes": lane(handheld, "text")["used_bytes"], "budget_bytes": None}
    assert lane(handheld, "text")["used_bytes"] > 0


def test_sync_sends_text_and_previews_and_says_that_photos_wait(relayed_with, tmp_path):
    server, _, handheld = relayed_with(METERED + "[budget]\nmetered-text = 0\nmetered-previews = 0\nmetered-photos = 0\n")
    handheld.start()
    handheld.record(photos=[make_photo(tmp_path, 1)])
    wait_for(lambda: lane(handheld, "text")["wait"] == "budget", "text waits")
    assert "the budget on the metered network is 0" in lane(handheld, "text")["reason"]
    assert server.findings() == []
    result = handheld.run("sync", "--wait", "60", status=1)
    assert "budget" in result.stderr, result.stderr
    assert len(server.findings()) == 1
    assert waits_for_budget(handheld)


def test_a_budget_that_is_no_size_stops_the_daemon_with_file_and_line(make_real_handheld):
    handheld = make_real_handheld(config="[budget]\nmetered-photos = much\n")
    handheld.start(wait=False)
    assert handheld.process.child.wait(timeout=harness.PATIENCE_S) == 2
    assert "syncd.conf:2: metered-photos: \"much\" is no valid number" in handheld.process.text()


# ---- NetworkManager ----


class Bus:
    """A system bus of the test's own."""

    def __init__(self, directory):
        self.path, self.log = directory / "bus", directory / "bus.log"
        self.address = f"unix:path={self.path}"
        self.daemon = self.manager = None

    def start(self):
        self.daemon = harness.Process(["dbus-daemon", "--session", "--nofork", "--nopidfile", f"--address={self.address}"],
                                      self.log)
        wait_for(self.path.exists, "the bus listens")
        return self

    def start_manager(self, metered, connectivity=CONNECTIVITY_FULL):
        """NetworkManager appears, with these properties from its first instant on the bus that anybody asks about."""
        environment = {**harness.environment(), "DBUS_SYSTEM_BUS_ADDRESS": self.address}
        self.manager = harness.Process([sys.executable, "-m", "dbusmock", "--system", "--template", "networkmanager"],
                                       self.log, env=environment)
        wait_for(lambda: self.call("org.freedesktop.DBus.Properties", "Get", "ss", SERVICE, "Version"), "the manager is there")
        assert self.call("org.freedesktop.DBus.Mock", "AddProperty", "ssv", SERVICE, "Metered", "u", metered)
        self.set("Connectivity", connectivity)
        self.set("Metered", metered)

    def call(self, interface, method, *arguments):
        result = subprocess.run(["busctl", f"--address={self.address}", "call", SERVICE, OBJECT, interface, method,
                                 *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        return result.returncode == 0

    def set(self, name, value):
        assert self.call("org.freedesktop.DBus.Mock", "UpdateProperties", "sa{sv}", SERVICE, 1, name, "u", value)

    def close(self):
        for process in (self.manager, self.daemon):
            if process:
                process.close()


@pytest.fixture
def bus(tmp_path):
    made = Bus(tmp_path)
    yield made
    made.close()


@pytest.fixture
def on_bus(server, make_real_handheld, bus, tmp_path):
    """Starts a handheld whose system bus is the test's, that sends no photos where it is metered."""

    def make(config=harness.QUICK + PHOTOS_NEVER):
        handheld = make_real_handheld(server, config=config)
        handheld.more_environment = {"DBUS_SYSTEM_BUS_ADDRESS": bus.address}
        handheld.record(photos=[make_photo(tmp_path, 1)])
        return handheld.start()

    return make


def test_photos_wait_while_networkmanager_says_metered(server, bus, on_bus):
    bus.start().start_manager(METERED_GUESS_YES)
    handheld = on_bus()
    wait_for(lambda: waits_for_budget(handheld), "photos wait")
    bus.set("Metered", METERED_NO)
    handheld.wait_until_drained()
    assert_delivered(server, handheld)
    bus.set("Metered", METERED_YES)
    wait_for(lambda: handheld.status()["network"] == "metered", "it is metered again")


def test_a_networkmanager_that_comes_and_goes_is_followed(bus, on_bus):
    handheld = on_bus(harness.QUICK)
    assert handheld.status()["network"] == "unmetered"
    handheld.close()
    bus.start()
    handheld = on_bus(harness.QUICK)
    wait_for(lambda: handheld.status()["network"] == "unmetered", "nobody says that it is metered")
    bus.start_manager(METERED_YES)
    wait_for(lambda: handheld.status()["network"] == "metered", "the manager is heard")
    bus.manager.close()
    wait_for(lambda: handheld.status()["network"] == "unmetered", "the manager is gone")


def test_a_bus_that_appears_later_is_found(bus, on_bus):
    handheld = on_bus(harness.QUICK.replace("slow-poll = 1h", "slow-poll = 5s"))
    handheld.wait_until_drained()
    bus.start().start_manager(METERED_YES)
    wait_for(lambda: handheld.status()["network"] == "metered", "the bus is found")


def test_a_bus_that_never_answers_holds_up_neither_text_nor_photos_for_long(server, bus, on_bus):
    with harness.socket.socket(harness.socket.AF_UNIX) as silent:
        silent.bind(str(bus.path))
        silent.listen(1)
        handheld = on_bus()
        wait_for(lambda: handheld.status()["records_queued"] == 0, "text is sent", 5)
        handheld.wait_until_drained(60)
        assert_delivered(server, handheld)
        assert handheld.stop() == 0


def test_what_the_operator_says_comes_before_networkmanager(bus, on_bus):
    bus.start().start_manager(METERED_YES)
    handheld = on_bus(harness.QUICK + "[network]\nkind = unmetered\n" + PHOTOS_NEVER)
    handheld.wait_until_drained()
    assert handheld.status()["network"] == "unmetered"


def test_a_wrong_no_connectivity_stops_nothing(server, bus, on_bus):
    bus.start().start_manager(METERED_NO, CONNECTIVITY_NONE)
    handheld = on_bus()
    handheld.wait_until_drained()
    bus.set("Connectivity", CONNECTIVITY_NONE)
    handheld.record_many(5)
    handheld.wait_until_drained()
    assert_delivered(server, handheld)


def test_connectivity_that_is_back_shortens_a_long_backoff(server, bus, on_bus):
    bus.start().start_manager(METERED_NO, CONNECTIVITY_NONE)
    handheld = on_bus(harness.QUICK.replace("backoff-max = 1s", "backoff-max = 1h"))
    handheld.wait_until_drained()
    server.stop()
    handheld.record()
    wait_for(lambda: handheld.call("Status")["next_attempt_in_ms"] > 20_000, "a long backoff", 120)
    server.start()
    bus.set("Connectivity", CONNECTIVITY_FULL)
    handheld.wait_until_drained(15)


def test_lanes_of_a_handheld_that_is_not_enrolled_say_so(make_real_handheld, tmp_path):
    handheld = make_real_handheld()
    handheld.record(photos=[harness.make_photo(tmp_path / "photo.jpg")])
    handheld.start()
    assert [(one["lane"], one["waiting"], one["reason"]) for one in handheld.status()["lanes"]] == [
        (name, 1, "this handheld is not enrolled") for name in ("text", "previews", "photos")]
