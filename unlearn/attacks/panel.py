"""The records an audit measures, encoded and read by the base once; before and after are measured on the same.

Knows a base with nothing attached, and records; knows no adapter and no threshold.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from unlearn.attacks.blind import blind_baseline
from unlearn.attacks.null import Shadowed
from unlearn.corpus.neighbours import similarities
from unlearn.corpus.records import Record
from unlearn.errors import CorpusError, ModelError
from unlearn.lm.base import Base
from unlearn.lm.batches import Example, encode
from unlearn.lm.likelihood import PLAIN, record_log_probs
from unlearn.measurement import Membership
from unlearn.policy import Decoding

NEIGHBOURS = 16
"""Records of the retain check that count as the forget set's neighbours: collateral damage shows there first."""


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

    def of(
        self,
        forget: Sequence[Record],
        retain: Sequence[Record],
        holdout: Sequence[Record],
        is_forgotten: Callable[[str], bool],
    ) -> Panel:
        """A part of this panel, with other people to forget; nothing is read again.

        Args:
            forget: some of this panel's.
            retain: encoded in this panel, in whichever part.
            holdout: some of this panel's.
            is_forgotten: which of a forget record's subjects is to be forgotten.
        """
        return replace(
            self,
            forget=forget,
            retain=retain,
            holdout=holdout,
            reference={r.id: self.reference[r.id] for r in (*forget, *holdout)},
            person=_people(forget, [*retain, *holdout], is_forgotten),
            neighbours=_nearest(retain, forget),
        )

    def one_by_one(self) -> Iterator[Panel]:
        """This panel for each person to forget alone, whose neighbours are her own."""
        for person in dict.fromkeys(self.person[r.id] for r in self.forget):
            mine = [r for r in self.forget if self.person[r.id] == person]
            yield self.of(mine, self.retain, self.holdout, person.__eq__)

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
        person=_people(forget, [*retain, *holdout], is_forgotten),
        shadows=shadows,
        encode=encoded,
        general=general,
        context_tokens=limit,
        retain_reference=record_log_probs(base.model, [examples[r.id] for r in retain], pad_id),
        neighbours=_nearest(retain, forget),
    )


def _nearest(retain: Sequence[Record], forget: Sequence[Record]) -> list[str]:
    """Ids of the retained records that read most like the forget set."""
    return [retain[i].id for i in np.argsort(-similarities(retain, forget), kind="stable")[:NEIGHBOURS]]


def _people(forget: Sequence[Record], others: Sequence[Record], is_forgotten: Callable[[str], bool]) -> dict[str, str]:
    """The person of each record; a record of nobody stands for itself."""
    people = {r.id: next((s for s in r.subjects if is_forgotten(s)), r.id) for r in forget}
    return people | {r.id: r.subjects[0] if r.subjects else r.id for r in others}


def _scored_text(record: Record) -> str:
    if record.messages is not None:
        return "\n".join(m.content for m in record.messages if m.role == "assistant")
    return (record.text if record.prompt is None else record.completion) or ""
