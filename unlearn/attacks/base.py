"""What an attack offers, and the signals it may look at. Knows no model: one pass has made the signals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Signals:
    """What one teacher-forced pass says of each record.

    Attributes:
        nlls: mean NLL of the scored tokens, nats per token, by record id.
    """

    nlls: Mapping[str, float]


class Attack(Protocol):
    """A membership attack: a frozen, callable dataclass. Larger scores mean member, always."""

    def __call__(self, signals: Signals) -> Mapping[str, float]:
        """The score of every record in `signals`, by record id."""
        ...
