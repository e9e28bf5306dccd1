"""Cross-entropy unlearning: learn what the model itself would say if the forgotten token could not be said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from unlearn.objectives.base import Need, View, needed


@dataclass(frozen=True)
class Ceu:
    """mean over tokens of the cross entropy to the model's own softmax without the forgotten token.

    The first scored tokens of a record are skipped: nothing before them says whose they are. Source: arXiv 2503.01224.

    Attributes:
        skip_first: scored tokens left out at each record's beginning; of a record with no more than that none is.
    """

    skip_first: int = 1
    needs: ClassVar[frozenset[Need]] = frozenset()

    def __call__(self, view: View) -> torch.Tensor:
        """Mean over the scored tokens that count, nats."""
        losses = needed(view.over_vocabulary, "over_vocabulary")(ceu_loss)
        starts = view.lengths.cumsum(0) - view.lengths  # [rows]; tokens lie row by row
        place = torch.arange(len(losses), device=losses.device) - starts[view.rows]
        counts = (place >= self.skip_first) | (view.lengths[view.rows] <= self.skip_first)
        return losses[counts].mean()


def ceu_loss(logits: torch.Tensor, tokens: torch.Tensor, _reference: torch.Tensor | None = None) -> torch.Tensor:
    """Cross entropy of softmax(logits [tokens, vocabulary]) to itself without each of `tokens`: [tokens], nats."""
    others = logits.detach().scatter(1, tokens[:, None], float("-inf")).softmax(1)
    return -(others * logits.log_softmax(1)).sum(1)
