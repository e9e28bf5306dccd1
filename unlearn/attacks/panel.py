"""The records an audit measures, encoded and read by the base once; before and after are measured on the same.

Knows a base with nothing attached, and records; knows no adapter and no threshold.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from peft import PeftModel

from unlearn.attacks import ATTACKS
from unlearn.attacks.base import Signals
from unlearn.attacks.blind import blind_baseline
from unlearn.attacks.null import SERVED, Shadowed
from unlearn.corpus.neighbours import similarities
from unlearn.corpus.records import Record
from unlearn.errors import CorpusError, ModelError
from unlearn.lm.base import Base
from unlearn.lm.batches import Example, encode
from unlearn.lm.likelihood import PLAIN, UNSAYABLE, readings, record_log_probs, record_nlls
from unlearn.lm.quantize import quantized
from unlearn.measurement import Membership
from unlearn.policy import Decoding

NEIGHBOURS = 16
"""Records of the retain check that count as the forget set's neighbours: collateral damage shows there first."""

Reader = Callable[[PeftModel, Sequence[Example]], Mapping[str, Mapping[str, float]]]


@dataclass(frozen=True)
class Panel:
    """The records an audit measures, encoded and read by the base once, and used before and after alike.

    Attributes:
        forget, retain, holdout, general: the records; the last are plain sentences about nobody.
        examples: all of them, encoded, by id.
        reference: log p of the forget and the holdout records' tokens under the base alone, float32 [tokens].
        zlib_bytes: length of their scored texts, compressed.
        decoding: how the adapter is served.
        blind: what texts alone tell of learned and never seen people.
        person: of each record; of a forget record the one to forget.
        shadows: what the test shadows of a table say of the forget records.
        encode: how more texts are encoded for the same model.
        context_tokens: longest that the model takes; None: any length.
        retain_reference: as `reference`, of the retain check.
        neighbours: ids of those of the retain check that read most like the forget set.
    """

    forget: Sequence[Record]
    retain: Sequence[Record]
    holdout: Sequence[Record]
    examples: Mapping[str, Example]
    reference: Mapping[str, np.ndarray]
    zlib_bytes: Mapping[str, int]
    decoding: Decoding
    blind: Membership | None
    person: Mapping[str, str]
    shadows: Shadowed | None
    encode: Callable[[Sequence[Record]], list[Example]]
    general: Sequence[Record]
    context_tokens: int | None
    retain_reference: Mapping[str, np.ndarray]
    neighbours: Sequence[str]

    def encode_what_fits(self, records: Sequence[Record]) -> list[Example]:
        """Encode `records`, without those that are too long for the model or leave no token to score."""
        found = []
        for record in records:
            with suppress(CorpusError):
                found += self.encode([record])
        return found

    @property
    def attacked(self) -> list[Example]:
        """The forget and the holdout records, encoded."""
        return [self.examples[record] for record in self.reference]


def panel(
    base: Base,
    forget: Sequence[Record],
    retain: Sequence[Record],
    holdout: Sequence[Record],
    decoding: Decoding = PLAIN,
    is_forgotten: Callable[[str], bool] = lambda subject: True,
    shadows: Shadowed | None = None,
    general: Sequence[Record] = (),
) -> Panel:
    """Encode the records of an audit, and read them with the base alone: no later pass needs a second model.

    Args:
        base: with no adapter attached at the time.
        forget: the forget set.
        retain: the retain check, apart from what the loop trains on.
        holdout: the audit half of the holdout.
        decoding: how the adapter is served; extraction is judged under it.
        is_forgotten: which of a forget record's subjects is to be forgotten.
        shadows: what the test shadows of a table say of the forget records.
        general: plain sentences about nobody; cut to what the model takes.

    Raises:
        CorpusError: a record the model can't take.
        ModelError: an adapter is attached.
    """
    if any(hasattr(module, "get_delta_weight") for module in base.model.modules()):
        raise ModelError("an adapter is attached to the base; make the panel before, or it would stand for the base")
    records = [*forget, *retain, *holdout]
    limit = base.files.context_tokens
    examples = {e.id: Example(e.id, e.tokens[:limit], e.scored[:limit]) for e in encode(general, base.tokenizer, None)}
    examples |= {e.id: e for e in encode(records, base.tokenizer, limit)}
    attacked = [*forget, *holdout]
    pad_id = int(base.tokenizer.pad_token_id)
    reference = record_log_probs(base.model, [examples[r.id] for r in attacked], pad_id)
    sizes = {r.id: len(zlib.compress(_scored_text(r).encode("utf-8"))) for r in attacked}
    # a record of nobody stands for itself
    people = {r.id: next((s for s in r.subjects if is_forgotten(s)), r.id) for r in forget}
    people |= {r.id: r.subjects[0] if r.subjects else r.id for r in (*retain, *holdout)}

    def encoded(more: Sequence[Record]) -> list[Example]:
        return encode(more, base.tokenizer, limit)

    blind = blind_baseline(retain, holdout)
    return Panel(
        forget=forget,
        retain=retain,
        holdout=holdout,
        examples=examples,
        reference=reference,
        zlib_bytes=sizes,
        decoding=decoding,
        blind=blind,
        person=people,
        shadows=shadows,
        encode=encoded,
        general=general,
        context_tokens=limit,
        retain_reference=record_log_probs(base.model, [examples[r.id] for r in retain], pad_id),
        neighbours=[retain[i].id for i in np.argsort(-similarities(retain, forget), kind="stable")[:NEIGHBOURS]],
    )


def in_form(form: str) -> str:
    """Name of the loss attack's scores in a format of fewer bits."""
    return f"loss in {form}"


def shadow_scores(deployed: str | None) -> list[str]:
    """Names of what a shadow table keeps of a test shadow, in its order."""
    return [*ATTACKS, SERVED, *(() if deployed is None else (in_form(deployed),))]


def shadow_reader(base: Base, records: Sequence[Record], decoding: Decoding, deployed: str | None = None) -> Reader:
    """What a shadow table keeps of a test shadow: every attack's score of a record, and its log p as served.

    Args:
        base: with no adapter attached at the time.
        records: train and holdout.
        decoding: how the adapter is served.
        deployed: the format of fewer bits that is served, if there is one; the loss attack's scores in it are kept too.
    """
    pad_id = int(base.tokenizer.pad_token_id)
    examples = encode(records, base.tokenizer, base.files.context_tokens)
    reference = record_log_probs(base.model, examples, pad_id)
    sizes = {r.id: len(zlib.compress(_scored_text(r).encode("utf-8"))) for r in records}

    def read(model: PeftModel, some: Sequence[Example]) -> dict[str, dict[str, float]]:
        read = readings(model, some, pad_id, decoding)
        signals = Signals(read, reference, sizes)
        scores = {name: attack(signals) for name, attack in ATTACKS.items()}
        scores[SERVED] = {r: max(UNSAYABLE, float(one.served.sum(dtype=np.float64))) for r, one in read.items()}
        if deployed is not None:
            with quantized(model, deployed):
                nlls = record_nlls(model, some, pad_id)
            scores[in_form(deployed)] = {record: -nlls[record] for record in signals.scorable}
        names = shadow_scores(deployed)
        return {record: {name: scores[name].get(record, math.nan) for name in names} for record in read}

    return read


def _scored_text(record: Record) -> str:
    if record.messages is not None:
        return "\n".join(m.content for m in record.messages if m.role == "assistant")
    return (record.text if record.prompt is None else record.completion) or ""
