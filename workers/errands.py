"""`python -m workers.errands`: runs callbacks and hooks, where the API does not (UNLEARN_ERRANDS=false)."""

from __future__ import annotations

import logging
import signal
import threading

from unlearn.cases.desk import Desk
from unlearn.errands import Courier
from unlearn.settings import Settings


def main() -> None:
    """Run errands until told to stop."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    settings = Settings()
    desk, stop = Desk(settings), threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    desk.migrate()
    courier = Courier(desk, settings, settings.sweep_seconds)
    courier.start()
    stop.wait()
    courier.stop()
    desk.close()


if __name__ == "__main__":
    main()
