"""A job whose worker is told to stop: the next attempt goes on, and what was kept for it goes when the job ends."""

from __future__ import annotations

import pytest
from mlflow.tracking import MlflowClient

from unlearn import ladder
from unlearn.erasure.state import Step
from unlearn.following import Follower, Heart
from unlearn.fulfilment import fulfil
from unlearn.tracking.runs import open_run

STEPS = {"forget_records_per_step": 4, "retain_records_per_step": 4, "method": "ascent"}
POLICY = {
    "ladder": [STEPS | {"steps": 2}, STEPS | {"steps": 3}],
    "gates": {"membership_margin_sd": 1e-6},
    "audit": {"preset": "quick"},
}


def test_the_next_attempt_runs_the_rung_that_was_broken_off_and_none_that_was_finished(
    desk, settings, inputs, company, monkeypatch
):
    monkeypatch.setattr("unlearn.fulfilment.write_review", lambda *given: None)  # figures take seconds
    desk.register_adapter("bot", **inputs, policy=POLICY)
    job_id = desk.submit(company.subject).jobs[0].id
    state, begun, step = settings.home / "jobs" / job_id / "state", [], Follower.step
    attempt = ladder.attempt

    def counted(prepared, rung, draft, watcher, number, *more):
        begun.append(number)
        return attempt(prepared, rung, draft, watcher, number, *more)

    def stop(follower, taken, steps, behind):
        step(follower, taken, steps, behind)
        if (taken.step, steps) == (2, 3):
            raise SystemExit

    monkeypatch.setattr(ladder, "attempt", counted)
    with monkeypatch.context() as patch:
        patch.setattr(Follower, "step", stop)
        with pytest.raises(SystemExit):
            fulfil(job_id, desk=desk, settings=settings, owner="w1")
    assert (desk.job(job_id).state, desk.job(job_id).attempt) == ("queued", 0)
    assert sorted(path.name for path in state.iterdir()) == ["rung-1", "rung-1.tried"]
    fulfil(job_id, desk=desk, settings=settings, owner="w2")
    assert desk.job(job_id).state == "done"
    assert begun == [1, 2, 2]
    assert not state.exists()
    assert steps_of("loop/loss", desk.job(job_id).mlflow_run_id, settings.effective_mlflow_uri) == [1, 2, 3, 4, 5]


def steps_of(curve, run_id, uri):
    history = MlflowClient(uri).get_metric_history(run_id, curve)
    return sorted(one.step for one in history)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """MLflow's store of these tests, since making one takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('runs') / 'mlflow.db'}"


@pytest.fixture
def follow(desk, settings, adapter, company, runs):
    """Makes who follows the next attempt of one job."""
    job_id = desk.submit(company.subject).jobs[0].id
    claims = []

    def follow():
        if claims:
            desk.give_back(claims[-1])
        claims.append(claim := desk.claim(job_id, "w"))
        run = open_run(runs, "e", settings.home / "mlartifacts", "n", {}, claim.mlflow_run_id)
        desk.started_run(claim, run.id)
        return Follower(desk, claim, Heart(desk, claim, 60.0), run), run.id

    return follow


def test_what_goes_on_logs_no_step_again_and_what_begins_anew_logs_only_other_values(follow, runs):
    def walk(follower, numbers, noise=0.0, behind=10):
        follower.stage("erasing")
        for number in numbers:
            follower.step(Step(number, number + noise, 0.0, None, 0.0, 1.0, 0.1, 1.0), 9, behind)

    def logged():
        return steps_of("loop/loss", run_id, runs)

    follower, run_id = follow()
    walk(follower, (1, 2, 4, 5))  # before the third it went back to a snapshot
    assert logged() == [11, 12, 14, 15]
    walk(follow()[0], (4, 5, 6), noise=1e-9)  # as on a device that does not give the same bits twice
    assert logged() == [11, 12, 14, 15, 16]
    walk(follow()[0], (1, 2, 4))
    assert logged() == [11, 12, 14, 15, 16]
    walk(follow()[0], (1, 2), noise=0.5)
    assert logged() == [11, 11, 12, 12, 14, 15, 16]


def test_a_training_that_goes_on_logs_no_step_again_and_a_later_one_comes_behind(follow, runs):
    def train(follower, steps, behind=0):
        follower.stage("fitting")
        for step in steps:
            follower._noted = float("-inf")  # as if a second had passed
            follower.training(step, 8, 1.0 / step, behind)

    follower, run_id = follow()
    train(follower, (1, 2, 3, 4))
    follower, _ = follow()
    train(follower, (3, 4, 5))
    train(follower, (1, 2), behind=8)
    assert steps_of("training/nll_nats", run_id, runs) == [1, 2, 3, 4, 5, 9, 10]
