"""Gradient ascent: the textbook forget loss, and the baseline that every other is measured against."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Ascent:
    """Minimise -nll, so that the likelihood of the forget records falls.

    Unbounded: nothing in the loss says when a record is forgotten, so it overshoots, and an overshot record is as
    recognisable as a memorised one. Source: the gradient ascent baseline of TOFU,
    arXiv 2401.06121.

    >>> Ascent()(torch.tensor([1.0, 3.0]))
    tensor(-2.)
    """

    def __call__(self, forget_nll: torch.Tensor) -> torch.Tensor:
        """-mean(forget_nll [records]): a scalar, nats per token."""
        return -forget_nll.mean()
