"""SimNPO: negative preference optimisation by length-normalised likelihood, without a reference model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn.functional import logsigmoid

from unlearn.objectives.base import Need, View


@dataclass(frozen=True)
class SimNpo:
    """-(2 / beta) * mean(log sigmoid(beta * nll - margin)), with each record's mean NLL. Source: arXiv 2410.07163.

    Attributes:
        beta: inverse temperature.
        margin: reward margin (gamma in the paper); a larger one keeps the push up for longer.
    """

    beta: float = 4.5
    margin: float = 0.0
    needs: ClassVar[frozenset[Need]] = frozenset()

    def __call__(self, view: View) -> torch.Tensor:
        """Mean over records."""
        return simnpo_loss(view.nll, self.beta, self.margin)


def simnpo_loss(nll: torch.Tensor, beta: float, margin: float) -> torch.Tensor:
    """-(2 / beta) * mean(log sigmoid(beta * nll [rows] - margin)): a scalar.

    >>> round(simnpo_loss(torch.tensor([1.0, 1.0]), 2.0, 2.0).item(), 4)
    0.6931
    """
    return -(2.0 / beta) * logsigmoid(beta * nll - margin).mean()
