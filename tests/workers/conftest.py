"""A real server on a unix socket, and jobs in a real database that wait for their doorbell."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis

from polling import until
from unlearn.cases.desk import Desk
from unlearn.cases.rights import HERE
from unlearn.cases.tables import Adapter, Doorbell, Job
from unlearn.settings import Settings


class Broker:
    """A broker process of `settings`, and a client that looks at it from outside."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.client = redis.Redis(unix_socket_path=str(settings.broker_socket))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "workers.broker"],
            env=os.environ | {"UNLEARN_HOME": str(self.settings.home)},
            stdout=subprocess.DEVNULL,
        )
        until(self.answers)

    def answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home whose path is short enough for a socket."""
    path = Path(tempfile.mkdtemp(prefix="unlearn-"))
    monkeypatch.setenv("UNLEARN_HOME", str(path))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def settings(home: Path) -> Settings:
    return Settings(home=home, sweep_seconds=0.05)


@pytest.fixture
def make_broker() -> Iterator[Callable[[Settings], Broker]]:
    """Starts brokers that end with the test, their files with them."""
    brokers: list[Broker] = []

    def make(settings: Settings) -> Broker:
        brokers.append(Broker(settings))
        brokers[-1].start()
        return brokers[-1]

    yield make
    for broker in brokers:
        broker.client.close()
        broker.kill()
        shutil.rmtree(broker.settings.home, ignore_errors=True)
        shutil.rmtree(broker.settings.broker_socket.parent, ignore_errors=True)


@pytest.fixture
def broker(settings: Settings, make_broker: Callable[[Settings], Broker]) -> Broker:
    return make_broker(settings)


@pytest.fixture
def desk(settings: Settings) -> Iterator[Desk]:
    desk = Desk(settings)
    desk.migrate()
    yield desk
    desk.close()


@pytest.fixture
def queued(desk: Desk) -> Callable[[str], None]:
    """Puts a job with its doorbell into the database."""

    def put(job_id: str) -> None:
        now = datetime.now(UTC)
        adapter: dict[str, Any] = {"base": "b", "base_sha256": "0", "policy": {}, "current": 1}
        adapter |= {"controller_id": HERE, "train": "t", "train_sha256": "0", "train_records": 1}
        adapter |= {"holdout": "h", "holdout_sha256": "0", "holdout_records": 1}
        with desk.store.writing() as session:
            session.add(Adapter(id=f"adp_{job_id}", name=f"of-{job_id}", created_at=now, **adapter))
            session.flush()
            session.add(Job(id=job_id, adapter_id=f"adp_{job_id}", state="queued", created_at=now))
            session.flush()
            session.add(Doorbell(job_id=job_id, created_at=now))

    return put
