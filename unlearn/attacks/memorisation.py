"""How much of a record comes out by itself when the model is led through it; greedy, from the same pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from unlearn.attacks.base import Signals


@dataclass(frozen=True)
class ExactMemorisation:
    """Score = share of tokens that the model would say itself, given all before; in [0, 1]."""

    def __call__(self, signals: Signals) -> Mapping[str, float]:
        """The score of every scorable record."""
        return signals.each(lambda record, reading: float(reading.correct.mean()))


@dataclass(frozen=True)
class ExtractionStrength:
    """Score = share of the record that follows by itself from the rest: 1 - k / T for the shortest sufficient prefix k.

    Where even the last token is wrong this is 0, and not 1 / T.
    """

    def __call__(self, signals: Signals) -> Mapping[str, float]:
        """The score of every scorable record; in [0, 1]."""
        return signals.each(lambda record, reading: suffix(reading.correct) / len(reading.correct))


def suffix(correct: np.ndarray) -> int:
    """Length of the run of True at the end of `correct` [tokens]."""
    wrong = np.flatnonzero(~correct)
    return len(correct) - 1 - int(wrong[-1]) if len(wrong) else len(correct)
