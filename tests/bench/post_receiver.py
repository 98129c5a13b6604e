#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""An HTTPS server that takes any POST: its body, unpacked when it is gzip, goes to the end of a file and is durable before
201 is answered. What scripts/bench delivery has peers send to that speak HTTP.

post_receiver.py ADDRESS PORT CERTIFICATE-CHAIN KEY FILE
"""

import gzip
import http.server
import os
import ssl
import sys
import threading


class Receiver(http.server.ThreadingHTTPServer):
    daemon_threads = True
    context = None

    def get_request(self):
        """The handshake is left to the connection's own thread."""
        plain, address = super().get_request()
        return self.context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False), address


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    file = -1
    lock = threading.Lock()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        with self.lock:
            os.write(self.file, body + b"\n")
            os.fsync(self.file)
        self.send_response_only(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def main():
    address, port, chain, key, path = sys.argv[1:]
    Handler.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    server = Receiver((address, int(port)), Handler)
    server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.context.load_cert_chain(chain, key)
    server.serve_forever()


if __name__ == "__main__":
    main()
