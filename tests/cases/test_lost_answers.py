"""The end of an attempt when the database, or the worker, goes away at that very moment."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from by_hand import REFUSED, REPORT, submit

from unlearn import logs
from unlearn.errors import Unavailable
from unlearn.fulfilment import fulfil
from unlearn.ladder import Outcome
from unlearn.weights import copy_adapter, read_adapter


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One MLflow store for all: making it takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture
def settings(settings, runs):
    return settings.model_copy(update={"mlflow_tracking_uri": runs})


@pytest.fixture
def attempted(monkeypatch):
    """An attempt whose candidate is the adapter as it was given; what follows is the real thing."""

    def climb(case, destination, watcher, report=REPORT):
        watcher.stage("erasing: ascent")
        return Outcome(copy_adapter(case.adapter, destination), report["verdict"], None, None, report)

    monkeypatch.setattr("unlearn.fulfilment.climb", climb)
    monkeypatch.setattr("unlearn.fulfilment._record", lambda *_: None)
    return lambda report: monkeypatch.setattr("unlearn.fulfilment.climb", lambda *given: climb(*given, report=report))


def faltering(desk, monkeypatch, name, *faults, after):
    """Let the desk's method raise these, one at each call, once or before it did its work."""
    real, left = getattr(desk, name), list(faults)

    def call(*given, **more):
        if left and not after:
            raise left.pop(0)
        done = real(*given, **more)
        if left:
            raise left.pop(0)
        return done

    monkeypatch.setattr(desk, name, call)


CUT = Unavailable("the database does not answer: terminating connection due to administrator command")


@pytest.mark.parametrize("after", [True, False], ids=["took it", "did not take it"])
def test_a_release_whose_answer_was_lost_serves_once_and_its_weights_are_there(
    desk, settings, adapter, company, attempted, monkeypatch, after
):
    request, job_id = submit(desk, company)
    faltering(desk, monkeypatch, "release", CUT, after=after)
    fulfil(job_id, desk=desk, settings=settings, owner="w1")
    serving = desk.adapter("bot").current
    assert serving.number == 2
    assert read_adapter(Path(serving.path)).sha256 == serving.sha256
    assert (desk.job(job_id).state, desk.job(job_id).attempt) == ("done", 1)
    assert desk.request(request.id).state == "completed"


@pytest.mark.parametrize("after", [True, False], ids=["took it", "did not take it"])
def test_a_candidate_that_is_held_is_there_although_the_answer_was_lost(
    desk, settings, adapter, company, attempted, monkeypatch, after
):
    request, job_id = submit(desk, company)
    attempted(REFUSED)
    faltering(desk, monkeypatch, "hold", CUT, after=after)
    fulfil(job_id, desk=desk, settings=settings, owner="w1")
    assert desk.request(request.id).state == "needs_review"
    desk.release_as_it_is(request.id, "seen and found good")
    assert Path(desk.adapter("bot").current.path).is_dir()


def test_a_worker_told_to_stop_once_its_release_is_taken_leaves_the_weights(
    desk, settings, adapter, company, attempted, monkeypatch
):
    _, job_id = submit(desk, company)
    faltering(desk, monkeypatch, "release", SystemExit(), after=True)
    with pytest.raises(SystemExit):
        fulfil(job_id, desk=desk, settings=settings, owner="w1")
    assert desk.adapter("bot").current.number == 2
    assert Path(desk.adapter("bot").current.path).is_dir()


def test_an_attempt_goes_on_when_its_progress_can_not_be_noted(
    desk, settings, adapter, company, attempted, monkeypatch
):
    request, job_id = submit(desk, company)
    faltering(desk, monkeypatch, "progress", CUT, after=False)
    fulfil(job_id, desk=desk, settings=settings, owner="w1")
    assert (desk.request(request.id).state, desk.job(job_id).attempt) == ("completed", 1)


def test_a_database_that_stays_away_leaves_the_job_to_its_lease(
    desk, settings, adapter, company, attempted, monkeypatch, clock
):
    _, job_id = submit(desk, company)
    brief = settings.model_copy(update={"lease_seconds": 0.01})
    monkeypatch.setattr("unlearn.fulfilment.AGAIN_SECONDS", 0.02)
    faltering(desk, monkeypatch, "release", *[CUT] * 9, after=False)
    faltering(desk, monkeypatch, "put_off", *[CUT] * 9, after=False)
    fulfil(job_id, desk=desk, settings=brief, owner="w1")
    assert desk.job(job_id).state == "running"
    clock.forward(91)
    desk.sweep()
    assert desk.job(job_id).state == "queued"


def test_what_is_away_for_a_moment_puts_a_job_off_and_costs_no_attempt(
    desk, settings, adapter, company, attempted, monkeypatch, clock
):
    request, job_id = submit(desk, company)
    with monkeypatch.context() as patch:
        patch.setattr("unlearn.fulfilment._case", lambda *_: (_ for _ in ()).throw(Unavailable("the store is away")))
        desk.rung([outbox for outbox, _ in desk.doorbells()])
        fulfil(job_id, desk=desk, settings=settings, owner="w1")
    assert desk.doorbells() == []
    assert (desk.job(job_id).state, desk.job(job_id).attempt, desk.job(job_id).error) == (
        "queued",
        0,
        "the store is away",
    )
    fulfil(job_id, desk=desk, settings=settings, owner="w1")  # too early: it finds nothing to claim
    clock.forward(20)
    desk.sweep()
    assert [job for _, job in desk.doorbells()] == [job_id]
    fulfil(job_id, desk=desk, settings=settings, owner="w1")
    assert (desk.request(request.id).state, desk.job(job_id).attempt) == ("completed", 1)


def test_an_attempt_goes_on_without_mlflow(desk, settings, adapter, company, attempted):
    request, job_id = submit(desk, company)
    nowhere = settings.model_copy(update={"mlflow_tracking_uri": "http://127.0.0.1:1"})
    fulfil(job_id, desk=desk, settings=nowhere, owner="w1")
    assert (desk.request(request.id).state, desk.job(job_id).attempt) == ("completed", 1)
    assert desk.job(job_id).mlflow_run_id is None


@pytest.mark.parametrize("after", [True, False], ids=["took it", "did not take it"])
def test_a_doorbell_that_rings_while_the_database_is_away_is_not_spent(
    desk, settings, adapter, company, attempted, monkeypatch, after
):
    request, job_id = submit(desk, company)
    faltering(desk, monkeypatch, "claim_first", CUT, after=after)
    fulfil(job_id, desk=desk, settings=settings, owner="w1")
    assert (desk.request(request.id).state, desk.job(job_id).attempt) == ("completed", 1)


def test_the_log_of_a_job_has_its_id_whichever_doorbell_rang(desk, settings, adapter, people, attempted, monkeypatch):
    later, urgent = desk.submit(people[0], regulation="ccpa").jobs[0].id, desk.submit(people[1]).jobs[0].id
    record, lines = logging.makeLogRecord({"msg": "halfway", "levelname": "INFO"}), []
    monkeypatch.setattr(
        "unlearn.fulfilment._record", lambda *_: lines.append(json.loads(logs.JsonLines().format(record)))
    )
    fulfil(later, desk=desk, settings=settings, owner="w1")
    assert (desk.job(urgent).state, desk.job(later).state) == ("done", "queued")
    fulfil(urgent, desk=desk, settings=settings, owner="w1")
    assert [line["job_id"] for line in lines] == [urgent, later]
    assert "job_id" not in json.loads(logs.JsonLines().format(record))
