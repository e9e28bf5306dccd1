"""Tokens of an OIDC issuer in the place of API keys, at the API."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient
from test_scopes import RIGHTS, ask, kind_of

from api.app import create_app
from issuers import AUDIENCE, TestIssuer
from unlearn.cases.rights import SCOPES
from unlearn.cases.store.ledger import entries_about
from unlearn.settings import Settings

PERSON = "ada@post.example"
SAMPLE = [
    ("GET", "/v1/adapters"),
    ("POST", "/v1/requests"),
    ("GET", "/v1/requests/{id}/export"),
    ("POST", "/v1/requests/{id}/hold"),
    ("POST", "/v1/keys"),
    ("POST", "/v1/callbacks/{id}/rotate"),
    ("POST", "/opendsr/v2/requests"),
    ("GET", "/metrics"),
]


@pytest.fixture
def real():
    server = TestIssuer()
    yield server
    server.stop()


@pytest.fixture
def settings(settings, real):
    return Settings(**settings.model_dump() | {"oidc_issuer": real.url, "oidc_audience": AUDIENCE})


@pytest.mark.parametrize(("method", "path"), SAMPLE)
def test_a_token_lets_in_by_its_scopes_as_a_key_does(api, real, method, path):
    scopes, body = RIGHTS[method, path]
    for scope in ("", *SCOPES):
        answer = ask(api, method, path, body, real.token(scope=f"openid {scope}"))
        told_no = answer.status_code == 403 and kind_of(answer) == "not-allowed"
        assert told_no == (scope not in scopes | {"admin"}), (method, path, scope, answer.text)
        assert answer.status_code < 500


def test_keys_go_on_beside_tokens(api):
    assert api.get("/v1/adapters").status_code == 200


def test_a_bad_token_is_nobody(api, real):
    for token in (real.token(exp=1), real.token(aud="other"), real.token()[:-8] + "AAAAAAAA", "nonsense"):
        answer = ask(api, "GET", "/v1/adapters", None, token)
        assert (answer.status_code, kind_of(answer)) == (401, "unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert PERSON not in answer.text


def test_what_a_holder_does_is_recorded_under_a_hash_and_nowhere_under_their_name(api, settings, real):
    mine = {"Authorization": f"Bearer {real.token(scope='requests:write audit')}"}
    made = api.post("/v1/requests", json={"subject": {"type": "customer", "value": "nobody"}}, headers=mine).json()
    assert made["submitted_by"].startswith("oidc:")
    api.get(f"/v1/requests/{made['id']}/export", headers=mine)
    with api.app.state.desk.store.reading() as session:
        facts = [entry.facts for entry in entries_about(session, made["id"])]
    assert {one["by"] for one in facts if "by" in one} == {made["submitted_by"]}
    for file in settings.home.rglob("*"):
        assert not file.is_file() or PERSON.encode() not in file.read_bytes()


def test_a_rotated_key_is_found_and_an_issuer_out_of_reach_is_told_as_such(api, real):
    issuer = api.app.state.desk._issuer
    assert ask(api, "GET", "/v1/keys", None, real.token(scope="admin")).status_code == 200
    real.add("second", "EdDSA")
    issuer._again_at = 0.0  # half a minute later
    assert ask(api, "GET", "/v1/keys", None, real.token("second", scope="admin")).status_code == 200
    real.add("third", "ES256")
    token = real.token("third", scope="admin")
    real.answers["/realm/keys"] = (500, b"")
    issuer._again_at = 0.0
    answer = ask(api, "GET", "/v1/keys", None, token)
    assert (answer.status_code, kind_of(answer)) == (503, "unavailable")
    assert ask(api, "GET", "/v1/keys", None, real.token(scope="admin")).status_code == 200


def test_a_claim_may_say_the_company_and_an_unknown_one_is_told_no(settings, real):
    named = Settings(**settings.model_dump() | {"oidc_controller_claim": "org"})
    with TestClient(create_app(named)) as api:
        api.app.state.desk.create_key("theirs", ["audit"], controller="acme")

        def keys(org):
            answer = ask(api, "GET", "/v1/keys", None, real.token(scope="admin", org=org))
            return answer.json() if answer.status_code == 200 else (answer.status_code, kind_of(answer))

        assert [key["controller"] for key in keys("acme")] == ["acme"]
        assert {key["controller"] for key in keys("default")} == {"default"}
        assert keys("nobody") == keys(None) == (403, "not-allowed")
