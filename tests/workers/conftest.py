"""A real broker on a socket of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
import redis
from polling import until

from unlearn.settings import Settings


class Broker:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.client = redis.Redis(unix_socket_path=str(settings.broker_socket))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "workers.broker"],
            env={"UNLEARN_HOME": str(self.settings.home), "PATH": "/usr/bin:/bin"},
            stdout=subprocess.DEVNULL,
        )
        until(self.answers)

    def answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)
            self.process = None


@pytest.fixture
def broker(tmp_path) -> Iterator[Broker]:
    broker = Broker(Settings(home=tmp_path / "home"))
    broker.start()
    yield broker
    broker.stop()
