"""One guarded call to an address that others chose. Knows HTTP and sockets; not what is sent or fetched, nor why.

The name is resolved once, here, and the connection goes to exactly the address that was vetted, so that a name
server that answers differently a moment later (DNS rebinding) gains nothing. TLS still speaks to, and verifies, the
name. Built on httpcore: it follows no redirect, reads no proxy from the environment, decodes no body, keeps no cookie.
"""

from __future__ import annotations

import contextlib
import functools
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpcore
import httpx

from unlearn.errors import Unavailable
from unlearn.outbound.addresses import check_url, literal, refusal, why_not_public

MOST_ADDRESSES = 8
"""Addresses of one name that are tried; the others wait for the next attempt."""

LONGEST_RETRY_AFTER_SECONDS = 24 * 3600.0

_BROKEN = (httpcore.TimeoutException, httpcore.NetworkError, httpcore.RemoteProtocolError)


class CallbackFailed(Unavailable):
    """The address is allowed but gave no answer."""

    kind = "callback-failed"
    title = "The callback could not be delivered"


@dataclass(frozen=True)
class Answer:
    """What the receiver said; redirects are answers like any other."""

    status: int
    retry_after_seconds: float | None
    """From Retry-After in either form (RFC 9110, section 10.2.3), at least 0 and at most a day."""
    body: bytes = field(default=b"", compare=False)
    """What was read of it before the limit, or before the connection broke."""


def resolve(host: str, port: int) -> list[str]:
    """The addresses of `host`, in the system's order of preference."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


@dataclass(frozen=True)
class Network:
    """The ways out of this machine."""

    resolve: Callable[[str, int], Sequence[str]] = resolve
    backend: httpcore.NetworkBackend = field(default_factory=httpcore.SyncBackend)
    trust: ssl.SSLContext | None = None
    """Certificates believed; by default certifi's, or those of SSL_CERT_FILE and SSL_CERT_DIR."""


INTERNET = Network()


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    allow_private: bool,
    timeout_seconds: float = 15,
    most_bytes: int = 64 * 1024,
    network: Network = INTERNET,
) -> Answer:
    """POST `body` to `url` and return the answer.

    Once the status line and headers are in, the call has succeeded, whatever becomes of the answer's body.

    Args:
        url: checked by `check_url` and, once resolved, by address.
        body: sent as it is.
        headers: sent besides Host and Content-Length.
        allow_private: see `check_url`.
        timeout_seconds: for everything together: resolving, connecting, sending, reading.
        most_bytes: the connection is closed once about that much of the answer's body was read.
        network: the ways out; tests give their own.

    Raises:
        CallbackRefused: the address is not allowed; nothing was connected.
        CallbackFailed: no answer within the time.
    """
    with _calling("POST", url, body, headers, allow_private, timeout_seconds, network) as answer:
        retry_after = next((v for k, v in answer.headers if k.lower() == b"retry-after"), None)
        return Answer(answer.status, _seconds(retry_after, datetime.now(UTC)), _drained(answer, most_bytes))


def fetch(
    url: str,
    *,
    allow_private: bool,
    timeout_seconds: float = 5,
    most_bytes: int = 256 * 1024,
    network: Network = INTERNET,
) -> bytes:
    """GET `url` and return the whole body.

    Args:
        url: checked as `post` does.
        allow_private: see `check_url`.
        timeout_seconds: for everything together.
        most_bytes: of the body.
        network: the ways out; tests give their own.

    Raises:
        CallbackRefused: the address is not allowed; nothing was connected.
        CallbackFailed: no whole answer within the time, another status than 200, or too long a body.
    """
    accept = {"accept": "application/json"}
    with _calling("GET", url, None, accept, allow_private, timeout_seconds, network) as answer:
        host = httpx.URL(url).host
        if answer.status != httpx.codes.OK:
            raise CallbackFailed(f"'{host}' answered {answer.status}")
        body = bytearray()
        for chunk in answer.iter_stream():
            body += chunk
            if len(body) > most_bytes:
                raise CallbackFailed(f"'{host}' answered with more than {most_bytes} bytes")
        return bytes(body)


@contextlib.contextmanager
def _calling(
    method: str,
    url: str,
    body: bytes | None,
    headers: Mapping[str, str],
    allow_private: bool,
    timeout_seconds: float,
    network: Network,
) -> Iterator[httpcore.Response]:
    """The answer to one call, its body still to be read."""
    target = check_url(url, allow_private=allow_private)
    guard = _Guard(network, allow_private, time.monotonic() + timeout_seconds)
    name = target.raw_host.removesuffix(b".")  # certificates and SNI have no trailing dot (RFC 6066, section 3)
    wire = httpcore.URL(scheme=target.raw_scheme, host=name, port=target.port, target=target.raw_path)
    sent = [("Host", target.netloc.decode("ascii")), *headers.items()]
    pool = httpcore.ConnectionPool(ssl_context=network.trust or _trust(), network_backend=guard, max_connections=1)
    shown = name.decode("ascii")
    try:
        with pool, pool.stream(method, wire, headers=sent, content=body) as answer:
            yield answer
    except httpcore.TimeoutException:
        raise CallbackFailed(f"'{shown}' did not answer within {timeout_seconds:g} s") from None
    except _BROKEN as error:
        raise CallbackFailed(f"'{shown}' could not be reached ({error})") from error


def _drained(answer: httpcore.Response, most_bytes: int) -> bytes:
    """The body, which is read so that the receiver can end its answer in peace, up to a limit."""
    body = bytearray()
    with contextlib.suppress(*_BROKEN):
        for chunk in answer.iter_stream():
            body += chunk
            if len(body) >= most_bytes:
                break
    return bytes(body)


@functools.cache
def _trust() -> ssl.SSLContext:
    return httpx.create_ssl_context()  # tens of milliseconds, so once


def _seconds(retry_after: bytes | None, now: datetime) -> float | None:
    """Seconds of a Retry-After header; None if it is missing or can't be read."""
    text = (retry_after or b"").decode("latin-1").strip()
    if text.isascii() and text.isdigit():
        seconds = float(text)
    else:
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return None
        seconds = (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds()
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS)


def _left(deadline: float, late: type[httpcore.TimeoutException]) -> float:
    """Seconds until `deadline`; never 0, which a socket would take for 'do not block'."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise late("out of time")
    return left


@dataclass(frozen=True)
class _Guard(httpcore.NetworkBackend):
    """Connects to vetted addresses alone, and ends everything at one deadline (of `time.monotonic`)."""

    network: Network
    allow_private: bool
    deadline: float

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Resolve, vet, connect. One address that is not allowed condemns the name, wherever it stands in the list."""
        addresses = self._vetted(host, port)[:MOST_ADDRESSES]
        for place, address in enumerate(addresses):
            share = _left(self.deadline, httpcore.ConnectTimeout) / (len(addresses) - place)
            try:
                stream = self.network.backend.connect_tcp(address, port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if place + 1 == len(addresses):
                    raise
            else:
                return _Timed(stream, self.deadline)
        raise httpcore.ConnectError("the name has no address")

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None
    ) -> httpcore.NetworkStream:
        """Never: callbacks leave by TCP."""
        raise httpcore.ConnectError("callbacks use no unix sockets")

    def _vetted(self, host: str, port: int) -> list[str]:
        """The addresses of `host`, normalised, each once; all of them allowed."""
        given = [host] if literal(host) else self._resolved(host, port)
        found = [literal(one) for one in given]
        # The reason names no address: what a private name server says is not for the one who chose the name.
        if not self.allow_private and any(one is None or why_not_public(one) for one in found):
            raise refusal(host, "it leads to an address that is not a public one")
        return list(dict.fromkeys(str(one) for one in found if one is not None))

    def _resolved(self, host: str, port: int) -> Sequence[str]:
        """Ask the resolver, which knows no time limit, on a thread that may outlive the question."""
        told: queue.SimpleQueue[Sequence[str] | OSError | UnicodeError] = queue.SimpleQueue()

        def ask() -> None:
            try:
                told.put(self.network.resolve(host, port))
            except (OSError, UnicodeError) as error:
                told.put(error)

        threading.Thread(target=ask, name="resolve", daemon=True).start()
        try:
            answer = told.get(timeout=_left(self.deadline, httpcore.ConnectTimeout))
        except queue.Empty:
            raise httpcore.ConnectTimeout("the name server did not answer") from None
        if isinstance(answer, OSError | UnicodeError):
            raise httpcore.ConnectError(f"the name does not resolve: {answer}")
        return answer


@dataclass(frozen=True)
class _Timed(httpcore.NetworkStream):
    """A stream whose every wait ends at the deadline, so that a slow drip can't stretch the call."""

    inner: httpcore.NetworkStream
    deadline: float

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self.inner.read(max_bytes, _left(self.deadline, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all; a loop of its own, since the inner stream gives each partial send the whole time again."""
        sock: socket.socket = self.inner.get_extra_info("socket")
        rest = memoryview(buffer)
        while rest:
            sock.settimeout(_left(self.deadline, httpcore.WriteTimeout))
            try:
                rest = rest[sock.send(rest) :]
            except TimeoutError as error:
                raise httpcore.WriteTimeout(str(error)) from error
            except OSError as error:
                raise httpcore.WriteError(str(error)) from error

    def close(self) -> None:
        self.inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = _left(self.deadline, httpcore.ConnectTimeout)
        return _Timed(self.inner.start_tls(ssl_context, server_hostname, left), self.deadline)

    def get_extra_info(self, info: str) -> Any:
        return self.inner.get_extra_info(info)
