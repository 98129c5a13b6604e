# SPDX-License-Identifier: Apache-2.0
"""An unmodified tus-js-client uploads to our server, which takes it like one of its handhelds."""

import hashlib
import json
import pathlib
import random
import subprocess

import pytest

import harness

HERE = pathlib.Path(__file__).resolve().parent
PHOTO_BYTES = 3 * 1024 * 1024 + 17
CHUNK_BYTES = 256 * 1024


class Photo:
    """A photo that a stored record names, and a token to upload it with."""

    def __init__(self, directory, server):
        self.server = server
        self.data = random.Random(3).randbytes(PHOTO_BYTES)
        self.sha256 = hashlib.sha256(self.data).hexdigest()
        self.path = directory / "photo.jpg"
        self.path.write_bytes(self.data)
        handheld = harness.SeededHandheld(directory, server, 1)
        handheld.enrol()
        _, answer = handheld.exchange(0, 3, "--photo", f"1:{self.sha256}:{PHOTO_BYTES}")
        assert answer["wanted"] == [{"sha256": self.sha256, "have": 0}]
        self.token = answer["token"]

    def upload(self, status=0, **options):
        arguments = {"endpoint": self.server.url + "/v1/blobs", "file": str(self.path), "token": self.token,
                     "sha256": self.sha256, "chunkSize": CHUNK_BYTES, **options}
        result = subprocess.run(["node", HERE / "upload.mjs", json.dumps(arguments)], stdout=subprocess.PIPE,
                                timeout=harness.PATIENCE_S * 2,
                                env=harness.environment(NODE_EXTRA_CA_CERTS=self.server.certificates.ca))
        assert result.returncode == status, result.stdout
        return json.loads(result.stdout)

    def assert_stored(self, directory):
        copy = directory / "copy.jpg"
        self.server.run("blob", self.sha256, "-o", copy)
        assert copy.read_bytes() == self.data
        photos = [photo for finding in self.server.findings() for photo in finding["photos"]]
        assert [photo["state"] for photo in photos] == ["stored"]


@pytest.fixture
def photo(tmp_path, server, packages):
    return Photo(tmp_path, server)


def test_upload_in_chunks_is_stored_whole(photo, tmp_path):
    told = photo.upload()
    assert told["done"] and set(told["statuses"]) == {201, 204}
    assert told["requests"] == ["POST"] + ["PATCH"] * 13
    photo.assert_stored(tmp_path)


def test_upload_in_one_request_is_stored_whole(photo, tmp_path):
    told = photo.upload(chunkSize=None)
    assert told["requests"] == ["POST", "PATCH"]
    photo.assert_stored(tmp_path)


def test_client_that_may_not_send_patch_overrides_the_method(photo, tmp_path):
    told = photo.upload(overridePatchMethod=True)
    assert set(told["requests"]) == {"POST"}
    photo.assert_stored(tmp_path)


def test_aborted_upload_is_resumed_by_the_same_client(photo, tmp_path):
    told = photo.upload(abortAt=PHOTO_BYTES // 2, again=True)
    assert told["aborted"] and told["done"]
    assert "HEAD" in told["requests"] and told["requests"].count("PATCH") <= 14  # at most one chunk twice
    photo.assert_stored(tmp_path)


def test_upload_is_resumed_by_another_process_after_the_server_was_killed(photo, tmp_path):
    told = photo.upload(abortAt=PHOTO_BYTES // 2)
    assert told["aborted"] and not told["done"]
    photo.server.kill()
    photo.server.start()
    again = photo.upload(uploadUrl=told["url"])
    assert again["requests"][0] == "HEAD" and again["acceptedFirst"] >= PHOTO_BYTES // 2 - CHUNK_BYTES
    photo.assert_stored(tmp_path)


def test_client_that_starts_at_zero_anyway_is_led_to_the_offset(photo, tmp_path):
    photo.upload(abortAt=PHOTO_BYTES // 2)
    told = photo.upload()  # a new process that remembers nothing: it creates again
    assert told["statuses"][:3] == [201, 409, 200] and told["requests"][:3] == ["POST", "PATCH", "HEAD"]
    assert told["requests"].count("PATCH") <= 9
    photo.assert_stored(tmp_path)


def test_what_is_stored_already_is_not_sent_again(photo, tmp_path):
    photo.upload()
    told = photo.upload()
    assert told["done"] and told["statuses"] == [201, 409, 200]
    photo.assert_stored(tmp_path)


def test_client_without_a_good_token_is_refused(photo):
    told = photo.upload(status=1, token="nonsense", retryDelays=[])
    assert told["statuses"] == [401]


def test_client_with_other_bytes_than_announced_stores_nothing(photo):
    changed = bytearray(photo.data)
    changed[PHOTO_BYTES // 2] ^= 1
    photo.path.write_bytes(changed)
    told = photo.upload(status=1, retryDelays=[])
    assert told["statuses"][-1] == 460 and not told["done"]
    photo.server.run("blob", photo.sha256, "-o", "-", status=3)
