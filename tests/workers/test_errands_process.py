"""The maintenance worker as a process: it says that it lives, and ends when told to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from polling import until
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
