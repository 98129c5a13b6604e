# SPDX-License-Identifier: Apache-2.0
"""The disk itself: it loses what it should lose and keeps what it should keep, or the tests beside this one could not
fail; and it leaves nothing behind."""

import os
import subprocess
import sys
import threading

import pytest

import disk
import harness

WRITERS = 4
CUTS_UNDER_LOAD = 12
WITHOUT_MOUNT = ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")
CONTENT = b"written before the power went " * 1000


def python(program, *arguments, before=(), **more):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1", **more}
    return subprocess.Popen([*before, sys.executable, "-c", program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            text=True, env=environment)


def write(path, content, sync):
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        if sync:
            os.fsync(file.fileno())


@pytest.mark.parametrize("check_first", (False, True), ids=("replayed by the mount", "replayed by e2fsck"))
def test_what_was_fsynced_survives_a_cut_and_what_was_not_is_lost(make_disk, check_first):
    made = make_disk()
    write(made.path / "kept", CONTENT, sync=True)
    write(made.path / "overwritten", CONTENT, sync=True)
    write(made.path / "lost", CONTENT, sync=False)
    with open(made.path / "overwritten", "r+b") as file:
        file.write(b"later")
    write(made.path / "new", CONTENT, sync=False)
    os.rename(made.path / "new", made.path / "renamed")
    made.cut(check_first=check_first)
    assert (made.path / "kept").read_bytes() == CONTENT
    assert (made.path / "overwritten").read_bytes() == CONTENT
    assert not any((made.path / name).exists() for name in ("lost", "new", "renamed"))


def test_another_files_fsync_makes_a_name_durable_but_not_what_it_names(make_disk):
    made = make_disk()
    write(made.path / "new", CONTENT, sync=False)
    os.rename(made.path / "new", made.path / "named")
    write(made.path / "other", CONTENT, sync=True)
    made.cut()
    assert (made.path / "named").read_bytes() == b""
    assert (made.path / "other").read_bytes() == CONTENT


def test_an_fsync_after_the_power_has_gone_fails_and_saves_nothing(make_disk):
    made = make_disk()
    with open(made.path / "late", "wb") as file:
        os.fsync(file.fileno())
        made.power_off()
        with pytest.raises(OSError):
            file.write(CONTENT)
            file.flush()
            os.fsync(file.fileno())
    made.cut()
    assert (made.path / "late").read_bytes() == b""


# Says N when the first N blocks have been fsynced.
WRITER = """
import os, sys
with open(sys.argv[1], "wb", buffering=0) as file:
    for number in range(1, 5001):  # all of them together leave room on the disk
        file.write(number.to_bytes(8, "big") * 512)
        os.fsync(file.fileno())
        print(number, flush=True)
"""


class Writer:
    def __init__(self, path):
        self.path, self.said = path, None
        self.child = python(WRITER, str(path))

    def close(self):
        if self.said is None:
            self.child.kill()
            self.said = [int(line) for line in self.child.communicate()[0].split("\n")[:-1]]


def test_an_fsync_that_was_said_to_be_done_survives_though_another_was_under_way(make_disk):
    made, shown = make_disk(), 0
    for number in range(CUTS_UNDER_LOAD):
        writers = [Writer(made.path / f"{number}-{index}") for index in range(WRITERS)]
        try:
            harness.wait_for(lambda: all(writer.path.exists() for writer in writers), "the writers write")
            threading.Event().wait(number * 0.005)
            made.cut(*writers)
        finally:
            for writer in writers:
                writer.close()
        for writer in writers:
            content = writer.path.read_bytes() if writer.said else b""
            for block in writer.said:
                assert content[(block - 1) * 4096:block * 4096] == block.to_bytes(8, "big") * 512
            shown += len(writer.said)
            writer.path.unlink(missing_ok=True)
    assert shown > 0


LEFT_BEHIND = """
import disk, os, subprocess, sys
made = disk.Disk()
user = subprocess.Popen(["sleep", "infinity"], cwd=made.path, stdout=subprocess.DEVNULL)
print(made.directory, user.pid, flush=True)
sys.stdin.read()
"""


def attached():
    return disk.run("losetup", "--list", "--noheadings", "--output", "BACK-FILE").stdout


def end(pid):
    """A process that a child of ours has left; it is init's to reap, if there is one that does."""
    os.kill(pid, 9)
    stat = f"/proc/{pid}/stat"
    harness.wait_for(lambda: not os.path.exists(stat) or open(stat).read().rsplit(")", 1)[1].split()[0] == "Z", "it ends")


def test_what_a_killed_run_left_behind_is_cleared_away_by_the_next_and_a_living_disk_is_not(power):
    child = python(LEFT_BEHIND)
    directory, user = child.stdout.readline().split()
    try:
        with disk.Disk():
            assert os.path.ismount(f"{directory}/mounted"), "a living disk was cleared away"
        child.kill()
        child.wait()
        with disk.Disk():
            assert not os.path.exists(directory)
        assert directory not in open("/proc/mounts").read()
    finally:
        child.kill()
        child.communicate()
        end(int(user))
    assert directory not in attached()


def test_where_a_disk_is_not_allowed_it_says_so_and_leaves_nothing(power, tmp_path):
    program = "import disk\ntry:\n    disk.Disk()\nexcept disk.Unavailable as why:\n    print(why)"
    child = python(program, before=WITHOUT_MOUNT, TMPDIR=str(tmp_path))
    said, _ = child.communicate(timeout=harness.PATIENCE_S)
    assert child.returncode == 0 and said.startswith(("losetup: ", "mount: ")) and "ermission denied" in said, said
    assert [left.name for left in (tmp_path / "gridpatrol-disks").iterdir()] == ["lock"]
    assert str(tmp_path) not in attached()
