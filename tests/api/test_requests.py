"""What people do to requests over HTTP: many at once, again under a key, found, held, extended, rejected, cancelled."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from test_endpoints import body, is_problem
from test_metrics import scraped


@pytest.fixture
def people(company):
    return [s.partition(":")[2] for s in company.people]


def test_the_same_key_gets_the_same_answer_and_another_body_a_conflict(api, registered, company, people):
    key = {"Idempotency-Key": "ticket-1"}
    first = api.post("/v1/requests", json=body(company, people[0]), headers=key)
    again = api.post("/v1/requests", json=body(company, people[0]), headers=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    is_problem(api.post("/v1/requests", json=body(company, people[1]), headers=key), 409, "conflict")
    wrong = {"Idempotency-Key": "a key with blanks"}
    is_problem(api.post("/v1/requests", json=body(company, people[1]), headers=wrong), 422, "bad-input")


def test_a_batch_is_accepted_whole_or_not_at_all(api, registered, company, people):
    many = {"requests": [body(company, person) for person in people[:3]]}
    made = api.post("/v1/requests/batch", json=many)
    assert made.status_code == 201
    assert [r["state"] for r in made.json()] == ["pending"] * 3
    is_problem(
        api.post("/v1/requests/batch", json={"requests": [body(company, p) for p in people[2:5]]}), 409, "conflict"
    )
    assert len(api.get("/v1/requests").json()["items"]) == 3
    is_problem(api.post("/v1/requests/batch", json={"requests": []}), 422, "bad-input")


def test_a_preview_says_what_would_be_touched(api, registered, company):
    [touched] = api.post("/v1/requests/preview", json=body(company)).json()
    assert touched["adapter"] == "bot"
    assert touched["erased_at"] is None
    assert api.get("/v1/requests").json()["items"] == []


def test_a_person_is_found_without_the_identity_in_an_address(api, registered, company, people):
    made = api.post("/v1/requests", json=body(company, people[0])).json()
    api.post("/v1/requests", json=body(company, people[1]))
    found = api.post("/v1/requests/search", json=body(company, people[0]) | {"order": "due"})
    assert [r["id"] for r in found.json()["items"]] == [made["id"]]
    assert people[0] not in found.text
    assert api.post("/v1/requests/search", json={}).json()["items"]


def test_the_clock_is_told_and_can_be_asked_for(api, registered, company, people):
    given = {"regulation": "ccpa", "received_at": "2000-01-01T00:00:00Z"}
    problem = is_problem(api.post("/v1/requests", json=body(company, people[0]) | given), 422, "bad-input")
    assert "more than a year ago" in problem["detail"]
    made = api.post("/v1/requests", json=body(company, people[0]) | {"regulation": "ccpa", "external_id": "t-1"}).json()
    assert (made["regulation"], made["external_id"]) == ("ccpa", "t-1")
    assert made["confirm_by"] < made["due_at"]
    assert (made["confirmed_at"], made["confirmed_late"]) == (made["created_at"], False)
    overdue = api.get("/v1/requests", params={"due_before": made["due_at"], "order": "due"})
    assert overdue.json()["items"] == []
    is_problem(api.get("/v1/requests", params={"due_before": "yesterday"}), 422, "bad-input")
    is_problem(api.get("/v1/requests", params={"after": "req_0"}), 422, "bad-input")


def test_a_receipt_confirmed_too_late_is_flagged_found_and_counted(api, registered, company, people):
    api.post("/v1/requests", json=body(company, people[1]) | {"regulation": "ccpa"})
    got = (datetime.now(UTC) - timedelta(days=20)).isoformat()
    late = api.post("/v1/requests", json=body(company, people[0]) | {"regulation": "ccpa", "received_at": got}).json()
    assert late["confirmed_late"]
    found = [api.get("/v1/requests", params={"confirmed_late": True})]
    found.append(api.post("/v1/requests/search", json={"confirmed_late": True}))
    assert [[r["id"] for r in page.json()["items"]] for page in found] == [[late["id"]]] * 2
    assert scraped(api.get("/metrics"))["unlearn_requests_confirmed_late",] == 1


NO_MOMENTS = [
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59",
    "2026-02-30T00:00:00Z",
    "2026-02-28T00:00:00",
    "1700000000",
    1700000000,
    0.5,
    1e300,
    10**400,
    True,
]


@pytest.mark.parametrize("given", NO_MOMENTS)
def test_what_is_no_moment_or_lies_outside_the_calendar_is_bad_input(api, company, given):
    key = {"name": "n", "scopes": ["audit"], "expires_at": given}
    is_problem(api.post("/v1/requests", json=body(company) | {"received_at": given}), 422, "bad-input")
    is_problem(api.post("/v1/requests/search", json={"due_before": given}), 422, "bad-input")
    is_problem(api.get("/v1/requests", params={"due_before": str(given)}), 422, "bad-input")
    is_problem(api.post("/v1/keys", json=key), 422, "bad-input")


@pytest.mark.parametrize("spelled", ["2999-03-01T09:30Z", "2999-03-01 09:30:00.5+02:00", "9999-12-31T23:59:59Z"])
def test_a_moment_may_be_spelled_in_any_zone(api, spelled):
    assert api.get("/v1/requests", params={"due_before": spelled}).status_code == 200
    assert api.post("/v1/keys", json={"name": "n", "scopes": ["audit"], "expires_at": spelled}).status_code == 201


def test_a_request_is_held_lifted_extended_cancelled_and_rejected(api, registered, company, people):
    made = api.post("/v1/requests", json=body(company, people[0])).json()

    def act(what, given=None, of=made):
        return api.post(f"/v1/requests/{of['id']}/{what}", **({} if given is None else {"json": given}))

    assert act("hold", {"reason": "court"}).json()["hold_reason"] == "court"
    assert [r["id"] for r in api.get("/v1/requests", params={"held": True}).json()["items"]] == [made["id"]]
    is_problem(act("hold", {"reason": "court"}), 409, "conflict")
    assert act("lift").json()["held_at"] is None
    assert act("extend", {"reason": "many"}).json()["due_at"] > made["due_at"]
    is_problem(act("retry", {}), 409, "conflict")
    is_problem(act("release", {"reason": "x"}), 409, "conflict")
    assert act("cancel").json()["state"] == "cancelled"
    is_problem(act("cancel"), 409, "conflict")
    other = api.post("/v1/requests", json=body(company, people[1])).json()
    is_problem(act("reject", {"reason": "x", "ground": "none"}, other), 422, "bad-input")
    rejected = act("reject", {"reason": "a suit", "ground": "legal_claims"}, other).json()
    assert (rejected["state"], rejected["decision"]["ground"]) == ("rejected", "legal_claims")


def test_an_adapter_is_retired(api, registered, company, people):
    made = api.post("/v1/requests", json=body(company, people[0])).json()
    assert api.post("/v1/adapters/bot/retire").json()["retired_at"]
    assert api.get(f"/v1/requests/{made['id']}").json()["state"] == "completed"
    is_problem(api.post("/v1/adapters/bot/rollback", json={"version": 1}), 409, "conflict")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        *(("/v1/requests/search", {"limit": value}) for value in (True, "5", 5.5, None)),
        *(("/v1/requests/search", {field: value}) for field in ("held", "confirmed_late") for value in (1, "yes", 0)),
        *(("/v1/adapters/bot/rollback", {"version": value}) for value in (True, "1", None)),
        *(("/v1/adapters/bot/rollback", {"version": 1, "reopen": value}) for value in (1, "true", None)),
    ],
)
def test_a_number_or_a_truth_of_another_type_is_not_read_as_one(api, path, body):
    answer = api.post(path, json=body)
    assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (422, "bad-input")
