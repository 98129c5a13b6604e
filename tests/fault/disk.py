# SPDX-License-Identifier: Apache-2.0
"""A disk whose power can be cut: an image file, a loop device, ext4 on it, mounted. What programs wrote there and did not
fsync is lost with the power; what they fsynced is there afterwards, or ext4 or they are wrong.

    with Disk() as disk:
        ... let programs work in disk.path ...
        disk.cut(process, process)        # they are dead; disk.path is what a machine finds that is started anew

Needs root, loop devices and ext4. Where they are not to be had Disk() raises Unavailable, which says what is missing.
What a run that was killed has left behind is cleared away by the next one."""

import contextlib
import fcntl
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

import harness

PLACE = pathlib.Path(tempfile.gettempdir()) / "gridpatrol-disks"
SIZE_MB = 1024  # sparse; the centre takes no photos when less than a reserve is free
COMMAND_LIMIT_S = 60
# Nothing shall become durable but by an fsync of the programs: no commit of ext4's own after some seconds, and no mending
# of a rename without an fsync. The loop device's own flushes are left out, as the machine below does not lose its
# power: they would cost time on its disk and show nothing.
OPTIONS = "commit=600,noauto_da_alloc,barrier=0,errors=remount-ro"
TOOLS = ("losetup", "mount", "umount", "mkfs.ext4", "e2fsck")
E2FSCK_MENDED = 1


class Unavailable(Exception):
    """This machine cannot have such a disk; says why."""


def run(*command, good=(0,)):
    result = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, errors="replace", timeout=COMMAND_LIMIT_S)
    assert good is None or result.returncode in good, f"{command[0]} ended with {result.returncode}: {result.stdout}"
    return result


def must_be_available(*command):
    """Runs what only some machines allow."""
    result = run(*command, good=None)
    if result.returncode:
        raise Unavailable(result.stdout.strip().partition("\n")[0])
    return result


def devices_of(image):
    return run("losetup", "--associated", image, "--noheadings", "--output", "NAME").stdout.split()


def unmount(path):
    """A program that was killed a moment ago may still be on its way out."""
    deadline = time.monotonic() + harness.PATIENCE_S
    while (result := run("umount", path, good=None)).returncode:
        assert time.monotonic() < deadline, f"{path} cannot be unmounted: {result.stdout}"
        time.sleep(0.01)


def detach(image):
    """Until no device is left: a second one on the same image would not see what the first still has to write."""
    for device in devices_of(image):
        run("losetup", "--detach", device, good=None)
    harness.wait_for(lambda: not devices_of(image), f"{image} is detached")


def clear_away(directory):
    """Whatever state it is in. What still runs on the disk gets errors from now on, and holds nothing up."""
    path, image = directory / "mounted", directory / "image"
    while os.path.ismount(path):
        run(harness.program("power_cut"), path, good=None)
        run("umount", "--lazy", path)
    for device in devices_of(image) if image.exists() else []:
        run("losetup", "--detach", device, good=None)
    shutil.rmtree(directory)


@contextlib.contextmanager
def place_locked():
    PLACE.mkdir(mode=0o700, exist_ok=True)
    with open(PLACE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def clear_away_what_the_dead_left():
    """A living disk has its lock file locked. Under the lock of the place, so that none is just being made."""
    for directory in PLACE.iterdir():
        if not directory.is_dir():
            continue
        with open(directory / "lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            clear_away(directory)


def is_running(child):
    """Whether a thread of it may still do something for itself: one that waits in the kernel (D) stops when it comes back."""
    with contextlib.suppress(OSError):  # it has ended by itself
        for task in os.listdir(f"/proc/{child.pid}/task"):
            with contextlib.suppress(OSError):
                stat = pathlib.Path(f"/proc/{child.pid}/task/{task}/stat").read_text()
                if stat.rsplit(")", 1)[1].split()[0] not in "TtDZX":
                    return True
    return False


def freeze(children):
    for child in children:
        child.send_signal(signal.SIGSTOP)
    harness.wait_for(lambda: not any(is_running(child) for child in children), "the programs stand still")


class Disk:
    def __init__(self):
        if os.geteuid() != 0:
            raise Unavailable("only root may mount a loop device")
        for tool in TOOLS:
            if not shutil.which(tool):
                raise Unavailable(f"{tool} is not installed: scripts/setup does it")
        with place_locked():
            clear_away_what_the_dead_left()
            self.directory = pathlib.Path(tempfile.mkdtemp(dir=PLACE))
            self.lock = open(self.directory / "lock", "w")
            fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.path, self.image = self.directory / "mounted", self.directory / "image"
        try:
            self.make()
        except BaseException:
            self.close()
            raise

    def make(self):
        self.path.mkdir()
        with open(self.image, "wb") as image:
            image.truncate(SIZE_MB << 20)
        run("mkfs.ext4", "-q", "-F", "-b", "4096", "-J", "size=16", "-E", "nodiscard", self.image)
        self.mount(must_be_available)

    def mount(self, runs=run):
        device = runs("losetup", "--find", "--show", self.image).stdout.strip()
        runs("mount", "-t", "ext4", "-o", OPTIONS, device, self.path)

    def power_off(self):
        must_be_available(harness.program("power_cut"), self.path)

    def cut(self, *victims, check_first=False):
        """Cuts the power and starts the machine anew. A victim has a `child`, a Popen or None, and a `close()`, which returns
        when nothing of it is left. The journal is replayed by `e2fsck -p`, as at a boot, or by the mount.

        The victims stand still before the power goes, as a machine's processor does. To Linux this is no power cut: it
        may call an fsync done that was under way and whose transaction it has just thrown away (6.18 does so in every
        fourth cut under load), and nobody shall live to tell."""
        freeze([victim.child for victim in victims if victim.child])
        self.power_off()
        for victim in victims:
            victim.close()
        unmount(self.path)
        detach(self.image)
        if check_first:
            run("e2fsck", "-p", self.image, good=(0, E2FSCK_MENDED))
        self.mount()

    def close(self):
        if not self.lock.closed:
            clear_away(self.directory)
            self.lock.close()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()
