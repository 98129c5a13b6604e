#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The measurements behind scripts/bench: real programs on this machine, ratios taken in one run."""

import argparse
import gzip
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(HERE / "scripts"))
import demo as demonstration  # noqa: E402: the same starting and stopping of real programs

CORPUS = HERE / "../shared/corpus/findings/patrol_10k.ndjson.gz"


class Table:
    def __init__(self):
        self.rows = []

    def add(self, what, value, target, reached):
        self.rows.append((what, value, target, reached))
        print(f"  {what}: {value} (line: {target}) {'reached' if reached else 'NOT REACHED'}", flush=True)

    def text(self):
        lines = ["| what | measured | line | |", "|---|---|---|---|"]
        lines += [f"| {what} | {value} | {target} | {'reached' if reached else '**not reached**'} |"
                  for what, value, target, reached in self.rows]
        return "\n".join(lines)


def spread(values, form="{:.2f}"):
    return f"{form.format(statistics.median(values))} ({form.format(min(values))} to {form.format(max(values))})"


def program_json(*command):
    return json.loads(subprocess.run([str(word) for word in command], check=True, text=True, stdout=subprocess.PIPE).stdout)


# ---- recording ----

def bench_record(build, directory, table, quick):
    rounds, repeats = (300, 3) if quick else (2000, 5)
    runs = []
    for index in range(repeats):
        runs.append(run_bench_store(build, directory / f"record{index}", rounds))
    p50 = [run["p50_ratio"] for run in runs]
    p99 = [run["p99_ratio"] for run in runs]
    table.add("durable record through the library, p50, against a 400-byte append + fdatasync", spread(p50) + " ×", "≤ 1.3 ×",
              statistics.median(p50) <= 1.3)
    table.add("the same, p99", spread(p99) + " ×", "≤ 3 ×", statistics.median(p99) <= 3)
    patrol = build / "collector/patrol"
    store = directory / "process"
    runs = [program_json(build / "tests/bench/bench_process", 50 if quick else 300, patrol, "--data", store, "record", "--category",
                         "06010", "--lat", "31.2", "--lon", "121.5", "--note", "pavement broken", "--",
                         build / "tests/bench/bench_process", "--write-file", directory / "plain") for _ in range(repeats)]
    ratios = [run["p50_ratio"] for run in runs]
    table.add("`patrol record` as a process, against one that opens, writes 4 KiB and fdatasyncs", spread(ratios) + " ×", "≤ 3.5 ×",
              statistics.median(ratios) <= 3.5)
    rss = max(run["a_rss_kib"] for run in runs) / 1024
    table.add("its largest RSS", f"{rss:.1f} MiB", "≤ 5 MB", rss * 1.048576 <= 5)


def run_bench_store(build, directory, rounds):
    """A 400-byte append + fdatasync and a durable record in turn: percentiles in microseconds, and their ratios."""
    directory.mkdir()
    return program_json(build / "tests/bench/bench_store", directory, rounds)


def make_input(directory):
    """The 10,000 findings, with observed_at drawn 150 s apart (exponential, by seed)."""
    if CORPUS.exists():
        lines = [json.loads(line) for line in gzip.open(CORPUS, "rt", encoding="utf-8")]
        source = "patrol_10k of the corpus"
    else:
        text = subprocess.run(["/usr/bin/python3", HERE / "tests/data/make_findings.py", "--count", "10000", "--seed", "1"],
                              check=True, text=True, stdout=subprocess.PIPE).stdout
        lines = [json.loads(line) for line in text.splitlines()]
        source = "the project's own generator"
    chance = random.Random(20260101)
    at = 1767225600.0
    for line in lines:
        at += chance.expovariate(1 / 150)
        line["observed_at"] = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at * 1000) % 1000:03}Z"
    path = directory / "findings.ndjson"
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    return path, len(lines), source


def bench_import(build, directory, table, path, count, quick):
    rates = []
    for index in range(2 if quick else 5):
        append_s = run_bench_store(build, directory / f"import-append{index}", 300)["append_p50_us"] / 1e6
        at = time.monotonic()
        subprocess.run([build / "collector/patrol", "--data", directory / f"import{index}", "record", "--from", path], check=True,
                       stdout=subprocess.DEVNULL)
        rates.append(count / (time.monotonic() - at) * append_s)
    table.add("`patrol record --from`, findings/s against the rate of 400-byte append + fdatasync", spread(rates, "{:.0f}") + " ×",
              "≥ 5 ×", statistics.median(rates) >= 5)


def bench_columns(build, directory, table):
    """Over the store that the first import filled."""
    run = program_json(build / "tests/bench/bench_columns", directory / "import0", 200, 3000)
    for batch, line in zip(run["batches"], (41, 30)):
        rows, columns = batch["rows"]["with_dictionary"], batch["columns"]["with_dictionary"]
        table.add(f"bytes of a finding compressed in columns, {batch['batch']} in a batch, with the dictionary (in rows: {rows:.1f} B)",
                  f"{columns:.1f} B", f"≤ {line} B", columns <= line)


# ---- draining ----

class Rig(demonstration.Demo):
    """One server and one handheld on loopback with TLS."""

    def __init__(self, build, directory):
        directory.mkdir()
        super().__init__(build, directory)
        self.port = demonstration.free_port()
        demonstration.make_certificates(directory)
        self.start_server()
        token = self.run("patrol-server", "token").stdout.strip()
        self.run("patrol", "enroll", token)

    def metrics(self):
        text = subprocess.run(["curl", "-s", "--cacert", self.directory / "ca.pem", f"https://127.0.0.1:{self.port}/metrics"],
                              check=True, text=True, stdout=subprocess.PIPE).stdout
        return {line.split()[0]: float(line.split()[1]) for line in text.splitlines() if line and not line.startswith("#")}


def bench_drain(build, directory, table, path, count, quick):
    seconds, sizes = [], []
    for index in range(1 if quick else 5):
        rig = Rig(build, directory / f"drain{index}")
        try:
            rig.run("patrol", "record", "--from", path)
            proxy = subprocess.Popen(["/usr/bin/python3", HERE / "tests/bench/counting_proxy.py", str(rig.port)], text=True,
                                     stdout=subprocess.PIPE)
            proxy_port = int(proxy.stdout.readline())
            rig.run("patrol", "server-url", f"https://127.0.0.1:{proxy_port}")
            rig.start_daemon()
            rig.run("patrol", "sync", "--wait", "120", stderr=subprocess.DEVNULL)
            proxy.send_signal(signal.SIGTERM)
            sizes.append(json.loads(proxy.stdout.readline())["up"] / count)
            proxy.wait()
            metrics = rig.metrics()
            seconds.append(metrics["gridpatrol_ingest_seconds_total"])
        finally:
            rig.stop_all()
    rates = [count / value for value in seconds]
    table.add("findings/s that the server takes, verification and projection included (busy time of the ingest)",
              spread(rates, "{:.0f}"), "≥ 30,000", statistics.median(rates) >= 30000)
    table.add("bytes up a finding, TLS and HTTP included", spread(sizes, "{:.1f}") + " B", "≤ 65 B", statistics.median(sizes) <= 65)


def bench_ingest(build, directory, table, quick):
    """The server's share alone, without a network: the rate in an empty storage and at a million stored, in one process."""
    count = 100_000 if quick else 1_000_000
    runs = [program_json(build / "tests/bench/bench_ingest", directory / f"ingest{index}", count) for index in range(1 if quick else 3)]
    for run in runs:
        assert run["full"]["stored"] >= count
    rates = [run["full"]["per_s"] for run in runs]
    ratios = [run["full"]["per_s"] / run["empty"]["per_s"] for run in runs]
    table.add(f"findings/s that the server takes when {count:,} are stored", spread(rates, "{:.0f}"), "≥ 15,000",
              statistics.median(rates) >= 15000)
    table.add("the same, against an empty storage", spread(ratios) + " ×", "≥ 0.5 ×", statistics.median(ratios) >= 0.5)


# ---- idle, start, a million ----

def bench_idle(build, directory, table, quick):
    """All processes of the daemon, as systemd runs it (its watchdog), from 90 s after the last exchange. The server is stopped
    then: it would share the pages of libraries, which on a handheld nobody does."""
    rig = Rig(build, directory / "idle")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        address = rig.directory / "notify"
        notified.bind(str(address))
        rig.environment.update(NOTIFY_SOCKET=str(address), WATCHDOG_USEC="180000000")
        try:
            rig.run("patrol", "record", "--category", "06010", "--no-fix", "bench")
            rig.start_daemon()
            rig.run("patrol", "sync", "--wait", "30", stderr=subprocess.DEVNULL)
            rig.stop("patrol-server")
            pid = rig.children["patrol-syncd"].pid
            time.sleep(70 if quick else 90)  # the network worker ends after 60 s
            before = switches(pid)
            span = 20 if quick else 240
            time.sleep(span)
            rate = (switches(pid) - before) / span
            memory = [rollup(process) for process in family(pid)]
        finally:
            rig.stop_all()
    pss = sum(one["Pss"] for one in memory)
    private = sum(one["Private_Dirty"] for one in memory)
    what = f"`patrol-syncd` idle, all its processes ({len(memory)}), 90 s after the last exchange"
    table.add(f"{what}: PSS", f"{pss / 1024:.1f} MiB", "≤ 6 MB", pss * 1024 <= 6e6)
    table.add("the same: private dirty", f"{private / 1024:.1f} MiB", "≤ 4 MB", private * 1024 <= 4e6)
    table.add("the same: context switches", f"{rate:.3f}/s", "≤ 0.05/s", rate <= 0.05)


def family(pid):
    """A process and its children, who have none themselves."""
    return [pid, *map(int, open(f"/proc/{pid}/task/{pid}/children").read().split())]


def switches(pid):
    total = 0
    for process in family(pid):
        for line in open(f"/proc/{process}/status"):
            if "ctxt_switches" in line:
                total += int(line.split()[1])
    return total


def rollup(pid):
    return {line.split()[0].rstrip(":"): int(line.split()[1]) for line in open(f"/proc/{pid}/smaps_rollup") if line.endswith("kB\n")}


def bench_start(build, directory, table, quick):
    for name, room in (("patrol", "collector"), ("patrol-syncd", "syncd")):
        times = []
        for _ in range(21):
            at = time.monotonic()
            subprocess.run([build / room / name, "--version"], check=True, stdout=subprocess.DEVNULL)
            times.append((time.monotonic() - at) * 1000)
        table.add(f"`{name} --version`, whole process", spread(times, "{:.1f}") + " ms", "< 50 ms", statistics.median(times) < 50)
    times = [seconds_to_ready(build, directory / f"start{index}") * 1000 for index in range(5 if quick else 21)]
    table.add("`patrol-syncd` from its start to READY", spread(times, "{:.1f}") + " ms", "< 50 ms", statistics.median(times) < 50)


def seconds_to_ready(build, data):
    """Of a daemon on a store that holds one queued finding, as systemd would see it."""
    environment = dict(os.environ, GRIDPATROL_DATA=str(data))
    subprocess.run([build / "collector/patrol", "record", "--category", "06010", "--no-fix", "bench"], check=True, env=environment,
                   stdout=subprocess.DEVNULL)
    address = data / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(address))
        notified.settimeout(10)
        at = time.monotonic()
        daemon = subprocess.Popen([build / "syncd/patrol-syncd"], env=dict(environment, NOTIFY_SOCKET=str(address)),
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while "READY=1" not in notified.recv(4096).decode().splitlines():
                pass
            return time.monotonic() - at
        finally:
            daemon.terminate()
            daemon.wait()


def bench_million(build, directory, table, quick):
    count = 100_000 if quick else 1_000_000
    result = program_json(build / "tests/bench/bench_store", "--fill", directory / "million", count)
    table.add(f"append at {count:,} records against 1,000", f"{result['append_ratio']:.2f} ×", "≤ 1.5 ×", result["append_ratio"] <= 1.5)
    table.add(f"status at {count:,} records against 1,000", f"{result['status_ratio']:.2f} ×", "≤ 1.5 ×", result["status_ratio"] <= 1.5)
    rig = Rig(build, directory / "million-rig")
    try:
        shutil.rmtree(rig.handheld / "photos", ignore_errors=True)
        for file in (directory / "million").iterdir():
            target = rig.handheld / file.name
            shutil.copytree(file, target) if file.is_dir() else shutil.copy(file, target)
        rig.start_daemon()
        at = time.monotonic()
        rig.run("patrol", "sync", "--wait", "1800", stderr=subprocess.DEVNULL)
        elapsed = time.monotonic() - at
        pid = rig.children["patrol-syncd"].pid
        peak = next(int(line.split()[1]) for line in open(f"/proc/{pid}/status") if line.startswith("VmHWM")) / 1024
        table.add(f"`patrol-syncd` largest RSS while it drains {count:,} records ({count / elapsed:.0f}/s end to end)", f"{peak:.0f} MiB",
                  "≤ 64 MB", peak * 1.048576 <= 64)
        metrics = rig.metrics()
        rate = count / metrics["gridpatrol_ingest_seconds_total"]
        table.add(f"findings/s that the server takes over all {count:,}", f"{rate:.0f}", "≥ 15,000", rate >= 15000)
        report = json.loads(rig.run("patrol", "resync", "--level", "presence", "--wait", "300", "--json").stdout)
        table.add("healthy presence audit: round trips", str(report["round_trips"]), "1", report["round_trips"] == 1)
        size = last_audit_bytes(rig)
        table.add("healthy presence audit: HTTP payload, both ways", f"{size} B", "< 1 KB", size < 1000)
    finally:
        rig.stop_all()


def last_audit_bytes(rig):
    size = 0
    for line in open(rig.logs / "patrol-server.log", errors="replace"):
        if "/v1/audit" in line or "route=audit" in line:
            words = dict(word.split("=", 1) for word in line.split() if "=" in word)
            size = int(words["bytes_in"]) + int(words["bytes_out"])
    return size


def core(build, quick):
    table = Table()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="gridpatrol-bench-", dir=os.environ.get("BENCH_DIR")))
    try:
        path, count, source = make_input(directory)
        print(f"input: {count} findings, {source}", flush=True)
        bench_record(build, directory, table, quick)
        bench_import(build, directory, table, path, count, quick)
        bench_columns(build, directory, table)
        bench_drain(build, directory, table, path, count, quick)
        bench_idle(build, directory, table, quick)
        bench_start(build, directory, table, quick)
        bench_ingest(build, directory, table, quick)
        bench_million(build, directory, table, quick)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return table, source


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("what", choices=["core"])
    parser.add_argument("--quick", action="store_true", help="fewer rounds: to see that it runs, not for figures")
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    arguments = parser.parse_args()
    table, source = core(arguments.build.resolve(), arguments.quick)
    text = table.text()
    print("\n" + text)
    if arguments.write:
        write_page("core", text, source)
    return 0


def commit_text():
    """What is measured: the commit, and whether the code differs from it. The page itself does not count: it is written."""
    def git(*words):
        return subprocess.run(["git", "-C", str(HERE), *words], text=True, check=False, capture_output=True).stdout.strip()

    named = git("rev-parse", "--short", "HEAD")
    differs = " and changes that are not committed" if git("status", "--porcelain", "--", ":!docs/performance.md") else ""
    return f"commit {named}{differs}" if named else "no commit"


def write_page(what, text, source, section=None):
    """Into the section of docs/performance.md that belongs to this bench, or to one part of it."""
    page = HERE / "docs/performance.md"
    name = f"{what} {section}" if section else what
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, rest = page.read_text().split(begin)
    after = rest.split(end)[1]
    cpu = next(line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
    note = (f"`scripts/bench {what}` on {time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores ({cpu}), Linux {os.uname().release}; input: "
            f"{source}; {commit_text()}. Medians, with the smallest and largest of the runs in brackets.")
    page.write_text(f"{before}{begin}\n{note}\n\n{text}\n{end}{after}")


if __name__ == "__main__":
    sys.exit(main())
