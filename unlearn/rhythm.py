"""A thread that takes the same turn again and again, with a pause before each, until it is told to stop.

Says once an outage that somebody is away, not at every turn. Knows nothing of what is done in a turn.
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod

from unlearn.errors import Unavailable

log = logging.getLogger(__name__)

STOP_SECONDS = 30.0
"""How long a turn in progress is waited for."""


class Rhythm(ABC):
    """What takes the turns; it begins with `start`.

    Args:
        name: what is done, in the plural; the thread's name, and the log's word for what waits.
        seconds: of the pause before each turn; `nudge` ends one.
    """

    def __init__(self, name: str, seconds: float) -> None:
        self._name, self._seconds = name, seconds
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.failed_turns = 0
        """Since this process began: turns that something cut short."""

    @abstractmethod
    def turn(self) -> None:
        """Do it once; what this raises is logged, and the next turn comes all the same."""

    @property
    def is_running(self) -> bool:
        """Whether it has begun and not ended."""
        return self._thread.is_alive()

    @property
    def is_stopping(self) -> bool:
        """Whether it was told to stop: a long turn looks here now and then."""
        return self._stop.is_set()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def nudge(self) -> None:
        """Take the next turn now."""
        self._wake.set()

    def stop(self) -> None:
        """End after the turn in progress, or without it if it takes too long."""
        self._stop.set()
        self._wake.set()
        self._thread.join(timeout=STOP_SECONDS)

    def _pause(self) -> float:
        """Seconds until the next turn."""
        return self._seconds

    def _run(self) -> None:
        silent = False
        while True:
            self._wake.wait(self._pause())
            self._wake.clear()
            if self.is_stopping:
                return
            try:
                self.turn()
                silent = False
            except Unavailable as error:
                self.failed_turns += 1
                if not silent:
                    log.warning("%s wait: %s", self._name, error)
                silent = True
            except Exception:
                self.failed_turns += 1
                log.exception("%s wait; the next turn tries again", self._name)
