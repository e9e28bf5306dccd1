"""From the outbox to the broker: rings every unsent doorbell, and sweeps after workers that fell silent.

Two relays at once do no harm: a doorbell that rings twice finds the job claimed. A broker that is away only delays.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from unlearn.cases.desk import Desk
from unlearn.errors import Unavailable, UnlearnError

log = logging.getLogger(__name__)


class Relay:
    """A thread that rings and sweeps until it is stopped.

    Args:
        desk: where doorbells lie.
        ring: tells a worker of a job id; raises Unavailable when it can't.
        seconds: between two rounds that sweep; `nudge` begins one at once that only rings, however many submit.
    """

    def __init__(self, desk: Desk, ring: Callable[[str], None], seconds: float) -> None:
        self._desk, self._ring, self._seconds = desk, ring, seconds
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        self._silent = self._unwritten = False
        self.failed_rounds = 0
        """Since this process began: rounds that the broker, the database or an error cut short."""

    @property
    def is_running(self) -> bool:
        """Whether it has begun and not ended."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the round in progress."""
        self._stop.set()
        self._wake.set()
        self._thread.join()

    def nudge(self) -> None:
        """Begin a round now: something was put into the outbox."""
        self._wake.set()

    def round(self) -> int:
        """Sweep, then ring what is unsent; how many doorbells rang."""
        self._desk.sweep()
        return self._ring_all()

    def _ring_all(self) -> int:
        count = 0
        for outbox_id, job_id in self._desk.doorbells():
            self._ring(job_id)
            self._desk.rung([outbox_id])
            count += 1
        return count

    def _keep_journal(self) -> None:
        """What can't be written keeps no bell from ringing."""
        try:
            self._desk.keep_journal()
            self._unwritten = False
        except UnlearnError as error:
            self.failed_rounds += 1
            if not self._unwritten:
                log.error("deletions are not journaled: %s", error)
            self._unwritten = True

    def _run(self) -> None:
        next_sweep = time.monotonic()
        while not self._stop.is_set():
            try:
                if time.monotonic() >= next_sweep:
                    next_sweep = time.monotonic() + self._seconds
                    self._desk.sweep()
                    self._keep_journal()
                self._ring_all()
                self._silent = False
            except Unavailable as error:
                self.failed_rounds += 1
                if not self._silent:  # once an outage, not once a round
                    log.warning("doorbells wait: %s", error)
                self._silent = True
            except Exception:
                self.failed_rounds += 1
                log.exception("a round of the relay failed; the next one tries again")
            self._wake.wait(max(0.0, next_sweep - time.monotonic()))
            self._wake.clear()
