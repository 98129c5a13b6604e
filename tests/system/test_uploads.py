# SPDX-License-Identifier: Apache-2.0
"""Uploads by tus 1.0.0, request by request: what the protocol asks for, what is refused, and what survives a cut."""

import base64
import concurrent.futures
import hashlib
import random
import re
import shutil

import pytest

import harness
from harness import wait_for

SIZE = 600_000
PATCH_TYPE = "application/offset+octet-stream"


def base64_of(data):
    return base64.b64encode(data).decode()


class Upload:
    """One photo that a stored record of a handheld names, and the requests of its upload."""

    def __init__(self, server, handheld, size=SIZE, seed=1):
        self.server, self.handheld = server, handheld
        self.data = random.Random(seed).randbytes(size)
        self.sha256 = hashlib.sha256(self.data).hexdigest()
        self.path = "/v1/blobs/" + self.sha256

    def announce(self):
        self.announce_all(self.handheld, [self])
        return self

    @staticmethod
    def announce_all(handheld, uploads):
        """Stores a record for each photo."""
        names = [word for seq, upload in enumerate(uploads, 1)
                 for word in ("--photo", f"{seq}:{upload.sha256}:{len(upload.data)}")]
        _, answer = handheld.exchange(0, len(uploads) + 1, *names)
        for upload in uploads:
            assert {"sha256": upload.sha256, "have": 0} in answer["wanted"]
            upload.token = answer["token"]

    def headers(self, **more):
        headers = {"Tus-Resumable": "1.0.0", "Authorization": f"Bearer {self.token}",
                   **{name.replace("_", "-"): value for name, value in more.items()}}
        return {name: value for name, value in headers.items() if value is not None}

    def create(self, **more):
        metadata = "filename cGhvdG8=,sha256 " + base64_of(self.sha256.encode())
        return self.server.request("POST", "/v1/blobs", headers=self.headers(
            **{"Upload_Length": str(len(self.data)), "Upload_Metadata": metadata, **more}))

    def head(self, **more):
        return self.server.request("HEAD", self.path, headers=self.headers(**more))

    def offset(self):
        return int(self.head().headers["Upload-Offset"])

    def patch(self, offset, data, **more):
        return self.server.request("PATCH", self.path, data, self.headers(
            **{"Upload_Offset": str(offset), "Content_Type": PATCH_TYPE, **more}))

    def start_patch(self, offset, length, data, port=None, **more):
        """The head of a PATCH and a piece of its body, on a connection that stays open."""
        lines = [f"PATCH {self.path} HTTP/1.1", "Host: x", f"Content-Length: {length}"]
        lines += [f"{name}: {value}" for name, value in self.headers(
            **{"Upload_Offset": offset, "Content_Type": PATCH_TYPE, **more}).items()]
        connection = harness.socket.create_connection(("127.0.0.1", port)) if port else self.server.socket()
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
        return connection

    def assert_stored(self, tmp_path):
        self.server.run("blob", self.sha256, "-o", tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == self.data


@pytest.fixture
def upload(server, make_handheld):
    return Upload(server, make_handheld(server)).announce()


# ---- what the protocol asks for ----


def test_options_says_what_is_spoken_without_a_token(server):
    for path in ("/v1/blobs", "/v1/blobs/" + "0" * 64):
        response = server.request("OPTIONS", path)
        assert response.status == 204
        assert response.headers["Tus-Version"] == response.headers["Tus-Resumable"] == "1.0.0"
        assert set(response.headers["Tus-Extension"].split(",")) == {"creation", "expiration", "checksum"}
        assert response.headers["Tus-Checksum-Algorithm"] == "sha256"
        assert int(response.headers["Tus-Max-Size"]) == 64 * 1024 * 1024


@pytest.mark.smoke
def test_upload_in_pieces_is_stored_and_said_to_be_complete(upload, tmp_path):
    created = upload.create()
    assert (created.status, created.headers["Upload-Offset"]) == (201, "0")
    assert created.headers["Location"].endswith(upload.path)
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", created.headers["Upload-Expires"])
    for start in range(0, SIZE, 100_000):
        response = upload.patch(start, upload.data[start:start + 100_000])
        assert (response.status, int(response.headers["Upload-Offset"])) == (204, start + 100_000)
        assert response.headers["Tus-Resumable"] == "1.0.0"
    assert upload.offset() == SIZE
    assert upload.head().headers["Upload-Length"] == str(SIZE)
    upload.assert_stored(tmp_path)
    finding = upload.server.findings()[0]
    assert finding["complete"] is True and finding["photos"][0]["state"] == "stored"
    _, answer = upload.handheld.exchange(2, 0, "--asked", upload.sha256)
    assert answer["stored"] == [upload.sha256] and answer["wanted"] == []


def test_incomplete_finding_says_so(upload):
    upload.create()
    upload.patch(0, upload.data[:-1])
    finding = upload.server.findings()[0]
    assert finding["complete"] is False and finding["photos"][0]["state"] == "missing"
    assert upload.server.devices()[0]["blobs_missing"] == 1


def test_head_is_not_to_be_cached(upload):
    upload.create()
    response = upload.head()
    assert (response.status, response.headers["Upload-Offset"], response.headers["Cache-Control"]) == (200, "0", "no-store")


def test_creating_again_finds_the_partial_again(upload):
    upload.create()
    upload.patch(0, upload.data[:1000])
    assert upload.create().headers["Upload-Offset"] == "1000"


def test_hash_in_metadata_may_be_raw(upload):
    raw = "sha256 " + base64_of(bytes.fromhex(upload.sha256))
    assert upload.create(Upload_Metadata=raw).status == 201


def test_chunked_patch_is_taken(upload):
    upload.create()
    response = upload.server.request("PATCH", upload.path, iter([upload.data[:1000], upload.data[1000:5000]]),
                                     upload.headers(Upload_Offset="0", Content_Type=PATCH_TYPE))
    assert (response.status, response.headers["Upload-Offset"]) == (204, "5000")


def test_right_checksum_is_taken_and_a_wrong_one_keeps_nothing(upload):
    upload.create()
    piece = upload.data[:5000]
    good = "sha256 " + base64_of(hashlib.sha256(piece).digest())
    assert upload.patch(0, piece[:-1] + b"?", Upload_Checksum=good).status == 460
    assert upload.offset() == 0
    assert upload.patch(0, piece, Upload_Checksum=good).status == 204
    assert upload.offset() == 5000


def test_wrong_whole_hash_deletes_the_partial(upload):
    upload.create()
    assert upload.patch(0, b"?" + upload.data[1:]).status == 460
    assert upload.head().status in (404, 410)
    assert upload.create().headers["Upload-Offset"] == "0"
    assert upload.patch(0, upload.data).status == 204


# ---- what is refused ----


@pytest.mark.parametrize("headers, status", [
    ({"Tus_Resumable": "0.2.2"}, 412), ({"Tus_Resumable": None}, 412),
    ({"Authorization": None}, 401), ({"Authorization": "Bearer "}, 401), ({"Authorization": "Bearer x"}, 401),
    ({"Authorization": "Basic YTpi"}, 401),
    ({"Upload_Length": None}, 400), ({"Upload_Length": "-1"}, 400), ({"Upload_Length": "1e3"}, 400),
    ({"Upload_Length": "99999999999999999999"}, 400), ({"Upload_Length": str(64 * 1024 * 1024 + 1)}, 413),
    ({"Upload_Metadata": None}, 400), ({"Upload_Metadata": "filename cGhvdG8="}, 400),
    ({"Upload_Metadata": "sha256 AAAA"}, 400),
    ({"Upload_Metadata": "sha256 " + base64_of(b"0" * 64)}, 403),  # named by nobody's record
])
def test_wrong_creation_is_refused(upload, headers, status):
    response = upload.create(**headers)
    assert (response.status, response.headers["Tus-Resumable"]) == (status, "1.0.0")
    if status == 412:
        assert response.headers["Tus-Version"] == "1.0.0"
    if status == 401:
        assert response.headers["WWW-Authenticate"] == "Bearer"
    assert upload.head().status == 404


@pytest.mark.parametrize("headers, status", [
    ({"Tus_Resumable": "2.0.0"}, 412), ({"Authorization": "Bearer x"}, 401),
    ({"Content_Type": "application/octet-stream"}, 415), ({"Content_Type": None}, 415),
    ({"Upload_Offset": None}, 400), ({"Upload_Offset": "ten"}, 400), ({"Upload_Offset": "-1"}, 400),
    ({"Upload_Offset": "1"}, 409), ({"Upload_Offset": str(SIZE + 1)}, 409), ({"Upload_Offset": str(2**62)}, 409),
    ({"Upload_Checksum": "md5 AAAA"}, 400), ({"Upload_Checksum": "sha256"}, 400), ({"Upload_Checksum": "sha256 AAAA"}, 400),
])
def test_wrong_patch_is_refused_and_changes_nothing(upload, headers, status):
    upload.create()
    assert upload.patch(0, upload.data[:1000], **headers).status == status
    assert upload.offset() == 0


def test_more_bytes_than_announced_are_refused(upload):
    upload.create()
    assert upload.patch(0, upload.data + b"more").status == 413
    response = upload.server.request("PATCH", upload.path, iter([upload.data, b"more"]),
                                     upload.headers(Upload_Offset="0", Content_Type=PATCH_TYPE))
    assert response.status == 413
    assert upload.offset() <= SIZE


def test_who_has_too_much_under_way_is_told_so(server, make_handheld):
    handheld = make_handheld(server)
    uploads = [Upload(server, handheld, size=10, seed=seed) for seed in range(9)]
    Upload.announce_all(handheld, uploads)
    answers = [upload.create(Upload_Length=str(64 * 1024 * 1024)) for upload in uploads]
    assert [answer.status for answer in answers] == [201] * 8 + [413]
    assert b"under way" in answers[-1].content


def test_patch_and_head_of_nothing_are_404(upload):
    assert upload.head().status == 404
    assert upload.patch(0, b"x").status == 404
    for name in ("0" * 64, "0" * 63, "Z" * 64, "..%2f..%2fetc%2fpasswd"):
        upload.path = "/v1/blobs/" + name
        assert upload.head().status == 404


def test_other_methods_and_overrides(upload):
    upload.create()
    for method in ("GET", "PUT", "DELETE"):
        assert upload.server.request(method, upload.path, headers=upload.headers()).status == 405
    headers = upload.headers(Upload_Offset="0", Content_Type=PATCH_TYPE, X_HTTP_Method_Override="PATCH")
    assert upload.server.request("POST", upload.path, upload.data[:10], headers).status == 204
    headers["X-HTTP-Method-Override"] = "DELETE"
    assert upload.server.request("POST", upload.path, b"", headers).status == 405


def test_blob_of_another_device_is_neither_revealed_nor_taken(upload, make_handheld):
    upload.create()
    upload.patch(0, upload.data)
    stranger = make_handheld(upload.server, 2)
    other = Upload(upload.server, stranger, seed=2).announce()
    for path in (upload.path, "/v1/blobs/" + "1" * 64):  # stored by another, stored by nobody
        assert upload.server.request("HEAD", path, headers=other.headers()).status == 404
        sha256 = path.rsplit("/", 1)[1]
        assert other.create(Upload_Metadata="sha256 " + base64_of(sha256.encode())).status == 403


def test_revoked_device_may_not_upload(upload):
    upload.create()
    upload.server.run("revoke", upload.handheld.device)
    assert upload.patch(0, upload.data).status == 403
    upload.server.run("restore", upload.handheld.device)
    assert upload.patch(0, upload.data).status == 204


def test_patch_after_the_end_is_led_by_409(upload):
    upload.create()
    upload.patch(0, upload.data)
    assert upload.patch(0, upload.data).status == 409
    assert upload.patch(SIZE, b"").status == 204
    assert upload.create().headers["Upload-Offset"] == str(SIZE)


# ---- what survives ----


def test_cut_upload_keeps_what_came(upload, tmp_path):
    upload.create()
    with upload.start_patch(0, SIZE, upload.data[:540_000]) as connection:
        connection.shutdown(harness.socket.SHUT_WR)  # a plain close could be a reset, which drops what is on its way
        wait_for(lambda: [line for line in upload.server.requests() if line["outcome"] == "broken_off"], "its end")
    kept = upload.offset()
    assert 540_000 - 65536 <= kept <= 540_000
    assert upload.patch(kept, upload.data[kept:]).status == 204
    upload.assert_stored(tmp_path)


def test_cut_upload_with_a_checksum_keeps_nothing_of_the_piece(upload):
    upload.create()
    checksum = "sha256 " + base64_of(hashlib.sha256(upload.data).digest())
    with upload.start_patch(0, SIZE, upload.data[:300_000], Upload_Checksum=checksum) as connection:
        connection.shutdown(harness.socket.SHUT_WR)  # not closed: that could be a reset, which drops what is on its way
        wait_for(lambda: [line for line in upload.server.requests() if line["outcome"] == "broken_off"], "its end")
    assert upload.offset() == 0


@pytest.mark.smoke
def test_half_open_upload_is_ended_by_a_new_one(upload, tmp_path):
    upload.create()
    stale = upload.start_patch(0, SIZE, upload.data[:100_000])
    wait_for(lambda: b"requests_in_flight 2\n" in upload.server.request("GET", "/metrics").content, "it is in flight")
    began = harness.time.monotonic()
    while (response := upload.patch(offset := upload.offset(), upload.data[offset:])).status == 409:
        assert harness.time.monotonic() - began < 5
    assert response.status == 204 and harness.time.monotonic() - began < 5
    upload.assert_stored(tmp_path)
    stale.close()


def test_who_asks_for_the_offset_of_a_half_open_upload_is_told_what_it_has_brought(upload, tmp_path):
    upload.create()
    stale = upload.start_patch(0, SIZE, upload.data[:100_000])
    wait_for(lambda: upload.offset() == 100_000, "all that was sent is promised")
    upload.server.kill()
    upload.server.start()
    assert upload.offset() == 100_000
    assert upload.patch(100_000, upload.data[100_000:]).status == 204
    upload.assert_stored(tmp_path)
    stale.close()


def test_promised_offset_survives_kill_and_restart(upload, tmp_path):
    upload.create()
    promised = 0
    for end in range(150_000, SIZE, 150_000):
        promised = int(upload.patch(promised, upload.data[promised:end]).headers["Upload-Offset"])
        upload.server.kill()
        upload.server.start()
        assert upload.offset() == promised
    upload.patch(promised, upload.data[promised:])
    upload.server.kill()
    upload.server.start()
    assert upload.offset() == SIZE
    upload.assert_stored(tmp_path)


def test_kill_in_the_middle_of_a_piece_never_takes_a_promise_back(upload, tmp_path):
    upload.create()
    promised = int(upload.patch(0, upload.data[:100_000]).headers["Upload-Offset"])
    connection = upload.start_patch(promised, SIZE - promised, upload.data[promised:300_000])
    wait_for(lambda: b"requests_in_flight 2\n" in upload.server.request("GET", "/metrics").content, "it is in flight")
    upload.server.kill()
    connection.close()
    upload.server.start()
    kept = upload.offset()
    assert promised <= kept <= 300_000
    assert upload.patch(kept, upload.data[kept:]).status == 204
    upload.assert_stored(tmp_path)


def test_sigterm_in_the_middle_of_a_piece_lets_it_end(upload, tmp_path):
    upload.create()
    connection = upload.start_patch(0, SIZE, upload.data[:300_000])
    wait_for(lambda: b"requests_in_flight 2\n" in upload.server.request("GET", "/metrics").content, "it is in flight")
    upload.server.process.child.terminate()
    wait_for(lambda: "stopping" in upload.server.process.text(), "it is stopping")
    connection.sendall(upload.data[300_000:])
    answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 204 ")
    assert upload.server.process.child.wait(timeout=10) == 0
    upload.assert_stored(tmp_path)


def test_parallel_uploads_of_many_photos_are_all_stored(server, make_handheld, tmp_path):
    handheld = make_handheld(server)
    uploads = [Upload(server, handheld, size=50_000 + seed, seed=seed) for seed in range(12)]
    Upload.announce_all(handheld, uploads)

    def send(upload):
        assert upload.create().status == 201
        return upload.patch(0, upload.data).status

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        assert list(pool.map(send, uploads)) == [204] * 12
    for upload in uploads:
        upload.assert_stored(tmp_path)
    assert server.devices()[0]["blobs_missing"] == 0


@pytest.fixture
def nginx(tmp_path, server, certificates):
    """A proxy in front of the server that hands uploads on as they come. Plain HTTP on the outside."""
    if not shutil.which("nginx", path="/usr/sbin:/usr/bin"):
        pytest.skip("nginx is not installed")
    port = harness.free_port()
    directory = tmp_path / "nginx"
    directory.mkdir()
    (directory / "nginx.conf").write_text(f"""
daemon off; master_process off; pid {directory}/pid; error_log {directory}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off; client_max_body_size 64m;
    client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/f;
    uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass https://127.0.0.1:{server.port};
            proxy_ssl_verify on; proxy_ssl_trusted_certificate {certificates.ca}; proxy_ssl_name localhost;
            proxy_http_version 1.1; proxy_request_buffering off; proxy_buffering off;
        }}
    }}
}}
""")
    process = harness.Process(["/usr/sbin/nginx", "-c", directory / "nginx.conf", "-p", directory,
                               "-e", directory / "error.log"], directory / "log")
    def listens():
        assert process.alive(), process.text()
        try:
            harness.socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return True
        except OSError:
            return False
    wait_for(listens, "nginx listens")
    process.port = port
    yield process
    process.close()


def test_upload_killed_behind_a_proxy_is_resumed_and_not_begun_again(upload, nginx, tmp_path):
    upload.create()
    connection = upload.start_patch(0, SIZE, upload.data[:400_000], port=nginx.port)
    wait_for(lambda: b"requests_in_flight 2\n" in upload.server.request("GET", "/metrics").content, "it has reached the server")
    connection.close()
    kept = wait_for(upload.offset, "an offset that is kept")
    assert 0 < kept <= 400_000
    assert upload.patch(kept, upload.data[kept:]).status == 204
    upload.assert_stored(tmp_path)


def test_audits_leave_a_thread_to_the_other_requests(make_server, make_handheld):
    server = make_server(tls=False, config="[serve]\nthreads = 2\n")
    handhelds = [make_handheld(server, seed) for seed in (1, 2)]
    for handheld in handhelds:
        upload = Upload(server, handheld, size=32 * 1024 * 1024, seed=handheld.seed).announce()
        upload.create()
        assert upload.patch(0, upload.data).status == 204
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        def audit_both():
            answers = list(pool.map(lambda handheld: handheld.audit("media"), handhelds))
            assert 200 in {status for status, _ in answers}
            return [answer["reason"] for status, answer in answers if status == 503]

        assert wait_for(audit_both, "they come at the same time") == ["busy"]
