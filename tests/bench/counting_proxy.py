#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A TCP relay on loopback that counts bytes each way: what really crosses the wire between TLS ends.

counting_proxy.py PORT     prints its own port, relays to PORT until SIGTERM, then prints {"up": bytes, "down": bytes}
"""

import json
import selectors
import signal
import socket
import sys


def main():
    target = int(sys.argv[1])
    counts = {"up": 0, "down": 0, "connections": 0}
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    print(listener.getsockname()[1], flush=True)
    chooser = selectors.DefaultSelector()
    chooser.register(listener, selectors.EVENT_READ, None)
    running = True

    def stop(*_):
        nonlocal running
        running = False

    signal.signal(signal.SIGTERM, stop)
    while running:
        for key, _ in chooser.select(timeout=0.1):
            if key.fileobj is listener:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", target))
                counts["connections"] += 1
                chooser.register(client, selectors.EVENT_READ, (server, "up"))
                chooser.register(server, selectors.EVENT_READ, (client, "down"))
                continue
            other, way = key.data
            try:
                data = key.fileobj.recv(262144)
                other.sendall(data)
            except OSError:
                data = b""
            counts[way] += len(data)
            if not data:
                for end in (key.fileobj, other):
                    try:
                        chooser.unregister(end)
                    except KeyError:
                        pass
                    end.close()
    print(json.dumps(counts), flush=True)


if __name__ == "__main__":
    main()
