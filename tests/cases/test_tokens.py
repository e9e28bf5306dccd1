"""Tokens of an OIDC issuer: who is let in, as whom, and with which of our scopes."""

from __future__ import annotations

import base64
import json
import string
import time

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from issuers import AUDIENCE, TestIssuer
from unlearn.cases.rights import SCOPES
from unlearn.cases.tokens import actor_name, holder_of, issuer_of
from unlearn.errors import BadInput, NotAllowed, Unauthenticated
from unlearn.settings import Settings

PERSON = "ada@post.example"


@pytest.fixture(scope="module")
def real():
    server = TestIssuer()
    for algorithm in ("RS256", "PS256", "EdDSA"):
        server.add(algorithm, algorithm)
    server.add("other", "RS256")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def settings(real, tmp_path_factory):
    return Settings(home=tmp_path_factory.mktemp("home"), oidc_issuer=real.url, oidc_audience=AUDIENCE)


@pytest.fixture(scope="module")
def issuer(settings):
    return issuer_of(settings)


def refused(token, issuer, settings):
    with pytest.raises(Unauthenticated) as caught:
        holder_of(token, issuer, settings)
    assert PERSON not in str(caught.value)
    return str(caught.value)


def encoded(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("kid", ["first", "RS256", "PS256", "EdDSA"])
def test_a_good_token_says_who_and_what_by_each_kind_of_key(real, issuer, settings, kid):
    holder = holder_of(real.token(kid, scope="openid requests:read admin:all audit"), issuer, settings)
    assert holder.scopes == {"requests:read", "audit"}
    assert holder.controller is None
    assert holder.name == actor_name(settings.identity_hash_key, real.url, PERSON)


def test_a_holder_is_one_keyed_hash_that_shows_nothing_of_the_subject(real, issuer, settings, tmp_path):
    first, again, other = (holder_of(real.token(sub=sub), issuer, settings).name for sub in (PERSON, PERSON, "eve"))
    assert first == again != other
    assert first.startswith("oidc:")
    assert len(first) == len("oidc:") + 32
    elsewhere = Settings(home=tmp_path / "other", oidc_issuer=real.url, oidc_audience=AUDIENCE)
    assert holder_of(real.token(), issuer, elsewhere).name != first


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"exp": int(time.time()) - 60}, "expired"),
        ({"nbf": int(time.time()) + 86400}, "not good yet"),
        ({"iat": int(time.time()) + 86400}, "not good yet"),
        ({"aud": "https://another.example"}, "another audience"),
        ({"aud": [f"{AUDIENCE}/v2", "account"]}, "another audience"),
        ({"iss": "https://another.example"}, "another issuer"),
        ({"sub": ""}, "'sub'"),
        ({"sub": 17}, "not signed"),
        ({"exp": "soon"}, "not signed"),
        *(({name: None}, f"'{name}'") for name in ("exp", "iat", "sub")),
        ({"aud": None}, "aud"),
        ({"iss": None}, "iss"),
    ],
)
def test_a_token_that_is_over_or_for_others_or_lacks_a_claim_is_refused(real, issuer, settings, claims, why):
    assert why in refused(real.token(**claims), issuer, settings)


def test_clocks_may_be_half_a_minute_apart(real, issuer, settings):
    now = int(time.time())
    assert holder_of(real.token(iat=now + 20, nbf=now + 20, exp=now - 20), issuer, settings)


def test_one_audience_of_several_is_enough(real, issuer, settings):
    assert holder_of(real.token(aud=["account", AUDIENCE]), issuer, settings)


def test_a_token_without_a_signature_or_signed_with_a_public_key_is_refused(real, issuer, settings):
    claims = jwt.decode(real.token("RS256"), options={"verify_signature": False})
    public = real.keys["RS256"][1].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for algorithm in ("none", "None", "HS256"):
        head = encoded({"alg": algorithm, "kid": "RS256", "typ": "JWT"})
        assert "signed with one of" in refused(f"{head}.{encoded(claims)}.", issuer, settings)
    signed = jwt.api_jws.PyJWS()
    signed._algorithms["HS256"].prepare_key = lambda key: key  # the library itself would not sign with a public key
    forged = signed.encode(json.dumps(claims).encode(), public, "HS256", {"kid": "RS256"})
    assert "signed with one of" in refused(forged, issuer, settings)


def test_a_signature_of_another_key_or_another_algorithm_is_refused(real, issuer, settings):
    swapped = real.token("RS256", headers={"kid": "other"})
    assert "not signed" in refused(swapped, issuer, settings)
    head, body, signature = real.token("EdDSA").split(".")
    changed = encoded(json.loads(base64.urlsafe_b64decode(body + "==")) | {"scope": "admin"})
    assert "not signed" in refused(f"{head}.{changed}.{signature}", issuer, settings)
    other = jwt.encode({"sub": PERSON}, real.keys["RS256"][1], "PS256", {"kid": "RS256"})
    assert "not signed" in refused(other, issuer, settings)


def test_an_unknown_extension_that_is_critical_is_refused(real, issuer, settings):
    assert refused(real.token(headers={"crit": ["b65"], "b65": True}), issuer, settings)


def test_what_could_not_be_a_token_asks_the_issuer_nothing(real, settings):
    fresh, before = issuer_of(settings), len(real.asked)
    no_kid = jwt.encode({"sub": PERSON}, real.keys["RS256"][1], "RS256")
    for token in ("", "nonsense", "a.b.c", "unl_", "\ud800.x.y", no_kid, real.token() + "x" * 20_000):
        refused(token, fresh, settings)
    assert len(real.asked) == before


@given(st.text(string.ascii_letters + string.digits + "-_.=", max_size=200))
def test_no_text_that_is_no_token_gets_in(real, issuer, settings, text):
    refused(text, issuer, settings)


@pytest.mark.parametrize(
    ("given", "prefix", "ours"),
    [
        ("requests:read  requests:write", "", {"requests:read", "requests:write"}),
        (["audit", "review", 7, None], "", {"audit", "review"}),
        ("unlearn:audit review", "unlearn:", {"audit"}),
        ("", "", set()),
        (None, "", set()),
        ({"audit": True}, "", set()),
        ("ADMIN admin2 requests", "", set()),
        (" ".join(SCOPES), "", set(SCOPES)),
    ],
)
def test_of_the_scopes_only_our_own_words_count(real, issuer, settings, given, prefix, ours):
    named = Settings(**settings.model_dump() | {"oidc_scope_claim": "roles", "oidc_scope_prefix": prefix})
    assert holder_of(real.token(roles=given, scope="admin"), issuer, named).scopes == ours


def test_the_company_is_a_claim_where_one_is_named_and_must_be_there(real, issuer, settings):
    named = Settings(**settings.model_dump() | {"oidc_controller_claim": "org"})
    assert holder_of(real.token(org="acme"), issuer, named).controller == "acme"
    for org in (None, 7, ["acme"]):
        with pytest.raises(NotAllowed, match="'org'"):
            holder_of(real.token(org=org), issuer, named)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"oidc_issuer": "https://login.example"}, "UNLEARN_OIDC_AUDIENCE"),
        ({"oidc_audience": "unlearn"}, "UNLEARN_OIDC_ISSUER"),
        ({"oidc_issuer": "login.example", "oidc_audience": "unlearn"}, "UNLEARN_OIDC_ISSUER"),
        ({"oidc_issuer": "https://u:p@login.example", "oidc_audience": "unlearn"}, "UNLEARN_OIDC_ISSUER"),
    ],
)
def test_settings_that_would_take_anybodys_tokens_are_refused(given, named):
    with pytest.raises(BadInput, match=named):
        Settings(**given)


def test_empty_settings_are_none(monkeypatch):
    for name in ("ISSUER", "AUDIENCE", "JWKS_URL", "CONTROLLER_CLAIM"):
        monkeypatch.setenv(f"UNLEARN_OIDC_{name}", "")
    assert issuer_of(Settings()) is None
