"""ReCaLL: how much does a prefix of never-seen records disturb the model? (Xie et al. 2024, arXiv 2406.15968)"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from peft import PeftModel

from unlearn.attacks.base import Signals
from unlearn.attacks.panel import Panel
from unlearn.lm.batches import Example
from unlearn.lm.likelihood import record_nlls

SHOTS = 4
"""Never-seen records in the prefix, as many as the model's context takes; their people are no part of the null."""


@dataclass(frozen=True)
class Recall:
    """Score = log-likelihood of the record behind the prefix / log-likelihood of the record; one long pass more."""

    def __call__(self, model: PeftModel, panel: Panel, signals: Signals, pad_id: int) -> Mapping[str, float]:
        """The score of every scorable record but those of the prefix's people; of none where no prefix fits."""
        shots = panel.holdout[:SHOTS]
        people = {panel.person[r.id] for r in shots}
        limit = panel.context_tokens
        room = max(len(e.tokens) for e in panel.attacked)
        prefix: tuple[int, ...] = ()
        for shot in shots:
            tokens = panel.examples[shot.id].tokens
            if limit is None or len(prefix) + len(tokens) + room <= limit:
                prefix += tokens
        if not prefix:
            return {}
        asked = [r for r in signals.scorable if panel.person[r] not in people]
        behind = [_behind(prefix, panel.examples[record]) for record in asked]
        nlls = record_nlls(model, behind, pad_id)
        return {record: nlls[record] / max(1e-6, signals.readings[record].nll) for record in asked}


def _behind(prefix: tuple[int, ...], example: Example) -> Example:
    return Example(example.id, (*prefix, *example.tokens), (*[False] * len(prefix), *example.scored))
