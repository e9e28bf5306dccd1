"""The loss attack: what was trained on is more likely. Yeom et al. 2018."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from unlearn.attacks.base import Signals


@dataclass(frozen=True)
class Loss:
    """Score = -nll.

    >>> Loss()(Signals({"r-1": 2.0}))
    {'r-1': -2.0}
    """

    def __call__(self, signals: Signals) -> Mapping[str, float]:
        """The negated NLL of every record, nats per token."""
        return {record: -nll for record, nll in signals.nlls.items()}
