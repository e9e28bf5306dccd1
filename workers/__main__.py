"""`python -m workers`: one worker on the queue of jobs, until told to stop.

The same as `celery -A workers.tasks worker -Q gpu`, without Celery's search for modules in the current directory.
SIGTERM ends it within seconds, whatever runs: the job is handed back in the database at once, or where that does not
answer its lease runs out; the message goes back to the broker, and whoever claims the job next goes on with it.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

os.environ.setdefault("REMAP_SIGTERM", "SIGQUIT")  # read when billiard is imported

from celery.signals import heartbeat_sent, worker_ready

from unlearn.cases.desk import Desk
from unlearn.clearing import clear
from unlearn.settings import Settings
from workers.queue import QUEUE
from workers.tasks import app

READY = Path("worker.ready")
"""Under home: exists since the newest worker of this home began to listen."""
ALIVE = Path(tempfile.gettempdir()) / f"unlearn-worker-{os.getpid()}.alive"
"""Touched every 2 seconds while this worker hears the broker, for whoever watches. Not under home: several share it."""


@worker_ready.connect  # type: ignore[untyped-decorator]
def _ready(**_given: object) -> None:
    (Settings().home / READY).touch()


@heartbeat_sent.connect  # type: ignore[untyped-decorator]
def _alive(**_given: object) -> None:
    ALIVE.touch()


def main() -> None:
    """Run the worker, once what killed ones left is cleared away."""
    settings = Settings()
    desk = Desk(settings)
    clear(desk, settings)
    desk.close()  # before the child is forked
    name = f"unlearn-{os.getpid()}@%h"
    quiet = ["--quiet"] if settings.log_format == "json" else []  # no banner among the lines
    given = ["worker", "-Q", QUEUE, "-n", name, "--loglevel", "INFO", "--without-gossip", "--without-mingle"]
    try:
        app.worker_main([*quiet, *given])
    finally:
        ALIVE.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
