# SPDX-License-Identifier: Apache-2.0
"""What system tests share: the programs of one build, a server with certificates, a handheld that follows from a
seed, raw HTTP, and waiting for a condition with a deadline. Nothing here sleeps for a fixed time."""

import hashlib
import http.client
import json
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
# A sanitizer build is some times slower.
PATIENCE_S = float(os.environ.get("GRIDPATROL_PATIENCE_S", "30"))


def find_build():
    named = os.environ.get("GRIDPATROL_BUILD")
    if named:
        return pathlib.Path(named).resolve()
    return next((TOP / name for name in ("build", "build-gcc") if (TOP / name).is_dir()), TOP / "build")


BUILD = find_build()
ROOMS = {"patrol": "collector", "patrol-syncd": "syncd", "patrol-transport": "syncd/transport", "patrol-server": "server",
         "handheld": "tests/tools", "make_photo": "tests/data", "append": "tests/tools", "lab_link": "tests/lab", "power_cut": "tests/fault",
         "tus_upload": "tests/tools", "libclock_shim.so": "tests/tools",
         "libinject.so": "tests/fault",
         "patrol-photo": "collector/photo"}


def program(name):
    return str(BUILD / ROOMS[name] / name)


def environment(**more):
    """Nothing of the machine's own configuration reaches a program under test."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GRIDPATROL_")}
    return {**kept, "TZ": "Asia/Shanghai", **{name: str(value) for name, value in more.items()}}


def wait_for(condition, what, seconds=None):
    """The first true value that `condition` gives; fails when the deadline passes."""
    deadline = time.monotonic() + (seconds or PATIENCE_S)
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.01)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Machine:
    """Where programs run: here. A namespace of tests/lab is another one."""

    prefix = ()  # words before a command, to run it there
    address = "127.0.0.1"  # where a server of it listens

    def connect(self, address, timeout):
        return socket.create_connection(address, timeout=timeout)


HERE = Machine()


class Certificates:
    """A CA made for the test, and a server certificate of it for loopback and what else `addresses` names. `chain` ends
    with the CA."""

    def __init__(self, directory, name="test", addresses=()):
        directory.mkdir(parents=True, exist_ok=True)
        self.ca, self.key, self.chain, self.leaf = (directory / file for file in
                                                    ("ca.pem", "server.key", "chain.pem", "leaf.pem"))
        ca_key, request, extensions = directory / "ca.key", directory / "server.csr", directory / "server.ext"
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        openssl("req", "-x509", *curve, "-keyout", ca_key, "-out", self.ca, "-days", 30, "-subj", f"/CN={name} CA")
        openssl("req", *curve, "-keyout", self.key, "-out", request, "-subj", "/CN=127.0.0.1")
        names = ",".join(["IP:127.0.0.1", "DNS:localhost", *(f"IP:{address}" for address in addresses)])
        extensions.write_text(f"subjectAltName={names}\nbasicConstraints=CA:FALSE\n")
        openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", ca_key, "-CAcreateserial", "-days", 30,
                "-extfile", extensions, "-out", self.leaf)
        self.chain.write_text(self.leaf.read_text() + self.ca.read_text())

    def context(self):
        return ssl.create_default_context(cafile=str(self.ca))


class Process:
    """A program in the background; what it says goes to a file."""

    def __init__(self, arguments, log, **options):
        self.log = log
        with open(log, "ab") as output:
            self.child = subprocess.Popen([str(word) for word in arguments], stdin=subprocess.DEVNULL, stdout=output,
                                          stderr=output, **options)

    def alive(self):
        return self.child.poll() is None

    def stop(self, number=signal.SIGTERM, seconds=None):
        if self.alive():
            self.child.send_signal(number)
        return self.child.wait(timeout=seconds or PATIENCE_S)

    def close(self):
        if self.alive():
            self.child.kill()
        self.child.wait()

    def text(self):
        return self.log.read_text(errors="replace")


class Server:
    """`patrol-server` with a data directory of its own."""

    def __init__(self, directory, certificates=None, config=None, machine=HERE):
        directory.mkdir(parents=True, exist_ok=True)
        self.machine = machine
        self.data, self.log, self.config = directory / "centre", directory / "server.log", directory / "server.conf"
        self.certificates = certificates
        self.config.write_text(config or "")
        self.process = None
        self.url = None
        self.port = 0

    def command(self, *arguments):
        return [*self.machine.prefix, program("patrol-server"), *arguments, "--data", self.data, "--config", self.config]

    def run(self, *arguments, status=0, **options):
        result = subprocess.run([str(word) for word in self.command(*arguments)], env=environment(), text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=PATIENCE_S * 4, **options)
        assert status is None or result.returncode == status, f"{arguments}: {result.returncode}: {result.stderr}"
        return result

    def start(self, *arguments, wait=True):
        tls = ["--tls-cert", self.certificates.chain, "--tls-key", self.certificates.key] if self.certificates else []
        self.process = Process(self.command("serve", "--listen", f"{self.machine.address}:{self.port}", *tls, *arguments),
                               self.log, env=environment())
        if wait:
            wait_for(self.listens, "the server listens")
        return self

    def listens(self):
        assert self.process.alive(), f"the server ended: {self.process.text()[-2000:]}"
        settings = self.data / "serve.conf"
        if not settings.exists():
            return False
        values = dict(line.split(" = ", 1) for line in settings.read_text().splitlines() if " = " in line)
        if int(values["pid"]) != self.process.child.pid:
            return False
        self.url = values["url"]
        self.port = self.port or int(self.url.rsplit(":", 1)[1])  # the URL may be a relay's
        try:
            self.machine.connect((self.machine.address, self.port), timeout=1).close()
            return True
        except OSError:
            return False

    def stop(self, number=signal.SIGTERM):
        return self.process.stop(number)

    def kill(self):
        self.process.stop(signal.SIGKILL)

    def close(self):
        if self.process:
            self.process.close()

    def token(self, *arguments):
        return self.run("token", *arguments).stdout.strip()

    def findings(self, *arguments):
        return [json.loads(line) for line in self.run("findings", "--json", *arguments).stdout.split("\n")[:-1]]

    def devices(self):
        return [json.loads(line) for line in self.run("devices", "--json").stdout.splitlines()]

    def requests(self):
        """The log lines of requests, as dictionaries."""
        lines = (line.split("request ", 1)[1] for line in self.process.text().splitlines() if ": request " in line)
        return [dict(word.split("=", 1) for word in line.split()) for line in lines]

    def connection(self, timeout=None):
        timeout = timeout or PATIENCE_S
        if not self.certificates:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=timeout, context=self.certificates.context())

    def socket(self, timeout=None):
        """A bare connection, for requests that no library would send."""
        plain = self.machine.connect((self.machine.address, self.port), timeout=timeout or PATIENCE_S)
        if not self.certificates:
            return plain
        return self.certificates.context().wrap_socket(plain, server_hostname=self.machine.address)

    def request(self, method, path, body=None, headers=None, connection=None):
        """One request; the response with its `body` read."""
        own = connection or self.connection()
        try:
            own.request(method, path, body=body, headers=headers or {})
            response = own.getresponse()
            response.content = response.read()
            return response
        finally:
            if not connection:
                own.close()


class SeededHandheld:
    """The handheld of tests/tools/handheld.c: bodies of requests, and what answers say."""

    def __init__(self, directory, server, seed):
        self.directory, self.server, self.seed = directory / f"handheld-{seed}", server, seed
        self.directory.mkdir(parents=True, exist_ok=True)
        self.key = self.directory / "server.key.txt"
        self.certificate = self.directory / "enrolment.answer"
        self.count = 0
        names = json.loads(self.tool("id"))
        self.device, self.log = names["device"], names["log"]

    def tool(self, *arguments, body=None, status=0):
        result = subprocess.run([program("handheld"), "--seed", str(self.seed), *map(str, arguments)], input=body,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=PATIENCE_S)
        assert result.returncode == status, f"handheld {arguments}: {result.stderr.decode()}"
        return result.stdout

    def read(self, request, body):
        """What a signed answer says; fails when it is not genuine."""
        if not self.key.exists():
            self.server.run("key", "-o", self.key)
        self.count += 1
        path = self.directory / f"request-{self.count}"
        path.write_bytes(request)
        return json.loads(self.tool("answer", path, self.key, body=body))

    def post(self, path, body, **options):
        """Posts a signed request. (HTTP status, what the answer says, None when it is not signed)"""
        response = self.server.request("POST", path, body, {"patrol-device": self.device}, **options)
        signed = response.headers.get_content_type() == "application/octet-stream"
        return response.status, self.read(body, response.content) if signed else None

    def enrol(self, token=None):
        body = self.tool("enrol", token or self.server.token("--name", f"handheld {self.seed}"))
        response = self.server.request("POST", "/v1/enrol", body)
        if response.status == 200:
            self.certificate.write_bytes(response.content)
        return response.status, self.read(body, response.content)

    def exchange(self, first, count, *arguments, **options):
        return self.post("/v1/exchange", self.tool("exchange", "--first", first, "--count", count, *arguments), **options)

    def audit(self, level, *arguments):
        return self.post("/v1/audit", self.tool("audit", "--level", level, *arguments))

    def repair(self, first, count, size, *arguments):
        return self.post("/v1/repair", self.tool("repair", "--first", first, "--count", count, "--size", size, *arguments))


# Waits that a test need not sit out. Whoever wants to see the doorbell and not the slow poll sets that high.
QUICK = """[syncd]
backoff-min = 100ms
backoff-max = 1s
answer-deadline = 20s
slow-poll = 1h
"""


class Handheld:
    """A handheld with the real programs: `patrol` and `patrol-syncd` on a data directory of its own."""

    def __init__(self, directory, config=QUICK, machine=HERE):
        directory.mkdir(parents=True, exist_ok=True)
        self.machine = machine
        self.directory, self.data = directory, directory / "data"
        self.log, self.config, self.syncd_config = directory / "log", directory / "patrol.conf", directory / "syncd.conf"
        self.config.write_text("")
        self.syncd_config.write_text(config)
        self.process = None
        self.more_environment = {}

    def command(self, *arguments):
        return [*self.machine.prefix, program("patrol"), *map(str, arguments), "--data", self.data, "--config", self.config]

    def run(self, *arguments, status=0, **options):
        result = subprocess.run(self.command(*arguments), env=environment(**self.more_environment), text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=PATIENCE_S * 4, **options)
        assert status is None or result.returncode == status, f"{arguments}: {result.returncode}: {result.stderr}"
        return result

    def enroll(self, server, *arguments, token=None, **options):
        return self.run("enroll", token or server.token(), *arguments, **options)

    def start(self, wait=True):
        self.process = Process([*self.machine.prefix, program("patrol-syncd"), "--data", self.data, "--config",
                                self.syncd_config], self.log, env=environment(**self.more_environment))
        if wait:
            wait_for(self.answers, "the daemon answers")
        return self

    def answers(self):
        assert self.process.alive(), f"the daemon ended: {self.process.text()[-2000:]}"
        try:
            return self.call("Status")
        except OSError:
            return None

    def stop(self, number=signal.SIGTERM):
        return self.process.stop(number)

    def kill(self):
        self.process.stop(signal.SIGKILL)

    def close(self):
        if self.process:
            self.process.close()

    def worker(self):
        """The process id of the daemon's network worker, None while there is none."""
        pid = self.process.child.pid
        return next(map(int, pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()), None)

    def control(self, timeout=None):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(timeout or PATIENCE_S)
        try:
            connection.connect(str(self.data / "control.sock"))
        except OSError:
            connection.close()
            raise
        return connection

    def call(self, method, timeout=None, **parameters):
        """One call over the control socket: the parameters of its reply."""
        with self.control(timeout) as connection:
            connection.sendall(json.dumps({"method": method, "parameters": parameters}).encode() + b"\0")
            data = b""
            while not data.endswith(b"\0"):
                piece = connection.recv(65536)
                if not piece:
                    raise ConnectionResetError("the daemon closed the control socket")
                data += piece
        return json.loads(data[:-1])["parameters"]

    def record(self, note="found", *arguments, photos=()):
        """Records one finding; its id."""
        named = [word for photo in photos for word in ("--photo", photo)]
        return self.run("record", "--category", "06010", "--lat", "31.2304", "--lon", "121.4737", "--note", note, *named,
                        *arguments).stdout.strip()

    def record_many(self, count, note="many", status=0):
        lines = "".join(json.dumps({"category": "06010", "lat": 31.2304, "lon": 121.4737, "note": f"{note} {index}"}) + "\n"
                        for index in range(count))
        return self.run("record", "--from", "-", input=lines, status=status).stdout.split()

    def status(self):
        return json.loads(self.run("status", "--json").stdout)

    def list(self, *arguments):
        return [json.loads(line) for line in self.run("list", "--json", *arguments).stdout.split("\n")[:-1]]

    def is_drained(self):
        status = self.status()
        return status["records_queued"] == 0 and status["photos_pending"] == 0

    def wait_until_drained(self, seconds=None):
        wait_for(self.is_drained, "everything is acknowledged", seconds)


def make_photo(path, seed=1, width=320, height=240):
    """A camera's JPEG that follows from a seed."""
    subprocess.run([program("make_photo"), "--width", str(width), "--height", str(height), "--seed", str(seed),
                    "--quality", "80", "-o", str(path)], check=True)
    return path


def assert_delivered(server, handheld, ids=None):
    """What the centre holds is what was recorded: each finding once, alike, its photos byte for byte."""
    mine = {item["id"]: item for item in handheld.list()}
    held = server.findings()
    theirs = {item["id"]: item for item in held}
    assert len(theirs) == len(held), "an id is held twice"
    for record_id in mine if ids is None else ids:
        assert record_id in theirs, f"{record_id} is not at the centre"
        for name in ("log", "seq", "kind", "note", "severity", "category", "lat", "lon", "observed_at", "recorded_at"):
            assert mine[record_id][name] == theirs[record_id][name], name
        assert mine[record_id]["state"] == "sent" and theirs[record_id]["complete"]
        for photo in theirs[record_id]["photos"]:
            copy = handheld.directory / "photo.out"
            server.run("blob", photo["sha256"], "-o", copy)
            assert hashlib.sha256(copy.read_bytes()).hexdigest() == photo["sha256"]
        assert ([photo["sha256"] for photo in mine[record_id]["photos"]] ==
                [photo["sha256"] for photo in theirs[record_id]["photos"]])
    assert len(held) == len(mine if ids is None else ids), "the centre holds more than was recorded"
