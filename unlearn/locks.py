"""One holder at a time on this machine, or several who share. Knows nothing of what is held."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

from unlearn.errors import Unavailable

POLL_SECONDS = 0.05


def hold(path: Path, seconds: float, busy: str, *, shared: bool = False) -> int:
    """Hold the lock file `path`; the kernel lets go when the last process with the descriptor has closed it or ended.

    Args:
        path: made if it is not there.
        seconds: how long the present holder may take to end.
        busy: the message when it does not.
        shared: with others who share it; whoever does not must wait for all of them.

    Returns:
        The descriptor; children get it only if it is handed to them.

    Raises:
        Unavailable: somebody else holds it, still after `seconds`.
    """
    held = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(held, kind | fcntl.LOCK_NB)
            return held
        if time.monotonic() > deadline:
            os.close(held)
            raise Unavailable(busy)
        time.sleep(POLL_SECONDS)
