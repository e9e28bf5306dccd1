"""One audit: a model on a split, every attack on the menu, one pass over each record.

Knows models and records; knows no threshold and no verdict.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from peft import PeftModel

from unlearn.attacks import ATTACKS
from unlearn.attacks.base import Signals
from unlearn.attacks.blind import blind_baseline
from unlearn.attacks.extraction import log10_queries
from unlearn.attacks.statistics import compare
from unlearn.corpus.records import Record
from unlearn.errors import ModelError
from unlearn.lm.base import Base
from unlearn.lm.batches import Example, encode
from unlearn.lm.likelihood import PLAIN, Model, Reading, readings, record_log_probs, record_nlls
from unlearn.lm.quantize import quantized
from unlearn.measurement import Group, Measurement, Membership
from unlearn.policy import Decoding

BATCH_TOLERANCE_NATS = {torch.float32: 1e-3}
"""By how much a record's NLL may depend on what it is read beside; in half precision, 0.03."""


@dataclass(frozen=True)
class Panel:
    """The records an audit measures, encoded and read by the base once, and used before and after alike.

    Attributes:
        forget, retain, holdout: the records.
        examples: all of them, encoded, by id.
        reference: log p of the forget and the holdout records' tokens under the base alone, float32 [tokens].
        zlib_bytes: length of their scored texts, compressed.
        decoding: how the adapter is served.
        blind: what texts alone tell of learned and never seen people.
    """

    forget: Sequence[Record]
    retain: Sequence[Record]
    holdout: Sequence[Record]
    examples: Mapping[str, Example]
    reference: Mapping[str, np.ndarray]
    zlib_bytes: Mapping[str, int]
    decoding: Decoding
    blind: Membership | None


def panel(
    base: Base,
    forget: Sequence[Record],
    retain: Sequence[Record],
    holdout: Sequence[Record],
    decoding: Decoding = PLAIN,
) -> Panel:
    """Encode the records of an audit, and read them with the base alone: no later pass needs a second model.

    Args:
        base: with no adapter attached at the time.
        forget: the forget set.
        retain: the retain check, apart from what the loop trains on.
        holdout: the audit half of the holdout.
        decoding: how the adapter is served; extraction is judged under it.

    Raises:
        CorpusError: a record the model can't take.
    """
    records = [*forget, *retain, *holdout]
    examples = {e.id: e for e in encode(records, base.tokenizer, base.files.context_tokens)}
    attacked = [*forget, *holdout]
    reference = record_log_probs(base.model, [examples[r.id] for r in attacked], int(base.tokenizer.pad_token_id))
    sizes = {r.id: len(zlib.compress(_scored_text(r).encode("utf-8"))) for r in attacked}
    return Panel(forget, retain, holdout, examples, reference, sizes, decoding, blind_baseline(retain, holdout))


def audit(model: PeftModel, panel: Panel, pad_id: int, formats: Sequence[str] = ()) -> Measurement:
    """Measure `model` on `panel`: NLLs by record, and each attack's forget records against the holdout's.

    A record of fewer than 8 scored tokens has an NLL, and no attack scores it. An attack without a record to score on
    either side is left out.

    Args:
        model: with the adapter attached.
        panel: what to measure it on.
        pad_id: token that pads.
        formats: of fewer bits, to read forget and holdout records in, too (`unlearn.lm.quantize`).

    Raises:
        ModelError: the figures would mean nothing: the model drops out, an NLL is not finite, an NLL depends on the
            batch, or the adapter says of every record what the base says.
    """
    _check_still(model)
    read = readings(model, list(panel.examples.values()), pad_id, panel.decoding)
    nlls = {record: reading.nll for record, reading in read.items()}
    _check_figures(model, panel, read, pad_id)
    signals = Signals({record: read[record] for record in panel.reference}, panel.reference, panel.zlib_bytes)
    scorable = set(signals.scorable)
    sides = [[r.id for r in side if r.id in scorable] for side in (panel.forget, panel.holdout)]
    membership = {}
    for name, attack in ATTACKS.items() if all(sides) else ():
        scores = attack(signals)
        members, others = ([scores[record] for record in side] for side in sides)
        membership[name] = compare(members, others)
    return Measurement(
        forget=_group(panel.forget, nlls),
        retain=_group(panel.retain, nlls),
        holdout=_group(panel.holdout, nlls),
        membership=membership,
        formats={form: _nlls_in(form, model, panel, pad_id) for form in formats},
        queries={r.id: log10_queries(float(read[r.id].served.sum(dtype=np.float64))) for r in panel.forget},
        blind=panel.blind,
        unscorable=sum(r.id not in scorable for r in panel.forget),
    )


def _nlls_in(form: str, model: PeftModel, panel: Panel, pad_id: int) -> dict[str, float]:
    with quantized(model, form):
        return record_nlls(model, [panel.examples[record] for record in panel.reference], pad_id)


def _check_still(model: Model) -> None:
    if model.training:
        raise ModelError("the model is in training mode, where dropout changes every figure; call model.eval() first")


def _check_figures(model: Model, panel: Panel, read: Mapping[str, Reading], pad_id: int) -> None:
    broken = sorted(record for record, reading in read.items() if not abs(reading.nll) < float("inf"))
    if broken:
        raise ModelError(
            f"the adapter's NLL of {len(broken)} of {len(read)} records is not finite, of '{broken[0]}' for one; "
            "its weights are damaged"
        )
    order = sorted(read, key=lambda record: (len(panel.examples[record].tokens), record))
    for record in {order[0], order[-1]}:
        alone = readings(model, [panel.examples[record]], pad_id)[record].nll
        if abs(alone - read[record].nll) > BATCH_TOLERANCE_NATS.get(model.dtype, 0.03):
            raise ModelError(
                f"the NLL of record '{record}' is {alone:.4f} alone and {read[record].nll:.4f} in a batch: "
                "the model treats padding as text"
            )
    if all(
        np.allclose(read[record].log_probs, reference, rtol=0, atol=1e-4)
        for record, reference in panel.reference.items()
    ):
        raise ModelError("the adapter says of each record what the base says: it was never trained or is not attached")


def _scored_text(record: Record) -> str:
    if record.messages is not None:
        return "\n".join(m.content for m in record.messages if m.role == "assistant")
    return (record.text if record.prompt is None else record.completion) or ""


def _group(records: Sequence[Record], nlls: Mapping[str, float]) -> Group:
    people = {r.id: r.subjects[0] if r.subjects else r.id for r in records}  # a record of nobody stands for itself
    return Group({r.id: nlls[r.id] for r in records}, people)
