"""Several who do something at one moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def at_once(act: Callable[[int], Any], count: int = 8, given: type[Exception] | tuple[()] = ()) -> list[Any]:
    """What each of `count` threads gets from `act` of its number; errors of the type `given` count as got."""
    start = threading.Barrier(count)

    def one(number: int) -> Any:
        start.wait(30)
        try:
            return act(number)
        except given as error:
            return error

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(one, range(count)))
