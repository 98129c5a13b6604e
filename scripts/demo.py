#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The demonstration behind scripts/demo: real programs, TLS on loopback, kills and damage; everything compared at the end."""

import argparse
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time

FINDINGS = 200
PHOTOS = 40
ONE_BY_ONE = 5  # recorded by single commands, the rest as one file

HERE = pathlib.Path(__file__).resolve().parent.parent


def say(text=""):
    print(text, flush=True)


def step(text):
    say(f"\n\033[1m== {text}\033[0m" if sys.stdout.isatty() else f"\n== {text}")


class Failed(Exception):
    pass


class Demo:
    def __init__(self, build, directory):
        self.build = build
        self.directory = directory
        self.handheld = directory / "handheld"
        self.centre = directory / "centre"
        self.children = {}
        self.environment = dict(os.environ, GRIDPATROL_DATA=str(self.handheld), GRIDPATROL_SERVER_DATA=str(self.centre),
                                TZ="Asia/Shanghai")
        self.logs = directory / "logs"
        self.logs.mkdir()

    def program(self, name):
        room = {"patrol": "collector", "patrol-syncd": "syncd", "patrol-server": "server"}[name]
        return str(self.build / room / name)

    def run(self, name, *arguments, expect=0, **options):
        options.setdefault("stdout", subprocess.PIPE)
        result = subprocess.run([self.program(name), *map(str, arguments)], env=self.environment, text=True, **options)
        if expect is not None and result.returncode != expect:
            raise Failed(f"{name} {' '.join(map(str, arguments))} ended with {result.returncode}, not {expect}")
        return result

    def start(self, name, *arguments):
        log = open(self.logs / f"{name}.log", "ab")
        self.children[name] = subprocess.Popen([self.program(name), *map(str, arguments)], env=self.environment,
                                               stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def stop(self, name, how=signal.SIGTERM):
        child = self.children.pop(name, None)
        if child is None:
            return
        child.send_signal(how)
        child.wait(timeout=20)

    def stop_all(self):
        for name in list(self.children):
            try:
                self.stop(name)
            except subprocess.TimeoutExpired:
                self.stop(name, signal.SIGKILL)

    def status(self):
        return json.loads(self.run("patrol", "status", "--json").stdout)

    def start_server(self):
        self.start("patrol-server", "serve", "--listen", f"127.0.0.1:{self.port}", "--tls-cert",
                   self.directory / "server.pem", "--tls-key", self.directory / "server.key")
        wait_for("the server listens", lambda: self.alive("patrol-server") and can_connect(self.port))

    def start_daemon(self):
        self.start("patrol-syncd")

    def alive(self, name):
        if self.children[name].poll() is not None:
            raise Failed(f"{name} ended: see {self.logs / (name + '.log')}")
        return True


def can_connect(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def wait_for(what, condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"waited {seconds:.0f} s in vain: {what}")
        time.sleep(0.005)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def make_certificates(directory):
    """A CA of our own and a server certificate for loopback; the chain file ends with the CA."""
    ca, key, request = directory / "ca.pem", directory / "server.key", directory / "server.csr"
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", directory / "ca.key",
            "-out", ca, "-days", "30", "-subj", "/CN=gridpatrol demo CA")
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", request,
            "-subj", "/CN=127.0.0.1")
    extensions = directory / "server.ext"
    extensions.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n")
    openssl("x509", "-req", "-in", request, "-CA", ca, "-CAkey", directory / "ca.key", "-CAcreateserial", "-days", "30",
            "-extfile", extensions, "-out", directory / "leaf.pem")
    (directory / "server.pem").write_text((directory / "leaf.pem").read_text() + ca.read_text())


def make_input(demo):
    """Findings by the project's own generator; forty of them with a photo."""
    lines = subprocess.run(["/usr/bin/python3", HERE / "tests/data/make_findings.py", "--count", str(FINDINGS), "--seed", "7"],
                           check=True, text=True, stdout=subprocess.PIPE).stdout.splitlines()
    findings = [json.loads(line) for line in lines]
    photos = demo.directory / "photos"
    photos.mkdir()
    for index in range(PHOTOS):
        path = photos / f"{index:03}.jpg"
        subprocess.run([demo.build / "tests/data/make_photo", "--width", "1600", "--height", "1200", "--seed", str(index),
                        "--quality", "80", "-o", path], check=True)
        findings[index * (FINDINGS // PHOTOS)]["photos"] = [str(path)]
    return findings


def record_all(demo, findings):
    ids = []
    for finding in findings[:ONE_BY_ONE]:
        options = ["--category", finding["category"], "--severity", finding["severity"], "--note", finding["note"],
                   "--lat", finding["lat"], "--lon", finding["lon"], "--accuracy", finding["accuracy_m"]]
        for photo in finding.get("photos", []):
            options += ["--photo", photo]
        ids += demo.run("patrol", "record", *options).stdout.split()
    file = demo.directory / "findings.ndjson"
    file.write_text("".join(json.dumps(finding, ensure_ascii=False) + "\n" for finding in findings[ONE_BY_ONE:]))
    ids += demo.run("patrol", "record", "--from", file).stdout.split()
    if len(set(ids)) != FINDINGS:
        raise Failed(f"{len(set(ids))} ids were printed for {FINDINGS} findings")
    return ids


def drain_with_kills(demo):
    """Lets the daemon drain, kills it once in the middle and the server once, and shows how the queue shrinks."""
    at_start = demo.status()
    all_photos = at_start["photos_pending"]
    killed = {}
    shown = None
    deadline = time.monotonic() + 60
    demo.start_server()
    waiter = subprocess.Popen([demo.program("patrol"), "sync", "--wait", "60"], env=demo.environment,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while True:
        now = demo.status()
        if (now["records_sent"], now["photos_pending"]) != shown:
            shown = (now["records_sent"], now["photos_pending"])
            done = all_photos - now["photos_pending"]
            width = 30 * done // max(all_photos, 1)
            line = (f"  findings {now['records_sent']:3}/{FINDINGS} at the centre, photos and previews {done:2}/{all_photos} "
                    f"[{'#' * width}{'.' * (30 - width)}]")
            print(("\r" if sys.stdout.isatty() else "") + line, end="" if sys.stdout.isatty() else "\n", flush=True)
        if "patrol-syncd" not in killed and now["photos_pending"] <= all_photos * 3 // 4:
            demo.stop("patrol-syncd", signal.SIGKILL)
            killed["patrol-syncd"] = now["photos_pending"]
            say(f"\n  daemon killed (-9) with {now['photos_pending']} photos to go, started again")
            demo.start_daemon()
        elif "patrol-syncd" in killed and "patrol-server" not in killed and now["photos_pending"] <= all_photos // 2:
            demo.stop("patrol-server", signal.SIGKILL)
            killed["patrol-server"] = now["photos_pending"]
            say(f"\n  server killed (-9) with {now['photos_pending']} photos to go, started again")
            demo.start_server()
            demo.run("patrol", "sync", expect=None, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if now["records_queued"] == 0 and now["photos_pending"] == 0:
            break
        if time.monotonic() > deadline:
            raise Failed("the queue was not drained in 60 s")
        time.sleep(0.01)
    waiter.terminate()
    waiter.wait()
    say()
    if len(killed) != 2:
        raise Failed("everything was through before both had been killed: nothing was shown")
    demo.run("patrol", "sync", "--wait", "30", stderr=subprocess.DEVNULL)


def damage(demo, photo_sha256):
    """Behind the server's back: deletes one record's row and one photo's file."""
    demo.stop("patrol-server")
    database = next(demo.centre.glob("*.db"))
    with open(next(demo.centre.glob("*.lock")), "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with sqlite3.connect(database) as connection:
            key = connection.execute("SELECT key FROM records ORDER BY key LIMIT 1 OFFSET 100").fetchone()[0]
            connection.execute("DELETE FROM records WHERE key = ?", (key,))
        connection.close()
    path = next(demo.centre.rglob(photo_sha256))
    path.unlink()
    say(f"  deleted the row of one record and the file {path.name[:16]}...")
    demo.start_server()


def compare(demo, ids):
    """Everything that was recorded against everything that the server holds."""
    recorded = {item["id"]: item for item in map(json.loads, demo.run("patrol", "list", "--json").stdout.splitlines())}
    held_lines = [json.loads(line) for line in demo.run("patrol-server", "findings", "--json").stdout.splitlines()]
    held = {item["id"]: item for item in held_lines}
    table = {"recorded": len(ids), "stored": 0, "duplicates": len(held_lines) - len(held), "missing": 0, "photos": 0,
             "different": 0}
    same = ("log", "seq", "note", "severity", "category", "lat", "lon", "accuracy_m", "observed_at", "recorded_at", "inspector")
    for record_id in ids:
        if record_id not in held:
            table["missing"] += 1
            continue
        table["stored"] += 1
        mine, theirs = recorded[record_id], held[record_id]
        if any(mine[key] != theirs[key] for key in same) or not theirs["complete"]:
            table["different"] += 1
        if [photo["sha256"] for photo in mine["photos"]] != [photo["sha256"] for photo in theirs["photos"]]:
            table["different"] += 1
        for photo in theirs["photos"]:
            if photo["role"] == "photo":
                table["photos"] += compare_photo(demo, photo["sha256"])
    return table


def compare_photo(demo, sha256):
    out = demo.directory / "photo.out"
    demo.run("patrol-server", "blob", sha256, "-o", out)
    data = out.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise Failed(f"the server gave other bytes for photo {sha256}")
    original = next(path for path in (demo.directory / "photos").iterdir()
                    if hashlib.sha256(path.read_bytes()).hexdigest() == sha256)
    if original.read_bytes() != data:
        raise Failed(f"photo {original} differs at the server")
    return 1


def bytes_sent(demo):
    total = 0
    for line in open(demo.logs / "patrol-server.log", errors="replace"):
        for word in line.split():
            if word.startswith("bytes_in="):
                total += int(word[len("bytes_in="):])
    return total


def play(demo):
    began = time.monotonic()
    step("A server with TLS on loopback, and one handheld enrolled with a one-time token")
    make_certificates(demo.directory)
    demo.port = free_port()
    demo.start_server()
    token = demo.run("patrol-server", "token", "--name", "demo handheld", "--inspector", "inspector-1").stdout.strip()
    say("  " + demo.run("patrol", "enroll", token).stdout.strip())
    demo.stop("patrol-server")
    demo.start_daemon()

    step(f"{FINDINGS} findings with {PHOTOS} photos, recorded while the server cannot be reached")
    findings = make_input(demo)
    at = time.monotonic()
    ids = record_all(demo, findings)
    say(f"  recorded in {time.monotonic() - at:.1f} s, photos and previews included")
    say(demo.run("patrol", "status").stdout.rstrip())

    step("The server is back: the daemon drains its queue; daemon and server are killed once each")
    drain_with_kills(demo)
    table = compare(demo, ids)
    if table["stored"] != FINDINGS or table["duplicates"] or table["different"]:
        raise Failed(f"after the kills: {table}")

    step("The server's data is damaged behind its back; the admin asks for a resync")
    listed = [json.loads(line) for line in demo.run("patrol", "list", "--json").stdout.splitlines()]
    with_photo = next(item for item in listed if item["photos"])
    photo = next(photo for photo in with_photo["photos"] if photo["role"] == "photo")
    damage(demo, photo["sha256"])
    say(demo.run("patrol", "resync", "--level", "media", "--wait", "60").stdout.rstrip())
    again = json.loads(demo.run("patrol", "resync", "--level", "media", "--wait", "60", "--json").stdout)
    if not again["ok"] or again["records_missing"] or again["blobs_missing"]:
        raise Failed(f"a second resync still finds something: {again}")

    step("One finding's evidence, exported and verified offline")
    evidence, key = demo.directory / "finding.evidence", demo.directory / "server.key.txt"
    demo.run("patrol", "export", "--evidence", with_photo["id"], "-o", evidence)
    demo.run("patrol-server", "key", "-o", key)
    demo.stop_all()
    say(demo.run("patrol", "verify", evidence, "--server-key", key).stdout.rstrip())
    data = bytearray(evidence.read_bytes())
    data[len(data) // 2] ^= 1
    forged = demo.directory / "forged.evidence"
    forged.write_bytes(data)
    demo.run("patrol", "verify", forged, "--server-key", key, expect=1, stderr=subprocess.DEVNULL)
    say("  with one bit changed it is refused")

    demo.start_server()
    table = compare(demo, ids)
    demo.stop_all()
    step("What was recorded, against what the server holds, byte for byte")
    table["bytes sent"] = bytes_sent(demo)
    table["seconds"] = round(time.monotonic() - began, 1)
    for name, value in table.items():
        say(f"  {name:<12}{value:>12}")
    if (table["stored"], table["duplicates"], table["missing"], table["different"], table["photos"]) != (FINDINGS, 0, 0, 0, PHOTOS):
        raise Failed("not everything is at the centre exactly once")
    say("\nAll verified: nothing lost, nothing sent twice, nothing changed.")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--keep", action="store_true", help="keep the directory with data and logs")
    arguments = parser.parse_args()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="gridpatrol-demo-"))
    demo = Demo(arguments.build.resolve(), directory)
    status = 1
    try:
        play(demo)
        status = 0
    except (Failed, subprocess.SubprocessError, StopIteration, KeyError, ValueError) as error:
        say(f"\nFAILED: {error}")
        for log in sorted(demo.logs.iterdir()):
            say(f"--- {log.name}")
            say("".join(open(log, errors="replace").readlines()[-15:]))
    finally:
        demo.stop_all()
        if arguments.keep:
            say(f"kept: {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
