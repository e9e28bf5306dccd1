"""The API as a process, while somebody follows a job: it ends when told to, and so does a right that was taken away."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import httpx
import pytest

from polling import until


@pytest.fixture
def server(home):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "api"], env=os.environ | {"UNLEARN_PORT": str(port)}, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"

    def answers():
        try:
            return httpx.get(f"{url}/healthz").status_code == 200
        except httpx.HTTPError:
            return process.poll() is not None

    try:
        until(answers)
        yield process, url
    finally:
        process.kill()
        process.wait()


def test_who_follows_a_job_reads_no_further_than_the_key_holds_and_keeps_no_server_from_ending(server, desk, queued):
    process, url = server
    queued("job_1")
    key, token = desk.create_key("reader", ["requests:read"])
    _, lasting = desk.create_key("other", ["requests:read"])

    def follow(token):
        given = {"Authorization": f"Bearer {token}"}
        return httpx.stream("GET", f"{url}/v1/jobs/job_1/events", headers=given, timeout=30)

    with follow(token) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "event: progress"
        desk.revoke_key(key.id)
        assert "event: ended" not in list(lines)
    with follow(token) as answer:
        assert answer.status_code == 401
    with follow(lasting) as answer:
        lines = answer.iter_lines()  # kept: without it the connection would be closed
        assert next(lines) == "event: progress"
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
