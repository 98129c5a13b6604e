# SPDX-License-Identifier: Apache-2.0
"""The lab does what it says: its link's rate, delay, losses, queue, outages and counters, and what it leaves behind."""

import json
import os
import pathlib
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

import pytest

import harness
import lab as network_lab
from harness import wait_for

HERE = pathlib.Path(__file__).resolve().parent
HEADERS = {socket.AF_INET: 28, socket.AF_INET6: 48}  # of IP and UDP, bytes
SO_TIMESTAMPNS = 35
KINDS = ("carried", "lost", "overflowed", "cut", "waiting")


class Flow:
    """Numbered UDP packets from the handheld to the centre, or the other way. The kernel says when one arrived."""

    def __init__(self, made, direction="up", family=socket.AF_INET):
        self.lab, self.direction, self.family = made, direction, family
        sender, receiver = (made.handheld, made.centre) if direction == "up" else (made.centre, made.handheld)
        self.sender = sender.socket(family, socket.SOCK_DGRAM)
        self.receiver = receiver.socket(family, socket.SOCK_DGRAM)
        self.receiver.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.receiver.bind((receiver.address if family == socket.AF_INET else receiver.address6, 0))
        self.to = self.receiver.getsockname()
        self.arrived = []  # (number, when in ns of the wall clock)

    def send(self, number, size=100):
        """One IP packet of `size` bytes; when it was sent, in ns of the wall clock."""
        at_ns = time.time_ns()
        self.sender.sendto(struct.pack("!I", number) + bytes(size - HEADERS[self.family] - 4), self.to)
        return at_ns

    def counters(self):
        return self.lab.link.counters()[self.direction]

    def offered(self, packets):
        """Waits until the link has seen so many; its counters."""
        wait_for(lambda: self.counters()["offered"]["packets"] >= packets, f"{packets} packets are offered")
        return self.counters()

    def receive(self, packets):
        """Waits until so many have arrived in all; their numbers."""
        deadline = time.monotonic() + harness.PATIENCE_S
        while len(self.arrived) < packets:
            ready, _, _ = select.select([self.receiver], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"{len(self.arrived)} of {packets} packets arrived"
            data, ancillary, _, _ = self.receiver.recvmsg(65536, 256)
            seconds, nanoseconds = next(struct.unpack("qq", value) for _, kind, value in ancillary
                                        if kind == SO_TIMESTAMPNS)
            self.arrived.append((struct.unpack("!I", data[:4])[0], seconds * 10**9 + nanoseconds))
        return [number for number, _ in self.arrived]

    def receive_all(self):
        """Waits until nothing is on its way; the numbers of those that arrived in all."""
        carried = self.lab.wait_until_idle()[self.direction]["carried"]["packets"]
        numbers = self.receive(carried)
        assert not select.select([self.receiver], [], [], 0)[0], "more arrived than the link carried"
        return numbers

    def close(self):
        self.sender.close()
        self.receiver.close()


@pytest.fixture
def make_flow():
    flows = []

    def make(*arguments, **options):
        flows.append(Flow(*arguments, **options))
        return flows[-1]

    yield make
    for flow in flows:
        flow.close()


def assert_adds_up(counters):
    for unit in ("packets", "bytes"):
        assert counters["offered"][unit] == sum(counters[kind][unit] for kind in KINDS), counters


# ---- what crosses ----


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize("direction", ["up", "down"])
def test_packets_of_both_families_cross_in_both_directions_and_nothing_else_does(lab, make_flow, family, direction):
    flow = make_flow(lab, direction, family)
    for number in range(5):
        flow.send(number, 1500 if number else 100)
    flow.offered(5)
    assert flow.receive_all() == [0, 1, 2, 3, 4]
    state = lab.link.counters()
    other = state["down" if direction == "up" else "up"]
    assert (state[direction]["offered"], other["offered"]) == ({"packets": 5, "bytes": 6100}, {"packets": 0, "bytes": 0})
    assert state[direction]["carried"] == state[direction]["offered"]


def test_packets_come_at_the_rate_of_their_direction(make_lab, make_flow):
    made = make_lab(up={"rate_bps": 256000}, down={"rate_bps": 1024000})
    for direction, gap_ns in (("up", 31_250_000), ("down", 7_812_500)):
        flow = make_flow(made, direction)
        for number in range(33):
            flow.send(number, 1000)
        flow.offered(33)
        assert flow.receive_all() == list(range(33))
        taken_ns = flow.arrived[-1][1] - flow.arrived[0][1]
        assert taken_ns == pytest.approx(32 * gap_ns, rel=0.05), direction


def test_packets_take_the_delay_of_their_direction(make_lab, make_flow):
    made = make_lab(up={"delay_ms": 150}, down={"delay_ms": 40.5})
    for direction, delay_ms in (("up", 150), ("down", 40.5)):
        flow = make_flow(made, direction)
        sent = []
        for number in range(8):
            sent.append(flow.send(number))
            flow.receive(number + 1)
        delays_ms = [(arrived - at) / 1e6 for at, (_, arrived) in zip(sent, flow.arrived)]
        assert min(delays_ms) >= delay_ms
        assert min(delays_ms) < delay_ms + 5, delays_ms  # of the quickest: this process may be made to wait


# ---- what does not ----


def lost_numbers(made, make_flow):
    flow = make_flow(made)
    for number in range(300):
        flow.send(number)
    counters = flow.offered(300)
    lost = set(range(300)) - set(flow.receive_all())
    assert len(lost) == counters["lost"]["packets"] > 0
    return lost


def test_same_seed_loses_the_same_packets(make_lab, make_flow):
    first, again, other = (lost_numbers(make_lab(seed=seed, up={"loss": 0.2}), make_flow) for seed in (5, 5, 6))
    assert first == again != other
    assert 30 <= len(first) <= 90  # 60 expected, standard deviation 7


def test_full_queue_drops_what_comes_last(make_lab, make_flow):
    made = make_lab(up={"rate_bps": 8000, "queue_bytes": 10000})
    flow = make_flow(made)
    for number in range(40):
        flow.send(number, 1000)  # a second each
    counters = flow.offered(40)
    assert counters["overflowed"] == {"packets": 30, "bytes": 30000}
    made.link.set("up", rate_bps=0)
    assert flow.receive_all() == list(range(10))


def test_counters_add_up_whatever_happens(make_lab, make_flow):
    made = make_lab(seed=3, up={"rate_bps": 2_000_000, "delay_ms": 20, "loss": 0.1, "queue_bytes": 20000})
    flow = make_flow(made)
    sizes = [100 + 7 * number for number in range(200)]
    for number, size in enumerate(sizes):
        flow.send(number, size)
        if number % 50 == 49:
            assert_adds_up(flow.offered(number + 1))
    made.wait_until_idle()
    made.link.down()
    for number in range(5):
        flow.send(200 + number)
    flow.offered(205)
    made.link.up()
    flow.receive_all()
    counters = flow.counters()
    assert_adds_up(counters)
    assert counters["offered"] == {"packets": 205, "bytes": sum(sizes) + 500}
    assert counters["waiting"]["packets"] == 0
    assert all(counters[kind]["packets"] for kind in ("carried", "lost", "overflowed", "cut")), counters
    assert counters["carried"]["bytes"] == sum((sizes + [100] * 5)[number] for number, _ in flow.arrived)


def test_wrong_commands_are_refused_and_change_nothing(make_lab):
    made = make_lab(up={"rate_bps": 5000, "loss": 0.5})
    before = made.link.counters()["up"]
    for direction, shape in (("up", {"loss": 2}), ("up", {"rate_bps": -1}), ("up", {"delay_ms": "long"}), ("left", {})):
        with pytest.raises(ValueError):
            made.link.set(direction, **shape)
    for every_s, for_s in ((1, 1), (1, 0), (-1, 0)):
        with pytest.raises(ValueError):
            made.link.schedule(every_s, for_s)
    with pytest.raises(ValueError):
        made.link.say("fly")
    assert made.link.counters()["up"] == before


# ---- outages ----


def addresses(namespace):
    """(is the interface up, its addresses)"""
    listed = json.loads(namespace.run(["ip", "-json", "addr", "show", "dev", network_lab.DEVICE],
                                      stdout=subprocess.PIPE).stdout)[0]
    return "UP" in listed["flags"], sorted(entry["local"] for entry in listed["addr_info"])


def test_silent_outage_drops_what_flies_and_what_comes_and_nobody_is_told(make_lab, make_flow):
    made = make_lab(up={"delay_ms": 60000})
    flow = make_flow(made)
    flow.send(0)
    assert flow.offered(1)["waiting"]["packets"] == 1
    assert made.link.down()["outage"] == "silent"
    flow.send(1)
    assert flow.offered(2)["cut"]["packets"] == 2
    assert addresses(made.handheld) == (True, sorted(network_lab.ADDRESSES["handheld"]))
    made.link.set("up", delay_ms=0)
    assert made.link.up()["outage"] == "none"
    flow.send(2)
    assert flow.receive(1) == [2]


def events_of(monitor, wanted):
    """Reads what `ip monitor` says until a line has all that is wanted."""
    deadline = time.monotonic() + harness.PATIENCE_S
    said = []
    while select.select([monitor.stdout], [], [], max(0, deadline - time.monotonic()))[0]:
        said.append(monitor.stdout.readline().decode())
        if all(word in said[-1] for word in wanted):
            return said
    raise AssertionError(f"waited in vain for {wanted}: {said}")


def test_seen_outage_takes_the_interface_down_and_gives_it_back_with_its_addresses(lab, make_flow):
    # Its own output is a pipe, which it fills line by line; -label would be another word to look for.
    monitor = lab.handheld.popen(["stdbuf", "-oL", "ip", "-oneline", "monitor", "link"], stdout=subprocess.PIPE, bufsize=0)
    listening = pathlib.Path("/proc") / str(monitor.pid) / "net" / "netlink"
    wait_for(lambda: f" {monitor.pid} " in listening.read_text(), "the monitor listens")
    lab.link.down(seen=True)
    events_of(monitor, [network_lab.DEVICE, "state DOWN"])
    assert addresses(lab.handheld) == (False, sorted(network_lab.ADDRESSES["handheld"]))
    assert addresses(lab.centre)[0]
    flow = make_flow(lab)
    with pytest.raises(OSError):
        flow.send(0)
    lab.link.up()
    events_of(monitor, [network_lab.DEVICE, ",UP"])
    assert addresses(lab.handheld) == (True, sorted(network_lab.ADDRESSES["handheld"]))
    for family in (socket.AF_INET, socket.AF_INET6):
        again = make_flow(lab, family=family)
        again.send(7)
        assert again.receive(1) == [7]


def test_scheduled_outages_come_and_go_by_themselves(lab, make_flow):
    flow = make_flow(lab)
    begun_ns = lab.link.schedule(every_s=0.5, for_s=0.2)["now_ns"]
    wall_less_link_ns = time.time_ns() - time.monotonic_ns()
    number = 0
    deadline = time.monotonic() + harness.PATIENCE_S
    while lab.link.counters()["outages"] < 4:
        assert time.monotonic() < deadline, "the outages do not come"
        flow.send(number)
        number += 1
        time.sleep(0.005)  # the pace of the packets
    state = lab.link.schedule()
    assert (state["outage"], state["outages"]) == ("none", 4)
    flow.offered(number)
    flow.receive_all()
    assert flow.counters()["cut"]["packets"] > 0
    phases_ms = [((at - wall_less_link_ns - begun_ns) / 1e6) % 500 for _, at in flow.arrived]
    periods = {int((at - wall_less_link_ns - begun_ns) / 5e8) for _, at in flow.arrived}
    assert max(phases_ms) < 310, "packets arrive in an outage"
    assert {0, 1, 2, 3} <= periods, "packets arrive between the outages"
    number += 1
    flow.send(number)
    flow.offered(number)
    assert flow.receive_all()[-1] == number


# ---- TCP ----


class Stream:
    """A TCP stream up, as fast as it goes."""

    def __init__(self, made):
        self.lab = made
        listener = made.centre.socket()
        listener.bind((made.centre.address, 0))
        listener.listen()
        self.sender = made.handheld.connect(listener.getsockname(), harness.PATIENCE_S)
        self.receiver = listener.accept()[0]
        listener.close()
        assert self.sender.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0") == b"cubic"
        self.sender.settimeout(None)
        self.received = 0
        self.threads = [threading.Thread(target=work, daemon=True) for work in (self.send, self.receive)]
        for thread in self.threads:
            thread.start()

    def send(self):
        try:
            while True:
                self.sender.sendall(bytes(65536))
        except OSError:
            pass

    def receive(self):
        try:
            while piece := self.receiver.recv(65536):
                self.received += len(piece)
        except OSError:
            pass

    def mark(self):
        """(bytes received, bytes that the link has sent, when in ns)"""
        state = self.lab.link.counters()
        return self.received, state["up"]["carried"]["bytes"] + state["up"]["lost"]["bytes"], state["now_ns"]

    def close(self):
        for end in (self.sender, self.receiver):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in self.threads:
            thread.join()
        self.sender.close()
        self.receiver.close()


def kbps_between(first, last):
    """(of the stream, of the link)"""
    return tuple(round((last[what] - first[what]) * 8e6 / (last[2] - first[2]), 1) for what in (0, 1))


def test_warm_tcp_stream_fills_the_link_less_what_losses_cost(make_lab, measured):
    """256 kbit/s up, 1024 down, 300 ms there and back, 32 KiB of queue: one stream with losses of 1 % each way, and beside
    it, in another lab, one without."""
    lossy, clean = make_lab(**network_lab.CELL), make_lab(**network_lab.CELL)
    clean.link.set(loss=0)
    streams = {"lossy": Stream(lossy), "clean": Stream(clean)}
    try:
        wait_for(lambda: all(stream.received > 131072 for stream in streams.values()), "the streams are warm")
        begun = time.monotonic()
        marks = {name: [stream.mark()] for name, stream in streams.items()}
        wait_for(lambda: time.monotonic() > begun + 20, "the time to measure is over", 60)
        for name, stream in streams.items():
            marks[name].append(stream.mark())
    finally:
        for stream in streams.values():
            stream.close()
    rates = {name: kbps_between(*pair) for name, pair in marks.items()}
    measured(**{f"{name}_{of}_kbps": value for name, pair in rates.items() for of, value in zip(("stream", "link"), pair)})
    # The link sends all the time, 256 kbit/s. Of 1500 bytes of a packet 1448 are the stream's: at most 247 kbit/s. What
    # waits behind a hole at the beginning or end of the measurement makes some kbit/s more or less.
    assert rates["clean"][1] == pytest.approx(256, rel=0.02)
    assert 232 <= rates["clean"][0] <= 260
    assert 210 <= rates["lossy"][0] <= 255
    assert lossy.link.counters()["up"]["lost"]["packets"] > 0
    assert clean.link.counters()["up"]["lost"]["packets"] == 0


# ---- what is left behind ----


def is_running(pid):
    return network_lab.born(pid) is not None


def test_lab_leaves_nothing_though_its_test_fails(make_lab):
    make_lab()  # or skip
    with pytest.raises(ZeroDivisionError):
        with network_lab.Lab() as made:
            child = made.centre.popen(["sleep", "1000"])
            grandchild = int(made.handheld.run(["sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!"],
                                               stdout=subprocess.PIPE).stdout)
            assert is_running(child.pid) and is_running(grandchild) and made.handheld.path.exists()
            raise ZeroDivisionError
    assert not any(is_running(pid) for pid in (child.pid, grandchild, made.link.process.pid))
    assert not made.handheld.path.exists() and not made.centre.path.exists()


KILLED = """import json, signal, sys
sys.path.insert(0, sys.argv[1])
import lab
with lab.Lab() as made:
    child = made.centre.popen(["sleep", "1000"])
    print(json.dumps([child.pid, made.link.process.pid, made.centre.name, made.handheld.name]), flush=True)
    signal.pause()
"""


def test_lab_of_a_killed_run_is_swept_and_that_of_a_living_one_is_not(lab, make_flow):
    with subprocess.Popen([sys.executable, "-c", KILLED, str(HERE)], stdout=subprocess.PIPE) as run:
        child, link, *names = json.loads(run.stdout.readline())
        assert is_running(child) and is_running(link)
        run.send_signal(signal.SIGKILL)
    wait_for(lambda: not is_running(link), "its link ends by itself")
    network_lab.sweep()
    assert not is_running(child)
    assert not any((network_lab.NETNS / name).exists() for name in names)
    subprocess.run([sys.executable, "-c", "import sys; sys.path.insert(0, sys.argv[1]); import lab; lab.sweep()", str(HERE)],
                   check=True)
    flow = make_flow(lab)
    flow.send(1)
    assert flow.receive(1) == [1]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_unprivileged_user_is_told_that_namespaces_are_not_allowed(tmp_path):
    program = "import sys; sys.path.insert(0, sys.argv[1]); import lab\n" \
              "try:\n    lab.Lab().__enter__()\nexcept lab.NotAllowed as refused:\n    print(refused)"
    done = subprocess.run([sys.executable, "-c", program, str(HERE)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, user=65534, group=65534, extra_groups=[], cwd="/",
                          env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    assert done.stdout.startswith("namespaces are not allowed here: "), done.stderr
