"""The Celery app and the doorbell. A message holds a job id and nothing else; the database is the truth.

Importing this file needs no torch, so the API can ring. The settings' reasons: a job runs long, so nothing may
redeliver it early (visibility timeout in all three places; no ETA anywhere); a worker that dies hands its message back
(late acknowledgement); lost or repeated messages do no harm, because claims are made in the database. Nothing but jobs
on adapters goes this way: callbacks, hooks, sweeps and reminders are the errands' and the relay's.
"""

from __future__ import annotations

import os
from pathlib import Path

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from unlearn.errors import Unavailable
from unlearn.settings import Settings

QUEUE = "gpu"
TASK = "unlearn.fulfil"
MARGIN_SECONDS = 3600
"""How much longer than the longest job a message stays with who took it."""
CONTAINER = Path("/sys/fs/cgroup/memory.max")
"""The memory limit of this process's container (Linux control groups, version 2)."""


def make_app(settings: Settings) -> Celery:
    """The Celery app of these settings; it connects when it is used."""
    app = Celery("unlearn", set_as_current=False)
    visibility_seconds = settings.job_limit_seconds + MARGIN_SECONDS
    app.backend_cls = "disabled"  # results live in the database, also where CELERY_RESULT_BACKEND is set
    app.conf.update(
        # Both by name: CELERY_BROKER_URL, which another project may have set, would override `broker_url`.
        broker_read_url=settings.effective_broker_url,
        broker_write_url=settings.effective_broker_url,
        broker_transport_options={
            "visibility_timeout": visibility_seconds,
            "unacked_restore_interval": 10,
            "unacked_restore_throttle": 3,
            "global_keyprefix": "unlearn:",
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 25,
            "max_retries": 1,  # of one connecting to ring; the relay and the worker try again anyway
            "interval_start": 0,
        },
        visibility_timeout=visibility_seconds,
        result_backend_transport_options={"visibility_timeout": visibility_seconds},
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        task_publish_retry=False,  # the outbox keeps what could not be sent
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_time_limit=settings.job_limit_seconds,
        task_default_queue=QUEUE,
        worker_prefetch_multiplier=1,
        worker_concurrency=1,
        worker_max_memory_per_child=most_memory_kib(settings),
        worker_pool="prefork",
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
    )
    return app


def most_memory_kib(settings: Settings) -> int:
    """Peak memory above which a worker's child ends after its job, and its base model with it.

    Below, the child and the base stay: a limit under what one job takes would have every job load the base anew.
    """
    if settings.worker_max_memory_mb is not None:
        return settings.worker_max_memory_mb * 1024
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        container = int(CONTAINER.read_text())
    except (OSError, ValueError):  # none, or "max"
        container = machine
    return min(machine, container) * 3 // 4 // 1024


class Bell:
    """Rings for jobs."""

    def __init__(self, settings: Settings) -> None:
        self._app = make_app(settings)

    def __call__(self, job_id: str) -> None:
        """Tell a worker of the job; Unavailable if the broker can't be reached."""
        try:
            self._app.send_task(TASK, args=[job_id], queue=QUEUE)
        except (OperationalError, RedisError, OSError) as error:
            raise Unavailable(f"the broker can't be reached: {type(error).__name__}") from error

    def check(self) -> None:
        """Ask the broker for an answer; Unavailable if it gives none."""
        try:
            with self._app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, timeout=2)
        except (OperationalError, RedisError, OSError) as error:
            raise Unavailable(f"the broker does not answer: {type(error).__name__}") from error

    def close(self) -> None:
        """Close the connections."""
        self._app.close()
