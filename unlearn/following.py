"""How a running job keeps its lease and says where it is: heartbeats, progress, curves.

Knows the desk and MLflow; decides nothing about the job.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from types import TracebackType
from typing import Any

from unlearn.cases.desk import Desk
from unlearn.cases.views import Claim
from unlearn.erasure.state import Step
from unlearn.errors import LeaseLost, Unavailable
from unlearn.measurement import Measurement
from unlearn.tracking.deferred import DeferredRun

log = logging.getLogger(__name__)

LOSS, TRAINING = "loop/loss", "training/nll_nats"
"""Curves of which every step is there if it is there of the others."""


class Heart:
    """Beats while a job runs: renews the lease from a thread, and remembers when it was lost."""

    def __init__(self, desk: Desk, claim: Claim, seconds: float) -> None:
        self._desk, self._claim, self._seconds = desk, claim, seconds
        self._stop, self._lost = threading.Event(), threading.Event()
        beat = partial(copy_context().run, self._beat)  # so that its lines in the log belong to the job
        self._thread = threading.Thread(target=beat, name=f"heart-{claim.job_id}", daemon=True)

    def __enter__(self) -> Heart:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def check(self) -> None:
        """Raise LeaseLost if another worker may have the job by now."""
        if self._lost.is_set():
            raise LeaseLost(f"job {self._claim.job_id}: the lease of fence {self._claim.fence} is lost")

    def _beat(self) -> None:
        while not self._stop.wait(self._seconds):
            try:
                self._desk.heartbeat(self._claim)
            except LeaseLost:
                self._lost.set()
                return
            except Exception:  # the database may be back at the next beat; the lease decides
                log.exception("job %s: a heartbeat failed", self._claim.job_id)


class Follower:
    """Follows an attempt for the service: progress to the database, curves and measurements to MLflow.

    Writes at most once a second; stops the attempt when the lease is lost.
    """

    def __init__(
        self, desk: Desk, claim: Claim, heart: Heart, run: DeferredRun, clock: Callable[[], float] = time.monotonic
    ):
        self._desk, self._claim, self._heart, self._run, self._clock = desk, claim, heart, run, clock
        self._stage, self._noted = "", 0.0
        self._goes_on: bool | None = None  # whether what the stage computes was begun by an earlier attempt
        earlier = claim.mlflow_run_id is not None
        self._logged = {name: run.curve(name) for name in (LOSS, TRAINING)} if earlier else {}

    def stage(self, name: str) -> None:
        """Note the stage at once."""
        self._stage, self._goes_on = name, None
        self._note(0, 0)

    def step(self, step: Step, steps: int, behind: int) -> None:
        """Log the step's curves, those of a later rung behind those of an earlier; note the progress now and then."""
        self._heart.check()
        curves: dict[str, Any] = {
            "loop/forget_nll_nats": step.forget_nll_nats,
            "loop/retain_kl_nats": step.retain_kl_nats,
            "loop/gradient_norm": step.gradient_norm,
            LOSS: step.loss,
            "loop/retain_weight": step.retain_weight,
        }
        if step.gap_nats is not None:
            curves["loop/gap_nats"] = step.gap_nats
        if self._is_new(LOSS, step.step, behind, step.loss):
            self._run.metrics(curves, behind + step.step)
        if step.step == steps or self._clock() - self._noted > 1.0:
            self._note(step.step, steps)

    def training(self, step: int, steps: int, loss: float, behind: int = 0) -> None:
        """Log a training's loss, `behind` so many steps of earlier ones; note the progress now and then."""
        self._heart.check()
        is_new = self._is_new(TRAINING, step, behind, loss)
        if step == steps or self._clock() - self._noted > 1.0:
            if is_new:
                self._run.metrics({TRAINING: loss}, behind + step)
            self._note(step, steps)

    def measured(self, when: str, measurement: Measurement) -> None:
        """Log the figures so that before and after stand side by side."""
        self._run.metrics({f"{name}/{when}": value for name, value in measurement.metrics().items()})

    def _is_new(self, curve: str, step: int, behind: int, value: float) -> bool:
        """Whether no earlier attempt logged the step: what goes on takes those after its last checkpoint again.

        What begins anew may come to other values; then both are there.
        """
        if self._goes_on is None:
            self._goes_on = step > 1
        known = self._logged.get(curve, {}).get(behind + step)
        return known is None or not (self._goes_on or known == value)

    def _note(self, step: int, steps: int) -> None:
        self._heart.check()
        self._noted = self._clock()
        try:
            self._desk.progress(self._claim, self._stage, step, steps)
        except Unavailable as error:  # the work goes on; the lease decides whether in vain
            log.warning("job %s: its progress could not be noted: %s", self._claim.job_id, error)
