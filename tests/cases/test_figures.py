"""The service in numbers: each figure counts what its name says, for one company or for all."""

from __future__ import annotations

import pytest
from by_hand import REFUSED, submit, work

from unlearn.cases.desk import RING_AGAIN
from unlearn.cases.rights import SCOPES, Actor
from unlearn.errors import LeaseLost, NotAllowed

DAY = 86400.0
WEEKS = 25 * DAY


def test_of_an_empty_service_every_figure_is_nothing(desk):
    found = desk.figures()
    assert (found.requests, found.jobs, found.verdicts, found.attempts, found.job_seconds) == ({}, {}, {}, {}, {})
    assert (found.queue.number, found.queue.oldest_seconds, found.outbox.number) == (0, 0.0, 0)


def test_queue_and_outbox_are_counted_with_the_age_of_their_oldest(desk, adapter, company, clock):
    submit(desk, company, 0)
    clock.forward(30)
    submit(desk, company, 1)
    found = desk.figures()
    assert found.requests == {"pending": 2}
    assert (found.queue.number, found.queue.oldest_seconds) == (2, 30.0)
    assert (found.outbox.number, found.outbox.oldest_seconds) == (2, 30.0)
    desk.rung([outbox_id for outbox_id, _ in desk.doorbells()])
    assert desk.figures().outbox.number == 0


def test_clocks_and_holds_are_counted_until_a_request_has_ended(desk, adapter, company, clock):
    held, _ = submit(desk, company, 0)
    cancelled, _ = submit(desk, company, 1)
    desk.put_on_hold(held.id, "court")
    clock.forward(WEEKS)
    assert [desk.figures().due_soon, desk.figures().overdue, desk.figures().held] == [2, 0, 1]
    desk.cancel(cancelled.id)
    assert desk.figures().due_soon == 1
    clock.forward(WEEKS)
    assert [desk.figures().due_soon, desk.figures().overdue] == [0, 1]


def test_a_job_is_followed_from_its_claim_to_its_verdict_and_its_seconds(desk, adapter, company, clock):
    _, job_id = submit(desk, company)
    claim = work(desk, job_id)
    clock.forward(40)
    assert desk.figures().jobs == {("erasure", "running"): 1}
    assert (desk.figures().queue.number, desk.figures().attempts) == (0, {"erasure": 1})
    desk.hold(claim, None, REFUSED)
    found = desk.figures()
    assert found.verdicts == {("refused", "ascent"): 1}
    assert found.job_seconds == {"erasure": (40.0,)}
    clock.forward(DAY + 1)
    assert desk.figures().job_seconds == {}
    assert desk.figures().verdicts == {("refused", "ascent"): 1}


def test_each_stage_has_the_seconds_that_all_attempts_spent_in_it(desk, adapter, company, clock):
    _, job_id = submit(desk, company)
    claim = work(desk, job_id)
    clock.forward(1)  # before its first stage
    for stage, seconds in (("loading", 2), ("fitting fold 1 of 2", 3), ("fitting fold 2 of 2", 4), ("erasing", 5)):
        desk.progress(claim, stage, 0, 9)
        desk.progress(claim, stage, 1, 9)
        clock.forward(seconds)
    assert desk.figures().stage_seconds == {}, "it has not ended"
    desk.give_back(claim)
    clock.forward(100)
    claim = work(desk, job_id)
    desk.progress(claim, "erasing", 0, 9)
    clock.forward(0.5)
    desk.hold(claim, None, REFUSED)
    clock.forward(10)
    spent = {"loading": (2.0,), "fitting fold": (7.0,), "erasing": (5.5,)}
    assert desk.figures().stage_seconds == spent
    assert sum(seconds for (seconds,) in spent.values()) <= desk.figures().job_seconds["erasure"][0]


def test_a_worker_that_lost_its_job_adds_nothing_to_its_stages(desk, adapter, company, clock):
    _, job_id = submit(desk, company)
    late = work(desk, job_id)
    desk.progress(late, "erasing", 0, 9)
    clock.forward(desk.settings.lease_seconds + 1)
    desk.sweep()
    with pytest.raises(LeaseLost):
        desk.progress(late, "judging", 0, 0)
    claim = work(desk, job_id)
    desk.fail(claim, "broken", final=True)
    assert desk.figures().stage_seconds == {"erasing": (desk.settings.lease_seconds + 1,)}


def test_a_worker_that_fell_silent_shows_until_the_sweep(desk, adapter, company, clock):
    _, job_id = submit(desk, company)
    work(desk, job_id)
    clock.forward(desk.settings.lease_seconds + 1)
    assert desk.figures().expired_leases == 1
    desk.sweep()
    assert desk.figures().expired_leases == 0
    clock.forward(RING_AGAIN.total_seconds())
    assert desk.figures().queue.number == 1


def test_a_company_sees_its_own_figures_and_only_with_the_scope(desk, adapter, company):
    submit(desk, company)
    theirs = Actor("key:1", "ctl_other", frozenset({"audit"}))
    found = desk.figures(theirs)
    assert (found.requests, found.jobs, found.queue.number, found.outbox.number) == ({}, {}, 0, 0)
    ours = Actor("key:2", "ctl_default", frozenset({"audit"}))
    assert desk.figures(ours) == desk.figures()
    with pytest.raises(NotAllowed):
        desk.figures(Actor("key:3", "ctl_default", frozenset(SCOPES) - {"audit", "admin"}))
