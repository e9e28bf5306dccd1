"""What an attack offers, and the signals it may look at. Knows no model: two passes have made the signals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from unlearn.lm.likelihood import Reading

FEWEST_TOKENS = 8
"""Scored tokens below which a record is unscorable: its score would say more about its length than about its past."""


@dataclass(frozen=True)
class Signals:
    """What is known of each record, by record id.

    Attributes:
        readings: under the adapter.
        reference: log p of the same tokens under the base alone, float32 [tokens].
        zlib_bytes: length of the scored text, compressed.
    """

    readings: Mapping[str, Reading]
    reference: Mapping[str, np.ndarray]
    zlib_bytes: Mapping[str, int]

    @property
    def scorable(self) -> Iterator[str]:
        """Records with enough scored tokens."""
        return (record for record, reading in self.readings.items() if len(reading.log_probs) >= FEWEST_TOKENS)

    def each(self, score: Callable[[str, Reading], float]) -> dict[str, float]:
        """`score` of every scorable record and its reading, by record id."""
        return {record: score(record, self.readings[record]) for record in self.scorable}


class Attack(Protocol):
    """A membership attack: a frozen, callable dataclass. Larger scores mean member, always."""

    def __call__(self, signals: Signals) -> Mapping[str, float]:
        """The score of every scorable record, by record id; finite."""
        ...
