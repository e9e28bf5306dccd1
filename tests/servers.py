"""HTTP servers on this machine that tests answer for."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType


class Server(ThreadingHTTPServer):
    """Serves from the moment it is made; `url` has no path."""

    daemon_threads = True

    def __init__(self, answer: type[Answer], context: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), answer)
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """From now on, connections are refused."""
        self.shutdown()
        self.server_close()


class Answer(BaseHTTPRequestHandler):
    """What answers one request; who inherits has `do_GET` or `do_POST`."""

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers["content-length"] or 0))

    def send(self, status: int, body: bytes = b"", headers: Mapping[str, str] = MappingProxyType({})) -> None:
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""
