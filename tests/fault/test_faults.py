# SPDX-License-Identifier: Apache-2.0
"""Calls of the real programs fail: memory, reading, writing, fsync, opening, renaming, truncating and mapping, one after the
other, once and for good. Whatever fails, a program ends with a message and its status or goes on; what was acknowledged is
there; nothing is there twice; and when nothing fails any more, all is delivered."""

import contextlib
import os
import re
import shutil
import subprocess
import time

import pytest

import faults
import harness
import stored

pytestmark = pytest.mark.skipif("GRIDPATROL_SANITIZED" in os.environ, reason="a sanitizer has the same functions for itself")

# Done, failed, no space. And what a person named and cannot be read is refused as such; but that there is no memory is never
# told as a fault of what they named.
STATUSES = {0: "", 1: "", 4: "", 2: r"\.conf: |: tls-(cert|key): ", 3: r"photo: |\.bundle: |\.receipts: "}
STATUSES_WITHOUT_MEMORY = (0, 1, 4)
WRONG_WITHOUT_MEMORY = r"damaged|not the key of|is no (bundle|file of receipts)|run `?patrol enroll`? again"
GOES_ON_S = 0.3  # how long a program is watched that will not come to an end
BACKED_BY_POLL = harness.QUICK.replace("slow-poll = 1h", "slow-poll = 5s").replace("answer-deadline = 20s", "answer-deadline = 5s")


def assert_ended_well(fault, status, told):
    assert re.search(STATUSES.get(status, "no such status"), told), f"ended with {status}: {told[-2000:]}"
    # The decoder of photos has a limit of its own: that it has run out of memory does say something of the photo.
    if fault.kind == "memory" and fault.program != "patrol-photo":
        assert status in STATUSES_WITHOUT_MEMORY, f"ended with {status}, as if it were no matter of memory: {told[-2000:]}"
        assert not re.search(WRONG_WITHOUT_MEMORY, told), f"told the wrong reason: {told[-2000:]}"
    if status:
        assert "patrol" in told and told.endswith("\n"), f"ended with {status} and did not say why: {told[-2000:]}"


def run(command, fault, **more):
    environment = harness.environment(**(fault.environment() if fault else {}), **more)
    return subprocess.run([str(word) for word in command], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, errors="replace", timeout=harness.PATIENCE_S)


def with_note(held, note):
    return [record for record in held.ids().values() if note.encode() in record]


# ---- recording ----


class Recording:
    """`patrol record` on a copy of the same directory each time; `made`: it is not the first one there."""

    def __init__(self, directory, made=True, photo=False):
        self.handheld = harness.Handheld(directory)
        self.template = directory / "template"
        self.photo = harness.make_photo(directory / "photo.jpg", 1, 64, 48) if photo else None
        if made:
            self.handheld.record("before")
            shutil.copytree(self.handheld.data, self.template)
        self.made = made

    def words(self, note):
        photos = ["--photo", self.photo] if self.photo else []
        return self.handheld.command("record", "--category", "06010", "--lat", "31.2304", "--lon", "121.4737", "--note", note,
                                     *photos)

    def attempt(self, fault):
        shutil.rmtree(self.handheld.data, ignore_errors=True)
        if self.made:
            shutil.copytree(self.template, self.handheld.data)
        helper = fault.program == "patrol-photo"
        result = run(self.words("under fault"), None if helper else fault,
                     **({"PATROL_PHOTO_HELPER": fault.helper(self.handheld.directory)} if helper else {}))
        assert_ended_well(fault, result.returncode, result.stderr)
        ids = result.stdout.split()
        assert len(ids) == (result.returncode == 0), f"{result.returncode}: {result.stdout} {result.stderr}"
        ids.append(run(self.words("after it"), None).stdout.strip())
        held = stored.Handheld(self.handheld.data)
        assert set(ids) <= set(held.ids()), f"{ids} promised, {held.ids()} held: {result.stderr}"
        assert len(with_note(held, "under fault")) == len(ids) - 1, f"recorded and not said: {result.stderr}"
        assert len(with_note(held, "after it")) == 1 and len(with_note(held, "before")) == self.made
        held.assert_photos_are_whole()
        assert len(held.logs) == 1
        # SQLite calls it damage when it cannot read what it has just made. There was nothing to lose then.
        is_damage = not self.made and fault.kind == "read"
        assert is_damage or not list(self.handheld.data.glob("damaged-*")), f"taken for damaged: {result.stderr}"


@pytest.mark.parametrize("kind", faults.KINDS)
def test_the_first_record_of_a_handheld(kind, tmp_path):
    faults.sweep(tmp_path, "patrol", kind, Recording(tmp_path, made=False).attempt)


@pytest.mark.parametrize("kind", faults.KINDS)
def test_a_record_with_a_photo(kind, tmp_path):
    faults.sweep(tmp_path, "patrol", kind, Recording(tmp_path, photo=True).attempt)


@pytest.mark.parametrize("kind", faults.KINDS)
def test_the_program_that_decodes_a_photo(kind, tmp_path):
    faults.sweep(tmp_path, "patrol-photo", kind, Recording(tmp_path, photo=True).attempt)


# ---- sending ----


class Delivery:
    """A centre and a handheld over TLS. Each attempt records a finding and a photo, sends them with a fault at one end, and
    then without."""

    def __init__(self, directory, certificates, owned):
        self.directory = directory
        self.server = harness.Server(directory / "server", certificates)
        self.handheld = harness.Handheld(directory / "handheld", BACKED_BY_POLL)
        owned.callback(self.close)
        self.server.start()
        self.handheld.enroll(self.server)
        self.count = 0

    def close(self):
        self.handheld.close()
        self.server.close()

    def record(self):
        self.count += 1
        photo = harness.make_photo(self.directory / "photo.jpg", self.count, 160, 120)
        self.handheld.record(f"finding {self.count}", photos=[photo])

    def acknowledged(self):
        with contextlib.suppress(OSError, ValueError, KeyError):
            return self.handheld.call("Status", timeout=1)["all_acknowledged"]
        return False

    def watch(self, fault, program):
        """Until it has ended, all is delivered, or it goes on failing."""
        first_failed = None
        deadline = time.monotonic() + harness.PATIENCE_S
        while program.alive() and not self.acknowledged():
            assert time.monotonic() < deadline, f"it hangs: {program.text()[-3000:]}"
            if fault.goes_on and fault.tally()[1] > 0:
                first_failed = first_failed or time.monotonic()
                if time.monotonic() > first_failed + GOES_ON_S:
                    return
            time.sleep(0.01)

    def end(self, fault, program, before):
        ended = not program.alive()
        status = program.stop()
        told = program.text()[before:]
        assert_ended_well(fault, status, told)
        assert status != 0 or not ended, f"ended by itself as if all were well: {told[-2000:]}"

    def start_with(self, owner, fault, **more):
        """Starts server or handheld with the fault; how long its log was before."""
        before = len(owner.log.read_text(errors="replace")) if owner.log.exists() else 0
        owner.machine = harness.Machine()
        owner.machine.prefix = ["env", *(f"{name}={value}" for name, value in (more or fault.environment()).items())]
        owner.start(wait=False)
        owner.machine = harness.HERE
        return before

    def compare(self):
        self.handheld.wait_until_drained()
        held = stored.Handheld(self.handheld.data, stored.live)
        assert len(held.logs) == 1 and not list(self.handheld.data.glob("damaged-*")), "taken for damaged"
        centre = stored.Centre(self.server.data, stored.live)
        centre.assert_holds_all_of(held)
        assert sum(len(log.records) for log in centre.logs.values()) == sum(len(log.records) for log in held.logs.values())

    def begin(self):
        """What an attempt that went wrong has left running is ended, the centre runs again."""
        self.handheld.close()
        if not self.server.process.alive():
            self.server.start()
        self.record()

    def attempt_handheld(self, fault):
        self.begin()
        helper = fault.program == "patrol-transport"
        before = self.start_with(self.handheld, fault, **({"PATROL_TRANSPORT": fault.helper(self.directory)} if helper else {}))
        self.watch(fault, self.handheld.process)
        self.end(fault, self.handheld.process, before)
        self.handheld.start()
        self.compare()
        self.handheld.stop()

    def attempt_server(self, fault):
        self.begin()
        self.server.stop()
        self.handheld.start()
        before = self.start_with(self.server, fault)
        self.watch(fault, self.server.process)
        self.end(fault, self.server.process, before)
        self.server.start()
        self.compare()


@pytest.fixture
def delivery(tmp_path, certificates):
    with contextlib.ExitStack() as owned:
        yield Delivery(tmp_path, certificates, owned)


@pytest.mark.parametrize("kind", faults.KINDS)
def test_the_daemon_that_sends(kind, tmp_path, delivery):
    faults.sweep(tmp_path, "patrol-syncd", kind, delivery.attempt_handheld)


@pytest.mark.parametrize("kind", faults.KINDS)
def test_the_network_worker(kind, tmp_path, delivery):
    faults.sweep(tmp_path, "patrol-transport", kind, delivery.attempt_handheld)


@pytest.mark.parametrize("kind", faults.KINDS)
def test_the_centre_that_takes(kind, tmp_path, delivery):
    faults.sweep(tmp_path, "patrol-server", kind, delivery.attempt_server)


# ---- backup, and bundles carried by hand ----


@pytest.mark.parametrize("kind", faults.KINDS)
def test_a_backup(kind, tmp_path, delivery):
    backup, copy = tmp_path / "backup", harness.Server(tmp_path / "copy")
    delivery.attempt_handheld(faults.Fault(tmp_path, "patrol-syncd", kind))  # counts only: something is there

    def attempt(fault):
        shutil.rmtree(backup, ignore_errors=True)
        result = run(delivery.server.command("backup", backup), fault)
        assert_ended_well(fault, result.returncode, result.stderr)
        delivery.server.run("backup", backup)
        shutil.rmtree(copy.data, ignore_errors=True)
        shutil.copytree(backup, copy.data)
        copy.run("check", "--media")
        assert copy.findings() == delivery.server.findings()

    faults.sweep(tmp_path, "patrol-server", kind, attempt)


class Carried(Delivery):
    """A bundle is exported beside the daemon, imported at a centre that is not running, and its receipts come back."""

    def __init__(self, directory, certificates, owned):
        super().__init__(directory, certificates, owned)
        self.server.stop()
        self.handheld.start()
        bundle, receipts = directory / "carried.bundle", directory / "carried.receipts"
        self.steps = {"export": self.handheld.command("export", "--bundle", bundle),
                      "import-bundle": self.server.command("import-bundle", bundle, "-o", receipts),
                      "import-receipts": self.handheld.command("import-receipts", receipts)}

    def attempt_step(self, disturbed):
        def attempt(fault):
            self.record()
            for step, command in self.steps.items():
                if step == disturbed:
                    result = run(command, fault)
                    assert_ended_well(fault, result.returncode, result.stdout + result.stderr)
                result = run(command, None)  # and again, or twice
                assert result.returncode == 0, f"{step}: {result.returncode}: {result.stderr}"
            self.compare()

        return attempt


@pytest.mark.parametrize("kind", faults.KINDS)
@pytest.mark.parametrize("step, program", [("export", "patrol"), ("import-bundle", "patrol-server"), ("import-receipts", "patrol")])
def test_a_bundle(step, program, kind, tmp_path, certificates):
    with contextlib.ExitStack() as owned:
        faults.sweep(tmp_path, program, kind, Carried(tmp_path, certificates, owned).attempt_step(step))


# ---- keys ----


def test_the_cas_that_handhelds_trust_are_named_without_memory(tmp_path, certificates):
    server = harness.Server(tmp_path / "server", certificates)
    server.start()
    server.close()

    def attempt(fault):
        result = run(server.command("key", "ca", certificates.ca), fault)
        assert_ended_well(fault, result.returncode, result.stderr)
        server.run("key", "ca", certificates.ca)

    faults.sweep(tmp_path, "patrol-server", "memory", attempt, 25 * faults.POINTS)
