"""Controllers, their API keys, and what was answered under an Idempotency-Key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import bindparam, delete, exists, insert, select
from sqlalchemy.orm import Session

from unlearn.cases.tables import ApiKey, Controller, Idempotency
from unlearn.cases.views import KeyView


def controller(session: Session, name: str) -> Controller | None:
    """The controller called `name`."""
    return session.scalars(select(Controller).where(Controller.name == name)).first()


def controller_name(session: Session, controller_id: str) -> str:
    """The name of the controller with this id."""
    return session.get_one(Controller, controller_id).name


def add_controller(session: Session, id_: str, name: str, now: datetime) -> Controller:
    """Add a controller."""
    row = Controller(id=id_, name=name, created_at=now)
    session.add(row)
    session.flush()
    return row


def add(session: Session, row: ApiKey) -> KeyView:
    """Add a key."""
    session.add(row)
    session.flush()
    return view(session, row)


def key(session: Session, key_id: str) -> ApiKey | None:
    """The key with this id."""
    return session.get(ApiKey, key_id)


def every(session: Session, controller_id: str | None) -> list[KeyView]:
    """The keys of a controller, or of all, the newest first."""
    query = select(ApiKey).order_by(ApiKey.created_at.desc(), ApiKey.id)
    if controller_id is not None:
        query = query.where(ApiKey.controller_id == controller_id)
    return [view(session, row) for row in session.scalars(query)]


def view(session: Session, row: ApiKey) -> KeyView:
    """The key without its secret."""
    return KeyView(
        id=row.id,
        controller=controller_name(session, row.controller_id),
        name=row.name,
        scopes=tuple(row.scopes),
        created_at=row.created_at,
        created_by=row.created_by,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )


NOTE = insert(Idempotency)
ANSWERED = select(Idempotency.controller_id, Idempotency.key, Idempotency.body_sha256, Idempotency.request_ids).where(
    Idempotency.controller_id.in_(bindparam("controllers", expanding=True)),
    Idempotency.key.in_(bindparam("keys", expanding=True)),
)


def answered(session: Session, asked: Iterable[tuple[str, str]]) -> dict[tuple[str, str], tuple[str, list[str]]]:
    """Of these pairs of controller and key, those that were answered: the body's SHA-256, and the requests' ids."""
    pairs = set(asked)
    if not pairs:
        return {}
    given = {"controllers": sorted({one for one, _ in pairs}), "keys": sorted({one for _, one in pairs})}
    found = {(row[0], row[1]): (row[2], list(row[3])) for row in session.connection().execute(ANSWERED, given)}
    return {pair: row for pair, row in found.items() if pair in pairs}


def note_answers(session: Session, answers: Mapping[tuple[str, str], tuple[str, Sequence[str]]], now: datetime) -> None:
    """Remember what is answered (see `answered`); IntegrityError if another transaction did meanwhile."""
    rows = [
        {"controller_id": whose, "key": key, "body_sha256": body, "request_ids": list(ids), "created_at": now}
        for (whose, key), (body, ids) in sorted(answers.items())
    ]
    if rows:
        session.connection().execute(NOTE, rows)


KEEP = timedelta(days=7)
"""How long an answer is remembered."""


def any_old_answers(session: Session, now: datetime) -> bool:
    """Is there an answer of long ago?"""
    return bool(session.scalar(select(exists().where(Idempotency.created_at < now - KEEP))))


def forget_answers(session: Session, now: datetime) -> None:
    """Remove answers of long ago."""
    session.execute(delete(Idempotency).where(Idempotency.created_at < now - KEEP))
