"""Negative preference optimisation: ascent whose push fades as a record becomes less likely than it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn.functional import logsigmoid

from unlearn.objectives.base import Need, View, needed


@dataclass(frozen=True)
class Npo:
    """-(2 / beta) * mean(log sigmoid(-beta * log(p / p_reference))), with p of the whole answer.

    Tends to ascent as beta tends to 0. Source: arXiv 2404.05868.

    Attributes:
        beta: inverse temperature; how soon the push fades.
    """

    beta: float = 0.1
    needs: ClassVar[frozenset[Need]] = frozenset({"reference"})

    def __call__(self, view: View) -> torch.Tensor:
        """Mean over records."""
        ratio = view.sums(view.log_probs - needed(view.reference_log_probs, "reference_log_probs"))
        return npo_loss(ratio, self.beta)


def npo_loss(log_ratio: torch.Tensor, beta: float) -> torch.Tensor:
    """-(2 / beta) * mean(log sigmoid(-beta * log_ratio [rows])): a scalar; log_ratio is log p - log p_reference.

    >>> round(npo_loss(torch.zeros(2), 2.0).item(), 4)
    0.6931
    """
    return -(2.0 / beta) * logsigmoid(-beta * log_ratio).mean()
