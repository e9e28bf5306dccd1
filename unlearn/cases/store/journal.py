"""The ledger's entries with what it takes to make them true again in an older database: lines of the journal.

The ledger itself may not name a subject; a line does (by its keyed hash), as does the request that it is about. One
that says what was erased has the keyed fingerprints of that; those of which no job is known are the first line's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, and_, insert, select
from sqlalchemy.orm import Session

from unlearn.cases.store import fingerprints, ledger
from unlearn.cases.store.fingerprints import Print
from unlearn.cases.tables import Controller, LedgerSubject, Request, SubjectSalt
from unlearn.evidence.ledger import Entry

GIVEN = ("id", "controller_id", "external_id", "subject_hash", "regulation", "submitted_by", "callback_urls")
MOMENTS = ("received_at", "due_at", "confirm_by", "created_at")
ASKED = (
    select(*(getattr(Request, name) for name in GIVEN + MOMENTS), Controller.name.label("controller"), SubjectSalt.salt)
    .join(Controller, Controller.id == Request.controller_id)
    .outerjoin(
        SubjectSalt,
        and_(SubjectSalt.controller_id == Request.controller_id, SubjectSalt.subject_hash == Request.subject_hash),
    )
)


@dataclass(frozen=True)
class Line:
    """An entry, and what goes with it.

    Attributes:
        entry: of the ledger.
        about: ids of the requests it is about.
        request: of an accepted request: its row as it came in, its controller's name, its subject's salt; nothing
            any more where the salt was destroyed.
        prints: fingerprints of what must not come back.
    """

    entry: Entry
    about: tuple[str, ...] = ()
    request: Mapping[str, Any] | None = None
    prints: tuple[Print, ...] = ()

    @property
    def job(self) -> str | None:
        """Id of the job that erased what the fingerprints are of."""
        return self.entry.facts.get("job") if self.entry.action == "data_erased" else None


def lines(session: Session, after: int, limit: int) -> list[Line]:
    """Up to `limit` lines behind entry `after`."""
    entries = ledger.entries_after(session, after, limit)
    about: dict[int, list[str]] = {}
    query = select(LedgerSubject.seq, LedgerSubject.request_id).where(LedgerSubject.seq.in_([e.seq for e in entries]))
    for seq, request_id in session.execute(query.order_by(LedgerSubject.seq, LedgerSubject.request_id)):
        about.setdefault(seq, []).append(request_id)
    accepted = {e.seq: e.facts.get("request") for e in entries if e.action == "request_accepted"}
    asked = _requests(session, [id_ for id_ in accepted.values() if id_ is not None])
    named = {e.facts["request"] for e in entries if e.action == "request_accepted" and "subject" in e.facts}
    asked = {id_: one for id_, one in asked.items() if one["salt"] is not None or id_ not in named}
    prints = _prints(session, entries)
    return [
        Line(e, tuple(about.get(e.seq, ())), asked.get(accepted.get(e.seq)), tuple(prints.get(e.seq, ())))
        for e in entries
    ]


def _prints(session: Session, entries: Sequence[Entry]) -> dict[int, list[Print]]:
    """The fingerprints of each of these entries, by its number; a job's once."""
    erasings = {e.facts["job"]: e.seq for e in entries if e.action == "data_erased"}
    found = {erasings[job]: prints for job, prints in fingerprints.of_jobs(session, erasings).items()}
    if entries and entries[0].seq == 1:
        found[1] = fingerprints.of_no_job(session)
    return found


def _requests(session: Session, ids: Sequence[str]) -> dict[str | None, dict[str, Any]]:
    """What the lines say of these requests, as far as they are there, by id."""
    query = ASKED.where(Request.id.in_(ids))
    return {row.id: _request(row._mapping) for row in session.execute(query)}


def _request(row: RowMapping) -> dict[str, Any]:
    moments = {name: None if row[name] is None else row[name].isoformat() for name in MOMENTS}
    salt = None if row["salt"] is None else row["salt"].hex()
    return {**{name: row[name] for name in GIVEN}, **moments, "controller": row["controller"], "salt": salt}


def add_requests(session: Session, given: Iterable[Mapping[str, Any]], now: datetime) -> list[Request]:
    """Add requests of lines that are not there, with their controllers and salts; those that were added."""
    added = []
    for one in given:
        if session.get(Request, one["id"]) is not None:
            continue
        if session.get(Controller, one["controller_id"]) is None:
            session.add(Controller(id=one["controller_id"], name=one["controller"], created_at=now))
            session.flush()
        key = one["controller_id"], one["subject_hash"]
        if one["salt"] is not None and session.get(SubjectSalt, key) is None:
            session.add(SubjectSalt(controller_id=key[0], subject_hash=key[1], salt=bytes.fromhex(one["salt"])))
        moments = {name: None if one[name] is None else datetime.fromisoformat(one[name]) for name in MOMENTS}
        row = Request(**{name: one[name] for name in GIVEN}, **moments, state="cancelled", updated_at=now)
        session.add(row)
        added.append(row)
    session.flush()
    return added


def take_over(session: Session, given: Sequence[Line]) -> None:
    """Append the lines' entries as they are; they follow the last, and the requests that they are about are there."""
    about = []
    there = set(session.scalars(select(Request.id)))
    for line in given:
        ledger.take_over(session, line.entry)
        about += [{"request_id": one, "seq": line.entry.seq} for one in line.about if one in there]
    if about:
        session.connection().execute(insert(LedgerSubject), about)
