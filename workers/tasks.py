"""The task: a doorbell rang, so carry out the most urgent job. `celery -A workers.tasks worker` runs it.

The worker's parent never imports torch; the child that runs a task does, once, and keeps the base model warm.
"""

from __future__ import annotations

import logging
import os
import socket

from celery.signals import setup_logging

from unlearn import logs
from unlearn.settings import Settings
from workers.queue import TASK, make_app

log = logging.getLogger(__name__)
app = make_app(Settings())


@setup_logging.connect  # type: ignore[untyped-decorator]
def _log(**_given: object) -> None:
    logs.begin(Settings().log_format)


@app.task(name=TASK)  # type: ignore[untyped-decorator]
def fulfil(job_id: str) -> None:
    """Carry out a job: `job_id`, for which the doorbell rang, or a more urgent one."""
    from unlearn.cases.desk import Desk
    from unlearn.clearing import clear
    from unlearn.fulfilment import fulfil as carry_out

    logs.adopt()  # what was imported just now
    settings = Settings()
    desk = Desk(settings)
    try:
        carry_out(job_id, desk=desk, settings=settings, owner=f"{socket.gethostname()}:{os.getpid()}")
        clear(desk, settings)
    except Exception:
        log.exception("the task broke")  # what reaches the worker's parent has no trace
        raise
    finally:
        desk.close()
