"""Calibrated ascent: raise each record's NLL to where it would be had it never been trained on, and no further."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from unlearn.objectives.base import Need, View, needed


@dataclass(frozen=True)
class Calibrated:
    """The squared gap of each record's mean NLL to its counterfactual target; its own.

    Bounded below by zero, and two-sided: a record that overshoots is pulled back.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"targets"})

    def __call__(self, view: View) -> torch.Tensor:
        """Mean over records, in squared nats per token."""
        return calibrated_loss(view.nll, needed(view.target_nll, "target_nll"))


def calibrated_loss(nll: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """mean((target [rows] - nll [rows])^2): a scalar.

    >>> calibrated_loss(torch.tensor([1.0, 3.0]), torch.tensor([2.0, 3.0]))
    tensor(0.5000)
    """
    return (target - nll).square().mean()
