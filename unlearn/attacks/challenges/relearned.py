"""A few steps of training: what was only hidden comes back faster than what was never there is learned.

On half of a person's own records, the other half is read, and then the other way round, so that every record is read
by a model that was not taught it; on the retained records that are most like the forgotten ones; or on plain sentences
about nobody. Never-seen people get the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from peft import PeftModel

from unlearn.attacks.panel import NEIGHBOURS, Panel
from unlearn.lm.base import lora_parameters, restore, snapshot
from unlearn.lm.batches import Example
from unlearn.lm.likelihood import head_of, record_nlls, score_examples, token_log_probs

RATE = 1e-3
"""Adam's step size on the LoRA weights."""

NEVER_SEEN = 6
"""Never-seen people who are taught as well, those with most records; the same whoever is to be forgotten."""


@dataclass(frozen=True)
class Relearned:
    """`steps` of Adam on the LoRA weights, every record in every step."""

    on: Literal["own", "neighbours", "unrelated"]
    steps: int

    @property
    def personal(self) -> bool:
        """On the neighbours of whom? On own records everybody is taught apart anyway."""
        return self.on == "neighbours"

    def __call__(self, model: PeftModel, panel: Panel, pad_id: int) -> Mapping[str, float]:
        """NLL of the records that were not trained on."""
        if self.on != "own":
            with taught(model, self._lessons(panel), self.steps, pad_id):
                return record_nlls(model, panel.attacked, pad_id)
        found: dict[str, float] = {}
        for mine in _people(panel):
            halves = mine[::2], mine[1::2]
            for lessons, asked in (halves, halves[::-1]):
                with taught(model, lessons, self.steps, pad_id):
                    found |= record_nlls(model, asked, pad_id)
        return found

    def forwards(self, panel: Panel) -> int:
        """Three passes a step over what is trained on, one over what is read."""
        if self.on != "own":
            return 3 * self.steps * NEIGHBOURS + len(panel.attacked)
        return sum((3 * self.steps + 1) * len(mine) for mine in _people(panel))

    def _lessons(self, panel: Panel) -> list[Example]:
        if self.on == "unrelated":
            return [panel.examples[r.id] for r in panel.general[:NEIGHBOURS]]
        return [panel.examples[record] for record in panel.neighbours]


@contextmanager
def taught(model: PeftModel, lessons: Sequence[Example], steps: int, pad_id: int) -> Iterator[None]:
    """The model after `steps` of training on `lessons`, for a block; then its weights are as they were."""
    before, head = snapshot(model), head_of(model)
    parameters = [parameter for _, parameter in lora_parameters(model)]
    optimizer = torch.optim.Adam(parameters, lr=RATE)
    try:
        for _ in range(steps):
            loss = -token_log_probs(head, score_examples(model, lessons, pad_id)).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
        yield
    finally:
        restore(model, before)
        for parameter in parameters:
            parameter.grad = None


def _people(panel: Panel) -> list[list[Example]]:
    """The records of each forgotten person, and of some never-seen ones, with two records at least; by length."""

    def of(records: Sequence[str], most: int | None) -> list[list[Example]]:
        people: dict[str, list[Example]] = {}
        for record in records:
            people.setdefault(panel.person[record], []).append(panel.examples[record])
        several = [mine for mine in people.values() if len(mine) > 1]
        return several if most is None else sorted(several, key=lambda mine: -len(mine))[:most]

    return of([r.id for r in panel.forget], None) + of([r.id for r in panel.holdout], NEVER_SEEN)
