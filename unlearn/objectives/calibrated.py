"""Calibrated ascent: raise each record's NLL to where it would be had it never been trained on, and no further."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch.nn.functional import huber_loss

from unlearn.objectives.base import Need, View, needed

Shape = Literal["squared", "huber", "hinge"]


@dataclass(frozen=True)
class Calibrated:
    """record_weight * gap of each record's mean NLL to its target  +  distribution_weight * KL(target || model); ours.

    Bounded below by zero, and two-sided: a record that overshoots is pulled back (but for the hinge). The first term
    sets the level of every record. The second, which only a shadow table allows, sets what the model says instead:
    membership attacks that read the whole distribution at a token (Min-K++) find nothing there either.

    Attributes:
        record_weight: of the gap.
        distribution_weight: of the KL over the target's likeliest tokens and the rest's mass; not used without them.
        shape: of the gap: its square; Huber's, which a far record does not rule; or a one-sided hinge, squared.
        huber_nats: where Huber's shape turns from square to straight.
    """

    record_weight: float = 20.0
    distribution_weight: float = 30.0
    shape: Shape = "squared"
    huber_nats: float = 0.5
    needs: ClassVar[frozenset[Need]] = frozenset({"targets"})

    def __call__(self, view: View) -> torch.Tensor:
        """Mean over records of both terms; nats per token squared, and nats per token."""
        gap = calibrated_loss(view.nll, needed(view.target_nll, "target_nll"), self.shape, self.huber_nats)
        if view.target_top is None or not self.distribution_weight:
            return self.record_weight * gap
        kl = top_kl(needed(view.at_top, "at_top"), view.target_top)
        return self.record_weight * gap + self.distribution_weight * view.means(kl).mean()


def calibrated_loss(
    nll: torch.Tensor, target: torch.Tensor, shape: Shape = "squared", huber_nats: float = 0.5
) -> torch.Tensor:
    """Mean over records of a function of target [rows] - nll [rows], nats per token: a scalar.

    >>> calibrated_loss(torch.tensor([1.0, 3.0]), torch.tensor([2.0, 3.0]))
    tensor(0.5000)
    """
    if shape == "huber":
        return 2.0 * huber_loss(nll, target, delta=huber_nats)  # twice: a small gap then costs its square
    gap = target - nll
    return (gap.clamp_min(0.0) if shape == "hinge" else gap).square().mean()


def top_kl(log_q: torch.Tensor, top_log_probs: torch.Tensor) -> torch.Tensor:
    """KL(target || model) over the target's k likeliest tokens and the mass of all the others: [tokens], nats.

    A lower bound of the whole KL (merging outcomes never raises it). Differentiable in `log_q`.

    Args:
        log_q: float32 [tokens, k], log p of the target's likeliest tokens under the model.
        top_log_probs: float32 [tokens, k], the same under the target.
    """
    p = top_log_probs.exp()
    rest_p, rest_q = ((1.0 - mass.sum(1)).clamp_min(1e-6) for mass in (p, log_q.exp()))
    return (p * (top_log_probs - log_q)).sum(1) + rest_p * (rest_p.log() - rest_q.log())
