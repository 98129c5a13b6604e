# SPDX-License-Identifier: Apache-2.0
"""The other programs that scripts/bench delivery has do the same work: each with a sender at the handheld's end of the
lab's link, a queue on disk, TLS, and a real receiver at the centre, where it is counted what arrived, by the id that
each finding carries. Their packages are installed on the machine (npm's in the bench's own directory); nothing of them
is part of the project, and one that cannot be installed or fails is said to be so.

All of them get the findings as lines of JSON with the fields that `patrol record --from` keeps, and an id of inspector
and sequence."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time

TOP = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "tests/system"))

import harness  # noqa: E402
from harness import wait_for  # noqa: E402

BENCH = TOP / "tests/bench"
ID = re.compile(rb"inspector-07/\d{6}")
FIELDS = ("category", "severity", "note", "lat", "lon", "accuracy_m", "observed_at")
INSTALL_S = 600
START_S = 20
PREPARE_S = 120
POLICY = pathlib.Path("/usr/sbin/policy-rc.d")


class Unavailable(Exception):
    """A peer cannot be measured here; the text says why."""


def peer_lines(findings):
    """The findings as the peers get them: (id, JSON text)."""
    lines = []
    for number, finding in enumerate(findings):
        name = f"inspector-07/{number:06}"
        text = json.dumps({"id": name, **{field: finding[field] for field in FIELDS if field in finding}}, ensure_ascii=False,
                          separators=(",", ":"))
        lines.append((name, text))
    return lines


def said(done):
    lines = [line for line in (done.stderr + done.stdout).decode(errors="replace").splitlines() if line.strip()]
    return lines[-1][:200] if lines else f"it ended with {done.returncode}"


def install_debian(packages):
    """By apt-get, as scripts/setup does it: no service is started."""
    missing = [name for name in packages if subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status}", name],
                                                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout != b"installed"]
    if not missing:
        return
    made_policy = not POLICY.exists()
    try:
        if made_policy:
            POLICY.write_text("#!/bin/sh\nexit 101\n")
            POLICY.chmod(0o755)
        done = subprocess.run(["apt-get", "-q", "-y", "install", "--no-install-recommends", *missing], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=INSTALL_S, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"apt-get cannot install it: {error}") from error
    finally:
        if made_policy:
            POLICY.unlink(missing_ok=True)
    if done.returncode:
        raise Unavailable(f"apt-get cannot install it: {said(done)}")


def install_npm(directory, packages):
    if (directory / "node_modules").exists():
        return
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "package.json").write_text('{"private": true}')
    try:
        done = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", *packages], cwd=directory,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=INSTALL_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"npm cannot install it: {error}") from error
    if done.returncode:
        raise Unavailable(f"npm cannot install it: {said(done)}")


def tree(pid):
    """A process and all that it started, and so on."""
    pids = [pid]
    for one in pids:
        for path in pathlib.Path(f"/proc/{one}/task").glob("*/children"):
            try:
                pids += map(int, path.read_text().split())
            except OSError:
                continue  # the thread ended meanwhile
    return pids


def status_values(pid, *names):
    """Numbers of /proc/PID/status; none when it is gone."""
    try:
        lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return [0] * len(names)
    values = dict(line.split(":", 1) for line in lines)
    return [int(values.get(name, "0").split()[0]) for name in names]


def peak_rss_bytes(pids):
    return 1024 * sum(status_values(pid, "VmHWM")[0] for pid in pids)


def switches(pids):
    """Context switches of all threads so far."""
    return sum(sum(status_values(f"{pid}/task/{thread.name}", "voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"))
               for pid in pids for thread in pathlib.Path(f"/proc/{pid}/task").glob("*"))


class Peer:
    """One way of delivering. The runner calls `receive`, `prepare` while the link is open, then `send` once it is as slow
    as it is to be; after a kill of the sender `send` again."""

    name = ""
    packages = ()
    npm = ()
    share = 1  # of the findings
    poll_s = 0.2

    @classmethod
    def install(cls, shelf):
        install_debian(cls.packages)
        if cls.npm:
            install_npm(shelf / "npm", cls.npm)

    def __init__(self, made, directory, shelf, certificates, lines):
        self.made, self.directory, self.shelf, self.certificates, self.lines = made, directory, shelf, certificates, lines
        self.sender = None
        self.address = made.centre.address
        directory.mkdir(parents=True)

    def write(self, name, text):
        path = self.directory / name
        path.write_text(textwrap.dedent(text).lstrip())
        return path

    def start(self, machine, words, name, **options):
        with open(self.directory / f"{name}.log", "ab") as log:
            return machine.popen(words, stdin=subprocess.DEVNULL, **{"stdout": log, "stderr": log, **options})

    def said(self, name):
        text = (self.directory / f"{name}.log").read_text(errors="replace").strip().splitlines()
        return text[-1][:200] if text else "nothing"

    def await_port(self, machine, address, process, name):
        def listens():
            if process.poll() is not None:
                raise Unavailable(f"its {name} ended: {self.said(name)}")
            try:
                machine.connect(address, timeout=1).close()
                return True
            except OSError:
                return False

        wait_for(listens, f"{self.name}: the {name} listens", START_S)

    def await_receiver(self, process):
        self.await_port(self.made.centre, (self.address, self.port), process, "receiver")

    def receive(self):
        raise NotImplementedError

    def prepare(self):
        """Fills the sender's queue, where that can be done before it sends."""

    def send(self):
        raise NotImplementedError

    def kill(self, which):
        """Kill -9, and a start at once."""
        assert which == "sender"
        self.sender.send_signal(signal.SIGKILL)
        self.sender.wait()
        self.send()

    def tend(self):
        """What its supervisor would do now."""

    def is_done(self, arrived):
        """Whether nothing is left to do, when so many have arrived."""
        return arrived == len(self.lines)

    def progress(self):
        """How many findings have arrived by now, each counted once."""
        return len(set(self.held()))

    def held(self):
        """The ids at the receiver, as often as they are there."""
        raise NotImplementedError

    def pids(self):
        return tree(self.sender.pid) if self.sender and self.sender.poll() is None else []

    def close(self):
        """Its programs end with the lab."""


class FileReceiver(Peer):
    """A peer whose receiver writes what it takes into a file."""

    def held(self):
        path = self.directory / "received"
        return [name.decode() for name in ID.findall(path.read_bytes())] if path.exists() else []

    def write_lines(self):
        path = self.directory / "findings.ndjson"
        path.write_text("".join(text + "\n" for _, text in self.lines), encoding="utf-8")
        return path


class JournalUpload(Peer):
    name = "systemd-journal-upload (no TLS: Debian's receiver has none)"
    packages = ("systemd-journal-remote",)
    port = 19532
    poll_s = 1  # each time the whole journal is read

    def receive(self):
        (self.directory / "received").mkdir()
        process = self.start(self.made.centre, [
            "/lib/systemd/systemd-journal-remote", f"--listen-http={self.address}:{self.port}", "--split-mode=none", "--output",
            self.directory / "received/remote.journal"], "receiver")
        self.await_receiver(process)

    def prepare(self):
        """A journal that journald would have written: through the journal export format."""
        entries = "".join(
            f"__REALTIME_TIMESTAMP={1767225600000000 + number * 150000000}\n__MONOTONIC_TIMESTAMP={1000000 + number * 1000}\n"
            f"_BOOT_ID={'0123456789abcdef' * 2}\nMESSAGE={text}\nPRIORITY=6\nSYSLOG_IDENTIFIER=patrol\n\n"
            for number, (_, text) in enumerate(self.lines))
        (self.directory / "sent").mkdir()
        done = subprocess.run(["/lib/systemd/systemd-journal-remote", "--output", self.directory / "sent/system.journal", "-"],
                              input=entries.encode(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=PREPARE_S)
        if done.returncode:
            raise Unavailable(f"its journal cannot be made: {said(done)}")

    def send(self):
        self.sender = self.start(self.made.handheld, [
            "/lib/systemd/systemd-journal-upload", f"--url=http://{self.address}:{self.port}", "--directory",
            self.directory / "sent", "--save-state=" + str(self.directory / "state")], "sender")

    def tend(self):
        """Its unit has Restart=on-failure."""
        if self.sender.poll():
            self.send()

    def held(self):
        done = subprocess.run(["journalctl", "--quiet", "--no-pager", "--output=cat", "--directory", self.directory / "received"],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=PREPARE_S)
        return [name.decode() for name in ID.findall(done.stdout)]


class Relp(FileReceiver):
    name = "rsyslog RELP, disk queue"
    packages = ("rsyslog", "rsyslog-relp")
    port = 20514

    def receive(self):
        config = self.write("receiver.conf", f"""
            global(workDirectory="{self.directory}")
            module(load="imrelp")
            template(name="line" type="string" string="%msg%\\n")
            input(type="imrelp" port="{self.port}" address="{self.address}" maxDataSize="64k" tls="on"
                  tls.cacert="{self.certificates.ca}" tls.mycert="{self.certificates.leaf}" tls.myprivkey="{self.certificates.key}"
                  tls.authMode="name" tls.permittedPeer=["localhost"])
            action(type="omfile" file="{self.directory}/received" template="line")
            """)
        process = self.start(self.made.centre, ["rsyslogd", "-n", "-f", config, "-i", self.directory / "receiver.pid"], "receiver")
        self.await_receiver(process)

    def prepare(self):
        lines = self.write_lines()
        (self.directory / "spool").mkdir()
        self.config = self.write("sender.conf", f"""
            global(workDirectory="{self.directory}/spool" maxMessageSize="64k")
            main_queue(queue.type="Direct")
            module(load="imfile" mode="inotify")
            module(load="omrelp")
            input(type="imfile" file="{lines}" tag="patrol" ruleset="out" persistStateInterval="100" freshStartTail="off")
            ruleset(name="out") {{
              action(type="omrelp" target="{self.address}" port="{self.port}" tls="on" tls.cacert="{self.certificates.ca}"
                     tls.mycert="{self.certificates.leaf}" tls.myprivkey="{self.certificates.key}"
                     tls.authMode="name" tls.permittedPeer=["localhost"]
                     queue.type="Disk" queue.filename="out" queue.size="1000000" queue.saveOnShutdown="on"
                     queue.checkpointInterval="100" queue.timeoutEnqueue="600000"
                     queue.syncQueueFiles="on" action.resumeRetryCount="-1" action.resumeInterval="1")
            }}
            """)

    def send(self):
        (self.directory / "sender.pid").unlink(missing_ok=True)
        self.sender = self.start(self.made.handheld, ["rsyslogd", "-n", "-f", self.config, "-i", self.directory / "sender.pid"], "sender")


class MosquittoBridge(FileReceiver):
    name = "mosquitto bridge, QoS 1"
    packages = ("mosquitto", "mosquitto-clients")
    port = 8883
    local_port = 1883

    def receive(self):
        certificates = self.certificates
        (self.directory / "remote").mkdir()
        config = self.write("receiver.conf", f"""
            user root
            persistence true
            persistence_location {self.directory}/remote/
            autosave_interval 1
            max_queued_messages 0
            max_inflight_messages 0
            allow_anonymous true
            log_type warning
            log_type subscribe
            listener {self.port} {self.address}
            cafile {certificates.ca}
            certfile {certificates.leaf}
            keyfile {certificates.key}
            listener {self.local_port} 127.0.0.1
            """)
        process = self.start(self.made.centre, ["mosquitto", "-c", config], "receiver")
        self.await_receiver(process)
        self.await_port(self.made.centre, ("127.0.0.1", self.local_port), process, "receiver")
        received = open(self.directory / "received", "ab")
        self.start(self.made.centre, ["stdbuf", "-oL", "mosquitto_sub", "-h", "127.0.0.1", "-p", self.local_port, "-t", "findings", "-q",
                                      "1", "-c", "-i", "counter"], "subscriber", stdout=received)
        wait_for(lambda: "counter 1 findings" in (self.directory / "receiver.log").read_text(), "mosquitto: it is subscribed", START_S)

    def prepare(self):
        """The local broker takes all findings while there is no link, and acknowledges them."""
        (self.directory / "local").mkdir()
        self.config = self.write("sender.conf", f"""
            user root
            persistence true
            persistence_location {self.directory}/local/
            autosave_interval 1
            max_queued_messages 0
            max_inflight_messages 0
            allow_anonymous true
            listener {self.local_port} 127.0.0.1
            connection centre
            address {self.address}:{self.port}
            topic findings out 1
            cleansession false
            notifications false
            restart_timeout 1
            try_private false
            bridge_protocol_version mqttv311
            bridge_cafile {self.certificates.ca}
            """)
        self.made.link.down(seen=True)
        self.start_broker()
        lines = self.write_lines()
        with open(lines, "rb") as source:
            self.made.handheld.run(["mosquitto_pub", "-h", "127.0.0.1", "-p", self.local_port, "-t", "findings", "-q", "1", "-l"],
                                   stdin=source, timeout=PREPARE_S)

    def start_broker(self):
        self.sender = self.start(self.made.handheld, ["mosquitto", "-c", self.config], "sender")
        self.await_port(self.made.handheld, ("127.0.0.1", self.local_port), self.sender, "sender")

    def send(self):
        if self.sender.poll() is not None:
            self.start_broker()
        self.made.link.up()


class PouchDb(Peer):
    name = "PouchDB replication"
    npm = ("pouchdb", "express", "express-pouchdb")
    port = 5984
    poll_s = 1

    @classmethod
    def install(cls, shelf):
        if not shutil.which("node") or not shutil.which("npm"):
            raise Unavailable("there is no node or npm on the PATH")
        super().install(shelf)

    def node(self, machine, name, *words):
        options = {"NODE_PATH": self.shelf / "npm/node_modules", "NODE_EXTRA_CA_CERTS": self.certificates.ca}
        return self.start(machine, ["env", *(f"{key}={value}" for key, value in options.items()), "node", BENCH / "pouch.js", *words],
                          name, cwd=self.directory)

    def receive(self):
        self.receiver = self.node(self.made.centre, "receiver", "receive", self.directory / "remote", self.address, self.port,
                                  self.certificates.leaf, self.certificates.key)
        self.await_receiver(self.receiver)

    def prepare(self):
        path = self.directory / "findings.ndjson"
        path.write_text("".join(text + "\n" for _, text in self.lines), encoding="utf-8")
        process = self.node(self.made.handheld, "seed", "seed", self.directory / "local", path)
        if process.wait(PREPARE_S):
            raise Unavailable(f"its database cannot be filled: {self.said('seed')}")

    def send(self):
        self.sender = self.node(self.made.handheld, "sender", "send", self.directory / "local",
                                f"https://{self.address}:{self.port}/findings")

    def ask(self, path):
        done = self.made.centre.run(["curl", "-s", "--cacert", self.certificates.ca, f"https://{self.address}:{self.port}/findings{path}"],
                                    stdout=subprocess.PIPE, check=False)
        return json.loads(done.stdout) if done.returncode == 0 and done.stdout else {}

    def progress(self):
        return self.ask("").get("doc_count", 0)

    def held(self):
        return [row["id"] for row in self.ask("/_all_docs").get("rows", [])]


class Posts(FileReceiver):
    """A base: HTTP POSTs to tests/bench/post_receiver.py, which answers when a body is durable."""

    port = 8443

    def receive(self):
        process = self.start(self.made.centre, [sys.executable, BENCH / "post_receiver.py", self.address, self.port,
                                                self.certificates.chain, self.certificates.key, self.directory / "received"], "receiver")
        self.await_receiver(process)


class CurlPosts(Posts):
    """On one connection that is kept; what was answered is noted, so that a new start goes on behind it."""

    name = "one POST per finding, curl"
    packages = ("curl",)
    share = 1 / 20  # a round trip each: all of them would take an hour

    def answered(self):
        path = self.directory / "answered"
        return path.read_text().split().count("201") if path.exists() else 0

    def send(self):
        head = "\n".join([f'url = "https://{self.address}:{self.port}/findings"', f'cacert = "{self.certificates.ca}"',
                          "output = /dev/null", 'header = "Content-Type: application/json"',
                          r'write-out = "%{stderr}%{http_code}\n"', ""])
        parts = [f"{head}data-binary = {json.dumps(text, ensure_ascii=False)}\n" for _, text in self.lines[self.answered():]]
        config = self.directory / "curl.conf"
        config.write_text("next\n".join(parts), encoding="utf-8")
        with open(self.directory / "answered", "ab") as answers:
            self.sender = self.start(self.made.handheld, ["curl", "-s", "-K", config], "sender", stderr=answers)


class FluentBit(Posts):
    name = "fluent-bit, HTTP gzip"

    @classmethod
    def install(cls, shelf):
        if not shutil.which("fluent-bit"):
            raise Unavailable("there is no fluent-bit on the PATH, and Debian 12 has no package of it")

    def prepare(self):
        lines = self.write_lines()
        parsers = self.write("parsers.conf", """
            [PARSER]
                Name    finding
                Format  json
            """)
        self.config = self.write("fluent-bit.conf", f"""
            [SERVICE]
                Flush         1
                Parsers_File  {parsers}
                storage.path  {self.directory}/storage
                storage.sync  full
            [INPUT]
                Name            tail
                Path            {lines}
                DB              {self.directory}/tail.db
                Read_from_Head  true
                Parser          finding
                storage.type    filesystem
            [OUTPUT]
                Name         http
                Match        *
                Host         {self.address}
                Port         {self.port}
                URI          /findings
                Format       json_lines
                Compress     gzip
                Retry_Limit  no_limits
                tls          on
                tls.ca_file  {self.certificates.ca}
            """)

    def send(self):
        self.sender = self.start(self.made.handheld, ["fluent-bit", "-c", self.config], "sender")


class Gridpatrol(Peer):
    """Ours."""

    name = "**gridpatrol**"
    poll_s = 0.02

    def __init__(self, made, directory, shelf, certificates, lines, findings=None):
        super().__init__(made, directory, shelf, certificates, lines)
        self.server = harness.Server(directory / "server", certificates, machine=made.centre)
        self.handheld = harness.Handheld(directory / "handheld", "", machine=made.handheld)
        self.findings = findings
        self.ids = []

    def receive(self):
        self.server.start()

    def prepare(self):
        self.handheld.enroll(self.server)
        self.ids = self.handheld.run("record", "--from", self.findings).stdout.split()

    def send(self):
        self.handheld.start(wait=False)
        self.sender = self.handheld.process.child

    def kill(self, which):
        if which == "sender":
            self.handheld.kill()
            self.send()
        else:
            self.server.kill()
            self.server.start(wait=False)

    def told(self):
        try:
            return self.handheld.call("Status", timeout=5)
        except OSError:
            return {}

    def is_done(self, arrived):
        return self.told().get("all_acknowledged", False)

    def progress(self):
        return self.told().get("records_sent", 0)

    def held(self):
        """Under the ids that the peers' lines have: the n-th that was recorded is the n-th line."""
        names = {own: name for own, (name, _) in zip(self.ids, self.lines)}
        return [names.get(item["id"], item["id"]) for item in self.server.findings()]

    def close(self):
        self.handheld.close()
        self.server.close()


PEERS = (FluentBit, MosquittoBridge, Relp, JournalUpload, PouchDb, CurlPosts)

# ---- one delivery ----

STALL_S = 60
SETTLE_S = 5


def run_delivery(make, made, shape, kill=None, idle_s=0):
    """One delivery by the peer that `make` gives, over the lab's link once it is shaped. `kill` is asked again and again,
    with the findings that have arrived and the seconds since the start, and says once which end is killed. Bytes are
    those of IP packets that the handheld's end offered to the link."""
    peer = make(made)
    try:
        peer.receive()
        peer.prepare()
        shape(made)
        before, begun = made.link.counters(), time.monotonic()
        peer.send()
        seconds, rss, killed = follow(peer, begun, kill)
        if killed:
            let_settle(peer)
        after = made.link.counters()
        result = {"seconds": seconds, "killed": killed, "rss": rss,
                  **{way: after[way]["offered"]["bytes"] - before[way]["offered"]["bytes"] for way in ("up", "down")}}
        result["switches"] = idle_switches(peer, idle_s)
        held = peer.held()
        result["arrived"] = len(set(held) & {name for name, _ in peer.lines})
        result["duplicates"] = len(held) - len(set(held))
        result["lost"] = len(peer.lines) - result["arrived"]
        return result
    finally:
        peer.close()


def follow(peer, begun, kill):
    """Until everything has arrived, or nothing has for a while. (seconds to the last arrival, RSS, which end was killed)"""
    known, seconds, rss, killed = -1, 0.0, 0, None
    while True:
        arrived, elapsed = peer.progress(), time.monotonic() - begun
        rss = max(rss, peak_rss_bytes(peer.pids()))
        if arrived != known:
            known, seconds = arrived, elapsed
        if kill and not killed:
            killed = kill(arrived, elapsed)
            if killed:
                peer.kill(killed)
        elif peer.is_done(arrived):
            return time.monotonic() - begun, rss, killed
        if elapsed - seconds > STALL_S:
            return seconds, rss, killed
        peer.tend()
        time.sleep(peer.poll_s)


def let_settle(peer):
    """Until nothing more comes a second time."""
    known, since = len(peer.held()), time.monotonic()
    while time.monotonic() - since < SETTLE_S:
        time.sleep(1)
        now = len(peer.held())
        if now != known:
            known, since = now, time.monotonic()


def idle_switches(peer, idle_s):
    """Context switches a second of all of the sender's processes when all is done; None when it has ended."""
    if not idle_s or not peer.pids():
        return None
    time.sleep(SETTLE_S)
    before = switches(peer.pids())
    time.sleep(idle_s)
    return (switches(peer.pids()) - before) / idle_s
