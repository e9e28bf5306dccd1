"""Gradient ascent: the textbook forget loss, and the baseline that every other is measured against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from unlearn.objectives.base import Need, View


@dataclass(frozen=True)
class Ascent:
    """Minimise -nll, so that the likelihood of the forget records falls.

    Unbounded: nothing in the loss says when a record is forgotten, so it overshoots, and an overshot record is as
    recognisable as a memorised one. Source: the gradient ascent baseline of TOFU, arXiv 2401.06121.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()

    def __call__(self, view: View) -> torch.Tensor:
        """-mean over records of the record's mean NLL, nats per token."""
        return ascent_loss(view.nll)


def ascent_loss(nll: torch.Tensor) -> torch.Tensor:
    """-mean(nll [rows]): a scalar.

    >>> ascent_loss(torch.tensor([1.0, 3.0]))
    tensor(-2.)
    """
    return -nll.mean()
