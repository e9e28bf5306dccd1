"""A thread that takes the same turn again and again, with a pause before each, until it is told to stop.

Says once that the database is away, not at every turn. Knows nothing of what is done in a turn.
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
        seconds: of the pause before each turn.
    """

    def __init__(self, name: str, seconds: float) -> None:
        self._name, self._seconds = name, seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

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

    def stop(self) -> None:
        """End after the turn in progress, or without it if it takes too long."""
        self._stop.set()
        self._thread.join(timeout=STOP_SECONDS)

    def _run(self) -> None:
        silent = False
        while not self._stop.wait(self._seconds):
            try:
                self.turn()
                silent = False
            except Unavailable as error:
                if not silent:
                    log.warning("%s wait: %s", self._name, error)
                silent = True
            except Exception:
                log.exception("%s wait; the next turn tries again", self._name)
