"""Real receivers on this machine, and ways to lead a call to them."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import httpcore

from servers import Answer, Server

Behaviour = Callable[[Answer], None]


@dataclass
class Receiver:
    port: int
    seen: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    cut_off: threading.Event = field(default_factory=threading.Event)
    """The caller hung up while an answer was being written."""

    def url(self, path: str = "/hook", host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"


def says(status: int, **headers: str) -> Behaviour:
    def answer(handler: Answer) -> None:
        handler.send(status, headers={name.replace("_", "-"): value for name, value in headers.items()})

    return answer


@contextlib.contextmanager
def listening(behaviour: Behaviour, context: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """An HTTP server that records each POST and then behaves."""

    class Behaving(Answer):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            receiver.seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}, self.body()))
            self.close_connection = True
            try:
                behaviour(self)
            except OSError:
                receiver.cut_off.set()

    class Quiet(Server):
        def handle_error(self, request: object, client_address: object) -> None:
            pass

    server = Quiet(Behaving, context)
    receiver = Receiver(server.server_port)
    try:
        yield receiver
    finally:
        server.stop()


@contextlib.contextmanager
def deaf() -> Iterator[int]:
    """The port of a socket that takes connections and never reads nor answers."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


@dataclass
class Rerouted(httpcore.NetworkBackend):
    """Notes where a call wants to connect, and leads it to a port of this machine; some addresses never answer."""

    port: int
    wanted: list[tuple[str, int]] = field(default_factory=list)
    dead: Sequence[str] = ()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        self.wanted.append((host, port))
        if host in self.dead:
            raise httpcore.ConnectTimeout("nobody there")
        return httpcore.SyncBackend().connect_tcp("127.0.0.1", self.port, timeout, local_address, socket_options)


@dataclass
class Names:
    """A name server that gives its answers one after the other, the last for ever."""

    answers: Sequence[Sequence[str]]
    asked: list[str] = field(default_factory=list)

    def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return self.answers[min(len(self.asked), len(self.answers)) - 1]
