"""Prefer a plausible other answer: direct preference optimisation of alternates over a record's own answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from unlearn.objectives.base import Need, View
from unlearn.objectives.dpo import preference


@dataclass(frozen=True)
class AltPo:
    """DPO with answers of the base alone, sampled, as the preferred ones. Source: arXiv 2409.13474.

    Attributes:
        beta: inverse temperature.
    """

    beta: float = 0.1
    needs: ClassVar[frozenset[Need]] = frozenset({"reference", "alternates"})

    def __call__(self, view: View) -> torch.Tensor:
        """Mean over records."""
        return preference(view, self.beta)
