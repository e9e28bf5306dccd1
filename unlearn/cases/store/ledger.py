"""Appending to the ledger and reading it. The rules of the chain are `unlearn.evidence.ledger`'s."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from unlearn.cases.store.engine import LEDGER_LOCK, lock
from unlearn.cases.tables import LedgerEntry, LedgerSubject
from unlearn.cases.views import rfc3339
from unlearn.evidence.ledger import Action, Entry, next_entry

LAST = "the last entry of the ledger"
ENTRY, SUBJECT = insert(LedgerEntry), insert(LedgerSubject)
NEWEST = select(LedgerEntry).order_by(LedgerEntry.seq.desc()).limit(1)


def append(
    session: Session, now: datetime, action: Action, facts: Mapping[str, Any], about: Sequence[str] = ()
) -> Entry:
    """Add one fact in the running transaction; writers take turns.

    Args:
        session: of a writing transaction.
        now: when it happened.
        action: what happened.
        facts: ids and keyed hashes.
        about: request ids whose export shall hold the entry.
    """
    entry = next_entry(_last(session), rfc3339(now), action, facts)
    session.flush()  # what the entry is about comes first
    row = {field: getattr(entry, field) for field in ("seq", "at", "action", "previous", "hash")}
    session.connection().execute(ENTRY, row | {"facts": dict(entry.facts)})
    if about:
        session.connection().execute(SUBJECT, [{"request_id": request_id, "seq": entry.seq} for request_id in about])
    session.info[LAST] = entry
    return entry


def _last(session: Session) -> Entry | None:
    """The entry to follow. Once the transaction has appended one, it is that: until the end, nobody else appends."""
    if LAST in session.info:
        return cast("Entry", session.info[LAST])
    lock(session.connection(), LEDGER_LOCK)
    last = session.scalars(NEWEST).first()
    return None if last is None else _entry(last)


def all_entries(session: Session) -> Iterator[Entry]:
    """The whole ledger in order."""
    for row in session.scalars(select(LedgerEntry).order_by(LedgerEntry.seq).execution_options(yield_per=1000)):
        yield _entry(row)


def entries_about(session: Session, request_id: str) -> list[Entry]:
    """The entries about one request, in order."""
    about = select(LedgerSubject.seq).where(LedgerSubject.request_id == request_id)
    return [
        _entry(r)
        for r in session.scalars(select(LedgerEntry).where(LedgerEntry.seq.in_(about)).order_by(LedgerEntry.seq))
    ]


def _entry(row: LedgerEntry) -> Entry:
    return Entry(row.seq, row.at, row.action, row.facts, row.previous, row.hash)
