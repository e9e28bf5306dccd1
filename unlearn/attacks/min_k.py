"""Min-K %: a member has few tokens that surprise. Plain (Shi et al., arXiv 2310.16789) and ++ (arXiv 2404.02936)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from unlearn.attacks.base import Signals
from unlearn.attacks.panel import Panel
from unlearn.attacks.statistics import compare
from unlearn.lm.likelihood import Model, Reading, readings


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


def min_40(model: Model, panel: Panel, pad_id: int) -> float | None:
    """AUC of Min-40 %, forget records against the holdout's: what MUSE's PrivLeak is made of (arXiv 2407.06460).

    Args:
        model: with the adapter attached.
        panel: its forget and holdout records are scored.
        pad_id: token that pads.

    Returns:
        The AUC; None without a record to score on either side.
    """
    read = readings(model, panel.attacked, pad_id, panel.decoding)
    scores = MinK(0.4)(Signals(read, panel.reference, panel.zlib_bytes))
    forget, never = ([scores[r.id] for r in side if r.id in scores] for side in (panel.forget, panel.holdout))
    return compare(forget, never).auc if forget and never else None


def lowest(values: np.ndarray, share: float) -> float:
    """Mean of the lowest `share` of `values` [tokens], one at least."""
    count = max(1, int(share * len(values)))
    return float(np.partition(values, count - 1)[:count].mean(dtype=np.float64))
