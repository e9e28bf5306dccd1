"""Entries are numbered by the requests that they are about: without a gap, whoever writes and however many at once."""

from __future__ import annotations

from collections import Counter
from contextlib import closing

import pytest
from by_hand import REFUSED, keys, names, release, second_try, submit, work
from sqlalchemy import event, text

from crowd import at_once
from tampering import let_rows_change
from unlearn.cases.desk import Desk
from unlearn.cases.store import ledger
from unlearn.evidence.container import unpack
from unlearn.evidence.ledger import LedgerBroken
from unlearn.evidence.refusal import NotVerified


def about(desk, request):
    with desk.store.reading() as session:
        return ledger.entries_about(session, request.id)


def numbers(desk, request):
    return [entry.facts["nth"][request.id] for entry in about(desk, request)]


def test_every_entry_about_a_request_has_the_next_number(desk, adapter, company, ticking):
    request, claim = second_try(desk, company)
    release(desk, claim)
    desk.roll_back("bot", 1, reopen=True)
    found = numbers(desk, request)
    assert found == list(range(len(found)))
    assert len(found) > 10
    assert all("nth" not in entry.facts for entry in desk.entries() if entry.action == "adapter_registered")


def test_an_entry_of_a_shared_job_has_a_number_of_each_request(desk, inputs, company, clock, ticking):
    desk.register_adapter("bot", **inputs, policy={"schedule": {"coalescing_seconds": 60}})
    first, job_id = submit(desk, company, 0)
    desk.extend(first.id, "many requests")
    second, _ = submit(desk, company, 1)
    clock.forward(61)
    release(desk, work(desk, job_id))
    [started] = [entry for entry in desk.entries() if entry.action == "attempt_started"]
    assert started.facts["nth"] == {first.id: 3, second.id: 2}
    for request in (first, second):
        assert "numbers" in names(desk.export(request.id), desk)


def test_writers_at_once_leave_no_gap_and_no_number_twice(desk, settings, clock, company, adapter):
    request, _ = submit(desk, company)

    def write(_):
        with closing(Desk(settings, clock)) as own:
            for _ in range(6):
                with own.store.writing() as session:
                    for _ in range(3):
                        ledger.append(session, clock(), "callback_delivered", {"request": request.id}, [request.id])

    at_once(write, 5)
    found = numbers(desk, request)
    assert found == list(range(len(about(desk, request))))
    assert len(found) == 2 + 5 * 6 * 3


def test_a_transaction_that_was_taken_back_takes_no_number(desk, adapter, company):
    request, _ = submit(desk, company)

    def taken_back():
        with desk.store.writing() as session:
            ledger.append(session, desk._clock(), "request_held", {"request": request.id}, [request.id])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        taken_back()
    desk.put_on_hold(request.id, "a case in court")
    assert numbers(desk, request) == list(range(len(about(desk, request))))


def test_taking_requests_in_asks_for_no_number_and_another_fact_for_all_at_once(desk, adapter, company):
    asked = Counter()

    def hear(_connection, _cursor, sql, *_):
        asked["count"] += "count(" in sql and "ledger_subjects" in sql

    event.listen(desk.store.engine, "before_cursor_execute", hear)
    _, job_id = submit(desk, company)
    assert asked["count"] == 0
    desk.claim(job_id, "w1")
    assert asked["count"] == 1


def test_a_bundle_from_which_an_entry_was_hidden_does_not_verify(desk, adapter, company, ticking):
    """The look-up beside the tree is a row that anybody with the database can take away."""
    request, claim = second_try(desk, company)
    release(desk, claim)
    assert "numbers" in names(desk.export(request.id), desk)
    [retried] = [entry for entry in about(desk, request) if entry.action == "request_retried"]
    with desk.store.writing() as session:
        let_rows_change(session)
        session.execute(text("DELETE FROM ledger_subjects WHERE seq = :seq"), {"seq": retried.seq})
    with pytest.raises(NotVerified, match="entries were left out") as refused:
        names(desk.export(request.id), desk)
    assert refused.value.check == "numbers"


@pytest.mark.parametrize("back", [False, True])
def test_an_entry_that_was_hidden_before_the_next_was_made_is_found_by_the_ledgers_check(desk, adapter, company, back):
    """The next entry has its number again: the bundle has no gap, and the ledger has two of one number."""
    request, job_id = submit(desk, company)
    claim = work(desk, job_id)
    desk.extend(request.id, "many requests")
    assert desk.inspect_ledger().entries
    hidden = about(desk, request)[-1]
    with desk.store.writing() as session:
        let_rows_change(session)
        session.execute(text("DELETE FROM ledger_subjects WHERE seq = :seq"), {"seq": hidden.seq})
    desk.hold(claim, None, REFUSED)
    if back:
        with desk.store.writing() as session:
            row = {"request": request.id, "seq": hidden.seq}
            session.execute(text("INSERT INTO ledger_subjects (request_id, seq) VALUES (:request, :seq)"), row)
    with pytest.raises(LedgerBroken) as broken:
        desk.inspect_ledger()
    assert (broken.value.fault, broken.value.seq) == ("hidden", hidden.seq + 1 if back else hidden.seq)


def test_an_export_counts_what_was_entered_while_its_checkpoint_was_made(desk, adapter, company):
    request = desk.submit("customer:nobody")
    keys(desk)
    whole, late = desk.covering_checkpoint, [True]

    def interrupted(size):
        if late.pop() if late else False:
            with desk.store.writing() as session:
                ledger.append(session, desk._clock(), "callback_delivered", {"request": request.id}, [request.id])
        return whole(size)

    desk.covering_checkpoint = interrupted
    data = desk.export(request.id)
    assert "numbers" in names(data, desk)
    assert b"callback_delivered" in unpack(data)["ledger/entries.jsonl"]
