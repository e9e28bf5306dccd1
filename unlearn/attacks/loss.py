"""The loss attack: what was trained on is more likely. Yeom et al. 2018."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from unlearn.attacks.base import Signals


@dataclass(frozen=True)
class Loss:
    """Score = -NLL, nats per token."""

    def __call__(self, signals: Signals) -> Mapping[str, float]:
        """The score of every scorable record."""
        return signals.each(lambda record, reading: -reading.nll)
