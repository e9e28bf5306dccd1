"""The zlib attack: likelier than a general compressor finds plausible. Carlini et al. 2021 (arXiv 2012.07805)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from unlearn.attacks.base import Signals


@dataclass(frozen=True)
class Zlib:
    """Score = -NLL per token / bytes of the compressed text: what repeats itself is no surprise to anybody."""

    def __call__(self, signals: Signals) -> Mapping[str, float]:
        """The score of every scorable record."""
        return signals.each(lambda record, reading: -reading.nll / signals.zlib_bytes[record])
