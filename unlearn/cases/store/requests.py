"""Requests: adding, finding, listing, and moving them from state to state."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import cast

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from unlearn.cases.tables import Adapter, Job, JobRequest, Request
from unlearn.cases.views import JobState, JobSummary, Progress, RequestState, RequestView

ENDED: frozenset[str] = frozenset({"completed", "needs_review", "cancelled", "rejected"})
MOVES: dict[str, frozenset[str]] = {
    "pending": frozenset({"in_progress", "needs_review", "cancelled", "rejected"}),
    "in_progress": frozenset({"completed", "needs_review", "rejected"}),
    "needs_review": frozenset({"in_progress", "completed", "rejected"}),
    "completed": frozenset(),
    "cancelled": frozenset(),
    "rejected": frozenset(),
}
"""From each state, the states a request may move to."""


def add(session: Session, request_id: str, subject_hash: str, now: datetime) -> None:
    """Add a pending request."""
    session.add(Request(id=request_id, subject_hash=subject_hash, state="pending", received_at=now, updated_at=now))
    session.flush()


def open_for(session: Session, subject_hash: str) -> str | None:
    """Id of the subject's open request, if it has one."""
    query = select(Request.id).where(
        Request.subject_hash == subject_hash, Request.state.in_(("pending", "in_progress"))
    )
    return session.scalars(query).first()


def move(session: Session, request_id: str, state: RequestState, now: datetime) -> bool:
    """Move the request to `state`; False if it is there already.

    Raises:
        ValueError: the table of moves does not allow it.
    """
    row = session.get_one(Request, request_id)
    if row.state == state:
        return False
    if state not in MOVES[row.state]:
        raise ValueError(f"request {request_id} can't go from {row.state} to {state}")
    row.state, row.updated_at = state, now
    row.completed_at = now if state == "completed" else row.completed_at
    session.flush()
    return True


def by_id(session: Session, request_id: str) -> RequestView | None:
    """The request with its jobs."""
    row = session.get(Request, request_id)
    return None if row is None else _views(session, [row])[0]


def page(session: Session, state: str | None, limit: int, after: str | None) -> list[RequestView]:
    """At most `limit` requests, the newest first, behind the request `after`; none if that one is unknown."""
    query = select(Request).order_by(Request.received_at.desc(), Request.id.desc()).limit(limit)
    if state is not None:
        query = query.where(Request.state == state)
    if after is not None:
        last = session.get(Request, after)
        if last is None:
            return []
        earlier = Request.received_at < last.received_at
        query = query.where(or_(earlier, and_(Request.received_at == last.received_at, Request.id < last.id)))
    return _views(session, session.scalars(query))


def _views(session: Session, rows: Iterable[Request]) -> list[RequestView]:
    rows = list(rows)
    query = (
        select(JobRequest.request_id, JobRequest.records, Job.id, Job.state, Job.verdict, Job.progress, Adapter.name)
        .join(Job, Job.id == JobRequest.job_id)
        .join(Adapter, Adapter.id == Job.adapter_id)
        .where(JobRequest.request_id.in_([row.id for row in rows]))
        .order_by(Job.created_at, Job.id)
    )
    jobs: dict[str, list[JobSummary]] = {}
    for request_id, records, job_id, state, verdict, place, name in session.execute(query):
        progress = None if place is None else Progress(**place)
        summary = JobSummary(job_id, name, cast("JobState", state), verdict, progress, records)
        jobs.setdefault(request_id, []).append(summary)
    return [
        RequestView(
            id=row.id,
            state=cast("RequestState", row.state),
            subject_hash=row.subject_hash,
            received_at=row.received_at,
            updated_at=row.updated_at,
            completed_at=row.completed_at,
            jobs=tuple(jobs.get(row.id, ())),
        )
        for row in rows
    ]
