"""From the outbox to the broker: rings every unsent doorbell, and sweeps after workers that fell silent.

Two relays at once do no harm: a doorbell that rings twice finds the job claimed. A broker that is away only delays.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from unlearn.cases.desk import Desk
from unlearn.errors import UnlearnError
from unlearn.rhythm import Rhythm

log = logging.getLogger(__name__)


class Relay(Rhythm):
    """Rings and sweeps; the first turn comes at once.

    Args:
        desk: where doorbells lie.
        ring: tells a worker of a job id; raises Unavailable when it can't.
        seconds: between two turns that sweep; one that `nudge` brings in between only rings, however many submit.
    """

    def __init__(self, desk: Desk, ring: Callable[[str], None], seconds: float) -> None:
        super().__init__("doorbells", seconds)
        self._desk, self._ring = desk, ring
        self._next_sweep = time.monotonic()
        self._unwritten = False

    def turn(self) -> None:
        """Sweep if it is time, and ring what is unsent."""
        if time.monotonic() >= self._next_sweep:
            self._next_sweep = time.monotonic() + self._seconds
            self._desk.sweep()
            self._keep_journal()
        for outbox_id, job_id in self._desk.doorbells():
            self._ring(job_id)
            self._desk.rung([outbox_id])

    def _pause(self) -> float:
        return max(0.0, self._next_sweep - time.monotonic())

    def _keep_journal(self) -> None:
        """What can't be written keeps no bell from ringing."""
        try:
            self._desk.keep_journal()
            self._unwritten = False
        except UnlearnError as error:
            self.failed_turns += 1
            if not self._unwritten:
                log.error("deletions are not journaled: %s", error)
            self._unwritten = True
