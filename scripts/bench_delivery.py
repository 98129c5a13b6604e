#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The measurements behind `scripts/bench delivery`: the real programs across the network lab's link (docs/testing.md), ours
and others doing the same work, and what the delivery costs at both ends."""

import argparse
import contextlib
import fcntl
import json
import os
import pathlib
import random
import re
import shutil
import socket
import sqlite3
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zlib

import bench
import bench_peers

sys.path.insert(0, str(bench.HERE / "tests/lab"))
import lab as network_lab  # noqa: E402
import harness  # noqa: E402
from harness import wait_for  # noqa: E402

# The sections of the page, and the parts that belong into one run for it.
SECTIONS = {"text": ("drain", "peers"), "photo": ("photo",), "resync": ("resync",), "idle": ("idle",), "server": ("server",)}
PARTS = tuple(part for parts in SECTIONS.values() for part in parts)
SEED = 20260101
PIECE = 65536
ANSWER_S = 900  # longest wait for one thing that crosses the link


class Bench:
    """What the parts share: sizes, the input, the tables."""

    def __init__(self, build, directory, arguments):
        self.build, self.directory, self.quick = build, directory, arguments.quick
        self.repeat, self.rounds, self.kills = arguments.repeat, arguments.rounds, arguments.kills
        self.load_s = arguments.load_seconds
        self.begin_section()
        quick = self.quick
        self.certificates = harness.Certificates(directory / "certificates",
                                                 addresses=network_lab.ADDRESSES["centre"])
        self.path, count, self.source = bench.make_input(directory)
        if quick:
            lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)[:1000]
            self.path.write_text("".join(lines), encoding="utf-8")
            count = len(lines)
        self.count = count
        self.lines = bench_peers.peer_lines([json.loads(line) for line in open(self.path, encoding="utf-8")])
        print(f"input: {self.count} findings, {self.source}", flush=True)

    def begin_section(self):
        self.table = bench.Table()
        self.peers = []
        self.failed = {}  # name of a peer: the reason
        self.notes = []

    def path_for(self, name):
        return self.directory / name

    def note(self, text):
        self.notes.append(text)
        print(f"  note: {text}", flush=True)


def shape(made):
    for direction, values in network_lab.CELL.items():
        made.link.set(direction, **values)


def in_megabytes(values):
    return bench.spread([value / 1e6 for value in values], "{:.3f}")


# ---- a. ours ----


def gridpatrol(run, name):
    def make(made):
        return bench_peers.Gridpatrol(made, run.path_for(name), run.directory, run.certificates, run.lines, run.path)

    return make


def deliver(run, name, seed, kill=None, idle_s=0, make=None):
    with network_lab.Lab(seed=seed) as made:
        result = bench_peers.run_delivery(make or gridpatrol(run, name), made, shape, kill, idle_s)
    shutil.rmtree(run.path_for(name), ignore_errors=True)
    print(f"  {name}: {json.dumps(result)}", flush=True)
    return result


def bench_drain(run):
    plain = [deliver(run, f"drain{index}", SEED + index, idle_s=30 if index == 0 and not run.quick else 0)
             for index in range(2 if run.quick else run.rounds or max(5, run.repeat))]
    ours = {"name": bench_peers.Gridpatrol.name, "plain": plain, "killed": [], "count": run.count}
    run.peers.append(ours)
    up, seconds = [one["up"] for one in plain], [one["seconds"] for one in plain]
    add_line(run, "bytes up, IP packets of the handheld", in_megabytes(up) + " MB", "≤ 0.36 MB",
             statistics.median(up) <= 360_000)
    add_line(run, "from the daemon's start to the last receipt", bench.spread(seconds, "{:.1f}") + " s", "≤ 15 s",
             statistics.median(seconds) <= 15)
    killed = bench_kills(run, statistics.median(seconds))
    ours["killed"] = [one for one in killed if one["killed"] == "sender"]
    ratios = [one["up"] / statistics.median(up) for one in killed]
    ends = [one["killed"] for one in killed]
    what = f"{len(killed)} × kill -9 ({ends.count('sender')} of the daemon, {ends.count('receiver')} of the server)"
    add_line(run, f"{what}: bytes up against undisturbed", bench.spread(ratios) + " ×", "median ≤ 1.25 ×, largest ≤ 1.4 ×",
             statistics.median(ratios) <= 1.25 and max(ratios) <= 1.4)
    lost, twice = (sum(one[what] for one in killed + plain) for what in ("lost", "duplicates"))
    add_line(run, f"lost and duplicated in all {len(killed) + len(plain)} runs", f"{lost} and {twice}", "0 and 0", lost == twice == 0)


def add_line(run, what, value, target, reached):
    run.table.add(f"{run.count:,} findings: {what}", value, target, reached)


def bench_kills(run, seconds):
    """Each at a moment of its own between a tenth and nine tenths of the time that it takes undisturbed."""
    chance = random.Random(SEED)
    results = []
    for index in range(2 if run.quick else run.kills):
        which, at_s = ("sender", "receiver")[index % 2], seconds * chance.uniform(0.1, 0.9)
        results.append(deliver(run, f"kill{index}", SEED + 100 + index,
                               lambda arrived, elapsed, which=which, at_s=at_s: which if elapsed >= at_s else None))
        if not results[-1]["killed"]:
            run.note(f"kill {index}: it was through before the moment to kill came")
    return results


# ---- b. the others ----


def bench_peers_all(run):
    for kind in bench_peers.PEERS:
        try:
            kind.install(run.directory)
            run.peers.append(bench_peer(run, kind))
        except Exception as error:  # whatever a peer does, the others are measured
            reason = str(error) if isinstance(error, bench_peers.Unavailable) else f"{type(error).__name__}: {error}"
            run.failed[kind.name] = reason.replace("\n", " ")[:300]
            print(f"  {kind.name}: not measured: {run.failed[kind.name]}", flush=True)


def bench_peer(run, kind):
    lines = run.lines[:max(20, round(len(run.lines) * kind.share))]
    label = re.sub(r"\W+", "-", kind.name)

    def make(name):
        return lambda made: kind(made, run.path_for(name), run.directory, run.certificates, lines)

    def in_the_middle(arrived, _elapsed):
        return "sender" if arrived >= len(lines) // 2 else None

    results = {"name": kind.name, "count": len(lines), "plain": [], "killed": []}
    for index in range(run.repeat):
        for what, kill, idle_s in (("plain", None, 5 if run.quick else 30), ("killed", in_the_middle, 0)):
            name = f"{label}-{what}{index}"
            results[what].append(deliver(run, name, SEED + index, kill, idle_s, make(name)))
    return results


def cell(results, key, form="{:,.0f}", unit=1):
    """Of one run, or the median and spread of several; what no run gave is a dash."""
    values = [one[key] / unit for one in results if one[key] is not None]
    if not values:
        return "-"
    return bench.spread(values, form) if len(set(values)) > 1 else form.format(values[0])


def peers_text(run):
    """The second table."""
    head = ["", "findings", "MB up", "seconds", "arrived", "twice", "peak RSS, MB", "switches/s idle", "killed: MB up", "arrived", "twice",
            "lost"]
    rows = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for peer in run.peers:
        plain, killed = peer["plain"], [one for one in peer["killed"] if one["killed"]]
        cells = [peer["name"], f"{peer['count']:,}", cell(plain, "up", "{:.2f}", 1e6), cell(plain, "seconds"), cell(plain, "arrived"),
                 cell(plain, "duplicates"), cell(plain, "rss", "{:.0f}", 1e6), cell(plain, "switches", "{:.2f}"),
                 cell(killed, "up", "{:.2f}", 1e6), *(cell(killed, key) for key in ("arrived", "duplicates", "lost"))]
        rows.append("| " + " | ".join(cells) + " |")
    rows += [f"| {name} | not measured: {reason.replace('|', '/')} |" + " |" * (len(head) - 2) for name, reason in run.failed.items()]
    return "\n".join(rows)


# ---- c. a photo ----


def padded_photo(base, path, seed, size):
    """A JPEG of exactly `size` bytes: one that decodes, with comments that do not compress before its image."""
    data = base.read_bytes()
    left, noise, comments = size - len(data), random.Random(seed), []
    assert left > PIECE
    while left:
        length = min(left, 65537)  # with its marker and length
        length -= 4 if 0 < left - length < 4 else 0
        comments.append(b"\xff\xfe" + (length - 2).to_bytes(2, "big") + noise.randbytes(length - 4))
        left -= length
    path.write_bytes(data[:2] + b"".join(comments) + data[2:])
    return path


def stream(run, seed, size, with_tls, cut=False):
    """One TCP stream of so many bytes: seconds from its first packet until the receiver has them all, and bytes offered."""
    with network_lab.Lab(seed=seed) as made:
        listener = made.centre.socket()
        listener.bind((made.centre.address, 0))
        listener.listen(1)
        shape(made)
        if cut:
            made.link.schedule(every_s=20, for_s=5)
        listener.settimeout(ANSWER_S)
        ended = []

        def receive():
            with contextlib.closing(accept(run, listener, with_tls)) as incoming:
                left = size
                while left:
                    left -= len(incoming.recv(PIECE)) or left
                ended.append(time.monotonic())

        thread = threading.Thread(target=receive)
        thread.start()
        begun = time.monotonic()
        outgoing = made.handheld.connect(listener.getsockname(), timeout=ANSWER_S)
        if with_tls:
            outgoing = run.certificates.context().wrap_socket(outgoing, server_hostname=made.centre.address)
        with contextlib.closing(outgoing):
            outgoing.sendall(random.Random(seed).randbytes(size))
            thread.join()
        listener.close()
        up = made.link.counters()["up"]["offered"]["bytes"]
    return {"seconds": ended[0] - begun, "up": up}


def accept(run, listener, with_tls):
    incoming, _ = listener.accept()
    incoming.settimeout(ANSWER_S)
    if not with_tls:
        return incoming
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(run.certificates.chain, run.certificates.key)
    return context.wrap_socket(incoming, server_side=True)


def photo_run(run, name, seed, base, size, cut):
    """A finding with one photo, from the daemon's start until all is acknowledged: seconds, bytes offered, cuts."""
    directory = run.path_for(name)
    with network_lab.Lab(seed=seed) as made:
        peer = bench_peers.Gridpatrol(made, directory, run.directory, run.certificates, [])
        try:
            peer.receive()
            peer.handheld.enroll(peer.server)
            photo = padded_photo(base, directory / "photo.jpg", seed, size)
            peer.handheld.record("one large photo", photos=[photo])
            shape(made)
            if cut:
                made.link.schedule(every_s=20, for_s=5)
            before, begun = made.link.counters(), time.monotonic()
            peer.send()
            wait_for(lambda: peer.is_done(0), "the photo is acknowledged", ANSWER_S)
            seconds, after = time.monotonic() - begun, made.link.counters()
            made.link.schedule()
            held, requests = peer.server.findings(), peer.server.requests()
            assert len(held) == 1 and held[0]["complete"], held
        finally:
            peer.close()
    shutil.rmtree(directory, ignore_errors=True)
    return {"seconds": seconds, "outages": after["outages"], "requests": len(requests),
            **{way: after[way]["offered"]["bytes"] - before[way]["offered"]["bytes"] for way in ("up", "down")}}


def in_threads(functions):
    """What each of the functions gives; they run at the same time."""
    results = [None] * len(functions)
    errors = []

    def call(index):
        try:
            results[index] = functions[index]()
        except BaseException as error:  # raised below, where somebody waits
            errors.append(error)

    threads = [threading.Thread(target=call, args=(index,)) for index in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def bench_photo(run):
    """All at the same time, each over a link of its own; those of a round have the same seed. Links of this rate leave
    the processors idle."""
    size, rounds = (600_000, 1) if run.quick else (5_000_000, run.rounds or 3)
    base = harness.make_photo(run.path_for("base.jpg"), 1, 1600, 1200)

    def one_round(index):
        seed = SEED + 200 + index
        result = in_threads([
            lambda: stream(run, seed, size, False),
            lambda: stream(run, seed, size, True),
            lambda: stream(run, seed, size, False, cut=True),
            lambda: photo_run(run, f"photo{index}", seed, base, size, False),
            lambda: photo_run(run, f"photo-cut{index}", seed, base, size, True)])
        print(f"  photo {index}: {json.dumps(result)}", flush=True)
        return result

    results = in_threads([lambda index=index: one_round(index) for index in range(rounds)])
    plain, tls, plain_cut, ours, cut = zip(*results)
    label = f"photo of {size / 1e6:.1f} MB"
    ratios = [bare["seconds"] / one["seconds"] for bare, one in zip(plain, ours)]
    to_tls = [bare["seconds"] / one["seconds"] for bare, one in zip(tls, ours)]
    kbits = bench.spread([size * 8 / 1000 / one["seconds"] for one in plain], "{:.0f}")
    run.table.add(f"{label}: goodput, finding, preview and handshakes in its time, against one plain TCP stream ({kbits} kbit/s)",
                  bench.spread(ratios) + " ×", "≥ 0.9 ×", statistics.median(ratios) >= 0.9)
    run.note(f"{label} against one TLS stream: {bench.spread(to_tls)} ×")
    shares = [one["up"] / size for one in cut]
    run.table.add(f"{label}, the link cut every 20 s for 5 s ({min(one['outages'] for one in cut)} cuts or more): bytes up, IP packets "
                  "offered, against the photo's", bench.spread(shares) + " ×", "≤ 1.1 ×", statistics.median(shares) <= 1.1)
    run.note(f"{label}, one plain TCP stream over a link cut likewise: bytes up {bench.spread([one['up'] / size for one in plain_cut])} ×, in "
             f"{bench.spread([one['seconds'] for one in plain_cut], '{:.0f}')} s; ours in {bench.spread([one['seconds'] for one in cut], '{:.0f}')} s")
    whole, of_plain, of_tls = (bench.spread([one["up"] / size for one in runs]) for runs in (ours, plain, tls))
    run.note(f"{label} without cuts: bytes up {whole} ×, of one plain TCP stream {of_plain} ×, of one TLS stream {of_tls} ×")


# ---- d. resync ----


class Pair:
    """A server and an enrolled handheld on loopback."""

    def __init__(self, run, name, config=""):
        self.directory = run.path_for(name)
        self.server = harness.Server(self.directory / "server", run.certificates)
        self.handheld = harness.Handheld(self.directory / "handheld", config)
        self.server.start()
        self.handheld.enroll(self.server)

    def drain(self, seconds=ANSWER_S):
        self.handheld.start()
        wait_for(lambda: self.handheld.call("Status")["all_acknowledged"], "all is acknowledged", seconds)

    def resync(self, level):
        """The report, seconds, and the bytes of HTTP heads up and bodies both ways that it took."""
        known, begun = len(self.server.requests()), time.monotonic()
        done = subprocess.run(self.handheld.command("resync", "--level", level, "--wait", str(ANSWER_S), "--json"), text=True,
                              env=harness.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=ANSWER_S)
        assert done.returncode == 0, done.stderr + done.stdout
        requests = self.server.requests()[known:]
        size = sum(int(one["bytes_in"]) + int(one["bytes_out"]) for one in requests)
        return json.loads(done.stdout), time.monotonic() - begun, size

    def close(self):
        self.handheld.close()
        self.server.close()
        shutil.rmtree(self.directory, ignore_errors=True)


def bench_resync(run):
    count = 50_000 if run.quick else 1_000_000
    filled = run.path_for("filled")
    bench.program_json(run.build / "tests/bench/bench_store", "--fill", filled, count)
    pair = Pair(run, "resync")
    try:
        for file in filled.iterdir():
            target = pair.handheld.data / file.name
            shutil.copytree(file, target, dirs_exist_ok=True) if file.is_dir() else shutil.copy(file, target)
        shutil.rmtree(filled)
        pair.drain()
        report, _, size = pair.resync("presence")
        assert report["ok"] and report["records_checked"] >= count, report
        run.table.add(f"resync of a healthy log of {count:,}: HTTP, bodies both ways and heads up ({report['round_trips']} round trips)",
                      f"{size} B", "≤ 1 KB", size <= 1000)
        bench_missing(run, pair, count)
    finally:
        pair.close()


def bench_missing(run, pair, count):
    scattered = 100
    records = remove_records(pair, random.Random(SEED).sample(range(1, count), scattered))
    report, seconds, size = pair.resync("presence")
    assert report["ok"] and report["records_missing"] == scattered and report["records_sent_again"] == scattered, report
    again, _, _ = pair.resync("presence")
    assert again["ok"] and again["records_missing"] == 0, again
    plain, packed = sum(map(len, records)), len(zlib.compress(b"".join(records), 9))
    beside = size - packed
    run.table.add(f"{scattered} scattered records of {count:,} missing: HTTP without the records (deflated together {packed:,} B, plain "
                  f"{plain:,} B; {report['round_trips']} round trips, {seconds:.1f} s)", f"{beside:,} B", "≤ 2 KB", beside <= 2000)


def remove_records(pair, positions):
    """Behind the server's back, while it is stopped; the bytes that were removed."""
    pair.server.stop()
    removed = []
    with open(next(pair.server.data.glob("*.lock")), "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        connection = sqlite3.connect(next(pair.server.data.glob("*.db")))
        with connection:
            log = connection.execute("SELECT number FROM logs ORDER BY size DESC LIMIT 1").fetchone()[0]
            for position in positions:
                key = log << 40 | position
                removed.append(connection.execute("SELECT bytes FROM records WHERE key = ?", (key,)).fetchone()[0])
                connection.execute("DELETE FROM records WHERE key = ?", (key,))
        connection.close()
    pair.server.start()
    return removed


def bench_media(run):
    photos, size, rounds = (8, 2_000_000, 3) if run.quick else (64, 8_000_000, 7)
    base = harness.make_photo(run.path_for("base-media.jpg"), 2, 1600, 1200)
    pair = Pair(run, "media")
    try:
        for index in range(photos):
            photo = padded_photo(base, pair.directory / "photo.jpg", index, size)
            pair.handheld.record(f"photo {index}", photos=[photo])
        pair.drain()
        files = [path for path in (pair.server.data / "blobs").rglob("*") if re.fullmatch("[0-9a-f]{64}", path.name)]
        total = sum(path.stat().st_size for path in files)
        ratios = []
        for _ in range(rounds):
            begun = time.monotonic()
            subprocess.run(["sha256sum", *files], check=True, stdout=subprocess.DEVNULL)
            theirs = time.monotonic() - begun
            report, ours, _ = pair.resync("media")
            assert report["ok"] and report["blobs_checked"] >= len(files), report
            ratios.append(theirs / ours)
        run.table.add(f"media audit of {len(files)} files, {total / 1e6:.0f} MB, all of the resync in its time, against the speed of "
                      f"`sha256sum` ({total / theirs / 1e6:.0f} MB/s)", bench.spread(ratios) + " ×", "≥ 0.9 ×",
                      statistics.median(ratios) >= 0.9)
    finally:
        pair.close()


# ---- e. idle ----


def pss_bytes(pids):
    return 1024 * sum(bench.rollup(pid)["Pss"] for pid in pids)


def bench_idle(run):
    """As its systemd unit has it: told to, the daemon pets the watchdog of 180 s."""
    wait_s, span_s = (10, 20) if run.quick else (90, 360)
    pair = Pair(run, "idle")
    notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        notified.bind(str(pair.directory / "notify"))
        pair.handheld.more_environment = {"NOTIFY_SOCKET": pair.directory / "notify", "WATCHDOG_USEC": 180_000_000}
        pair.handheld.record("idle")
        pair.drain()
        time.sleep(wait_s)
        pids = bench_peers.tree(pair.handheld.process.child.pid)
        before, begun = bench_peers.switches(pids), time.monotonic()
        time.sleep(span_s)
        rate = (bench_peers.switches(pids) - before) / (time.monotonic() - begun)
        pair.server.stop()  # what it shares with the daemon is not there on a handheld
        pids = bench_peers.tree(pair.handheld.process.child.pid)
        memory = pss_bytes(pids)
    finally:
        notified.close()
        pair.close()
    run.table.add(f"all {len(pids)} processes of the daemon, idle for {wait_s} s and more: PSS", f"{memory / 1e6:.1f} MB", "≤ 6 MB",
                  memory <= 6e6)
    run.table.add(f"the same: context switches over {span_s} s", f"{rate:.3f}/s", "≤ 0.05/s", rate <= 0.05)


# ---- f. the server under load ----

CONNECTIONS = 200
RECORDS = 10
EXCHANGES_MAX_PER_S = 3000  # so many are signed beforehand
COMMIT_GROUP = 1000


def bench_server(run):
    seconds = run.load_s or (60 if run.quick else 600)
    directory = run.path_for("load")
    server = harness.Server(directory / "server", run.certificates)
    server.start()
    try:
        tokens = "".join(server.token() + "\n" for _ in range(CONNECTIONS))
        load = subprocess.Popen([run.build / "tests/bench/bench_load", run.certificates.ca, str(RECORDS),
                                 str(seconds * EXCHANGES_MAX_PER_S // CONNECTIONS), str(seconds)], text=True, stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE)
        load.stdin.write(tokens)
        load.stdin.close()
        assert load.stdout.readline() == "running\n", "the load did not begin"
        memory = sample_memory(server.process.child.pid, load)
        result = json.loads(load.stdout.readline())
        assert load.wait() == 0 and result["refused"] == 0, result
        stored = sum(device["records"] for device in server.devices())
        # All that was answered, and no more than was sent: one exchange of each connection was in flight at the end.
        in_flight = stored - result["exchanges"] * RECORDS
        assert 0 <= in_flight <= CONNECTIONS * RECORDS, (stored, result)
        busy_s = metric(server, "gridpatrol_ingest_seconds_total")
    finally:
        server.close()
        shutil.rmtree(directory, ignore_errors=True)
    report_server(run, result, memory, busy_s)


def sample_memory(pid, load):
    """RSS each second while the load runs."""
    samples = []
    while True:
        samples.append(1024 * bench_peers.status_values(pid, "VmRSS")[0])
        try:
            load.wait(timeout=1)
            return samples[:-1] or samples
        except subprocess.TimeoutExpired:
            continue


def metric(server, name):
    text = server.request("GET", "/metrics").content.decode()
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(name + " "))


def report_server(run, result, memory, busy_s):
    label = f"{CONNECTIONS} TLS connections, {RECORDS} findings an exchange, {result['seconds']:.0f} s"
    rate, p99_ms = result["per_s"], result["p99_ms"]
    run.table.add(f"server, {label}, {os.cpu_count()} cores shared with what loads it: exchanges/s", f"{rate:.0f}", "≥ 2,000",
                  rate >= 2000)
    run.table.add("the same: from the request to the acknowledgement, p99",
                  f"{p99_ms:.0f} ms (p50 {result['p50_ms']:.0f}, largest {result['max_ms']:.0f})", "≤ 250 ms", p99_ms <= 250)
    bare = bare_insert(run, min(result["exchanges"], 200_000), COMMIT_GROUP)
    run.table.add(f"the same: against a bare bulk insert of the same records by SQLite alone ({bare:.0f} exchanges/s in transactions of "
                  f"{COMMIT_GROUP})", f"{rate / bare:.2f} ×", "≥ 0.5 ×", rate >= 0.5 * bare)
    run.note(f"of {result['seconds']:.0f} s the server's preparing and committing took {busy_s:.0f} s of threads' time: "
             f"{result['exchanges'] / busy_s:.0f} exchanges/s of it")
    tenth = max(1, len(memory) // 10)
    early, late = statistics.median(memory[tenth:2 * tenth] or memory), statistics.median(memory[-tenth:])
    run.table.add(f"the same: its RSS in the last tenth of the time, {late / 1e6:.0f} MB, against the second tenth", f"{late / early:.2f} ×",
                  "≤ 1.1 ×", late <= 1.1 * early)


def bare_insert(run, exchanges, group):
    rates = []
    for index in range(3):
        path = run.path_for(f"insert{index}.db")
        sizes = (CONNECTIONS, RECORDS, exchanges, group)
        rates.append(bench.program_json(run.build / "tests/bench/bench_insert", path, *sizes)["exchanges_per_s"])
        for file in run.directory.glob(path.name + "*"):
            file.unlink()
    return statistics.median(rates)


# ---- all of it ----


def measure(run, parts, writes):
    """Each section is written as soon as it is measured: what comes later may fail."""
    functions = {"drain": (bench_drain,), "peers": (bench_peers_all,), "photo": (bench_photo,), "resync": (bench_resync, bench_media),
                 "idle": (bench_idle,), "server": (bench_server,)}
    for section, its_parts in SECTIONS.items():
        chosen = [part for part in its_parts if part in parts]
        if not chosen:
            continue
        run.begin_section()
        for part in chosen:
            print(f"{part}:", flush=True)
            for function in functions[part]:
                function(run)
        text = page_text(run)
        print("\n" + text + "\n", flush=True)
        if writes:
            bench.write_page("delivery", text, run.source, section)


def page_text(run):
    parts = [run.table.text()]
    if run.peers or run.failed:
        parts += ["Each over the same link, from its start until everything had arrived; bytes are those of IP packets that the sending "
                  "end offered; killed is kill -9 of the sending end in the middle:", peers_text(run)]
    if run.notes:
        parts.append("\n".join(f"- {note}" for note in run.notes))
    return "\n\n".join(parts)


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench delivery", description=__doc__)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("what", choices=["delivery"])
    parser.add_argument("--quick", action="store_true", help="less of everything: to see that it runs, not for figures")
    parser.add_argument("--write", action="store_true", help="put the tables of what is measured into docs/performance.md")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="runs of each peer")
    parser.add_argument("--rounds", type=int, default=0, metavar="N", help="of photo (3) and undisturbed ones of drain (5)")
    parser.add_argument("--kills", type=int, default=9, metavar="N", help="of drain")
    parser.add_argument("--only", action="append", choices=PARTS, help="only this part; may be given again")
    parser.add_argument("--load-seconds", type=int, default=0, metavar="N", help="how long the server is loaded, instead of 600")
    arguments = parser.parse_args()
    parts = arguments.only or PARTS
    is_less = arguments.quick or arguments.rounds or arguments.kills != 9 or arguments.load_seconds
    if arguments.write and (is_less or ("drain" in parts) != ("peers" in parts)):
        parser.error("--write is for full size, and for drain and peers in one run")
    directory = pathlib.Path(tempfile.mkdtemp(prefix="gridpatrol-bench-", dir=os.environ.get("BENCH_DIR")))
    try:
        run = Bench(arguments.build.resolve(), directory, arguments)
        measure(run, parts, arguments.write)
    except network_lab.NotAllowed as refused:
        sys.exit(f"bench: {refused}")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
