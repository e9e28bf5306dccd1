"""Whose turn it is: which job comes before which, within an adapter and among all, and the claim that leases one.

Within an adapter jobs come by due date, then by age, and one runs at a time. Among adapters the due date counts alone:
a doorbell says that there is work, not which.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, SQLColumnExpression, and_, exists, func, null, or_, select, tuple_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from unlearn.cases.store import jobs
from unlearn.cases.tables import Adapter, Doorbell, Job

PATIENCE = timedelta(days=30)
"""A shadow table that no erasing waits for is as urgent as an erasing asked for when its adapter was registered."""


def claim_first(session: Session, owner: str, until: datetime, now: datetime, max_attempts: int) -> Job | None:
    """Lease the most urgent of all jobs that may be claimed; None if none may be.

    What comes before it on its adapter, such as the shadow table it waits for, is as urgent as it is.
    """
    tried: set[str] = set()
    while (head := _head(session, now, max_attempts, tried)) is not None:
        tried.add(head.adapter_id)  # if another worker was faster, then it is on this adapter
        first = head.id if head.state == "running" else _next(session, head.adapter_id, now)
        job = None if first is None else claim(session, first, owner, until, now, max_attempts)
        if job is not None:
            return job
    return None


def _head(session: Session, now: datetime, max_attempts: int, tried: set[str]) -> Job | None:
    """The most urgent job that waits on an idle adapter, or whose lease ran out; of adapters not `tried` yet."""
    free = or_(and_(_ready(now), _idle()), _silent(now))
    query = select(Job).where(free, Job.attempt < max_attempts, Job.adapter_id.not_in(tried))
    query = query.limit(1).execution_options(populate_existing=True)
    erasing = session.scalars(query.where(Job.kind == "erasure").order_by(*_order())).first()
    making = session.scalars(query.where(Job.kind == "shadows").order_by(Job.created_at, Job.id)).first()
    if erasing is None or making is None:
        return erasing or making
    return erasing if (erasing.due_at or erasing.created_at) <= making.created_at + PATIENCE else making


def leased_to(session: Session, owner: str) -> Job | None:
    """The job that `owner` holds, if it holds one."""
    query = select(Job).where(Job.state == "running", Job.lease_owner == owner)
    return session.scalars(query.with_for_update(key_share=True)).first()


def claim(session: Session, job_id: str, owner: str, until: datetime, now: datetime, max_attempts: int) -> Job | None:
    """Lease the job: its state, attempt and fence in one statement. None if it is not there to be claimed.

    It may be claimed when it is queued and gathers no more, or when its lease ran out; never while another job of
    its adapter runs or a more urgent one waits.
    """
    free = or_(and_(_ready(now), ~_more_urgent(now)), _silent(now))
    serving = select(Adapter.current).where(Adapter.id == Job.adapter_id).scalar_subquery()
    statement = (
        update(Job)
        .where(Job.id == job_id, Job.attempt < max_attempts, free)
        .values(
            state="running",
            fence=Job.fence + 1,
            attempt=Job.attempt + 1,
            lease_owner=owner,
            lease_until=until,
            base_version=serving,
            started_at=func.coalesce(Job.started_at, now),
            error=None,
            progress=null(),
            stage_since=null(),
        )
        .returning(Job.id)
        .execution_options(synchronize_session=False)
    )
    try:
        with session.begin_nested():
            found = session.execute(statement).scalar_one_or_none()
    except IntegrityError:  # one_active_job_per_adapter: another job of this adapter runs
        return None
    return None if found is None else session.get_one(Job, job_id, populate_existing=True)


def ring_next(session: Session, adapter_id: str, now: datetime) -> None:
    """Ring for the adapter's most urgent job that is ready, if there is one."""
    following = _next(session, adapter_id, now)
    if following is not None:
        jobs.ring(session, following, now)


def unheard(session: Session, before: datetime, now: datetime) -> list[str]:
    """Ids of ready jobs, each the next of an idle adapter, with no doorbell waiting, or sent since `before` and since
    the job is ready."""
    lately = and_(Doorbell.sent_at > before, or_(Job.ready_at.is_(None), Doorbell.sent_at >= Job.ready_at))
    heard = exists().where(Doorbell.job_id == Job.id, or_(Doorbell.sent_at.is_(None), lately))
    return list(session.scalars(select(Job.id).where(_ready(now), _idle(), ~_more_urgent(now), ~heard)))


def _next(session: Session, adapter_id: str, now: datetime) -> str | None:
    query = select(Job.id).where(Job.adapter_id == adapter_id, _ready(now)).order_by(*_order())
    return session.scalars(query.limit(1)).first()


def _ready(now: datetime, job: type[Job] = Job) -> ColumnElement[bool]:
    """Whether it is queued, gathers no more and does not pause."""
    return and_(job.state == "queued", or_(job.ready_at.is_(None), job.ready_at <= now))


def _silent(now: datetime) -> ColumnElement[bool]:
    """Whether its lease ran out."""
    return and_(Job.state == "running", Job.lease_until < now)


def _idle() -> ColumnElement[bool]:
    """Whether no job of its adapter runs."""
    other = aliased(Job)
    return ~exists().where(other.adapter_id == Job.adapter_id, other.state == "running")


def _more_urgent(now: datetime) -> ColumnElement[bool]:
    """Whether another job of the adapter is ready and comes first, or makes the shadow table after a pause."""
    other = aliased(Job)
    first = tuple_(*_order(other)) < tuple_(*_order())
    comes = or_(_ready(now, other), and_(other.state == "queued", other.kind == "shadows"))
    return exists().where(other.adapter_id == Job.adapter_id, comes, first)


def _order(job: type[Job] = Job) -> tuple[SQLColumnExpression[Any], ...]:
    """By due date, then by age."""
    return func.coalesce(job.due_at, job.created_at), job.created_at, job.id
