"""A job whose worker is told to stop: the next attempt goes on, and what was kept for it goes when the job ends."""

from __future__ import annotations

import pytest

from unlearn import ladder
from unlearn.following import Follower
from unlearn.fulfilment import fulfil

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

    def stop(follower, taken, steps):
        if steps == 3:
            raise SystemExit
        step(follower, taken, steps)

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
