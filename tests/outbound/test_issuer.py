"""An issuer's keys: found by its own word, kept, fetched anew, and never fetched as often as strangers would have it."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from crowd import at_once
from issuers import TestIssuer
from unlearn.errors import Unavailable
from unlearn.outbound import ALGORITHMS, Issuer

DISCOVERY, KEYS = "/realm/.well-known/openid-configuration", "/realm/keys"


@pytest.fixture
def real():
    server = TestIssuer()
    yield server
    server.stop()


class Ticks:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def ticks():
    return Ticks()


@pytest.fixture
def issuer(real, ticks):
    return Issuer(real.url, clock=ticks)


def test_keys_are_found_by_discovery_and_kept(real, issuer):
    assert real.asked == [], "nobody is asked before a token comes"
    for _ in range(3):
        assert issuer.key("first").algorithm_name == "ES256"
    assert real.asked == [DISCOVERY, KEYS]


def test_an_address_of_the_keys_needs_no_discovery(real):
    assert Issuer("https://login.example", f"{real.url}/keys").key("first") is not None
    assert real.asked == [KEYS]


def test_an_unknown_name_has_the_keys_fetched_anew_but_not_more_often_than_every_half_minute(real, issuer, ticks):
    assert issuer.key("first") is not None
    real.add("second", "RS256")
    for number in range(50):
        assert issuer.key(f"made-up-{number}") is None
    assert issuer.key("second") is None, "the moment has not come"
    assert real.asked.count(KEYS) == 1
    ticks.now += 31
    assert issuer.key("second").algorithm_name == "RS256"
    for number in range(50):
        assert issuer.key(f"made-up-{number}") is None
    assert real.asked.count(KEYS) == 2


def test_many_at_once_who_need_the_first_key_fetch_it_once(real, issuer):
    assert all(at_once(lambda _: issuer.key("first")))
    assert real.asked == [DISCOVERY, KEYS]


def test_a_key_that_was_withdrawn_ends_within_the_hour(real, issuer, ticks):
    assert issuer.key("first") is not None
    del real.keys["first"]
    ticks.now += 3599
    assert issuer.key("first") is not None
    ticks.now += 1
    assert issuer.key("first") is None


def test_while_the_issuer_is_down_known_keys_go_on_and_unknown_ones_can_not_be_told(real, issuer, ticks):
    assert issuer.key("first") is not None
    real.answers[KEYS] = (500, b"")
    ticks.now += 4000
    for _ in range(3):
        assert issuer.key("first") is not None
        with pytest.raises(Unavailable, match="try again"):
            issuer.key("second")
    assert real.asked.count(KEYS) == 2, "one attempt in half a minute"
    real.answers.clear()
    real.add("second", "EdDSA")
    ticks.now += 31
    assert issuer.key("second").algorithm_name == "EdDSA"


def test_an_issuer_where_nobody_listens_is_unavailable_and_tried_again(real, ticks):
    port = real.server_port
    real.stop()
    issuer = Issuer(f"http://127.0.0.1:{port}/realm", clock=ticks)
    for _ in range(2):
        with pytest.raises(Unavailable):
            issuer.key("first")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (DISCOVERY, b'{"issuer": "https://another.example", "jwks_uri": "http://127.0.0.1/keys"}'),
        (DISCOVERY, b'{"issuer": "ISSUER"}'),
        (DISCOVERY, b"not JSON"),
        (DISCOVERY, b"[" * 100_000),
        (KEYS, b"[]"),
        (KEYS, b'{"keys": {}}'),
        (KEYS, b'{"keys": [' + b" " * 300_000 + b"]}"),
    ],
    ids=["another's", "no keys named", "no JSON", "deep", "a list", "no list", "too long"],
)
def test_what_is_no_document_of_the_issuer_is_not_believed(real, issuer, path, said):
    real.answers[path] = (200, said.replace(b"ISSUER", real.url.encode()))
    with pytest.raises(Unavailable):
        issuer.key("first")


def test_keys_without_https_are_not_taken_from_an_issuer_with_it(real, monkeypatch):
    told = {"issuer": "https://login.example", "jwks_uri": f"{real.url}/keys"}
    monkeypatch.setattr("unlearn.outbound.issuer.fetch", lambda url, **_: json.dumps(told).encode())
    with pytest.raises(Unavailable):
        Issuer("https://login.example").key("first")


def test_only_public_signing_keys_of_good_algorithms_count(real, issuer):
    good = real.published()[0]
    bad = {
        "shared": {"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"},
        "none": {"kty": "oct", "k": "", "alg": "none"},
        "encrypts": good | {"use": "enc"},
        "private": good | {"d": "AAAA"},
        "mixed": good | {"alg": "RS256"},
        "shared-by-name": good | {"alg": "HS256"},
        "broken": good | {"x": 5},
        "curve": good | {"crv": "secp256k1"},
    }
    real.add("short", "RS256", rsa.generate_private_key(65537, 1024))  # noqa: S505 - that is what is tested
    keys = [*real.published(), *(key | {"kid": kid} for kid, key in bad.items()), good | {"kid": 7}, "a text", None]
    real.answers[KEYS] = (200, json.dumps({"keys": keys}).encode())
    assert issuer.key("first") is not None
    assert [kid for kid in [*bad, "short", "7"] if issuer.key(kid) is not None] == []
    assert not {"none", "HS256", "HS384", "HS512"} & ALGORITHMS
