"""UNDIAL: distil the model from its own output with the forgotten token's logit turned down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from unlearn.objectives.base import Need, View, needed


@dataclass(frozen=True)
class Undial:
    """mean over tokens of the cross entropy to softmax(z_reference - beta * onehot(y)). Source: arXiv 2402.10052.

    Bounded: the target is a distribution near the original one.

    Attributes:
        beta: by how much the logit of the forgotten token is turned down.
    """

    beta: float = 10.0
    needs: ClassVar[frozenset[Need]] = frozenset({"reference"})

    def __call__(self, view: View) -> torch.Tensor:
        """Mean over scored tokens, nats."""

        def per_token(logits: torch.Tensor, tokens: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
            return undial_loss(logits, tokens, reference, self.beta)

        return needed(view.over_vocabulary, "over_vocabulary")(per_token).mean()


def undial_loss(logits: torch.Tensor, tokens: torch.Tensor, reference: torch.Tensor, beta: float) -> torch.Tensor:
    """Cross entropy of softmax(logits [tokens, vocabulary]) to the turned-down reference: [tokens], nats.

    Args:
        logits: the model's.
        tokens: int64 [tokens], the tokens to forget.
        reference: the original adapter's logits; no gradient goes there.
        beta: by how much the logit of each token in `tokens` is lowered.
    """
    lowered = reference.scatter_add(1, tokens[:, None], reference.new_full((len(tokens), 1), -beta))
    return -(lowered.softmax(1).detach() * logits.log_softmax(1)).sum(1)
