"""Outlives its parent by a moment, to take the parent's children with it.

Reads process groups from standard input, one a line: "+N" to watch, "-N" to let go. When the input ends, because the
parent is gone, it ends every group it still watches. Run as a program; imports nothing of ours.
"""

import contextlib
import os
import signal
import sys
import time

PATIENCE_SECONDS = 3.0


def main() -> None:
    """Watch until the input ends, then end what is left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line)
        if group > 0:
            groups.add(group)
        else:
            groups.discard(-group)
    _signal(groups, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and any(_alive(group) for group in groups):
        time.sleep(0.05)
    _signal(groups, signal.SIGKILL)


def _signal(groups: set[int], number: int) -> None:
    for group in groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, number)


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    main()
