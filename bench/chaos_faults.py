"""The faults of `chaos.py`: how often each, in which order, and how it is done. Judges nothing."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import psycopg
from chaos_parts import Part, Service, this_host, until
from sqlalchemy import select

from unlearn.cases.desk import Desk
from unlearn.cases.tables import Job
from unlearn.errors import Unavailable

EVERYWHERE = {
    "worker killed": 9,
    "its child killed": 7,
    "its parent killed": 3,
    "worker told to stop": 6,
    "worker frozen beyond its lease": 3,
    "broker restarted": 2,
    "broker killed": 3,
    "broker emptied": 1,
}
ON_DATABASE = {
    "embedded": {"write lock held": 5},
    "postgres": {"connections cut": 8, "database restarted": 2, "database crashed": 2},
}
API_KILLS = 3
OF_JOBS = 104
"""The counts above are for so many jobs."""

HOLD = "import sqlite3, sys, time; c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60); c.execute('BEGIN IMMEDIATE'); time.sleep(float(sys.argv[2]))"


@dataclass(frozen=True)
class Hurt:
    """One fault: what, when (seconds since the epoch), and the job and fence that were running there, if one was."""

    kind: str
    at: float
    job: str | None = None
    fence: int | None = None
    stage: str | None = None
    seconds: float | None = None


def schedule(set_up: str, jobs: int, rng: random.Random, *, own_server: bool) -> list[str]:
    """The kinds in their order; the API is killed early, while there is something to submit."""
    counts = EVERYWHERE | ON_DATABASE[set_up]
    if set_up == "postgres" and not own_server:
        counts = {kind: n for kind, n in counts.items() if not kind.startswith("database ")}
    kinds = [kind for kind, n in counts.items() for _ in range(max(1, round(n * jobs / OF_JOBS)))]
    rng.shuffle(kinds)
    step = max(1, len(kinds) // 6)
    for number in range(API_KILLS):
        kinds.insert((number + 1) * step, "API killed")
    return kinds


class Tormentor:
    """Does one fault after another.

    Args:
        service: what is hurt.
        desk: to see which jobs run.
        rng: of every choice.
        submit: puts the next requests in, in the background.
    """

    def __init__(self, service: Service, desk: Desk, rng: random.Random, submit: Callable[[], None]) -> None:
        self._service, self._desk, self._rng, self._submit = service, desk, rng, submit
        self._by_group = False

    def __call__(self, kind: str) -> Hurt:
        """Do it; the part that was hurt is running again afterwards, or is starting."""
        worker_faults = {
            "worker killed": self._kill,
            "its child killed": self._kill_child,
            "its parent killed": self._kill_parent,
            "worker told to stop": self._stop,
            "worker frozen beyond its lease": self._freeze,
        }
        if kind in worker_faults:
            return self._at_work(kind, worker_faults[kind])
        others: dict[str, Callable[[], None]] = {
            "broker restarted": lambda: self._broker(signal.SIGTERM),
            "broker killed": lambda: self._broker(signal.SIGKILL),
            "broker emptied": lambda: self._service.redis().flushall(),
            "write lock held": self._hold_lock,
            "connections cut": self._cut,
            "database restarted": lambda: self._database(signal.SIGINT),
            "database crashed": lambda: self._database(signal.SIGQUIT),
            "API killed": self._kill_api,
        }
        at = time.time()
        others[kind]()
        return Hurt(kind, at)

    def _at_work(self, kind: str, act: Callable[[Part, int], float | None]) -> Hurt:
        """Do something to a worker whose child runs a job, a random moment later."""
        worker, child = self._busy()
        time.sleep(self._rng.uniform(0, 0.9))
        at, job = time.time(), self._running().get(child)
        seconds = act(worker, child)
        return Hurt(kind, at, *(job or (None, None, None)), seconds)

    def _busy(self) -> tuple[Part, int]:
        deadline = time.monotonic() + 45
        while time.monotonic() < deadline:
            running = self._running()
            busy = [(w, c) for w in self._service.workers for c in w.children if c in running]
            if busy:
                return self._rng.choice(busy)
            time.sleep(0.02)
        until(lambda: any(w.children for w in self._service.workers), "a worker's child")
        return next((w, w.children[0]) for w in self._service.workers if w.children)

    def _running(self) -> dict[int, tuple[str, int, str]]:
        """Process id -> job, fence and stage, of leased jobs."""
        query = select(Job.lease_owner, Job.id, Job.fence, Job.progress).where(Job.state == "running")
        while True:
            try:
                with self._desk.store.reading() as session:
                    rows = session.execute(query).all()
                break
            except Unavailable:
                time.sleep(0.1)
        prefix = f"{this_host()}:"
        return {
            int(owner.removeprefix(prefix).partition(":")[0]): (job, fence, (progress or {}).get("stage", "claimed"))
            for owner, job, fence, progress in rows
            if owner and owner.startswith(prefix)
        }

    def _kill(self, worker: Part, _child: int) -> None:
        worker.end(signal.SIGKILL)
        worker.start()

    def _kill_child(self, _worker: Part, child: int) -> None:
        os.kill(child, signal.SIGKILL)

    def _kill_parent(self, worker: Part, _child: int) -> None:
        worker.end(signal.SIGKILL, group=False)
        worker.start()

    def _stop(self, worker: Part, _child: int) -> float:
        """As a container does (the parent alone) and as the house does (the group), in turns."""
        self._by_group = not self._by_group
        seconds = worker.end(signal.SIGTERM, group=self._by_group)
        worker.start()
        return seconds

    def _freeze(self, _worker: Part, child: int) -> None:
        os.kill(child, signal.SIGSTOP)
        time.sleep(self._desk.settings.lease_seconds * 1.5)
        os.kill(child, signal.SIGCONT)

    def _broker(self, how: int) -> None:
        self._service.broker.end(how)
        time.sleep(self._rng.uniform(0, 2))
        self._service.broker.start()
        until(self._service.broker_answers, "the broker")

    def _hold_lock(self) -> None:
        url = self._desk.settings.home / "unlearn.db"
        seconds = self._rng.uniform(0.5, 1.5) * self._desk.settings.lease_seconds
        subprocess.run([sys.executable, "-c", HOLD, str(url), str(seconds)], check=True)

    def _cut(self) -> None:
        """Several times within a second, so that some are cut inside of a transaction."""
        address = self._desk.settings.effective_database_url.replace("+psycopg", "")
        with psycopg.connect(address, autocommit=True) as connection:
            for _ in range(5):
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
                time.sleep(self._rng.uniform(0, 0.3))

    def _database(self, how: int) -> None:
        assert self._service.postgres is not None
        self._service.postgres.again(how)

    def _kill_api(self) -> None:
        """While it takes requests in."""
        self._submit()
        time.sleep(self._rng.uniform(0.05, 0.4))
        self._service.api.end(signal.SIGKILL)
        self._service.api.start()
        self._service.api_ready()
