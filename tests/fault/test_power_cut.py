# SPDX-License-Identifier: Apache-2.0
"""The power goes while the real programs work on a real file system, round after round; then what was promised is compared
with what the disk holds. The cuts follow from a seed: POWER_ROUNDS=200 SEED=7 runs longer, and again from the same
seed. (What the programs are just doing is timing all the same: a seed gives the same plan, not the same instant.)

A life is a fresh disk, handheld and centre, for LIFE_ROUNDS rounds at most: so the time that comparing takes stays in
proportion to the rounds."""

import contextlib
import hashlib
import os
import pathlib
import random
import subprocess
import threading

import disk
import harness
import stored
import test_kill9
from harness import make_photo

ROUNDS = int(os.environ.get("POWER_ROUNDS", "10"))
SEED = int(os.environ.get("SEED", "1"))
LIFE_ROUNDS = 10
RECORDERS = 3
HANDHELDS = 3
CUT_AFTER_MS_MAX = 400


class Recorder(test_kill9.Recorder):
    """Records with new photos, with options or with lines, until it is closed or stopped."""

    def __init__(self, handheld, photos, seed):
        self.photo_count = 0
        super().__init__(handheld, photos, seed)

    def photo(self):
        self.photo_count += 1
        seed = self.seed * 1000 + self.photo_count
        return str(make_photo(self.photos / f"{seed}.jpg", seed, 160, 120))

    def start(self, findings):
        if len(findings) > 1 or self.random.random() < 0.5:
            return super().start(findings)
        finding = findings[0]
        finding["photos"] += [self.photo() for _ in range(self.random.randrange(2))]
        options = [word for photo in finding["photos"] for word in ("--photo", photo)]
        options += [word for name in ("category", "lat", "lon", "note") for word in (f"--{name}", str(finding[name]))]
        return subprocess.Popen(self.handheld.command("record", *options), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, env=harness.environment()), ""

    def close(self):
        self.begin_no_more()
        self.kill()
        self.thread.join()


def wait_for_the_moment(generator):
    moment_ms = generator.uniform(1, CUT_AFTER_MS_MAX)
    print(f"   the power goes after {moment_ms:.0f} ms", flush=True)
    threading.Event().wait(moment_ms / 1000)  # never set: when the power goes is what is random here


class Life:
    """A new disk, and what was promised since. A context manager: what it has started is gone after it."""

    def __init__(self, directory, seeds):
        self.photos, self.directory, self.seeds = directory / "photos", directory, seeds
        self.photos.mkdir(parents=True)
        self.promised, self.notes, self.places = {}, set(), {}
        self.owned = contextlib.ExitStack()

    def __enter__(self):
        self.disk = self.owned.enter_context(disk.Disk())
        return self

    def __exit__(self, *unused):
        self.owned.close()

    def own(self, program):
        self.owned.callback(program.close)
        return program

    def rounds(self):
        """(seed, its random numbers) of each round."""
        for seed in self.seeds:
            print(f"round with seed {seed}", flush=True)
            yield seed, random.Random(seed)

    def recorders(self, handhelds, seed):
        return [Recorder(handheld, self.photos, seed * RECORDERS + index) for index, handheld in enumerate(handhelds)]

    def take(self, recorders):
        for recorder in recorders:
            recorder.stop()
            self.promised.update(recorder.promised)
            self.notes |= recorder.notes

    def record_one(self, handheld):
        """Whatever happened, the next finding is taken."""
        count = len(self.notes)
        finding = {"note": f"after the cut, {count}", "photos": [str(make_photo(self.photos / f"after-{count}.jpg", count))]}
        self.notes.add(finding["note"])
        self.promised[handheld.record(finding["note"], photos=finding["photos"])] = finding

    def assert_kept(self, handheld):
        """Each promised record is there with its bytes and photos, and no position holds another record than before. What
        the handheld's directory holds."""
        held = stored.Handheld(handheld.data)
        ids, places = held.ids(), held.places()
        for record_id, finding in self.promised.items():
            assert record_id in ids, f"{record_id} was promised and is lost: {finding}"
            assert finding["note"].encode() in ids[record_id]
            for path in finding.get("photos", []):
                digest = hashlib.sha256(pathlib.Path(path).read_bytes()).digest()
                assert digest in ids[record_id] and digest in held.blobs, f"{record_id} is without its photo"
        held.assert_photos_are_whole()
        for place, record in self.places.items():
            assert places.get(place) == record, f"{place} holds another record than before, or none"
        self.places = places
        return held

    def assert_recording_and_syncing_go_on(self, server, handheld):
        self.record_one(handheld)
        handheld.start()
        handheld.run("sync", "--wait", int(harness.PATIENCE_S * 3))
        handheld.stop()
        held = self.assert_kept(handheld)
        assert len(held.logs) == 1 and not list(handheld.data.glob("damaged-*")), "it took its database for damaged"
        stored.Centre(server.data, stored.live).assert_holds_all_of(held)


def lives(tmp_path):
    for first in range(SEED, SEED + ROUNDS, LIFE_ROUNDS):
        yield Life(tmp_path / f"life-{first}", range(first, min(first + LIFE_ROUNDS, SEED + ROUNDS)))


def make_handheld_on_the_disk(life):
    handheld = life.own(harness.Handheld(life.directory / "handheld"))
    handheld.data = life.disk.path / "data"
    return handheld


def assert_alive(*processes):
    for process in processes:
        assert process.alive(), f"it ended by itself: {process.text()[-3000:]}"


def cut_while_recording(life, handheld, seed, generator, *daemons):
    recorders = life.recorders([handheld] * RECORDERS, seed)
    try:
        wait_for_the_moment(generator)
        assert_alive(*daemons)
        for recorder in recorders:
            recorder.begin_no_more()  # what it has begun is cut
        life.disk.cut(*recorders, *daemons, check_first=generator.random() < 0.5)
    finally:
        for recorder in recorders:
            recorder.close()
    life.take(recorders)


def test_a_cut_while_recording_loses_nothing_that_was_printed(power, tmp_path):
    shown = 0
    for life in lives(tmp_path):
        with life:
            handheld = make_handheld_on_the_disk(life)
            server = life.own(harness.Server(life.directory / "server")).start()
            for seed, generator in life.rounds():
                before = len(life.promised)
                cut_while_recording(life, handheld, seed, generator)
                shown += len(life.promised) > before
                life.assert_kept(handheld)
                if seed == life.seeds[0]:  # so the first cut finds a store that is just being made
                    handheld.enroll(server)
                life.assert_recording_and_syncing_go_on(server, handheld)
            test_kill9.compare(server, handheld, life.promised, life.notes)
    assert shown > 0, "nothing was promised before a cut: nothing was shown"


def test_a_cut_of_the_handheld_while_it_syncs_delivers_all_that_was_printed_exactly_once(power, tmp_path):
    shown = 0
    for life in lives(tmp_path):
        with life:
            handheld = make_handheld_on_the_disk(life)
            server = life.own(harness.Server(life.directory / "server")).start()
            handheld.enroll(server)
            for seed, generator in life.rounds():
                known = sum(log.receipt_size for log in stored.Handheld(handheld.data).logs.values())
                handheld.start()
                cut_while_recording(life, handheld, seed, generator, handheld.process)
                held = life.assert_kept(handheld)
                shown += any(known < log.receipt_size < len(log.records) for log in held.logs.values())
                stored.Centre(server.data, stored.live).assert_bears_out(held)
                life.assert_recording_and_syncing_go_on(server, handheld)
            test_kill9.compare(server, handheld, life.promised, life.notes)
    assert shown > 0, "no cut came between two receipts: nothing was shown"


def cut_while_starting(life, server, generator):
    """The first start makes database and keys: whatever is there of them, the next one goes on."""
    server.start(wait=False)
    wait_for_the_moment(generator)
    life.disk.cut(server.process, check_first=generator.random() < 0.5)
    server.start()


def cut_while_handhelds_send(life, server, handhelds, seed, generator):
    recorders = life.recorders(handhelds, seed)
    try:
        wait_for_the_moment(generator)
        assert_alive(server.process, *(handheld.process for handheld in handhelds))
        life.disk.cut(server.process, check_first=generator.random() < 0.5)
    finally:
        life.take(recorders)


def assert_findings(server, handhelds, promised):
    """The centre shows each finding of each handheld once, and no other."""
    findings = server.findings()
    held = {item["id"]: item for item in findings}
    assert len(held) == len(findings), "an id is held twice"
    assert held.keys() == {item["id"] for handheld in handhelds for item in handheld.list()}
    for record_id, finding in promised.items():
        assert held[record_id]["note"] == finding["note"] and held[record_id]["complete"]
    notes = [item["note"] for item in findings]
    assert len(notes) == len(set(notes)), "a finding is there twice"
    server.run("check", "--media")


def test_a_cut_of_the_centre_loses_nothing_that_it_has_signed_for(power, tmp_path):
    shown = 0
    for life in lives(tmp_path):
        with life:
            server = life.own(harness.Server(life.directory / "server"))
            server.data = life.disk.path / "centre"
            cut_while_starting(life, server, random.Random(life.seeds[0]))
            handhelds = [life.own(harness.Handheld(life.directory / f"handheld-{index}")) for index in range(HANDHELDS)]
            for handheld in handhelds:
                handheld.enroll(server)
                handheld.start()
            known = [0] * HANDHELDS
            for seed, generator in life.rounds():
                cut_while_handhelds_send(life, server, handhelds, seed, generator)
                centre = stored.Centre(server.data)
                for handheld, size in zip(handhelds, known):
                    held = stored.Handheld(handheld.data, stored.live)
                    centre.assert_bears_out(held)
                    shown += any(size < log.receipt_size < len(log.records) for log in held.logs.values())
                server.start()
                for index, handheld in enumerate(handhelds):
                    life.record_one(handheld)
                    handheld.run("sync", "--wait", int(harness.PATIENCE_S * 3))
                    held = stored.Handheld(handheld.data, stored.live)
                    assert len(held.logs) == 1, "it began another log: the centre told it of a fork"
                    stored.Centre(server.data, stored.live).assert_holds_all_of(held)
                    known[index] = sum(log.receipt_size for log in held.logs.values())
            assert_findings(server, handhelds, life.promised)
    assert shown > 0, "no cut came between two receipts: nothing was shown"
