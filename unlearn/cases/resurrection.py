"""The resurrection guard: what was erased for a company does not come back with another corpus by accident.

Compares keyed fingerprints of the new corpus's texts with those of the erased, and the keyed hashes of whom it names
with those whose deletion was completed: of these a new text is a return as well. A match refuses the corpus by its
records' ids, or, on a legal ground that a person gives in writing, is admitted and recorded. Speaks no SQL of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from unlearn.cases.data_tables import ErasedFingerprint
from unlearn.cases.review import checked_reason
from unlearn.cases.rights import Actor
from unlearn.cases.store import fingerprints, requests
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
    """Records of a new corpus that were erased before, or are about somebody whose deletion was completed.

    Attributes:
        exact: ids of those that say the same, whole or in a part that is long enough.
        near: ids of those that nearly do.
        jobs: ids of the jobs that erased them, of those that are still known.
        named: ids of the others that name somebody whose request was completed.
        requests: ids of these requests.
    """

    exact: tuple[str, ...] = ()
    near: tuple[str, ...] = ()
    jobs: frozenset[str] = frozenset()
    named: tuple[str, ...] = ()
    requests: frozenset[str] = frozenset()

    @property
    def ids(self) -> list[str]:
        """Of all these records."""
        return [*self.exact, *self.near, *self.named]

    def __bool__(self) -> bool:
        return bool(self.ids)


def naming(
    session: Session, controller: str, subjects: Collection[str], about: Callable[[Collection[str]], Sequence[str]]
) -> Return:
    """Which records name somebody whose deletion was completed.

    Args:
        session: of a transaction.
        controller: id of the company.
        subjects: keyed hashes of all whom the corpus names.
        about: ids of the records that name one of those with these hashes.
    """
    asked = requests.completed_for(session, controller, subjects)
    ids = tuple(about(asked.keys())) if asked else ()
    return Return(named=ids, requests=frozenset(id_ for some in asked.values() for id_ in some))


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
    return Return(exact, tuple(near), frozenset(job for job in jobs if job is not None))


def _by(
    one: Fingerprint, by_band: Mapping[int, Sequence[int]], kept: Mapping[int, ErasedFingerprint]
) -> frozenset[str | None]:
    """Ids of the jobs that erased what one text is a near duplicate of; None for one that is not known any more."""
    candidates = [kept[other] for other in {other for band in one.bands for other in by_band.get(band, ())}]
    alike = likeness(one.sketch, [candidate.sketch for candidate in candidates])
    return frozenset(other.job_id for other, value in zip(candidates, alike, strict=True) if value >= other.floor)


def refuse(found: Return) -> None:
    """Refuse a corpus with such records.

    Raises:
        ErasedRecords: always.
    """
    ids = found.ids
    first = ", ".join(f"'{id_}'" for id_ in ids[:MOST_NAMED]) + (", …" if len(ids) > MOST_NAMED else "")
    named = f" or name somebody whose deletion was completed ({len(found.named)})" if found.named else ""
    raise ErasedRecords(
        f"{len(ids)} records were erased before ({len(found.exact)}) or nearly repeat one that was "
        f"({len(found.near)}){named}: {first}; take them out, or register with allow_erased, its ground and a "
        "reason (scope 'review')"
    )


def admitted(found: Return, admission: Admission, by: Actor, now: datetime) -> Mapping[str, Any]:
    """What the adapter keeps of an admission."""
    return {
        "ground": admission.ground,
        "reason": admission.reason,
        "by": by.name,
        "at": now.isoformat(),
        "records": found.ids,
    }
