# SPDX-License-Identifier: Apache-2.0
"""A relay in front of a server on loopback that understands HTTP, so that a test can lose, cut, hold, double or forge
any answer. `relay.policy` is called once for each request, in a thread of that request's connection."""

import socket
import struct
import threading

import harness


class Closed(Exception):
    """The other side went away."""


def read_message(stream, is_answer_to_head=False):
    """(head, body) of one HTTP message, as bytes."""
    head = read_head(stream)
    status = head.split(b" ", 2)[1]
    if is_answer_to_head or status in (b"204", b"304"):
        return head, b""
    if header_of(head, "transfer-encoding") == "chunked":
        return head, read_chunks(stream)
    return head, read_exactly(stream, content_length(head))


def read_chunks(stream):
    """A chunked body, as it is on the wire."""
    data = b""
    while True:
        line = stream.readline(1024)
        size = int(line.split(b";")[0], 16)
        data += line + read_exactly(stream, size + 2)
        if size == 0:
            return data


def read_head(stream):
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = stream.readline(65536)
        if not line:
            raise Closed
        head += line
    return head


def read_exactly(stream, count):
    data = stream.read(count)
    if len(data) < count:
        raise Closed
    return data


def header_of(head, wanted):
    for line in head.decode("latin-1").split("\r\n")[1:]:
        name, _, value = line.partition(":")
        if name.lower() == wanted:
            return value.strip()
    return None


def content_length(head):
    return int(header_of(head, "content-length") or 0)


class Call:
    """One request, and what can be done about it."""

    def __init__(self, relay, connection, stream, number_on_connection):
        self.relay, self.connection, self.stream = relay, connection, stream
        self.number_on_connection = number_on_connection
        self.head = read_head(stream)
        self.method, self.path = self.head.decode("latin-1").split(" ", 2)[:2]
        self.body_left = content_length(self.head)
        self.body_read = b""
        self.at = harness.time.monotonic()

    def header(self, name):
        return header_of(self.head, name)

    def read_some_of_body(self, count):
        piece = read_exactly(self.stream, min(count, self.body_left))
        self.body_left -= len(piece)
        self.body_read += piece
        return piece

    def body(self):
        self.read_some_of_body(self.body_left)
        return self.body_read

    def forward(self):
        """Has the server answer. The answer as (head, body)."""
        request = self.head + self.body()
        with socket.create_connection(("127.0.0.1", self.relay.target), timeout=harness.PATIENCE_S) as server:
            server.sendall(request)
            with server.makefile("rb") as stream:
                return read_message(stream, self.method == "HEAD")

    def answer(self, head, body=b""):
        self.connection.sendall(head + body)

    def answer_text(self, status, body, *headers):
        self.body()
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Content-Type: text/html", *headers, "", ""]
        self.answer("\r\n".join(lines).encode(), b"" if self.method == "HEAD" else body)

    def reset(self):
        """Ends the connection with an RST."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise Closed

    def wait_until_client_leaves(self):
        self.connection.settimeout(harness.PATIENCE_S)
        try:
            while self.connection.recv(65536):
                pass
        except ConnectionError:
            pass
        raise Closed


def forward(call):
    call.answer(*call.forward())


class Relay:
    def __init__(self, target=0, context=None, port=0):
        self.target, self.context = target, context
        self.policy = forward
        self.calls = []
        self.errors = []
        self.connections = 0
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", port), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.open = set()
        threading.Thread(target=self.accept, daemon=True).start()

    @property
    def url(self):
        return f"{'https' if self.context else 'http'}://127.0.0.1:{self.port}"

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        try:
            if self.context:
                connection = self.context.wrap_socket(connection, server_side=True)
            with self.lock:
                self.open.add(connection)
            number = 0
            with connection.makefile("rb") as stream:
                while True:
                    call = Call(self, connection, stream, number)
                    with self.lock:
                        self.calls.append(call)
                    self.policy(call)
                    number += 1
        except (Closed, OSError):
            pass
        except Exception as error:  # shown by the test that closes the relay
            self.errors.append(error)
        finally:
            with self.lock:
                self.open.discard(connection)
            connection.close()

    def count(self, path="/v1/exchange"):
        with self.lock:
            return sum(call.path == path for call in self.calls)

    def close(self):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)  # wakes accept(), which would keep the port
        except OSError:
            pass
        self.listener.close()
        with self.lock:
            for connection in self.open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
        assert not self.errors, self.errors
