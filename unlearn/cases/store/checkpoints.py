"""Signed checkpoints of the ledger, stored once for each size, and witnesses' lines on them; none is ever changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from unlearn.cases.tables import CosignedCheckpoint, SignedCheckpoint
from unlearn.evidence.cosigning import Cosignature

ADD, COSIGN = (
    {
        "postgresql": postgresql.insert(table).on_conflict_do_nothing(),
        "sqlite": sqlite.insert(table).on_conflict_do_nothing(),
    }
    for table in (SignedCheckpoint, CosignedCheckpoint)
)


def newest(session: Session) -> SignedCheckpoint | None:
    """The one of the largest tree."""
    return session.scalars(select(SignedCheckpoint).order_by(SignedCheckpoint.size.desc()).limit(1)).first()


def of_size(session: Session, size: int) -> str | None:
    """The note of the one of exactly `size` entries."""
    found = session.get(SignedCheckpoint, size)
    return None if found is None else found.note


def covering(session: Session, size: int) -> SignedCheckpoint | None:
    """The one of the smallest tree of at least `size` entries: of those that a witness co-signed, or else of all."""
    query = select(func.min(CosignedCheckpoint.size)).where(CosignedCheckpoint.size >= size)
    cosigned = session.scalars(query).one()
    if cosigned is not None:
        return session.get(SignedCheckpoint, cosigned)
    whole = select(SignedCheckpoint).where(SignedCheckpoint.size >= size).order_by(SignedCheckpoint.size).limit(1)
    return session.scalars(whole).first()


def keep(session: Session, size: int, note: str, now: datetime) -> str:
    """Store a note; the one that is stored of this size, which may be another process's."""
    row = {"size": size, "note": note, "made_at": now}
    session.connection().execute(ADD[session.get_bind().dialect.name], row)
    return session.get_one(SignedCheckpoint, size).note


def every(session: Session) -> Iterator[tuple[int, str]]:
    """Size and note of all, from the smallest."""
    yield from session.execute(select(SignedCheckpoint.size, SignedCheckpoint.note).order_by(SignedCheckpoint.size))


def cosign(session: Session, found: Sequence[Cosignature], now: datetime) -> None:
    """Store witnesses' lines; what a witness signed of a checkpoint before stays."""
    rows = [
        {"size": one.size, "witness": one.witness.text, "line": one.line, "cosigned_at": one.at, "added_at": now}
        for one in found
    ]
    session.connection().execute(COSIGN[session.get_bind().dialect.name], rows)


def lines(session: Session, size: int) -> list[str]:
    """The witnesses' lines on the checkpoint of exactly `size` entries, by their keys."""
    query = select(CosignedCheckpoint.line).where(CosignedCheckpoint.size == size)
    return list(session.scalars(query.order_by(CosignedCheckpoint.witness)))


def every_line(session: Session) -> Iterator[tuple[int, str, str]]:
    """Size, witness and line of all cosignatures."""
    columns = CosignedCheckpoint.size, CosignedCheckpoint.witness, CosignedCheckpoint.line
    yield from session.execute(select(*columns).order_by(CosignedCheckpoint.size, CosignedCheckpoint.witness))
