"""One audit: a model on a split, every attack on the menu, one pass over each record.

Knows models and records; knows no threshold and no verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unlearn.attacks import ATTACKS
from unlearn.attacks.base import Signals
from unlearn.attacks.statistics import compare
from unlearn.corpus.records import Record
from unlearn.lm.base import Base
from unlearn.lm.batches import Example, encode
from unlearn.lm.likelihood import Model, record_nlls
from unlearn.measurement import Group, Measurement


@dataclass(frozen=True)
class Panel:
    """The records an audit measures, encoded once and used before and after alike."""

    forget: Sequence[Record]
    retain: Sequence[Record]
    holdout: Sequence[Record]
    examples: dict[str, Example]


def panel(base: Base, forget: Sequence[Record], retain: Sequence[Record], holdout: Sequence[Record]) -> Panel:
    """Encode the records of an audit.

    Args:
        base: whose tokenizer reads them.
        forget: the forget set.
        retain: the retain check, apart from what the loop trains on.
        holdout: the audit half of the holdout.

    Raises:
        CorpusError: a record the model can't take.
    """
    records = [*forget, *retain, *holdout]
    examples = encode(records, base.tokenizer, base.files.context_tokens)
    return Panel(forget, retain, holdout, {example.id: example for example in examples})


def audit(model: Model, panel: Panel, pad_id: int) -> Measurement:
    """Measure `model` on `panel`: NLLs by record, and each attack's forget records against the holdout's."""
    nlls = record_nlls(model, list(panel.examples.values()), pad_id)
    signals = Signals(nlls)
    membership = {}
    for name, attack in ATTACKS.items():
        scores = attack(signals)
        membership[name] = compare([scores[r.id] for r in panel.forget], [scores[r.id] for r in panel.holdout])
    return Measurement(
        forget=_group(panel.forget, nlls),
        retain=_group(panel.retain, nlls),
        holdout=_group(panel.holdout, nlls),
        membership=membership,
    )


def _group(records: Sequence[Record], nlls: dict[str, float]) -> Group:
    people = {r.id: r.subjects[0] if r.subjects else r.id for r in records}  # a record of nobody stands for itself
    return Group({r.id: nlls[r.id] for r in records}, people)
