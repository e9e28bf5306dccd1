"""Min-K %: a member has few tokens that surprise. Plain (Shi et al., arXiv 2310.16789) and ++ (arXiv 2404.02936)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from unlearn.attacks.base import Signals
from unlearn.lm.likelihood import Reading


@dataclass(frozen=True)
class MinK:
    """Score = mean log p of the share `k` of a record's tokens that are least likely, one at least."""

    k: float = 0.2

    def __call__(self, signals: Signals) -> Mapping[str, float]:
        """The score of every scorable record."""
        return signals.each(lambda record, reading: lowest(reading.log_probs, self.k))


@dataclass(frozen=True)
class MinKPlusPlus:
    """The same of log p standardised by its mean and deviation over the vocabulary at that position.

    A token is compared with what else could have stood there: its log p should be a local maximum if it was learned.
    """

    k: float = 0.2

    def __call__(self, signals: Signals) -> Mapping[str, float]:
        """The score of every scorable record."""
        return signals.each(lambda record, reading: self.score(reading))

    def score(self, reading: Reading) -> float:
        """The score of one record."""
        return lowest((reading.log_probs - reading.means) / reading.deviations, self.k)


def lowest(values: np.ndarray, share: float) -> float:
    """Mean of the lowest `share` of `values` [tokens], one at least."""
    count = max(1, int(share * len(values)))
    return float(np.partition(values, count - 1)[:count].mean(dtype=np.float64))
