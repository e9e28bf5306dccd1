"""A rhythm: turn after turn, whatever one of them raises, until it is told to stop."""

from __future__ import annotations

from collections.abc import Callable

from polling import until
from unlearn.errors import Unavailable
from unlearn.rhythm import Rhythm


class Turns(Rhythm):
    def __init__(self, *given: Exception, seconds: float = 0.001, long: Callable[[], object] = lambda: None) -> None:
        super().__init__("turns", seconds)
        self.came, self.given, self.long = 0, list(given), long

    def turn(self) -> None:
        self.came += 1
        if self.given:
            raise self.given.pop(0)
        self.long()


def test_it_goes_on_after_what_a_turn_raised_and_says_once_that_the_database_is_away(caplog):
    turns = Turns(Unavailable("away"), Unavailable("away"), ValueError("unforeseen"), Unavailable("away"))
    turns.start()
    until(lambda: turns.came > 5)
    turns.stop()
    assert not turns.is_running
    assert [(line.levelname, line.message) for line in caplog.records] == [
        ("WARNING", "turns wait: away"),
        ("ERROR", "turns wait; the next turn tries again"),
    ]


def test_a_new_outage_is_said_anew(caplog):
    turns = Turns()
    turns.start()
    for outage in (1, 2):
        turns.given.append(Unavailable("away"))
        until(lambda outage=outage: len(caplog.records) == outage)
        came = turns.came
        until(lambda came=came: turns.came > came + 1)
    turns.stop()


def test_stopping_waits_for_no_pause_and_a_long_turn_hears_of_it():
    turns = Turns(seconds=3600)
    turns.start()
    assert turns.is_running
    turns.stop()
    assert (turns.is_running, turns.came) == (False, 0)
    turns = Turns(long=lambda: until(lambda: turns.is_stopping))
    turns.start()
    until(lambda: turns.came)
    turns.stop()
    assert (turns.is_running, turns.came) == (False, 1)
