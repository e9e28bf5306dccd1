"""Signed checkpoints of the ledger: stored once for each size, never changed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from unlearn.cases.tables import SignedCheckpoint

ADD = {
    "postgresql": postgresql.insert(SignedCheckpoint).on_conflict_do_nothing(),
    "sqlite": sqlite.insert(SignedCheckpoint).on_conflict_do_nothing(),
}


def newest(session: Session) -> SignedCheckpoint | None:
    """The one of the largest tree."""
    return session.scalars(select(SignedCheckpoint).order_by(SignedCheckpoint.size.desc()).limit(1)).first()


def covering(session: Session, size: int) -> SignedCheckpoint | None:
    """The one of the smallest tree of at least `size` entries."""
    query = select(SignedCheckpoint).where(SignedCheckpoint.size >= size).order_by(SignedCheckpoint.size).limit(1)
    return session.scalars(query).first()


def keep(session: Session, size: int, note: str, now: datetime) -> str:
    """Store a note; the one that is stored of this size, which may be another process's."""
    row = {"size": size, "note": note, "made_at": now}
    session.connection().execute(ADD[session.get_bind().dialect.name], row)
    return session.get_one(SignedCheckpoint, size).note


def every(session: Session) -> Iterator[tuple[int, str]]:
    """Size and note of all, from the smallest."""
    yield from session.execute(select(SignedCheckpoint.size, SignedCheckpoint.note).order_by(SignedCheckpoint.size))
