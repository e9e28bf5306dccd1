"""Requests: adding, finding, listing, and moving them from state to state."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, cast

from sqlalchemy import ColumnElement, Executable, Select, and_, bindparam, func, or_, select
from sqlalchemy.orm import Session

from unlearn.cases.clock import Regulation
from unlearn.cases.store import errands, fingerprints
from unlearn.cases.store.rows import add_rows, day_of
from unlearn.cases.tables import HELD as IS_HELD
from unlearn.cases.tables import OPEN as IS_OPEN
from unlearn.cases.tables import Adapter, AdapterSubject, Job, JobRequest, Request
from unlearn.cases.views import UNANSWERED, JobState, JobSummary, Progress, RequestState, RequestView
from unlearn.errors import BadInput

OPEN: frozenset[str] = frozenset({"pending", "in_progress"})
ENDED: frozenset[str] = frozenset({"completed", "needs_review", "cancelled", "rejected"})
MOVES: dict[str, frozenset[str]] = {
    "pending": frozenset({"in_progress", "completed", "needs_review", "cancelled", "rejected"}),
    "in_progress": frozenset({"pending", "completed", "needs_review", "cancelled", "rejected"}),
    "needs_review": frozenset({"pending", "completed", "cancelled", "rejected"}),
    "completed": frozenset({"pending"}),
    "cancelled": frozenset(),
    "rejected": frozenset(),
}
"""From each state, the states a request may move to. Completed ones reopen when an adapter is rolled back."""

Order = Literal["created", "due"]
AT_ONCE = 500
"""Values in one query; SQLite's oldest builds take 999."""


@dataclass(frozen=True)
class Wanted:
    """Which requests a list shows; None leaves a question open.

    Attributes:
        state: they are in.
        due_before: they are due before this moment, and not ended.
        adapter: name of one they have a job on.
        subject_hash: of their subject.
        held: whether they are under a legal hold.
        confirmed_late: whether their receipt was confirmed later than the regulation asks.
        order: by when they were made, the newest first; or by when they are due, the most urgent first.
    """

    state: RequestState | None = None
    due_before: datetime | None = None
    adapter: str | None = None
    subject_hash: str | None = None
    held: bool | None = None
    order: Order = "created"
    confirmed_late: bool | None = None


NEW = (
    Request.id,
    Request.controller_id,
    Request.external_id,
    Request.subject_hash,
    Request.regulation,
    Request.state,
    Request.submitted_by,
    Request.received_at,
    Request.due_at,
    Request.confirm_by,
    Request.callback_urls,
    Request.created_at,
    Request.updated_at,
    Request.completed_at,
)
"""What a request may have from its first moment."""
WHOSE = Request.controller_id.in_(bindparam("controllers", expanding=True))
# The index's own condition, word for word: behind parameters neither database knows it again.
BUSY = select(Request.controller_id, Request.subject_hash, Request.id).where(
    WHOSE, Request.subject_hash.in_(bindparam("subjects", expanding=True)), IS_OPEN
)
HELD = (
    select(Request.controller_id, Request.subject_hash, Request.id)
    .where(WHOSE, Request.subject_hash.in_(bindparam("subjects", expanding=True)), IS_HELD)
    .order_by(Request.held_at.desc(), Request.id)
)
CALLED = select(Request.controller_id, Request.external_id, Request.id, Request.subject_hash).where(
    WHOSE, Request.external_id.in_(bindparam("names", expanding=True))
)


def add_many(session: Session, made: Iterable[Request]) -> None:
    """Add new requests, which the session need not know."""
    rows = sorted(made, key=lambda row: (row.controller_id, row.subject_hash))  # for all writers alike
    add_rows(session, Request, [{column.key: getattr(row, column.key) for column in NEW} for row in rows])


def open_for(session: Session, whose: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Of these pairs of controller and subject, those with an open request, and its id."""
    return _of(session, BUSY, whose)


def held(session: Session, whose: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Of these pairs of controller and subject, those under a legal hold, and the request that was held first.

    The hold is the subject's: it counts whatever becomes of the request that it was put on.
    """
    return _of(session, HELD, whose)


def _of(session: Session, query: Executable, whose: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    asked = set(whose)
    given = {"controllers": sorted({one for one, _ in asked}), "subjects": sorted({one for _, one in asked})}
    found = {(controller, subject): id_ for controller, subject, id_ in session.connection().execute(query, given)}
    return {pair: id_ for pair, id_ in found.items() if pair in asked}


def completed_for(session: Session, controller: str, subjects: Iterable[str]) -> dict[str, list[str]]:
    """Of these subjects those whose deletion was completed, with the ids of their requests."""
    found: dict[str, list[str]] = {}
    asked = sorted(subjects)
    for start in range(0, len(asked), AT_ONCE):
        query = select(Request.subject_hash, Request.id).where(
            Request.controller_id == controller,
            Request.subject_hash.in_(asked[start : start + AT_ONCE]),
            Request.state == "completed",
        )
        for subject, id_ in session.execute(query.order_by(Request.id)):
            found.setdefault(subject, []).append(id_)
    return found


def called(session: Session, names: Iterable[tuple[str, str]]) -> dict[tuple[str, str], tuple[str, str]]:
    """Of these pairs of controller and external id, those that are known: the request's id, and its subject."""
    asked = set(names)
    if not asked:
        return {}
    given = {"controllers": sorted({one for one, _ in asked}), "names": sorted({one for _, one in asked})}
    found = {(row[0], row[1]): (row[2], row[3]) for row in session.connection().execute(CALLED, given)}
    return {pair: row for pair, row in found.items() if pair in asked}


def by_external_id(session: Session, controller: str, external_id: str) -> str | None:
    """Id of the request that the controller calls so."""
    pair = controller, external_id
    known = called(session, [pair]).get(pair)
    return None if known is None else known[0]


def row(session: Session, controller: str, request_id: str) -> Request | None:
    """The controller's request, kept from others until the transaction ends."""
    return session.scalars(_one(controller, request_id).with_for_update(key_share=True)).first()


def seen(session: Session, controller: str, request_id: str) -> Request | None:
    """The controller's request, for a transaction that only reads."""
    return session.scalars(_one(controller, request_id)).first()


def _one(controller: str, request_id: str) -> Select[Request]:
    return select(Request).where(Request.id == request_id, Request.controller_id == controller)


def move(session: Session, request_id: str, state: RequestState, now: datetime) -> bool:
    """Move the request to `state`, and plan that its controller is told; False if it is there already.

    Raises:
        ValueError: the table of moves does not allow it.
    """
    request = session.get_one(Request, request_id)
    if request.state == state:
        return False
    if state not in MOVES[request.state]:
        raise ValueError(f"request {request_id} can't go from {request.state} to {state}")
    request.state, request.updated_at = state, now
    request.completed_at = now if state == "completed" else None
    session.flush()
    errands.tell(session, request, f"request.{state}", now)
    return True


def reopen(session: Session, request: Request, now: datetime) -> None:
    """Open a request again that ended otherwise than it may stay, and plan that its controller is told."""
    request.state, request.updated_at, request.completed_at, request.decision = "pending", now, None, None
    session.flush()
    errands.tell(session, request, "request.pending", now)


def by_id(session: Session, controller: str, request_id: str) -> RequestView | None:
    """The controller's request with its jobs."""
    found = seen(session, controller, request_id)
    return None if found is None else views(session, [found])[0]


def several(session: Session, controller: str, request_ids: Iterable[str]) -> list[RequestView]:
    """The controller's requests with these ids, in their order."""
    ids = list(request_ids)
    query = select(Request).where(Request.id.in_(ids), Request.controller_id == controller)
    found = {view.id: view for view in views(session, session.scalars(query))}
    return [found[request_id] for request_id in ids if request_id in found]


def page(session: Session, controller: str, wanted: Wanted, limit: int, after: str | None) -> list[RequestView]:
    """At most `limit` of the controller's requests, behind the request `after`.

    Raises:
        BadInput: there is no such request to be behind of.
    """
    due = wanted.order == "due"
    key = Request.due_at if due else Request.created_at
    query = select(Request).where(Request.controller_id == controller, *conditions(wanted)).limit(limit)
    query = query.order_by(key, Request.id) if due else query.order_by(key.desc(), Request.id.desc())
    if after is not None:
        last = session.get(Request, after)
        if last is None or last.controller_id != controller:
            raise BadInput("after: no request has this id; give the `next` of the page before")
        place = last.due_at if due else last.created_at
        further = key > place if due else key < place
        behind = Request.id > last.id if due else Request.id < last.id
        query = query.where(or_(further, and_(key == place, behind)))
    return views(session, session.scalars(query))


def count(session: Session, controller: str, wanted: Wanted) -> int:
    """How many of the controller's requests are wanted."""
    query = select(func.count()).select_from(Request).where(Request.controller_id == controller, *conditions(wanted))
    return int(session.scalar(query) or 0)


def conditions(wanted: Wanted) -> list[ColumnElement[bool]]:
    """What a request must be like to be wanted."""
    found: list[ColumnElement[bool]] = []
    if wanted.state is not None:
        found.append(Request.state == wanted.state)
    if wanted.due_before is not None:
        found += [Request.due_at < wanted.due_before, Request.state.in_(UNANSWERED)]
    if wanted.subject_hash is not None:
        found.append(Request.subject_hash == wanted.subject_hash)
    if wanted.held is not None:
        found.append(Request.held_at.is_not(None) if wanted.held else Request.held_at.is_(None))
    if wanted.confirmed_late is not None:
        late = Request.confirm_by.is_not(None) & (Request.created_at > Request.confirm_by)
        found.append(late if wanted.confirmed_late else ~late)
    if wanted.adapter is not None:
        named = (
            select(JobRequest.request_id)
            .join(Job, Job.id == JobRequest.job_id)
            .join(Adapter, Adapter.id == Job.adapter_id)
            .where(JobRequest.request_id == Request.id, Adapter.name == wanted.adapter)
        )
        found.append(named.exists())
    return found


SUMMARIES = (
    select(JobRequest, Job.state, Job.progress, Adapter.name)
    .join(Job, Job.id == JobRequest.job_id)
    .join(Adapter, Adapter.id == Job.adapter_id)
    .where(JobRequest.request_id.in_(bindparam("ids", expanding=True)))
    .order_by(Job.created_at, Job.id)
)


def views(session: Session, rows: Iterable[Request]) -> list[RequestView]:
    """The requests with their jobs, and with the hold that those wait for which have none to do."""
    rows = list(rows)
    jobs = _summaries(session, [row.id for row in rows])
    idle = [row for row in rows if row.state == "pending" and not any(map(_is_open, jobs.get(row.id, ())))]
    holds = held(session, [(row.controller_id, row.subject_hash) for row in idle]) if idle else {}
    waiting = {row.id: holds.get((row.controller_id, row.subject_hash)) for row in idle}
    return [view(row, jobs.get(row.id, ()), waiting.get(row.id)) for row in rows]


def _is_open(job: JobSummary) -> bool:
    return job.state in ("queued", "running")


def _summaries(session: Session, request_ids: Sequence[str]) -> dict[str, list[JobSummary]]:
    jobs: dict[str, list[JobSummary]] = {}
    for its, state, place, name in session.execute(SUMMARIES, {"ids": request_ids}):
        progress = None if place is None else Progress(**place)
        findings = None if its.findings is None else tuple(its.findings)
        summary = JobSummary(its.job_id, name, cast("JobState", state), its.verdict, progress, its.records, findings)
        jobs.setdefault(its.request_id, []).append(summary)
    return jobs


def view(row: Request, jobs: Sequence[JobSummary] = (), held_by: str | None = None) -> RequestView:
    """The request with these jobs, and the held request for whose lifting it waits."""
    return RequestView(
        id=row.id,
        external_id=row.external_id,
        state=cast("RequestState", row.state),
        subject_hash=row.subject_hash,
        regulation=cast("Regulation", row.regulation),
        submitted_by=row.submitted_by,
        received_at=row.received_at,
        due_at=row.due_at,
        confirm_by=row.confirm_by,
        extended_at=row.extended_at,
        extension_reason=row.extension_reason,
        held_at=row.held_at,
        hold_reason=row.hold_reason,
        held_by=held_by,
        decision=row.decision,
        created_at=row.created_at,
        updated_at=row.updated_at,
        completed_at=row.completed_at,
        jobs=tuple(jobs),
    )


def unlink(session: Session, controller: str, subject_hash: str) -> None:
    """Take out what leads from a subject to her requests, and from these to her.

    Of the requests her hash, the controller's id, addresses of callbacks, people's reasons; of their jobs the client's
    ids of the records that left; of fingerprints which job erased them. The moment at which an adapter forgot her is
    that of an entry, and of it the day alone stays; so are those of what was erased. Of a job that she shared that goes
    for all who shared it: nothing says any more which of it was hers.
    """
    query = select(Request).where(Request.controller_id == controller, Request.subject_hash == subject_hash)
    ids = []
    for row in session.scalars(query):
        ids.append(row.id)
        row.subject_hash, row.external_id, row.callback_urls = secrets.token_hex(32), None, None
        row.hold_reason = row.extension_reason = None
        if row.decision is not None:
            row.decision = row.decision | {"reason": None}
    jobs = list(session.scalars(select(Job).join(JobRequest).where(JobRequest.request_id.in_(ids))))
    for job in jobs:
        job.erased = None
    fingerprints.loosen(session, [job.id for job in jobs])
    errands.unlink(session, ids)
    learned = (
        select(AdapterSubject)
        .join(Adapter)
        .where(
            Adapter.controller_id == controller,
            AdapterSubject.subject_hash == subject_hash,
            AdapterSubject.erased_at.is_not(None),
        )
    )
    for one in session.scalars(learned):
        one.erased_at = None if one.erased_at is None else day_of(one.erased_at)
