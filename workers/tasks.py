"""The task: a doorbell rang, so carry out the job. `celery -A workers.tasks worker` runs it.

The worker's parent never imports torch; the child that runs a task does, once, and keeps the base model warm.
"""

from __future__ import annotations

import logging
import os
import socket

from celery.signals import setup_logging

from unlearn.settings import Settings
from workers.queue import TASK, make_app

app = make_app(Settings())


@setup_logging.connect  # type: ignore[untyped-decorator]
def _log(**_given: object) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")


@app.task(name=TASK)  # type: ignore[untyped-decorator]
def fulfil(job_id: str) -> None:
    """Carry out the job `job_id`."""
    from unlearn.cases.desk import Desk
    from unlearn.fulfilment import fulfil as carry_out

    settings = Settings()
    desk = Desk(settings)
    try:
        carry_out(job_id, desk=desk, settings=settings, owner=f"{socket.gethostname()}:{os.getpid()}")
    finally:
        desk.close()
