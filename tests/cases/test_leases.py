"""Leases and doorbells: at-least-once messages, exactly-once work."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta

import pytest
from by_hand import REFUSED, submit, work

from crowd import at_once
from unlearn.cases.desk import Desk
from unlearn.cases.tables import Job
from unlearn.errors import LeaseLost
from unlearn.fulfilment import fulfil


def test_eight_workers_and_one_job_make_one_claim(desk, adapter, company, settings, clock):
    _, job_id = submit(desk, company)

    def one(number):
        with closing(Desk(settings, clock)) as own:
            return own.claim(job_id, f"w{number}")

    assert sum(claim is not None for claim in at_once(one)) == 1


def test_a_repeated_message_finds_nothing_to_claim(desk, adapter, company):
    _, job_id = submit(desk, company)
    claim = work(desk, job_id)
    assert desk.claim(job_id, "w2") is None
    desk.hold(claim, None, REFUSED)
    assert desk.claim(job_id, "w2") is None
    assert desk.claim("job_nothing", "w2") is None


def test_a_heartbeat_keeps_the_lease_and_silence_loses_it(desk, adapter, company, clock):
    _, job_id = submit(desk, company)
    claim = work(desk, job_id)
    for _ in range(5):
        clock.forward(80)
        desk.heartbeat(claim)
        assert desk.sweep() == 0
    clock.forward(91)
    assert desk.sweep() == 1
    assert desk.job(job_id).state == "queued"
    assert [job for _, job in desk.doorbells()][-1] == job_id


def test_an_expired_lease_may_be_claimed_before_any_sweep(desk, adapter, company, clock):
    _, job_id = submit(desk, company)
    work(desk, job_id)
    clock.forward(91)
    assert work(desk, job_id, "w2").attempt == 2


def test_a_lease_begins_when_the_database_is_ready_for_it_not_when_it_was_asked(
    desk, adapter, company, clock, monkeypatch
):
    _, job_id = submit(desk, company)
    writing = desk.store.writing

    def slowly():
        clock.forward(80)  # another process held the database's lock meanwhile
        return writing()

    monkeypatch.setattr(desk.store, "writing", slowly)
    work(desk, job_id)
    monkeypatch.undo()
    clock.forward(80)
    assert desk.sweep() == 0


def test_attempts_are_bounded_and_then_a_person_decides(desk, adapter, company, clock):
    request, job_id = submit(desk, company)
    for attempt in range(1, 4):
        assert work(desk, job_id).attempt == attempt
        clock.forward(91)
        desk.sweep()
    job = desk.job(job_id)
    assert (job.state, job.attempt) == ("failed", 3)
    assert "lease ran out" in job.error
    assert desk.claim(job_id, "w") is None
    assert desk.request(request.id).state == "needs_review"


def test_a_failure_that_is_not_final_goes_back_to_the_queue_and_is_rung_for_after_a_pause(
    desk, adapter, company, clock
):
    _, job_id = submit(desk, company)
    desk.rung([outbox_id for outbox_id, _ in desk.doorbells()])
    desk.fail(work(desk, job_id), "the disk was full", final=False)
    assert (desk.job(job_id).state, desk.job(job_id).error) == ("queued", "the disk was full")
    clock.forward(20)
    assert (desk.sweep(), desk.claim_first("w2")) == (0, None)
    clock.forward(20)
    assert desk.sweep() == 1
    assert [job for _, job in desk.doorbells()] == [job_id]
    assert desk.claim_first("w2").attempt == 2


def test_what_is_away_puts_a_job_off_for_ever_longer_and_counts_once_in_hours(desk, adapter, company, clock):
    request, job_id = submit(desk, company)
    began, pauses, attempts = clock.now, [], []
    while (job := desk.job(job_id)).state != "failed":
        asked = clock.now
        with desk.store.reading() as session:
            ready_at = session.get_one(Job, job_id).ready_at
        if ready_at is not None and ready_at > clock.now:
            clock.now = ready_at - timedelta(seconds=0.1)
            assert desk.claim_first("w") is None
            clock.forward(0.2)
        claim = desk.claim_first("w")
        pauses.append((clock.now - asked).total_seconds())
        attempts.append(job.attempt)
        desk.put_off(claim, "the object store can't be reached")
    assert pauses[1] <= 13
    assert pauses[2] >= 7
    assert 450 <= max(pauses) <= 760
    assert attempts == sorted(attempts)
    assert set(attempts) == {0, 1, 2}
    assert 9 < (clock.now - began).total_seconds() / 3600 < 10
    assert len(pauses) < 100
    assert desk.request(request.id).state == "needs_review"


def test_a_paused_job_keeps_no_other_of_its_adapter_waiting_and_nobody_joins_it(desk, inputs, people, clock):
    desk.register_adapter("bot", **inputs, policy={"schedule": {"coalescing_seconds": 60}})
    first = desk.submit(people[0])
    clock.forward(61)
    desk.put_off(desk.claim_first("w"), "the object store can't be reached")
    second = desk.submit(people[1])
    assert second.jobs[0].id != first.jobs[0].id
    clock.forward(61)
    desk.put_off(desk.claim_first("w"), "the object store can't be reached")
    assert desk.claim_first("w").request_ids == (second.id,)


def test_an_erasing_waits_for_a_shadow_table_that_pauses(desk, inputs, people, clock):
    desk.register_adapter("bot", **inputs, policy={"targets": {"shadows_at_registration": True}})
    desk.submit(people[0])
    making = desk.claim_first("w")
    assert making.kind == "shadows"
    desk.put_off(making, "the object store can't be reached")
    assert desk.claim_first("w") is None
    clock.forward(20)
    assert desk.claim_first("w").job_id == making.job_id


def test_a_final_failure_ends_the_job_at_once(desk, adapter, company):
    request, job_id = submit(desk, company)
    desk.fail(work(desk, job_id), "a record is too long", final=True)
    assert desk.job(job_id).state == "failed"
    assert desk.request(request.id).state == "needs_review"


def test_a_doorbell_that_was_lost_is_rung_again(desk, adapter, company, clock):
    _, job_id = submit(desk, company)
    desk.rung([outbox_id for outbox_id, _ in desk.doorbells()])
    assert desk.sweep() == 0
    clock.forward(61)
    assert desk.sweep() == 1
    assert [job for _, job in desk.doorbells()] == [job_id]


def test_doorbells_sent_long_ago_are_removed(desk, adapter, company, clock):
    submit(desk, company)
    desk.rung([outbox_id for outbox_id, _ in desk.doorbells()])
    clock.forward(2 * 86400)
    desk.sweep()
    with desk.store.reading() as session:
        from sqlalchemy import text

        assert session.execute(text("SELECT count(*) FROM outbox")).scalar_one() == 1


def test_a_job_handed_back_is_there_at_once_and_its_attempt_does_not_count(desk, adapter, company):
    request = desk.submit(company.subject)
    claim = desk.claim(request.jobs[0].id, "w1")
    desk.rung([outbox for outbox, _ in desk.doorbells()])
    desk.give_back(claim)
    assert [job for _, job in desk.doorbells()] == [claim.job_id]
    with pytest.raises(LeaseLost):
        desk.give_back(claim)
    again = desk.claim(claim.job_id, "w2")
    assert (again.attempt, again.fence) == (1, 2)


@pytest.mark.parametrize("stopped", [SystemExit, KeyboardInterrupt])
def test_a_worker_told_to_stop_in_mid_run_hands_its_job_back(desk, settings, adapter, company, monkeypatch, stopped):
    def stop(*_given, **_more):
        raise stopped

    monkeypatch.setattr("unlearn.fulfilment.climb", stop)
    request = desk.submit(company.subject)
    job_id = request.jobs[0].id
    with pytest.raises(stopped):
        fulfil(job_id, desk=desk, settings=settings, owner="w1")
    job = desk.job(job_id)
    assert (job.state, job.attempt, job.error) == ("queued", 0, None)
    assert desk.adapter("bot").current.number == 1
