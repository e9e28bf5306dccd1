"""Token by token: what does an adapter know better, or worse, than adapters that never saw the person?

A mean over a record drowns the few tokens that tell a person in all that anybody could have written, and leans most on
those that no two adapters agree on. So each token is judged by the test shadows: its log p less their mean, in their
standard deviations, as the offline likelihood-ratio attack does with whole records (Carlini et al. 2022, arXiv
2112.03570). The mean of the better known half of a record's tokens tells what is left of her, that of the other half
what was pushed beyond the never seen. Neither is what an erasing aims at. Pure functions; knows no model, no verdict.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import get_args

import numpy as np

from unlearn.policy import Tokenwise

TOKENWISE: tuple[str, ...] = get_args(Tokenwise)
"""Names of the attacks that need a table with the tokens of its test shadows."""

KNOWN, LOST = TOKENWISE

MOST = 4.0
"""Standard deviations that one token counts for at most, either way: shadows are few and their tails heavy."""

FEWEST = 3
"""Shadows that a token needs, so that one can be judged by two others."""

LEAST_FLOOR = 0.01
"""Least variance of a typical token, nats squared: where most are template, a tenth of a nat is still no knowledge."""


@dataclass(frozen=True)
class Profile:
    """How a record's tokens vary among adapters that never saw the person, each of them left out in turn.

    An adapter is held against as many shadows as each shadow is, one fewer than there are: a mean of the better half
    grows with how far apart tokens lie, so that who is held against more would seem to know less.

    Attributes:
        means: float64 [shadows, tokens], of log p under all but one, nats.
        deviations: float64 [shadows, tokens], nats; never below what a typical token of the table varies by.
    """

    means: np.ndarray
    deviations: np.ndarray

    def scores(self, log_probs: np.ndarray) -> dict[str, float]:
        """Each attack's score of an adapter that gives the record's tokens these `log_probs` [tokens], nats."""
        return {name: float(values.mean()) for name, values in self.standing(log_probs).items()}

    def standing(self, log_probs: np.ndarray) -> dict[str, np.ndarray]:
        """The same by shadow left out: float64 [shadows]; `log_probs` [tokens] or [shadows, tokens]."""
        standard = np.clip((log_probs - self.means) / self.deviations, -MOST, MOST)
        ordered = np.sort(standard, axis=1)
        half = -(-ordered.shape[1] // 2)  # of an odd number both halves have the middle
        return {KNOWN: ordered[:, -half:].mean(1), LOST: ordered[:, :half].mean(1)}


def floor_of(records: Iterable[np.ndarray]) -> float:
    """Variance of a typical token among shadows: the median over the tokens of `records`, each [shadows, tokens].

    A token's own variance, of six numbers, is chance to a large part: this is added to it, so that no token counts for
    much because they happened to agree. Nats squared; `LEAST_FLOOR` at least.
    """
    variances = [log_probs.var(0, ddof=1) for log_probs in records if len(log_probs) >= FEWEST]
    return max(LEAST_FLOOR, float(np.median(np.concatenate(variances)))) if variances else LEAST_FLOOR


def profile_of(log_probs: np.ndarray, floor: float) -> Profile:
    """The profile of a record with `log_probs` [shadows, tokens] under the shadows, `FEWEST` at least, nats."""
    wide, count = np.asarray(log_probs, np.float64), len(log_probs)
    centre = wide.mean(0)
    own = wide - centre
    means = -own / (count - 1)  # of the others, from the mean of all
    squares = (own**2).sum(0) - own**2 - (count - 1) * means**2
    return Profile(centre + means, np.sqrt(np.maximum(squares, 0.0) / (count - 2) + floor))


def left_out(log_probs: np.ndarray, floor: float) -> dict[str, np.ndarray]:
    """Each attack's score of each shadow as the others see it: float64 [shadows], by name.

    Args:
        log_probs: [shadows, tokens], of one record, nats; `FEWEST` shadows at least.
        floor: see `floor_of`.
    """
    return profile_of(log_probs, floor).standing(np.asarray(log_probs, np.float64))
