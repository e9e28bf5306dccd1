"""SatImp: token weights that join saturation (what is still likely) with importance (what is not yet certain)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from unlearn.objectives.base import Need, View


@dataclass(frozen=True)
class SatImp:
    """mean over tokens of p^beta_1 * (1 - p)^beta_2 * log p; the weight carries no gradient. arXiv 2505.11953.

    Attributes:
        beta_1: exponent of p, the saturation.
        beta_2: exponent of 1 - p, the importance.
    """

    beta_1: float = 5.0
    beta_2: float = 1.0
    needs: ClassVar[frozenset[Need]] = frozenset()

    def __call__(self, view: View) -> torch.Tensor:
        """Mean over scored tokens."""
        return satimp_loss(view.log_probs, self.beta_1, self.beta_2)


def satimp_loss(log_probs: torch.Tensor, beta_1: float, beta_2: float) -> torch.Tensor:
    """mean(p^beta_1 * (1 - p)^beta_2 * log_probs [tokens]), p = exp(log_probs) without gradient: a scalar.

    >>> satimp_loss(torch.tensor([0.5]).log(), 1.0, 1.0).item() == torch.tensor(0.5).log().item() / 4
    True
    """
    p = log_probs.detach().exp()
    return (p.pow(beta_1) * (1.0 - p).pow(beta_2) * log_probs).mean()
