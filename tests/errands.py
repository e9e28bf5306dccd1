"""What the desk planned to be done outside, done at once."""

from __future__ import annotations

from unlearn.cases.desk import Desk
from unlearn.errands import run_errand
from unlearn.settings import Settings


def run_errands(desk: Desk, settings: Settings) -> int:
    """Run what is due, one after another; how many were run."""
    count = 0
    while (task := desk.take_errand()) is not None:
        run_errand(desk, settings, task)
        count += 1
    return count
