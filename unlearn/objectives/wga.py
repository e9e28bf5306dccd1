"""Weighted gradient ascent: token by token, the likelier a token still is, the harder the push."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from unlearn.objectives.base import Need, View


@dataclass(frozen=True)
class Wga:
    """mean over tokens of p^beta * log p; the weight carries no gradient. Source: arXiv 2502.19301.

    Attributes:
        beta: exponent of the weight; 0 is ascent over tokens.
    """

    beta: float = 1.0
    needs: ClassVar[frozenset[Need]] = frozenset()

    def __call__(self, view: View) -> torch.Tensor:
        """Mean over scored tokens."""
        return wga_loss(view.log_probs, self.beta)


def wga_loss(log_probs: torch.Tensor, beta: float) -> torch.Tensor:
    """mean(p^beta * log_probs [tokens]), p = exp(log_probs) without gradient: a scalar.

    >>> wga_loss(torch.tensor([0.5, 0.25]).log(), 1.0).item() == -(0.5 + 0.5) * torch.tensor(2.0).log().item() / 2
    True
    """
    weight = log_probs.detach().exp().pow(beta)
    return (weight * log_probs).mean()
