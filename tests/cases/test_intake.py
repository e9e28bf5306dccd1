"""Accepting requests: all or none, the same answer to the same question, deadlines, and what a preview tells."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from unlearn.cases.desk import Desk, Wish
from unlearn.cases.identity import subject_hash
from unlearn.cases.store.requests import Wanted
from unlearn.errors import BadInput, Conflict


@pytest.fixture
def people(company):
    return sorted({r.subjects[0] for r in company.world.train if len(r.subjects) == 1})


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
    outcomes = []

    def submit():
        own = Desk(settings, clock)
        try:
            outcomes.append(own.submit_many([Wish(people[0])], idempotency_key="k")[0].id)
        finally:
            own.close()

    threads = [threading.Thread(target=submit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 8
    assert len(set(outcomes)) == 1
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
