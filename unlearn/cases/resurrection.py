"""The resurrection guard: what was erased for a company does not come back with another corpus by accident.

Compares keyed fingerprints; sees the texts of the new corpus alone. A match refuses the corpus by its records' ids, or,
on a legal ground that a person gives in writing, is admitted and recorded. Speaks no SQL of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from unlearn.cases.data_tables import ErasedFingerprint
from unlearn.cases.review import checked_reason
from unlearn.cases.rights import Actor
from unlearn.cases.store import fingerprints
from unlearn.corpus.fingerprints import Fingerprint, likeness
from unlearn.errors import BadInput, ErasedRecords

MOST_NAMED = 20

GROUNDS = {
    "consent": "GDPR, article 6(1)(a): the person agreed anew",
    "contract": "GDPR, article 6(1)(b)",
    "legal_obligation": "GDPR, article 6(1)(c)",
    "legal_claims": "GDPR, article 17(3)(e)",
    "not_the_subject": "the records are about nobody who asked",
}
"""Grounds on which records may come back."""


@dataclass(frozen=True)
class Admission:
    """Why records that were erased before may come in; one of GROUNDS, and a reason for people."""

    ground: str
    reason: str

    def __post_init__(self) -> None:
        if self.ground not in GROUNDS:
            raise BadInput(f"allow_erased: '{self.ground[:40]}' is no ground; the grounds are {', '.join(GROUNDS)}")
        object.__setattr__(self, "reason", checked_reason(self.reason))


@dataclass(frozen=True)
class Return:
    """Records of a new corpus that were erased before.

    Attributes:
        exact: ids of those that say the same, whole or in a part that is long enough.
        near: ids of those that nearly do.
        jobs: ids of the jobs that erased them.
    """

    exact: tuple[str, ...]
    near: tuple[str, ...]
    jobs: frozenset[str]

    def __bool__(self) -> bool:
        return bool(self.exact or self.near)


def returning(session: Session, controller: str, ids: Sequence[str], prints: Sequence[Sequence[Fingerprint]]) -> Return:
    """Which records were erased before; their ids and the fingerprints of each in the same order.

    Only fingerprints that share a band with a record are compared with it.
    """
    erased = fingerprints.exact(session, controller, (one.exact for of in prints for one in of))
    known = [any(one.exact in erased for one in of) for of in prints]
    others = [(id_, of) for id_, of, is_known in zip(ids, prints, known, strict=True) if not is_known]
    by_band = fingerprints.sharing(session, controller, (band for _, of in others for one in of for band in one.bands))
    kept = fingerprints.several(session, (id_ for found in by_band.values() for id_ in found))
    near, jobs = [], set(erased.values())
    for id_, of in others:
        by = set().union(*(_by(one, by_band, kept) for one in of))
        if by:
            near.append(id_)
            jobs |= by
    exact = tuple(id_ for id_, is_known in zip(ids, known, strict=True) if is_known)
    return Return(exact, tuple(near), frozenset(jobs))


def _by(
    one: Fingerprint, by_band: Mapping[int, Sequence[int]], kept: Mapping[int, ErasedFingerprint]
) -> frozenset[str]:
    """Ids of the jobs that erased what one text is a near duplicate of."""
    candidates = [kept[other] for other in {other for band in one.bands for other in by_band.get(band, ())}]
    alike = likeness(one.sketch, [candidate.sketch for candidate in candidates])
    return frozenset(other.job_id for other, value in zip(candidates, alike, strict=True) if value >= other.floor)


def refuse(found: Return) -> None:
    """Refuse a corpus with such records.

    Raises:
        ErasedRecords: always.
    """
    ids = [*found.exact, *found.near]
    named = ", ".join(f"'{id_}'" for id_ in ids[:MOST_NAMED]) + (", …" if len(ids) > MOST_NAMED else "")
    raise ErasedRecords(
        f"{len(ids)} records were erased before ({len(found.exact)}) or nearly repeat one that was "
        f"({len(found.near)}): {named}; take them out, or register with allow_erased, its ground and a "
        "reason (scope 'review')"
    )


def admitted(found: Return, admission: Admission, by: Actor, now: datetime) -> Mapping[str, Any]:
    """What the adapter keeps of an admission."""
    return {
        "ground": admission.ground,
        "reason": admission.reason,
        "by": by.name,
        "at": now.isoformat(),
        "records": [*found.exact, *found.near],
    }
