"""Inverted hinge loss: bounded ascent that hands a forgotten token's probability to the next likely one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from unlearn.objectives.base import Need, View, needed


@dataclass(frozen=True)
class Ihl:
    """mean over tokens of 1 + p(y) - max over v != y of p(v); in [0, 2]. Source: arXiv 2408.06621."""

    needs: ClassVar[frozenset[Need]] = frozenset()

    def __call__(self, view: View) -> torch.Tensor:
        """Mean over scored tokens."""
        return needed(view.over_vocabulary, "over_vocabulary")(ihl_loss).mean()


def ihl_loss(logits: torch.Tensor, tokens: torch.Tensor, _reference: torch.Tensor | None = None) -> torch.Tensor:
    """1 + p(token) - the largest p of another, from logits [tokens, vocabulary]: [tokens]."""
    p = logits.softmax(1)
    own = p.gather(1, tokens[:, None])[:, 0]
    return 1.0 + own - p.scatter(1, tokens[:, None], 0.0).amax(1)
