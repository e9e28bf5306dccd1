"""`python -m workers.errands`: runs callbacks, hooks and purges, where the API does not (UNLEARN_ERRANDS=false).

Touches `errands.alive` under home every 20 seconds while it does, for whoever watches from outside.
"""

from __future__ import annotations

import signal
import threading

from unlearn import logs
from unlearn.cases.desk import Desk
from unlearn.errands import Courier
from unlearn.purging import Sweeper
from unlearn.settings import Settings

ALIVE = "errands.alive"
ALIVE_SECONDS = 20.0


def main() -> None:
    """Run errands and purges until told to stop."""
    settings = Settings()
    logs.begin(settings.log_format)
    desk, stop = Desk(settings), threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    desk.migrate()
    courier = Courier(desk, settings, settings.sweep_seconds)
    sweeper = Sweeper(desk, settings, settings.purge_seconds)
    courier.start()
    sweeper.start()
    while courier.is_running and not stop.is_set():
        (settings.home / ALIVE).touch()
        stop.wait(ALIVE_SECONDS)
    sweeper.stop()
    courier.stop()
    desk.close()


if __name__ == "__main__":
    main()
