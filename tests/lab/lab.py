# SPDX-License-Identifier: Apache-2.0
"""The network lab: two network namespaces, "handheld" and "centre", and between them a link whose rate, delay, loss,
queue and outages are commanded (link.c says how). Needs root; `NotAllowed` says what else is missing.

    with lab.Lab(seed=1, **lab.CELL) as made:
        made.handheld.run(["curl", f"http://{made.centre.address}/"])
        made.link.down()
        print(made.link.counters()["up"]["carried"]["bytes"])

Names are unique, so that runs do not meet. A lab whose process died, however it died, is removed by the next one."""

import contextlib
import ctypes
import itertools
import json
import os
import pathlib
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "system"))

import harness  # noqa: E402

NETNS = pathlib.Path("/run/netns")
CLONE_NEWNET = 0x40000000
DEVICE = "lab0"
LINK_SKIPS = 77
# Addresses for documentation (RFC 5737, RFC 3849): they are nobody's.
ADDRESSES = {"handheld": ("192.0.2.1", "2001:db8::1"), "centre": ("192.0.2.2", "2001:db8::2")}
# A poor mobile network.
CELL = {"up": {"rate_bps": 256000, "delay_ms": 150, "loss": 0.01, "queue_bytes": 32768},
        "down": {"rate_bps": 1024000, "delay_ms": 150, "loss": 0.01, "queue_bytes": 32768}}
SYSCTL = pathlib.Path("/proc/sys/net")
# Nothing but what a test sends crosses the link: no solicitations, no link-local addresses. The addresses stay when
# the interface goes down, as a real one's come back with it.
SETTINGS = {"ipv4/tcp_congestion_control": "cubic", "ipv6/conf/default/addr_gen_mode": "1",
            "ipv6/conf/default/accept_ra": "0", "ipv6/conf/default/router_solicitations": "0",
            "ipv6/conf/default/keep_addr_on_down": "1", "ipv6/conf/all/keep_addr_on_down": "1"}
NAME = re.compile(r"gridpatrol-(\d+)-(\d+)-\d+-(?:handheld|centre)")
numbers = itertools.count(1)


class NotAllowed(Exception):
    def __init__(self, reason):
        super().__init__(f"namespaces are not allowed here: {reason}")


def born(pid):
    """When a process was started, in ticks since boot; None when there is none (or only its remains)."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def ip(*arguments, commands=None):
    done = subprocess.run(["ip", *arguments], input=commands, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[0] if done.stderr.strip() else f"ip ended with {done.returncode}"
        if "not permitted" in reason or "denied" in reason:
            raise NotAllowed(reason)
        raise RuntimeError(f"ip {' '.join(arguments)}: {reason}")
    return done.stdout


def remove(name):
    """Ends what runs in a namespace, and removes it. Nothing happens when it is gone already."""
    if not (NETNS / name).exists():
        return
    with contextlib.suppress(RuntimeError):  # another one may be removing it too
        harness.wait_for(lambda: not end_processes(name), f"the processes of {name} end")
        ip("netns", "del", name)


def end_processes(name):
    pids = [int(pid) for pid in ip("netns", "pids", name).split()]
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return [pid for pid in pids if born(pid) is not None]


def sweep():
    """Removes the labs whose process is gone; its link ended with it."""
    for entry in sorted(NETNS.iterdir()) if NETNS.is_dir() else []:
        match = NAME.fullmatch(entry.name)
        if match and born(match[1]) != int(match[2]):
            remove(entry.name)


def allow_cubic():
    """A namespace may choose only among algorithms that the whole machine allows to everybody. Cubic then stays allowed,
    as it is wherever it is the default, until the next boot."""
    path = SYSCTL / "ipv4/tcp_allowed_congestion_control"
    allowed = path.read_text().split()
    if "cubic" not in allowed:
        path.write_text(" ".join([*allowed, "cubic"]))


class Namespace:
    """One end of the link. Also a `Machine` of the harness: a place where its programs run."""

    def __init__(self, name, role):
        self.name = name
        self.path = NETNS / name
        self.address, self.address6 = ADDRESSES[role]
        self.prefix = ("nsenter", f"--net={self.path}")
        self.children = []
        ip("netns", "add", name)

    def configure(self):
        allow_cubic()
        for setting, value in SETTINGS.items():
            self.inside(lambda setting=setting, value=value: (SYSCTL / setting).write_text(value))

    def connect_to_link(self):
        ip("-n", self.name, "-batch", "-", commands=f"link set lo up\naddr add {self.address}/30 dev {DEVICE}\n"
           f"addr add {self.address6}/64 dev {DEVICE} nodad\nlink set {DEVICE} up\n")

    def inside(self, function):
        """What `function` gives when it is called in this namespace: in a thread, which alone enters it."""
        outcome = []

        def call():
            try:
                with open(self.path, "rb") as space:
                    libc = ctypes.CDLL(None, use_errno=True)
                    if libc.setns(space.fileno(), CLONE_NEWNET) < 0:
                        raise OSError(ctypes.get_errno(), f"enter {self.name}")
                outcome.extend((function(), None))
            except Exception as error:  # raised below, where somebody waits
                outcome.extend((None, error))

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        if outcome[1]:
            raise outcome[1]
        return outcome[0]

    def socket(self, family=socket.AF_INET, kind=socket.SOCK_STREAM):
        """A socket of this namespace, which the test's own process may use."""
        return self.inside(lambda: socket.socket(family, kind))

    def connect(self, address, timeout):
        return self.inside(lambda: socket.create_connection(address, timeout=timeout))

    def command(self, words):
        return [*self.prefix, *map(str, words)]

    def run(self, words, **options):
        """As subprocess.run, in this namespace."""
        return subprocess.run(self.command(words), **{"check": True, "timeout": harness.PATIENCE_S, **options})

    def popen(self, words, **options):
        """As subprocess.Popen, in this namespace. It ends with the lab at the latest."""
        self.children.append(subprocess.Popen(self.command(words), **options))
        return self.children[-1]

    def close(self):
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.wait()
        remove(self.name)


class Link:
    """The program lab_link. Every command gives its state: counters, shapes, outages."""

    def __init__(self, handheld, centre, seed):
        self.lock = threading.Lock()
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [harness.program("lab_link"), "--handheld", handheld.path, "--centre", centre.path, "--device", DEVICE,
             "--seed", str(seed)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors)
        self.answer()

    def answer(self):
        ready, _, _ = select.select([self.process.stdout], [], [], harness.PATIENCE_S)
        line = self.process.stdout.readline() if ready else b""
        if not line:
            self.fail("it does not answer" if self.process.poll() is None else "it ended")
        answer = json.loads(line)
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer

    def fail(self, what):
        self.close()
        self.errors.seek(0)
        said = self.errors.read().decode(errors="replace").strip()
        if self.process.returncode == LINK_SKIPS:
            raise NotAllowed(said)
        raise RuntimeError(f"lab_link: {what}: {said}")

    def say(self, command, **parameters):
        with self.lock:
            self.process.stdin.write(json.dumps({"command": command, **parameters}).encode() + b"\n")
            self.process.stdin.flush()
            return self.answer()

    def set(self, direction="both", **shape):
        """rate_bps (0: no limit), delay_ms (one way), loss (0 to 1), queue_bytes; for "up", "down" or "both"."""
        return self.say("set", direction=direction, **shape)

    def counters(self):
        return self.say("counters")

    def down(self, seen=False):
        """Everything is dropped from now on: silently, or seen, with the handheld's interface down."""
        return self.say("outage", kind="seen" if seen else "silent")

    def up(self):
        return self.say("outage", kind="none")

    def schedule(self, every_s=0, for_s=0, seen=False):
        """Of each `every_s` from now the last `for_s` are an outage; no more of them without arguments."""
        return self.say("schedule", every_ms=every_s * 1000, for_ms=for_s * 1000, kind="seen" if seen else "silent")

    def close(self):
        if self.process.poll() is None:
            self.process.stdin.close()  # that it ends
            try:
                self.process.wait(harness.PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()


class Lab:
    """A context manager: handheld, centre, link. `up` and `down` are shapes, as for Link.set."""

    def __init__(self, seed=1, up=None, down=None):
        self.seed, self.shapes = seed, {"up": up or {}, "down": down or {}}
        self.handheld = self.centre = self.link = None
        self.closers = contextlib.ExitStack()

    def __enter__(self):
        try:
            self.make()
        except BaseException:
            self.closers.close()
            raise
        return self

    def make(self):
        sweep()
        name = f"gridpatrol-{os.getpid()}-{born(os.getpid())}-{next(numbers)}"
        self.handheld, self.centre = (self.make_namespace(name, role) for role in ("handheld", "centre"))
        self.link = Link(self.handheld, self.centre, self.seed)
        self.closers.callback(self.link.close)
        for end in (self.handheld, self.centre):
            end.connect_to_link()
        for direction, shape in self.shapes.items():
            self.link.set(direction, **shape)

    def make_namespace(self, name, role):
        end = Namespace(f"{name}-{role}", role)
        self.closers.callback(end.close)
        end.configure()
        return end

    def __exit__(self, *_):
        self.closers.close()

    def wait_until_idle(self, seconds=None):
        """Nothing waits or flies any more, in either direction."""
        def is_idle():
            state = self.link.counters()
            return not state["up"]["waiting"]["packets"] and not state["down"]["waiting"]["packets"]

        harness.wait_for(is_idle, "the link is idle", seconds)
        return self.link.counters()


if __name__ == "__main__":
    # A lab by hand: `lab.py` and then, elsewhere, what it prints.
    try:
        with Lab(**CELL) as by_hand:
            for side in (by_hand.handheld, by_hand.centre):
                print(" ".join(side.command(["bash"])), "   #", side.address, side.address6)
            while True:
                time.sleep(3600)
    except NotAllowed as refused:
        sys.exit(str(refused))
    except KeyboardInterrupt:
        pass
