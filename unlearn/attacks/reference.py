"""Attacks that compare the adapter with the base it was trained on, which never saw its data; no second model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from unlearn.attacks.base import Signals
from unlearn.lm.likelihood import Reading, mean_nll


@dataclass(frozen=True)
class Reference:
    """Score = NLL under the base - NLL under the adapter: what the adapter has learned of this record."""

    def __call__(self, signals: Signals) -> Mapping[str, float]:
        """The score of every scorable record, nats per token."""
        return signals.each(lambda record, reading: mean_nll(signals.reference[record]) - reading.nll)


@dataclass(frozen=True)
class ErrorZone:
    """Score = (P - N) / (P + N) over the tokens that the adapter would not have said; in [-1, 1].

    P and N sum the rises and the falls of log p from the base to the adapter there: where a model errs, what it was
    trained on has still become likelier. EZ-MIA (arXiv 2601.12104) takes P / N, which this rises with. A record without
    a fall, or without an error, scores 1: it is known by heart.
    """

    def __call__(self, signals: Signals) -> Mapping[str, float]:
        """The score of every scorable record."""
        return signals.each(lambda record, reading: error_zone(reading, signals.reference[record]))


def error_zone(reading: Reading, reference: np.ndarray) -> float:
    """(P - N) / (P + N) of one record; `reference` is log p of its tokens under the base, [tokens].

    A record that no token of the error zone tells anything about (neither rose nor fell) scores 0.
    """
    if bool(reading.correct.all()):
        return 1.0
    change = (reading.log_probs - reference)[~reading.correct].astype(np.float64)
    rises, falls = change.clip(min=0.0).sum(), -change.clip(max=0.0).sum()
    return float((rises - falls) / (rises + falls)) if rises + falls else 0.0
