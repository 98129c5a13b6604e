# SPDX-License-Identifier: Apache-2.0
"""kill -9 of each program at random points, round after round; then what was promised is compared with what the
centre holds. The kills follow from a seed: ROUNDS=200 SEED=7 runs longer, and again from the same seed. (When a program
dies is timing all the same: a seed gives the same plan, not the same instant.)"""

import hashlib
import json
import os
import random
import sqlite3
import subprocess
import threading

import pytest

import harness
from harness import assert_delivered, make_photo

ROUNDS = int(os.environ.get("ROUNDS", "6"))
SEED = int(os.environ.get("SEED", "1"))
KILLS_A_ROUND = 9
PHOTOS = 10


class Recorder:
    """Records until told to stop, in single findings with photos and in batches; keeps what `patrol` has promised."""

    def __init__(self, handheld, photos, seed):
        self.handheld, self.photos, self.random = handheld, photos, random.Random(seed)
        self.promised, self.notes, self.killed = {}, set(), 0
        self.child, self.lock, self.going = None, threading.Lock(), True
        self.seed, self.count, self.failures = seed, 0, []
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def finding(self):
        self.count += 1
        note = f"round {self.seed}, finding {self.count}"
        self.notes.add(note)
        return {"category": "06010", "lat": 31.2304, "lon": 121.4737, "note": note}

    def photo(self):
        return str(self.random.choice(self.photos))

    def start(self, findings):
        """`patrol record` in the background, and what it is to read."""
        lines = "".join(json.dumps(finding) + "\n" for finding in findings)
        return subprocess.Popen(self.handheld.command("record", "--from", "-"), stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=harness.environment()), lines

    def run(self):
        while self.going:
            findings = [self.finding() for _ in range(self.random.choice((1, 1, 20, 300)))]
            if len(findings) == 1:
                findings[0]["photos"] = [self.photo()]
            with self.lock:
                if not self.going:
                    return
                self.child, lines = self.start(findings)
            out, told = self.child.communicate(lines)
            if self.child.returncode not in (0, -9):
                self.failures.append(f"patrol record ended with {self.child.returncode}: {told}")
            ids = [line[:-1] for line in out.splitlines(keepends=True) if line.endswith("\n")]
            if self.child.returncode == 0 and len(ids) != len(findings):
                self.failures.append(f"{len(ids)} ids for {len(findings)} findings")
            for record_id, finding in zip(ids, findings):
                self.promised[record_id] = finding

    def kill(self):
        with self.lock:
            if self.child and self.child.poll() is None:
                self.child.kill()
                self.killed += 1

    def begin_no_more(self):
        with self.lock:
            self.going = False

    def stop(self):
        self.begin_no_more()
        self.thread.join()
        assert not self.failures, self.failures


def kill_and_start_again(program, generator):
    assert program.process.alive(), f"it ended by itself: {program.process.text()[-3000:]}"
    program.kill()
    program.start(wait=generator.random() < 0.5)  # or the next kill may find it just starting


def kill_at_random(server, handheld, recorder, generator):
    pause = threading.Event()  # never set: when to kill is what is random here
    victims = ["patrol", "patrol-syncd", "patrol-server"] * (KILLS_A_ROUND // 3)
    generator.shuffle(victims)
    for victim in victims:
        pause.wait(generator.uniform(0, 0.35))
        if victim == "patrol":
            recorder.kill()
        else:
            kill_and_start_again(server if victim == "patrol-server" else handheld, generator)


def compare(server, handheld, promised, notes):
    assert_delivered(server, handheld)
    held = {item["id"]: item for item in server.findings()}
    for record_id, finding in promised.items():
        assert record_id in held, f"{record_id} was promised and is lost"
        assert held[record_id]["note"] == finding["note"]
        for path in finding.get("photos", []):
            assert hashlib.sha256(open(path, "rb").read()).hexdigest() in {
                photo["sha256"] for photo in held[record_id]["photos"] if photo["role"] == "photo"}
    all_notes = [item["note"] for item in held.values()]
    assert len(all_notes) == len(set(all_notes)), "a finding is there twice"
    assert set(all_notes) <= notes, "a finding is there that nobody recorded"
    server.run("check", "--media")


@pytest.mark.smoke
def test_kill_9_of_every_program_at_any_point_loses_and_doubles_nothing(server, make_real_handheld, tmp_path):
    handheld = make_real_handheld(server, start=True)
    photos = [make_photo(tmp_path / f"{seed}.jpg", seed, 640, 480) for seed in range(PHOTOS)]
    promised, notes, killed = {}, set(), 0
    for number in range(SEED, SEED + ROUNDS):
        generator = random.Random(number)
        recorder = Recorder(handheld, photos, number)
        try:
            kill_at_random(server, handheld, recorder, generator)
        finally:
            recorder.stop()
        promised.update(recorder.promised)
        notes |= recorder.notes
        killed += recorder.killed
        harness.wait_for(server.listens, "the server listens")
        harness.wait_for(handheld.answers, "the daemon answers")
        handheld.wait_until_drained(harness.PATIENCE_S * 3)
        compare(server, handheld, promised, notes)
    assert not list(handheld.data.glob("damaged-*")), "a kill made it take the database for damaged"
    handheld.stop()
    connection = sqlite3.connect(f"file:{handheld.data / 'queue.db'}?mode=ro", uri=True)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    assert killed > 0 and promised, "nothing was killed while it recorded: nothing was shown"
