"""Following a job: an event whenever it moves, and an end."""

from __future__ import annotations

import json

import pytest
from test_endpoints import body, is_problem


def events(text):
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        yield fields["event"], json.loads(fields["data"])


@pytest.fixture
def job_id(api, registered, company):
    return api.post("/v1/requests", json=body(company)).json()["jobs"][0]["id"]


def test_each_move_of_a_job_is_an_event_and_the_last_says_that_it_ended(api, job_id, monkeypatch):
    desk = api.app.state.desk
    monkeypatch.setattr("api.jobs.LOOK_SECONDS", 0.0)
    look, steps = desk.job, []

    def moving(id_, who):
        steps.append(None)
        if len(steps) == 2:
            moving.claim = desk.claim(id_, "w")
        if len(steps) in (4, 5):
            desk.progress(moving.claim, "erasing", len(steps), 9)
        if len(steps) == 7:
            desk.fail(moving.claim, "broken", final=True)
        return look(id_, who)

    monkeypatch.setattr(desk, "job", moving)
    answer = api.get(f"/v1/jobs/{job_id}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = list(events(answer.text))
    assert [(kind, job["state"], job["progress"] and job["progress"]["step"]) for kind, job in found] == [
        ("progress", "queued", None),
        ("progress", "running", None),
        ("progress", "running", 4),
        ("progress", "running", 5),
        ("ended", "failed", 5),
    ]
    assert all("report" not in job for _, job in found)


def test_a_silent_job_keeps_the_connection_open(api, job_id, monkeypatch):
    desk, looks = api.app.state.desk, []
    monkeypatch.setattr("api.jobs.LOOK_SECONDS", 0.0)
    monkeypatch.setattr("api.jobs.ALIVE_SECONDS", 0.0)
    look = desk.job

    def patient(id_, who):
        looks.append(None)
        if len(looks) == 4:
            desk.cancel(look(id_, who).request_ids[0])
        return look(id_, who)

    monkeypatch.setattr(desk, "job", patient)
    assert ": still here" in api.get(f"/v1/jobs/{job_id}/events").text


def test_a_job_that_is_not_there_can_not_be_followed(api):
    is_problem(api.get("/v1/jobs/job_0/events"), 404, "not-found")
