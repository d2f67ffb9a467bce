"""A relay on the loopback that counts the bytes which clients send to a server."""

import socket
import threading

BLOCK = 1 << 18


class Relay:
    """Listens on a port of its own and passes everything on to `port`, both ways."""

    def __init__(self, port):
        self.target = ("127.0.0.1", port)
        self.sent = 0
        self.lock = threading.Lock()
        self.server = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.server.getsockname()[1]

    def __enter__(self):
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        # `shutdown` ends a waiting `accept`; `close` alone does not.
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()

    def accept(self):
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self.target, timeout=10)
                server.settimeout(None)
            except OSError:
                client.close()
                continue
            for source, sink, counts in ((client, server, True), (server, client, False)):
                threading.Thread(target=self.copy, args=(source, sink, counts), daemon=True).start()

    def copy(self, source, sink, counts):
        try:
            while data := source.recv(BLOCK):
                if counts:
                    with self.lock:
                        self.sent += len(data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            # One side is gone: the other must not wait for it.
            for end in (source, sink):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
