"""Every endpoint, every scope: who is let in, who is told no, and who is told that nothing is there."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from unlearn.cases.rights import SCOPES

READ = {"requests:read", "requests:write", "review", "audit"}
REASON = {"reason": "because"}
SUBJECT = {"subject": {"type": "customer", "value": "nobody"}}
GUID = "a7551968-d5d6-44b2-9831-815ac9017798"
ERASURE = {
    "subject_request_id": GUID,
    "subject_request_type": "erasure",
    "submitted_time": datetime.now(UTC).isoformat(),
    "subject_identities": [
        {"identity_type": "controller_customer_id", "identity_value": "nobody", "identity_format": "raw"}
    ],
}
FOLLOW = {"requests:read", "requests:write"}
RIGHTS = {
    ("POST", "/v1/adapters"): (
        {"adapters:write"},
        {"name": "n", **dict.fromkeys(("base", "adapter", "train", "holdout"), "/x")},
    ),
    ("GET", "/v1/adapters"): ({"requests:read", "adapters:write"}, None),
    ("GET", "/v1/adapters/{name}"): ({"requests:read", "adapters:write"}, None),
    ("POST", "/v1/adapters/{name}/rollback"): ({"adapters:write"}, {"version": 1}),
    ("POST", "/v1/adapters/{name}/retire"): ({"adapters:write"}, {}),
    ("POST", "/v1/requests"): ({"requests:write"}, SUBJECT),
    ("POST", "/v1/requests/batch"): ({"requests:write"}, {"requests": [SUBJECT]}),
    ("POST", "/v1/requests/preview"): ({"requests:write"}, SUBJECT),
    ("GET", "/v1/requests"): ({"requests:read", "review", "audit"}, None),
    ("POST", "/v1/requests/search"): ({"requests:read", "review", "audit"}, SUBJECT),
    ("GET", "/v1/requests/{id}"): (READ, None),
    ("GET", "/v1/requests/{id}/export"): ({"audit"}, None),
    ("GET", "/v1/register"): ({"audit"}, None),
    ("GET", "/v1/register/{seq}/statement"): ({"audit"}, None),
    ("POST", "/v1/requests/{id}/cancel"): ({"requests:write"}, None),
    ("POST", "/v1/requests/{id}/hold"): ({"review"}, REASON),
    ("POST", "/v1/requests/{id}/lift"): ({"review"}, None),
    ("POST", "/v1/requests/{id}/extend"): ({"review"}, REASON),
    ("POST", "/v1/requests/{id}/retry"): ({"review"}, {}),
    ("POST", "/v1/requests/{id}/reject"): ({"review"}, REASON | {"ground": "legal_claims"}),
    ("POST", "/v1/requests/{id}/release"): ({"review"}, REASON),
    ("GET", "/v1/jobs/{id}"): (READ, None),
    ("GET", "/v1/jobs/{id}/events"): (READ, None),
    ("POST", "/v1/callbacks"): (set(), {"url": "https://example.com/x"}),
    ("GET", "/v1/callbacks"): (set(), None),
    ("DELETE", "/v1/callbacks/{id}"): (set(), None),
    ("POST", "/v1/callbacks/{id}/rotate"): (set(), {}),
    ("GET", "/v1/callbacks/messages"): ({"requests:read", "audit"}, None),
    ("POST", "/v1/callbacks/messages/{id}/replay"): (set(), None),
    ("POST", "/v1/keys"): (set(), {"name": "n", "scopes": ["audit"]}),
    ("GET", "/v1/keys"): (set(), None),
    ("DELETE", "/v1/keys/{id}"): (set(), None),
    ("POST", "/opendsr/v2/requests"): ({"requests:write"}, ERASURE),
    ("GET", "/opendsr/v2/requests/{subject_request_id}"): (FOLLOW, None),
    ("DELETE", "/opendsr/v2/requests/{subject_request_id}"): ({"requests:write"}, None),
    ("POST", "/opendsr/v2/opengdpr_requests"): ({"requests:write"}, ERASURE),
    ("GET", "/opendsr/v2/opengdpr_requests/{subject_request_id}"): (FOLLOW, None),
    ("DELETE", "/opendsr/v2/opengdpr_requests/{subject_request_id}"): ({"requests:write"}, None),
    ("GET", "/v1/ledger/checkpoint"): ({"audit"}, None),
    ("GET", "/v1/ledger/entries"): ({"audit"}, None),
    ("GET", "/v1/ledger/proof/{seq}"): ({"audit"}, None),
    ("GET", "/v1/ledger/consistency"): ({"audit"}, None),
    ("GET", "/v1/ledger/keys"): ({"audit"}, None),
    ("GET", "/metrics"): ({"audit"}, None),
}
"""Which scopes are let in beside `admin`, and a body that is well formed."""

SIZES = {"/v1/ledger/proof/{seq}": {"size": 1}, "/v1/ledger/consistency": {"old": 0, "new": 1}}
"""What must be in an address's query."""

OPEN_TO_ALL = {
    "/healthz",
    "/readyz",
    "/problems/{kind}",
    "/opendsr/v2/discovery",
    "/opendsr/v2/certificate.pem",
    "/opendsr/v2/status",
}


def ask(api, method, path, body, token=None, **names):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    given = {"json": body} if body is not None else {}
    place = {"id": "nothing", "name": "nothing", "subject_request_id": GUID, "seq": 1} | names
    return api.request(method, path.format(**place), headers=headers, params=SIZES.get(path), **given)


def kind_of(answer):
    """The kind of a problem, or of an OpenDSR error."""
    told = answer.json()
    return told["type"].rpartition("/")[2] if "type" in told else told["error"]["errors"][0]["reason"]


def test_the_table_names_every_endpoint(api):
    paths = api.get("/openapi.json").json()["paths"]
    assert {(m.upper(), p) for p, methods in paths.items() if p not in OPEN_TO_ALL for m in methods} == set(RIGHTS)


@pytest.mark.parametrize(("method", "path"), RIGHTS)
def test_nobody_gets_in_without_a_good_key(api, method, path):
    del api.headers["Authorization"]
    for token in (None, "unl_" + "0" * 16 + "_" + "x" * 43, "nonsense"):
        answer = ask(api, method, path, RIGHTS[method, path][1], token)
        assert answer.status_code == 401
        assert kind_of(answer) == "unauthenticated"
        assert answer.headers["www-authenticate"] == "Bearer"


def test_nobody_without_a_key_learns_which_parameters_there_are(api):
    del api.headers["Authorization"]
    assert kind_of(api.get("/v1/requests?bogus=1")) == "unauthenticated"


@pytest.fixture
def tokens(api):
    def make(scope):
        return api.post("/v1/keys", json={"name": scope, "scopes": [scope]}).json()["token"]

    return {scope: make(scope) for scope in SCOPES}


def test_each_endpoint_lets_in_its_scopes_and_no_other(api, registered, tokens):
    for (method, path), (scopes, body) in RIGHTS.items():
        for scope, token in tokens.items():
            answer = ask(api, method, path, body, token)
            told_no = answer.status_code == 403 and kind_of(answer) == "not-allowed"
            assert told_no == (scope not in scopes | {"admin"}), (method, path, scope, answer.text)
            assert answer.status_code < 500


def test_a_key_of_another_company_finds_nothing(api, registered, company):
    kind, _, value = company.subject.partition(":")
    asked = {"subject": {"type": kind, "value": value}, "external_id": GUID}
    request = api.post("/v1/requests", json=asked).json()
    _, token = api.app.state.desk.create_key("theirs", list(SCOPES), controller="other")
    names = {"id": request["id"], "name": "bot"}
    for (method, path), (_, body) in RIGHTS.items():
        if "{" in path and "{seq}" not in path:  # of an entry, a proof says nothing but hashes
            place = names | ({"id": request["jobs"][0]["id"]} if "jobs" in path else {})
            assert ask(api, method, path, body, token, **place).status_code == 404, (method, path)
    theirs = {"Authorization": f"Bearer {token}"}
    assert api.get("/v1/requests", headers=theirs).json()["items"] == []
    assert api.get("/v1/adapters", headers=theirs).json() == []
    assert api.get(f"/v1/requests/{request['id']}").json() == request


def test_a_key_is_shown_once_and_ends_when_it_is_revoked(api):
    made = api.post("/v1/keys", json={"name": "tickets", "scopes": ["requests:read"]}).json()
    mine = {"Authorization": f"Bearer {made['token']}"}
    assert api.get("/v1/requests", headers=mine).status_code == 200
    assert made["token"] not in api.get("/v1/keys").text
    assert api.delete(f"/v1/keys/{made['id']}").json()["revoked_at"]
    assert api.get("/v1/requests", headers=mine).status_code == 401
