"""Adapters, their versions, and which subjects they learned from."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from unlearn.cases.tables import Adapter, AdapterSubject, AdapterVersion, Job
from unlearn.cases.views import AdapterView, JobState, VersionView
from unlearn.weights import AdapterFiles


def add(
    session: Session, row: Mapping[str, Any], weights: AdapterFiles, subjects: Mapping[str, int], now: datetime
) -> None:
    """Add an adapter with its first version and the number of records of each subject hash."""
    adapter = Adapter(**row, current=1, created_at=now)
    session.add(adapter)
    session.flush()
    add_version(session, adapter.id, 1, weights, None, now)
    session.add_all(
        AdapterSubject(adapter_id=adapter.id, subject_hash=subject, records=records)
        for subject, records in subjects.items()
    )
    session.flush()


def add_version(
    session: Session, adapter_id: str, number: int, weights: AdapterFiles, job_id: str | None, now: datetime
) -> None:
    """Add one set of weights, already in its final place."""
    session.add(
        AdapterVersion(
            adapter_id=adapter_id,
            number=number,
            sha256=weights.sha256,
            path=str(weights.path),
            job_id=job_id,
            created_at=now,
        )
    )
    session.flush()


def move_current(session: Session, adapter_id: str, expected: int, number: int) -> bool:
    """Let version `number` serve, if `expected` serves now."""
    moved = session.execute(
        update(Adapter).where(Adapter.id == adapter_id, Adapter.current == expected).values(current=number)
    )
    return bool(moved.rowcount == 1)  # type: ignore[attr-defined]


def by_name(session: Session, name: str) -> AdapterView | None:
    """The adapter called `name`."""
    row = session.scalars(select(Adapter).where(Adapter.name == name)).first()
    return None if row is None else view(session, row)


def by_id(session: Session, adapter_id: str) -> AdapterView:
    """The adapter with this id, which exists."""
    return view(session, session.get_one(Adapter, adapter_id))


def every(session: Session) -> list[AdapterView]:
    """All adapters by name."""
    return [view(session, row) for row in session.scalars(select(Adapter).order_by(Adapter.name))]


def that_learned(session: Session, subject_hash: str) -> list[AdapterSubject]:
    """The adapters with records of the subject, erased or not, by adapter id."""
    query = select(AdapterSubject).where(AdapterSubject.subject_hash == subject_hash)
    return list(session.scalars(query.order_by(AdapterSubject.adapter_id)))


def erased_hashes(session: Session, adapter_id: str) -> frozenset[str]:
    """Subjects that were erased from the adapter."""
    query = select(AdapterSubject.subject_hash).where(
        AdapterSubject.adapter_id == adapter_id, AdapterSubject.erased_at.is_not(None)
    )
    return frozenset(session.scalars(query))


def mark_erased(session: Session, adapter_id: str, subject_hashes: frozenset[str], now: datetime) -> None:
    """Remember that the subjects were erased from the adapter."""
    session.execute(
        update(AdapterSubject)
        .where(AdapterSubject.adapter_id == adapter_id, AdapterSubject.subject_hash.in_(subject_hashes))
        .values(erased_at=now)
    )


def _shadows(session: Session, adapter_id: str) -> JobState | None:
    """State of the job that makes the adapter's shadow table."""
    query = select(Job.state).where(Job.adapter_id == adapter_id, Job.kind == "shadows")
    return cast("JobState | None", session.scalars(query.order_by(Job.created_at.desc()).limit(1)).first())


def view(session: Session, row: Adapter) -> AdapterView:
    """The adapter with its versions."""
    query = select(AdapterVersion).where(AdapterVersion.adapter_id == row.id).order_by(AdapterVersion.number)
    versions = tuple(VersionView(v.number, v.sha256, v.path, v.job_id, v.created_at) for v in session.scalars(query))
    return AdapterView(
        id=row.id,
        name=row.name,
        base=row.base,
        base_sha256=row.base_sha256,
        train=row.train,
        train_sha256=row.train_sha256,
        train_records=row.train_records,
        holdout=row.holdout,
        holdout_sha256=row.holdout_sha256,
        holdout_records=row.holdout_records,
        policy=row.policy,
        shadows=_shadows(session, row.id),
        created_at=row.created_at,
        current=next(v for v in versions if v.number == row.current),
        versions=versions,
    )
