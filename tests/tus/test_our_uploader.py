# SPDX-License-Identifier: Apache-2.0
"""Our uploader (the daemon's agent and libcurl) uploads to an unmodified @tus/server, through interruptions. Records go
to a centre of ours, as ever; only the photos go to the other server."""

import hashlib
import json
import pathlib
import signal

import pytest

import harness
import relay
from harness import wait_for

HERE = pathlib.Path(__file__).resolve().parent
PHOTOS = 3


class TusServer:
    def __init__(self, directory):
        self.directory, self.files = directory, directory / "files"
        self.files.mkdir(parents=True)
        self.log, self.port, self.process, self.starts = directory / "tus.log", 0, None, 0

    def start(self):
        options = json.dumps({"directory": str(self.files), "port": self.port})
        self.starts += 1
        self.process = harness.Process(["node", HERE / "server.mjs", options], self.log, cwd=HERE,
                                       env=harness.environment())
        wait_for(lambda: len(self.said("port")) == self.starts, "@tus/server listens")
        self.port = self.said("port")[-1]
        return self

    def said(self, name):
        lines = (json.loads(line) for line in self.process.text().splitlines(keepends=True)
                 if line.startswith("{") and line.endswith("\n"))
        return [line[name] for line in lines if name in line]

    def whole(self):
        """Hashes of the uploads that are complete and are what their metadata says."""
        hashes = set()
        for path in self.files.glob("*.json"):
            told = json.loads(path.read_text() or "{}")
            content = path.with_suffix("")
            if "size" in told and content.exists() and content.stat().st_size == told["size"]:
                sha256 = hashlib.sha256(content.read_bytes()).hexdigest()
                assert sha256 == told["metadata"]["sha256"], "an upload is whole and has other bytes"
                hashes.add(sha256)
        return hashes


class Scene:
    def __init__(self, tmp_path, server, between, foreign):
        self.between, self.foreign = between, foreign
        self.handheld = harness.Handheld(tmp_path / "h")
        self.handheld.enroll(server)
        photos = [harness.make_photo(tmp_path / f"{seed}.jpg", seed, 1280, 960) for seed in range(PHOTOS)]
        self.handheld.record(photos=photos)
        # Photos, and the previews of them
        self.wanted = {photo["sha256"]: photo["size"] for item in self.handheld.list() for photo in item["photos"]}
        self.bytes = sum(self.wanted.values())
        self.process = None

    def start(self):
        self.process = harness.Process([harness.program("tus_upload"), self.handheld.data, self.between.url + "/files"],
                                       self.handheld.directory / "upload.log", env=harness.environment())
        return self

    def has_uploaded_all(self):
        assert self.process.alive(), self.process.text()[-2000:]
        return self.foreign.whole() >= set(self.wanted)

    def wait(self):
        wait_for(self.has_uploaded_all, "all photos are at the other server", harness.PATIENCE_S * 2)
        assert self.process.stop() == 0, self.process.text()[-2000:]

    def methods(self):
        return [call.method for call in self.between.calls]


@pytest.fixture
def scene(tmp_path, server, packages):
    foreign = TusServer(tmp_path / "foreign").start()
    between = relay.Relay(foreign.port)
    made = Scene(tmp_path, server, between, foreign)
    yield made
    if made.process:
        made.process.close()
    foreign.process.close()
    between.close()


def test_photos_are_uploaded_in_chunks(scene):
    scene.start().wait()
    assert all(call.path.startswith("/files") for call in scene.between.calls)
    assert scene.methods().count("POST") >= len(scene.wanted)
    assert scene.methods().count("PATCH") > len(scene.wanted), "no photo took more than one chunk"


def offset_of(call):
    return int(call.header("upload-offset"))


def test_upload_cut_in_the_middle_of_chunks_is_resumed_and_not_begun_again(scene):
    cuts = []

    def cut_every_third(call):
        patches = scene.methods().count("PATCH")
        if call.method == "PATCH" and patches % 3 == 0 and call.body_left > 20000:
            # The first half of the chunk reaches the server, and then nothing any more.
            half = call.read_some_of_body(call.body_left // 2)
            with relay.socket.create_connection(("127.0.0.1", scene.foreign.port)) as server:
                server.sendall(call.head + half)
            cuts.append(call)
            call.reset()
        relay.forward(call)

    scene.between.policy = cut_every_third
    scene.start().wait()
    inside = 0
    for cut in cuts:
        later = [call for call in scene.between.calls if call.path == cut.path and call.at > cut.at]
        offsets = [offset_of(call) for call in later if call.method == "PATCH"]
        assert min(offsets, default=offset_of(cut)) >= offset_of(cut), "what was there already is sent again"
        inside += any(offset_of(cut) < offset < offset_of(cut) + len(cut.body_read) * 2 for offset in offsets)
    assert len(cuts) >= 3 and inside > 0, "the half that had arrived was never made use of"
    assert scene.methods().count("HEAD") >= 1


def test_every_second_answer_lost_still_uploads_each_photo(scene):
    seen = {}

    def lose_every_second(call):
        answer = call.forward()
        with scene.between.lock:
            seen[call.method] = seen.get(call.method, 0) + 1
            lose = seen[call.method] % 2 == 1
        if lose:
            call.reset()
        call.answer(*answer)

    scene.between.policy = lose_every_second
    scene.start().wait()
    assert seen["PATCH"] >= 4 and seen["HEAD"] >= 2


def test_upload_goes_on_after_the_other_server_was_killed(scene):
    killed = []

    def notice(call):
        patches = scene.methods().count("PATCH")
        if call.method == "PATCH" and patches in (3, 6) and patches not in killed:
            killed.append(patches)
            scene.foreign.process.stop(signal.SIGKILL)
            scene.foreign.start()
            call.reset()
        relay.forward(call)

    scene.between.policy = notice
    scene.start().wait()
    assert killed == [3, 6]


def test_upload_that_the_other_server_has_forgotten_is_begun_again(scene):
    forgotten = []

    def forget(call):
        if call.method == "PATCH" and not forgotten and call.path in [one.path for one in scene.between.calls[:-1]]:
            forgotten.append(call.path)
            for path in scene.foreign.files.glob(call.path.rsplit("/", 1)[1] + "*"):
                path.unlink()
        relay.forward(call)

    scene.between.policy = forget
    scene.start().wait()
    assert len(forgotten) == 1


def test_killed_uploader_uploads_the_rest_when_it_is_started_again(scene):
    scene.start()
    wait_for(lambda: scene.methods().count("PATCH") >= 3, "it uploads")
    scene.process.stop(signal.SIGKILL)
    scene.start().wait()
