"""Accepting requests: all or none, the same answer to the same question, deadlines, and what a preview tells."""

from __future__ import annotations

import hashlib
import json
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from crowd import at_once
from unlearn.cases.desk import Desk, Wish
from unlearn.cases.identity import subject_hash
from unlearn.cases.intake import DuplicateId
from unlearn.cases.store.requests import Wanted
from unlearn.errors import BadInput, Conflict, NotFound


def test_several_requests_are_accepted_together_or_not_at_all(desk, adapter, people):
    made = desk.submit_many([Wish(person) for person in people[:3]])
    assert [r.state for r in made] == ["pending"] * 3
    with pytest.raises(Conflict, match=made[0].id):
        desk.submit_many([Wish(people[5]), Wish(people[0])])
    assert len(desk.requests()) == 3
    with pytest.raises(BadInput, match="twice"):
        desk.submit_many([Wish(people[6]), Wish(f" {people[6]} ")])
    for wrong in ([], [Wish(f"customer:n-{n}") for n in range(51)]):
        with pytest.raises(BadInput, match="between 1 and 50"):
            desk.submit_many(wrong)


def test_the_same_key_and_body_get_the_same_requests_and_another_body_a_conflict(desk, adapter, people):
    wishes = [Wish(people[0]), Wish(people[1])]
    first = desk.submit_many(wishes, idempotency_key="k-1")
    assert desk.submit_many(wishes, idempotency_key="k-1") == first
    with pytest.raises(Conflict, match="another body"):
        desk.submit_many([Wish(people[2])], idempotency_key="k-1")
    assert len(desk.requests()) == 2
    desk.cancel(first[0].id)
    assert desk.submit_many(wishes, idempotency_key="k-1")[0].state == "cancelled"  # the same request, as it is now


def test_a_key_is_one_companys(desk, adapter, people):
    _, token = desk.create_key("theirs", ["requests:write"], controller="other")
    desk.submit_many([Wish(people[0])], idempotency_key="k-1")
    theirs = desk.submit_many([Wish(people[1])], idempotency_key="k-1", by=desk.authenticate(token))
    assert theirs[0].state == "completed"


def test_eight_at_once_under_one_key_are_one_request(desk, settings, clock, adapter, people):
    def submit(_):
        with closing(Desk(settings, clock)) as own:
            return own.submit_many([Wish(people[0])], idempotency_key="k")[0].id

    assert len(set(at_once(submit))) == 1
    assert len(desk.requests()) == 1


def test_answers_are_forgotten_after_a_week(desk, adapter, people, clock):
    desk.submit_many([Wish("customer:nobody")], idempotency_key="k")
    clock.forward(8 * 86400)
    desk.submit_many([Wish("customer:somebody")], idempotency_key="l")
    desk.sweep()
    with desk.store.engine.connect() as connection:
        [kept] = connection.execute(text("SELECT key FROM idempotency")).scalars().all()
    assert kept == subject_hash(desk.settings.identity_hash_key, "idempotency-key:l")


def test_an_external_id_is_used_once(desk, adapter, people):
    first = desk.submit(people[0], external_id="ticket-1")
    assert first.external_id == "ticket-1"
    desk.cancel(first.id)
    with pytest.raises(Conflict, match=first.id):
        desk.submit(people[1], external_id="ticket-1")


def test_the_clock_runs_from_when_the_controller_got_it(desk, adapter, people, clock):
    got = clock() - timedelta(days=3)
    request = desk.submit(people[0], received_at=got)
    assert (request.received_at, request.created_at) == (got, clock())
    assert request.due_at == datetime(2026, 3, 26, 12, tzinfo=UTC)
    ccpa = desk.submit(people[1], regulation="ccpa")
    assert ccpa.due_at == clock() + timedelta(days=45)
    assert ccpa.confirm_by == datetime(2026, 3, 13, 12, tzinfo=UTC)
    with pytest.raises(BadInput, match="in the future"):
        desk.submit(people[2], received_at=clock() + timedelta(hours=1))
    assert len(desk.requests()) == 2


def test_a_receipt_that_was_confirmed_late_is_found_and_counted(desk, adapter, people, clock):
    got = datetime(2026, 2, 16, 12, tzinfo=UTC)  # a Monday; the tenth business day after it is March 2
    late = desk.submit(people[0], regulation="ccpa", received_at=got - timedelta(days=4))
    soon = desk.submit(people[1], regulation="ccpa", received_at=got)
    other = desk.submit(people[2], received_at=got - timedelta(days=30))
    assert [one.confirmed_late for one in (late, soon, other)] == [True, False, False]
    assert late.confirm_by < late.confirmed_at == clock()
    assert [r.id for r in desk.requests(Wanted(confirmed_late=True))] == [late.id]
    assert {r.id for r in desk.requests(Wanted(confirmed_late=False))} == {soon.id, other.id}
    desk.cancel(late.id)  # which makes it no more punctual
    assert desk.figures().confirmed_late == 1


def test_the_most_urgent_come_first_and_the_overdue_can_be_found(desk, adapter, people, clock):
    late = desk.submit(people[0], received_at=clock() - timedelta(days=40))
    later = desk.submit(people[1], regulation="ccpa")
    soon = desk.submit(people[2])
    assert [r.id for r in desk.requests(Wanted(order="due"))] == [late.id, soon.id, later.id]
    first = desk.requests(Wanted(order="due"), limit=1)
    assert [r.id for r in desk.requests(Wanted(order="due"), after=first[0].id)] == [soon.id, later.id]
    overdue = Wanted(due_before=clock())
    assert [r.id for r in desk.requests(overdue)] == [late.id]
    desk.cancel(late.id)
    assert desk.requests(overdue) == []


def test_requests_are_found_by_person_adapter_and_hold(desk, adapter, inputs, people):
    desk.register_adapter("bot-2", **inputs)
    first, second = desk.submit(people[0]), desk.submit(people[1])
    assert [r.id for r in desk.requests(subject=f" {people[1]}")] == [second.id]
    assert {r.id for r in desk.requests(Wanted(adapter="bot-2"))} == {first.id, second.id}
    assert desk.requests(Wanted(adapter="bot-3")) == []
    desk.put_on_hold(first.id, "court")
    assert [r.id for r in desk.requests(Wanted(held=True))] == [first.id]
    assert [r.id for r in desk.requests(Wanted(held=False))] == [second.id]


def test_a_preview_tells_what_would_be_touched_and_stores_nothing(desk, adapter, company):
    [touched] = desk.preview(company.subject)
    assert (touched.adapter, touched.erased_at) == ("bot", None)
    assert touched.records == desk.submit(company.subject).jobs[0].records
    assert desk.preview("customer:nobody") == []
    assert len(desk.requests()) == 1


def test_one_external_id_with_one_subject_is_one_request_for_good(desk, adapter, people, clock):
    wish = Wish(people[0], external_id="t-1", callback_urls=("https://controller.example/",))
    first = desk.submit_once(wish)
    clock.forward(400 * 86400)
    desk.sweep()
    assert desk.submit_once(wish) == first
    assert desk.submit_once(replace(wish, subject=f" {people[0]} ", regulation="ccpa", callback_urls=())) == first
    with pytest.raises(DuplicateId, match="another subject") as told:
        desk.submit_once(replace(wish, subject=people[1]))
    assert people[1] not in str(told.value)
    with pytest.raises(Conflict, match=first.id):
        desk.submit_once(replace(wish, external_id="t-2"))
    with pytest.raises(BadInput, match="external id"):
        desk.submit_once(Wish(people[2]))
    assert desk.requests() == [first]
    assert desk.request_called("t-1") == first
    with pytest.raises(NotFound, match="no request has this id"):
        desk.request_called("t-2")


def test_eight_at_once_under_one_external_id_are_one_request(desk, settings, clock, adapter, people):
    def submit(n):
        with closing(Desk(settings, clock)) as own:
            try:
                return own.submit_once(Wish(people[n % 2], external_id="t-1")).subject_hash
            except DuplicateId as error:
                return error.kind

    outcomes = at_once(submit)
    [made] = desk.requests()
    assert sorted(outcomes) == sorted([made.subject_hash] * 4 + ["duplicate"] * 4)


def test_what_is_cancelled_before_work_is_only_what_waits(desk, adapter, people):
    made = desk.submit_once(Wish(people[0], external_id="t-1"))
    assert desk.claim(made.jobs[0].id, "w") is not None
    desk.submit_once(Wish(people[1], external_id="t-2"))
    with pytest.raises(Conflict, match="while it is pending"):
        desk.cancel_unstarted("t-1")
    assert desk.request(made.id).state == "in_progress"
    assert desk.cancel_unstarted("t-2").state == "cancelled"
    with pytest.raises(Conflict, match="is cancelled"):
        desk.cancel_unstarted("t-2")


def test_an_answer_of_before_callbacks_were_known_is_found(desk, adapter, people):
    wish = Wish(people[0])
    first = desk.submit_many([wish], idempotency_key="k")
    with desk.store.reading() as session:
        digest = session.execute(text("SELECT body_sha256 FROM idempotency")).scalar_one()
    told = {"subject_hash": first[0].subject_hash, "regulation": "gdpr", "received_at": None, "external_id": None}
    assert digest == hashlib.sha256(json.dumps([told], sort_keys=True).encode()).hexdigest()
    with pytest.raises(Conflict, match="another body"):
        desk.submit_many([replace(wish, callback_urls=("https://controller.example/",))], idempotency_key="k")
