"""Fingerprints of erased records: kept once a company and text, and found by the bands of their sketches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from unlearn.cases.data_tables import ErasedFingerprint, FingerprintBand
from unlearn.cases.store.engine import FINGERPRINT_LOCK, lock
from unlearn.cases.store.rows import day_of
from unlearn.corpus.fingerprints import Fingerprint

T = TypeVar("T")

AT_ONCE = 500
"""Values in one query; SQLite's oldest builds take 999."""


@dataclass(frozen=True)
class Print:
    """What a fingerprint is made again from, and likeness to it is judged by."""

    controller: str
    exact: str
    sketch: bytes
    floor: float


def take_turns(session: Session) -> None:
    """Let nobody else add or look up fingerprints to act on them until the transaction ends."""
    lock(session.connection(), FINGERPRINT_LOCK)


def any_of(session: Session, controller: str) -> bool:
    """Was anything erased for this company?"""
    query = select(ErasedFingerprint.id).where(ErasedFingerprint.controller_id == controller).limit(1)
    return session.scalars(query).first() is not None


def add(
    session: Session, controller: str, job_id: str | None, prints: Sequence[tuple[Fingerprint, float]], now: datetime
) -> int:
    """Keep the fingerprints, each with its floor, that are not there yet; how many those are."""
    new = {one.exact: (one, floor) for one, floor in prints}
    known = _known(session, controller, new)
    added = [one for exact, (one, _) in new.items() if exact not in known]
    row = {"controller_id": controller, "job_id": job_id, "created_at": now}
    made = [ErasedFingerprint(exact=one.exact, sketch=one.sketch, floor=new[one.exact][1], **row) for one in added]
    session.add_all(made)
    session.flush()
    bands = [
        {"controller_id": controller, "band": band, "fingerprint_id": row.id}
        for row, one in zip(made, added, strict=True)
        for band in set(one.bands)
    ]
    if bands:
        session.connection().execute(insert(FingerprintBand), bands)
    return len(added)


def of_jobs(session: Session, job_ids: Iterable[str]) -> dict[str, list[Print]]:
    """The fingerprints of what each of these jobs erased."""
    found: dict[str, list[Print]] = {}
    for some in _some(job_ids):
        query = select(ErasedFingerprint).where(ErasedFingerprint.job_id.in_(some)).order_by(ErasedFingerprint.id)
        for row in session.scalars(query):
            found.setdefault(str(row.job_id), []).append(_print(row))
    return found


def of_no_job(session: Session) -> list[Print]:
    """The fingerprints of which nobody knows any more what erased them, in no order that tells of it."""
    query = select(ErasedFingerprint).where(ErasedFingerprint.job_id.is_(None)).order_by(ErasedFingerprint.exact)
    return [_print(row) for row in session.scalars(query)]


def _print(row: ErasedFingerprint) -> Print:
    return Print(row.controller_id, row.exact, row.sketch, row.floor)


def loosen(session: Session, job_ids: Iterable[str]) -> None:
    """Forget of what these jobs erased by which it was, and when but for the day."""
    for some in _some(job_ids):
        for row in session.scalars(select(ErasedFingerprint).where(ErasedFingerprint.job_id.in_(some))):
            row.job_id, row.created_at = None, day_of(row.created_at)


def exact(session: Session, controller: str, digests: Iterable[str]) -> dict[str, str | None]:
    """Of these digests those that are kept, each with the job that erased the text, if that is known."""
    return _known(session, controller, digests)


def sharing(session: Session, controller: str, bands: Iterable[int]) -> dict[int, list[int]]:
    """Ids of the fingerprints in each of these bands that holds any."""
    found: dict[int, list[int]] = {}
    for some in _some(bands):
        query = select(FingerprintBand.band, FingerprintBand.fingerprint_id).where(
            FingerprintBand.controller_id == controller, FingerprintBand.band.in_(some)
        )
        for band, id_ in session.execute(query):
            found.setdefault(band, []).append(id_)
    return found


def several(session: Session, ids: Iterable[int]) -> Mapping[int, ErasedFingerprint]:
    """These fingerprints by their ids."""
    return {
        row.id: row
        for some in _some(ids)
        for row in session.scalars(select(ErasedFingerprint).where(ErasedFingerprint.id.in_(some)))
    }


def _known(session: Session, controller: str, digests: Iterable[str]) -> dict[str, str | None]:
    known: dict[str, str | None] = {}
    for some in _some(digests):
        query = select(ErasedFingerprint.exact, ErasedFingerprint.job_id).where(
            ErasedFingerprint.controller_id == controller, ErasedFingerprint.exact.in_(some)
        )
        known |= {row.exact: row.job_id for row in session.execute(query)}
    return known


def _some(values: Iterable[T]) -> Iterator[list[T]]:
    """The values, each once, a query's worth at a time."""
    once = list(dict.fromkeys(values))
    return (once[start : start + AT_ONCE] for start in range(0, len(once), AT_ONCE))
