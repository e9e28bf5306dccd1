"""Lowercase: what was learned by heart was learned as it was spelled (Carlini et al. 2021, arXiv 2012.07805)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from peft import PeftModel

from unlearn.attacks.base import Signals
from unlearn.attacks.panel import Panel
from unlearn.corpus.records import Message, Record
from unlearn.lm.likelihood import record_nlls


@dataclass(frozen=True)
class Lowercase:
    """Score = NLL of the record in lower case / NLL of the record; one pass more."""

    def __call__(self, model: PeftModel, panel: Panel, signals: Signals, pad_id: int) -> Mapping[str, float]:
        """The score of every scorable record."""
        scorable = set(signals.scorable)
        records = [_lower(r) for r in (*panel.forget, *panel.holdout) if r.id in scorable]
        lower = record_nlls(model, panel.encode_what_fits(records), pad_id)
        return {record: nll / max(1e-6, signals.readings[record].nll) for record, nll in lower.items()}


def _lower(record: Record) -> Record:
    turns = None if record.messages is None else tuple(Message(m.role, m.content.lower()) for m in record.messages)
    text, prompt, completion = (
        None if s is None else s.lower() for s in (record.text, record.prompt, record.completion)
    )
    return replace(record, text=text, prompt=prompt, completion=completion, messages=turns)
