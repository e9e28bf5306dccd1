"""Representation misdirection: steer a layer's states on the forget records to one random direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from unlearn.objectives.base import Need, View, needed


@dataclass(frozen=True)
class Rmu:
    """mean over tokens of the squared distance of the states to `coefficient` * u, |u| = 1. arXiv 2403.03218.

    Attributes:
        coefficient: length of the vector that the states are steered to.
        layer: decoder layer; negative counts from the end.
        direction_seed: of u, drawn uniformly from the positive orthant and normalised.
    """

    coefficient: float = 2.0
    layer: int = -2
    direction_seed: int = 0
    needs: ClassVar[frozenset[Need]] = frozenset({"layer"})

    def __call__(self, view: View) -> torch.Tensor:
        """Mean over scored tokens and over the width."""
        return rmu_loss(needed(view.hidden, "hidden"), self.coefficient, self.direction_seed)


def rmu_loss(hidden: torch.Tensor, coefficient: float, seed: int) -> torch.Tensor:
    """mean((hidden [tokens, width] - coefficient * u)^2): a scalar in float32."""
    u = torch.rand(hidden.shape[-1], generator=torch.Generator().manual_seed(seed))
    control = (coefficient * u / u.norm()).to(hidden.device)
    return (hidden.float() - control).square().mean()
