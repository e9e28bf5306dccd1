"""A run as far as MLflow takes it: an attempt goes on without MLflow, and what can be told later is.

Opened when there is first something to tell. While MLflow is away what it was to get waits here in its order, and is
told once it is back; what it refuses is left out. Knows what `runs` knows, and no job.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException

from unlearn.errors import LeaseLost
from unlearn.tracking.runs import Run

log = logging.getLogger(__name__)

MOST_WAITING = 20_000
"""Calls that are kept for later; of more the oldest go."""

REST_SECONDS = 30.0
"""Before MLflow is asked again after it did not answer; longer if it took long not to answer."""

RESTS = 9.0
"""Rests are so many times longer than MLflow took not to answer: a tenth of an attempt's time at most goes into it."""


class DeferredRun:
    """One run of one attempt. No method raises because of MLflow.

    Args:
        open_: opens the run: a new one, or the one with this id.
        run_id: of an earlier attempt.
        opened: gets the run's id before anything is told to it. What it raises counts as MLflow being away, but for
            LeaseLost.
        clock: in seconds.
    """

    def __init__(
        self,
        open_: Callable[[str | None], Run],
        run_id: str | None,
        opened: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open, self._run_id, self._opened, self._clock = open_, run_id, opened, clock
        self._run: Run | None = None
        self._noted = False
        self._waiting: deque[Callable[[Run], None]] = deque(maxlen=MOST_WAITING)
        self._rests_until = float("-inf")
        self._away = False

    def params(self, values: Mapping[str, Any]) -> None:
        """As the run's."""
        self._tell(lambda run: run.params(values))

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """As the run's, of now whenever they are told."""
        now = time.time()
        self._tell(lambda run: run.metrics(values, step, now))

    def tag(self, values: Mapping[str, str]) -> None:
        """As the run's."""
        self._tell(lambda run: run.tag(values))

    def directory(self, local: Path, name: str | None = None) -> None:
        """As the run's, now or not at all: the files do not wait."""
        if self._told():
            assert self._run is not None  # noqa: S101
            self._ask(partial(self._run.directory, local, name))

    def curve(self, name: str) -> dict[int, float]:
        """As the run's; nothing if MLflow does not say."""
        found: dict[int, float] = {}
        if self._told():
            assert self._run is not None  # noqa: S101
            run = self._run
            self._ask(lambda: found.update(run.curve(name)))
        return found

    def finish(self, *, failed: bool = False) -> None:
        """End the run, and try once more what waits."""
        self._rests_until = float("-inf")
        self._tell(lambda run: run.finish(failed=failed))
        if self._waiting:
            log.warning("MLflow was not told all of this attempt: %d calls are left out", len(self._waiting))

    def _tell(self, call: Callable[[Run], None]) -> None:
        self._waiting.append(call)
        self._told()

    def _told(self) -> bool:
        """Tell what waits; whether nothing waits any more."""
        if self._clock() < self._rests_until or not self._ask(self._begin):
            return False
        if not self._noted:  # it refuses to open the run
            self._rests_until = self._clock() + REST_SECONDS
            return False
        assert self._run is not None  # noqa: S101
        while self._waiting:
            if not self._ask(partial(self._waiting[0], self._run)):
                return False
            self._waiting.popleft()
        return True

    def _begin(self) -> None:
        """Open the run and have its id noted. One of an earlier attempt that is no more is opened anew."""
        if self._run is None:
            try:
                self._run = self._open(self._run_id)
            except MlflowException as error:
                if self._run_id is None or error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                self._run = self._open(None)
        if not self._noted:
            self._opened(self._run.id)
            self._noted = True

    def _ask(self, call: Callable[[], None]) -> bool:
        """Ask MLflow; False if it is away. A refusal is an answer."""
        began = self._clock()
        try:
            call()
        except LeaseLost:
            raise
        except Exception as error:
            if isinstance(error, MlflowException) and error.get_http_status_code() < 500:
                log.warning("MLflow refuses what it is told: %s", error.error_code)
                return True
            if not self._away:  # once an outage
                log.warning("MLflow can't be told of this attempt, which goes on: %s", type(error).__name__)
            self._away = True
            self._rests_until = self._clock() + max(REST_SECONDS, RESTS * (self._clock() - began))
            return False
        self._away = False
        return True
