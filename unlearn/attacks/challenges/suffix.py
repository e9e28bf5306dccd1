"""An adversarial suffix: tokens behind the prompt, searched by gradient until the answer comes (GCG, arXiv 2307.15043).

Such a search makes any model say something; what counts is how much sooner it brings back a forgotten answer than
that of somebody never seen. The tokens are given as they are, not as text: an attacker with the weights needs no text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from peft import PeftModel

from unlearn.attacks.panel import Panel
from unlearn.corpus.records import Record
from unlearn.lm.batches import Example
from unlearn.lm.likelihood import answer_gradient, record_nlls

RECORDS = 4
"""Records that are searched for on either side: those of the longest answers."""

LIKELIEST = 64
"""Replacements of one suffix token that the gradient proposes."""


@dataclass(frozen=True)
class Suffix:
    """Greedy coordinate gradient.

    Attributes:
        steps: replacements of one token.
        candidates: that are tried at each step.
        tokens: length of the suffix.
        seed: of what is drawn.
    """

    steps: int = 8
    candidates: int = 32
    tokens: int = 8
    seed: int = 0
    personal: ClassVar[bool] = False

    def __call__(self, model: PeftModel, panel: Panel, pad_id: int) -> Mapping[str, float]:
        """The lowest NLL of each answer that was found."""
        limit = int(getattr(model.config, "max_position_embeddings", 0)) or None
        return {
            example.id: self._search(model, example, pad_id)
            for example in self._chosen(panel)
            if limit is None or len(example.tokens) + self.tokens <= limit
        }

    def forwards(self, panel: Panel) -> int:
        """Each step: one forward and backward pass, and one forward a candidate."""
        return len(self._chosen(panel)) * (1 + self.steps * (3 + self.candidates))

    def _chosen(self, panel: Panel) -> list[Example]:
        """The longest answers of either side; the never-seen ones are of different people where there are enough."""

        def longest(side: Iterable[Record]) -> list[Example]:
            return sorted((panel.examples[r.id] for r in side), key=lambda e: (-sum(e.scored), e.id))

        unseen = longest(panel.holdout)
        firsts = {panel.person[e.id]: e for e in reversed(unseen)}.values()
        several = sorted(firsts, key=unseen.index)
        return [*longest(panel.forget)[:RECORDS], *(several if len(several) >= RECORDS else unseen)[:RECORDS]]

    def _search(self, model: PeftModel, example: Example, pad_id: int) -> float:
        draw = torch.Generator().manual_seed(self.seed)
        start = max(1, example.scored.index(True))
        suffix = [pad_id] * self.tokens
        best = record_nlls(model, [_with(example, start, suffix)], pad_id)[example.id]
        for _ in range(self.steps):
            gradient = answer_gradient(model, _with(example, start, suffix))[start : start + self.tokens]
            proposed = (-gradient).topk(min(LIKELIEST, gradient.shape[1]), dim=1).indices  # [suffix, k]
            tries = {}
            for number in range(self.candidates):
                place = int(torch.randint(self.tokens, (), generator=draw))
                token = int(proposed[place, int(torch.randint(proposed.shape[1], (), generator=draw))])
                tried = [*suffix[:place], token, *suffix[place + 1 :]]
                tries[str(number)] = tried
            found = record_nlls(model, [replace(_with(example, start, t), id=n) for n, t in tries.items()], pad_id)
            which = min(found, key=lambda name: found[name])
            if found[which] < best:
                best, suffix = found[which], tries[which]
        return best


def _with(example: Example, start: int, suffix: Sequence[int]) -> Example:
    tokens = (*example.tokens[:start], *suffix, *example.tokens[start:])
    return Example(example.id, tokens, (*example.scored[:start], *[False] * len(suffix), *example.scored[start:]))
