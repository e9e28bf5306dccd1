"""One guarded POST, against real sockets."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import httpcore
import pytest
from papers import tls
from receivers import Names, Rerouted, deaf, listening, says

from servers import Answer as Handler
from unlearn.outbound.addresses import CallbackRefused
from unlearn.outbound.http import Answer, CallbackFailed, Network, post

NAME = "hooks.customer.example"
PUBLIC = "93.184.215.14"


def test_body_and_headers_arrive_as_they_are() -> None:
    with listening(says(204)) as receiver:
        answer = post(receiver.url("/a?b=c#d"), b'{"x":1}', {"webhook-id": "m1"}, allow_private=True)
    [(path, headers, body)] = receiver.seen
    assert answer == Answer(204, None)
    assert (path, body) == ("/a?b=c", b'{"x":1}')
    assert headers["webhook-id"] == "m1"
    assert headers["host"] == f"127.0.0.1:{receiver.port}"


def test_tls_speaks_to_the_name_while_the_socket_goes_to_the_vetted_address(tmp_path: Path) -> None:
    papers = tls(tmp_path, NAME)
    asked_for: list[str | None] = []
    papers.server.sni_callback = lambda _socket, name, _context: asked_for.append(name)
    with listening(says(200), papers.server) as receiver:
        way = Rerouted(receiver.port)
        network = Network(Names([[PUBLIC]]), way, papers.trust)
        assert post(f"https://{NAME}./hook", b"x", {}, allow_private=False, network=network).status == 200
    assert way.wanted == [(PUBLIC, 443)]
    assert asked_for == [NAME]


def test_a_certificate_for_another_name_is_not_believed(tmp_path: Path) -> None:
    papers = tls(tmp_path, "other.example")
    with listening(says(200), papers.server) as receiver:
        network = Network(Names([[PUBLIC]]), Rerouted(receiver.port), papers.trust)
        with pytest.raises(CallbackFailed, match="certificate"):
            post(f"https://{NAME}/", b"x", {}, allow_private=False, network=network)
    assert receiver.seen == []


def test_a_certificate_of_an_unknown_authority_is_not_believed(tmp_path: Path) -> None:
    papers = tls(tmp_path, NAME)
    with listening(says(200), papers.server) as receiver:
        network = Network(Names([[PUBLIC]]), Rerouted(receiver.port))
        with pytest.raises(CallbackFailed, match="certificate"):
            post(f"https://{NAME}/", b"x", {}, allow_private=False, network=network)


def test_a_name_that_is_rebound_after_the_check_never_leads_inside(tmp_path: Path) -> None:
    papers = tls(tmp_path, NAME)
    names = Names([[PUBLIC], ["127.0.0.1"]])
    with listening(says(200), papers.server) as receiver:
        way = Rerouted(receiver.port)
        network = Network(names, way, papers.trust)
        assert post(f"https://{NAME}/", b"x", {}, allow_private=False, network=network).status == 200
        assert names.asked == [NAME]  # once: what was vetted is what was connected
        with pytest.raises(CallbackRefused):
            post(f"https://{NAME}/", b"x", {}, allow_private=False, network=network)
    assert way.wanted == [(PUBLIC, 443)]


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["10.1.2.3"],
        ["169.254.169.254"],
        ["::1"],
        ["fe80::1%eth0"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["2002:7f00:1::"],
        ["224.0.0.1"],
        [PUBLIC, "127.0.0.1"],
        ["not an address"],
    ],
)
def test_a_name_that_leads_inside_is_refused_before_anything_connects(addresses: Sequence[str]) -> None:
    way = Rerouted(1)
    with pytest.raises(CallbackRefused) as refused:
        post(f"https://{NAME}/", b"x", {}, allow_private=False, network=Network(Names([addresses]), way))
    assert way.wanted == []
    assert NAME in str(refused.value)
    assert addresses[0] not in str(refused.value)  # the inner name server's answers are not for strangers


def test_an_address_in_the_url_is_judged_without_a_name_server() -> None:
    names = Names([[PUBLIC]])
    with pytest.raises(CallbackRefused):
        post("https://127.0.0.1/", b"x", {}, allow_private=False, network=Network(names))
    assert names.asked == []


def test_the_next_address_is_tried_when_one_is_dead(tmp_path: Path) -> None:
    papers = tls(tmp_path, NAME)
    dead = "2606:4700:4700::1111"
    with listening(says(200), papers.server) as receiver:
        way = Rerouted(receiver.port, dead=[dead])
        network = Network(Names([[dead, PUBLIC, PUBLIC]]), way, papers.trust)
        assert post(f"https://{NAME}/", b"x", {}, allow_private=False, network=network).status == 200
    assert way.wanted == [(dead, 443), (PUBLIC, 443)]


def test_an_operators_own_network_is_reached_by_name() -> None:
    with listening(says(200)) as receiver:
        network = Network(Names([["127.0.0.1"]]))
        assert post(receiver.url(host="receiver"), b"x", {}, allow_private=True, network=network).status == 200
    assert receiver.seen[0][1]["host"] == f"receiver:{receiver.port}"


def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    with listening(says(200)) as inner, listening(says(302, Location=inner.url())) as receiver:
        assert post(receiver.url(), b"x", {}, allow_private=True).status == 302
    assert len(receiver.seen) == 1
    assert inner.seen == []


def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(says(200)) as receiver, listening(says(418)) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url(""))
        assert post(receiver.url(), b"x", {}, allow_private=True).status == 200
    assert proxy.seen == []


def test_an_endless_body_is_cut_off() -> None:
    def endless(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(b"x" * 65536)

    with listening(endless) as receiver:
        began = time.monotonic()
        assert post(receiver.url(), b"x", {}, allow_private=True, most_bytes=1000, timeout_seconds=60).status == 200
        assert time.monotonic() - began < 30  # by the cap, not by the time limit
        assert receiver.cut_off.wait(30)


def test_a_status_counts_even_if_the_body_breaks_off() -> None:
    def broken(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"x")

    with listening(broken) as receiver:
        assert post(receiver.url(), b"x", {}, allow_private=True).status == 200


def test_a_receiver_that_never_answers_is_given_up() -> None:
    with deaf() as port, pytest.raises(CallbackFailed, match=r"'127.0.0.1' did not answer within 0.05 s"):
        post(f"http://127.0.0.1:{port}/", b"x", {}, allow_private=True, timeout_seconds=0.05)


def test_a_receiver_that_never_reads_is_given_up() -> None:
    with deaf() as port, pytest.raises(CallbackFailed, match="did not answer"):
        post(f"http://127.0.0.1:{port}/", b"x" * 2**26, {}, allow_private=True, timeout_seconds=0.3)


def test_a_tls_handshake_that_never_ends_is_given_up() -> None:
    with deaf() as port, pytest.raises(CallbackFailed, match="did not answer"):
        post(f"https://127.0.0.1:{port}/", b"x", {}, allow_private=True, timeout_seconds=0.2)


def test_a_steady_drip_does_not_stretch_the_time() -> None:
    """Each single read is quick, so only a limit on everything together ends this call."""

    def drip(handler: Handler) -> None:
        while True:
            handler.wfile.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")

    with listening(drip) as receiver:
        began = time.monotonic()
        with pytest.raises(CallbackFailed, match="did not answer"):
            post(receiver.url(), b"x", {}, allow_private=True, timeout_seconds=0.3)
        assert time.monotonic() - began < 5
        assert receiver.cut_off.wait(30)


def test_a_name_server_that_never_answers_is_given_up() -> None:
    over = threading.Event()

    def silent(host: str, port: int) -> Sequence[str]:
        over.wait(30)
        return []

    with pytest.raises(CallbackFailed, match="did not answer"):
        post(f"https://{NAME}/", b"x", {}, allow_private=False, timeout_seconds=0.05, network=Network(silent))
    over.set()


def test_a_name_that_does_not_resolve_is_a_failure_that_may_pass() -> None:
    def unknown(host: str, port: int) -> Sequence[str]:
        raise OSError("Name or service not known")

    with pytest.raises(CallbackFailed, match=r"hooks\.customer\.example.*Name or service not known") as failed:
        post(f"https://{NAME}/", b"x", {}, allow_private=False, network=Network(unknown))
    assert failed.value.status == 503


@pytest.mark.parametrize("addresses", [[], ["192.0.2.1"]])
def test_no_address_and_a_closed_port_are_failures(addresses: Sequence[str]) -> None:
    class Closed(Rerouted):
        def connect_tcp(self, *args: object, **kwargs: object) -> httpcore.NetworkStream:
            raise httpcore.ConnectError("Connection refused")

    with pytest.raises(CallbackFailed, match="could not be reached"):
        post(f"http://{NAME}/", b"x", {}, allow_private=True, network=Network(Names([addresses]), Closed(1)))


def test_what_is_not_http_is_a_failure() -> None:
    def other(handler: Handler) -> None:
        handler.wfile.write(b"SSH-2.0-sshd\r\n\r\n")

    with listening(other) as receiver, pytest.raises(CallbackFailed):
        post(receiver.url(), b"x", {}, allow_private=True)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120),
        ("0", 0),
        ("9" * 400, 86400),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86400),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0),
    ],
)
def test_retry_after_is_read_in_both_forms(header: str, seconds: float) -> None:
    with listening(says(429, Retry_After=header)) as receiver:
        assert post(receiver.url(), b"x", {}, allow_private=True) == Answer(429, seconds)


def test_a_date_in_retry_after_counts_from_now() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    with listening(says(503, Retry_After=later)) as receiver:
        seconds = post(receiver.url(), b"x", {}, allow_private=True).retry_after_seconds
    assert seconds is not None
    assert 3500 < seconds <= 3600


@pytest.mark.parametrize("header", ["soon", "-1", "1.5", "", "²"])
def test_a_retry_after_that_cant_be_read_is_none(header: str) -> None:
    with listening(says(503, Retry_After=header)) as receiver:
        assert post(receiver.url(), b"x", {}, allow_private=True) == Answer(503, None)
