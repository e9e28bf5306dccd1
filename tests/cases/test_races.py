"""What happens when two meet: a fence and its successor, a sweep and a release, several first starts."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from typing import Any

import pytest
from by_hand import REFUSED, REPORT, new_version, submit, work

from crowd import at_once
from unlearn.cases import review
from unlearn.cases.desk import Desk
from unlearn.cases.endings import judge
from unlearn.cases.rights import OPERATOR
from unlearn.cases.store import jobs
from unlearn.errors import Conflict, LeaseLost

OVERLAP_SECONDS = 0.3


class Meanwhile:
    """Runs `act` in a thread, lets it come as far as it can, and keeps what it gave or raised."""

    def __init__(self, act: Callable[[], Any]) -> None:
        self.gave: Any = None
        self._thread = threading.Thread(target=self._run, args=(act,))
        self._thread.start()
        self._thread.join(OVERLAP_SECONDS)

    def _run(self, act: Callable[[], Any]) -> None:
        try:
            self.gave = act()
        except Exception as error:
            self.gave = error

    def ended(self) -> Any:
        self._thread.join()
        return self.gave


@pytest.fixture
def other(settings, clock):
    desk = Desk(settings, clock)
    yield desk
    desk.close()


def test_between_the_check_of_a_fence_and_its_write_nobody_takes_the_job(desk, other, adapter, company, clock):
    request, job_id = submit(desk, company)
    claim = work(desk, job_id)
    clock.forward(91)  # the lease is over, so that the job may be claimed by anyone
    with desk.store.writing() as session:
        job = jobs.held(session, job_id, claim.fence)
        meanwhile = Meanwhile(lambda: other.claim(job_id, "w2"))
        judge(session, job, [request.id], REFUSED, {}, clock())
    assert meanwhile.ended() is None
    assert (desk.job(job_id).state, desk.job(job_id).attempt) == ("done", 1)


def test_a_job_that_ends_during_a_sweep_is_not_put_back(desk, other, adapter, company, clock):
    request, job_id = submit(desk, company)
    claim = work(desk, job_id)
    version = new_version(desk, claim)
    clock.forward(91)
    with desk.store.writing() as session:
        job = jobs.held(session, job_id, claim.fence)
        meanwhile = Meanwhile(other.sweep)
        judge(session, job, [request.id], REPORT, {}, clock())
    assert meanwhile.ended() == 0
    assert desk.job(job_id).state == "done"
    with pytest.raises(LeaseLost):
        desk.release(claim, version, REPORT)


def test_a_job_that_a_sweep_has_taken_is_not_released(desk, other, adapter, company, clock):
    _, job_id = submit(desk, company)
    claim = work(desk, job_id)
    version = new_version(desk, claim)
    clock.forward(91)
    with desk.store.writing() as session:
        (job,) = jobs.expired(session, clock())
        meanwhile = Meanwhile(lambda: other.release(claim, version, REPORT))
        jobs.end(session, job, "queued", clock())
    assert isinstance(meanwhile.ended(), LeaseLost)
    assert desk.job(job_id).state == "queued"
    assert desk.adapter("bot").current.number == 1


def test_two_jobs_of_a_request_that_end_at_once_complete_it(desk, other, adapter, inputs, company):
    desk.register_adapter("bot-2", **inputs)
    for which in range(4):
        request, _ = submit(desk, company, which)
        claims = [work(desk, job.id) for job in request.jobs]
        versions = [new_version(desk, claim) for claim in claims]
        ends = list(zip((desk, other), claims, versions, strict=True))
        erased = at_once(lambda n, ends=ends: ends[n][0].release(*ends[n][1:], REPORT), 2)
        assert erased == [frozenset({request.subject_hash})] * 2
        assert desk.request(request.id).state == "completed"
    desk.inspect_ledger()


def test_one_name_registered_eight_times_at_once_is_one_adapter_on_one_shelf(desk, inputs):
    views = at_once(lambda _: desk.register_adapter("bot", **inputs))
    assert views == [desk.adapter("bot")] * 8
    assert [shelf.name for shelf in (desk.settings.home / "adapters").iterdir()] == [views[0].id]


def test_one_name_for_different_things_at_once_goes_to_one_of_them(desk, inputs):
    gave = at_once(lambda seed: desk.register_adapter("bot", **inputs, policy={"seed": seed}), given=Conflict)
    assert sum(isinstance(one, Conflict) for one in gave) == 7
    assert len(list((desk.settings.home / "adapters").iterdir())) == 1


def test_first_starts_at_once_all_succeed(settings, clock):
    desks = [Desk(settings, clock) for _ in range(8)]
    assert at_once(lambda n: desks[n].migrate()) == [None] * 8
    for desk in desks:
        assert desk.adapters() == []
        desk.close()


def test_a_start_waits_for_one_who_has_the_new_file_to_himself(settings, clock, database_url):
    if database_url is not None:
        pytest.skip("about SQLite's file")
    settings.home.mkdir()
    first = sqlite3.connect(settings.home / "unlearn.db", isolation_level=None)
    first.execute("BEGIN EXCLUSIVE")
    first.execute("CREATE TABLE busy (x)")
    desk = Desk(settings, clock)
    meanwhile = Meanwhile(desk.migrate)
    first.execute("COMMIT")
    first.close()
    assert meanwhile.ended() is None
    assert desk.adapters() == []
    desk.close()


def test_a_release_by_a_person_beside_another_decision_is_told_of_it(desk, other, adapter, company, clock):
    request, job_id = submit(desk, company)
    claim = work(desk, job_id)
    desk.hold(claim, new_version(desk, claim), REFUSED)
    with desk.store.writing() as session:
        review.reject(
            session, desk._request(session, request.id, OPERATOR), "legal_claims", "a suit", OPERATOR, clock()
        )
        meanwhile = Meanwhile(lambda: other.release_as_it_is(request.id, "agreed"))
    assert isinstance(meanwhile.ended(), Conflict)
    assert desk.request(request.id).state == "rejected"
