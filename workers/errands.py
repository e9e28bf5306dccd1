"""`python -m workers.errands`: runs callbacks, hooks and purges, where the API does not (UNLEARN_ERRANDS=false).

It rings and sweeps as the API does, so that jobs go on, silent workers lose theirs, and reminders are sent while no API
runs; both at once do no harm.

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
from workers.queue import Bell
from workers.relay import Relay

ALIVE = "errands.alive"
ALIVE_SECONDS = 20.0


def main() -> None:
    """Run errands, purges and the relay until told to stop."""
    settings = Settings()
    logs.begin(settings.log_format)
    desk, bell, stop = Desk(settings), Bell(settings), threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    desk.migrate()
    relay = Relay(desk, bell, settings.sweep_seconds)
    courier = Courier(desk, settings, settings.sweep_seconds)
    sweeper = Sweeper(desk, settings, settings.purge_seconds)
    relay.start()
    courier.start()
    sweeper.start()
    while courier.is_running and relay.is_running and not stop.is_set():
        (settings.home / ALIVE).touch()
        stop.wait(ALIVE_SECONDS)
    sweeper.stop()
    courier.stop()
    relay.stop()
    bell.close()
    desk.close()


if __name__ == "__main__":
    main()
