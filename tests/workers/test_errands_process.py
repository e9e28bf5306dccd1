"""The maintenance worker as a process: it says that it lives, does what the API would, and ends when told to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta

from polling import until
from unlearn.cases.tables import Job
from unlearn.settings import Settings
from workers.errands import ALIVE


def test_it_shows_that_it_lives_logs_for_machines_and_ends_when_told_to():
    home = Settings().home
    home.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "workers.errands"],
        env={**os.environ, "UNLEARN_LOG_FORMAT": "json"},
        stderr=subprocess.PIPE,
    )
    try:
        until(lambda: (home / ALIVE).exists() or process.poll() is not None)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, said
    assert (home / ALIVE).exists()
    assert all(line.startswith(b"{") for line in said.splitlines())


def test_where_no_api_runs_it_rings_and_takes_jobs_from_workers_that_fell_silent(broker, desk, queued):
    queued("job_1")
    queued("job_2")
    desk.rung([outbox_id for outbox_id, job_id in desk.doorbells() if job_id == "job_2"])
    with desk.store.writing() as session:
        silent = session.get_one(Job, "job_2")
        silent.state, silent.lease_owner, silent.fence, silent.attempt = "running", "w", 1, 1
        silent.lease_until = datetime.now(UTC) - timedelta(seconds=1)
    process = subprocess.Popen(
        [sys.executable, "-m", "workers.errands"],
        env={**os.environ, "UNLEARN_SWEEP_SECONDS": "0.05"},
        stderr=subprocess.PIPE,
    )
    try:
        until(lambda: broker.client.llen("unlearn:gpu") == 2 or process.poll() is not None)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, said
    assert broker.client.llen("unlearn:gpu") == 2
    with desk.store.reading() as session:
        assert session.get_one(Job, "job_2").state == "queued"
