"""Whose turn it is: which job comes before which, within an adapter and among all, and the claim that leases one.

Within an adapter jobs come by due date, then by age, and one runs at a time. Among adapters the due date counts alone:
a doorbell says that there is work, not which.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, exists, func, null, or_, select, update
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
        first = head.id if head.state == "running" else jobs.next_queued(session, head.adapter_id, now)
        job = None if first is None else claim(session, first, owner, until, now, max_attempts)
        if job is not None:
            return job
    return None


def _head(session: Session, now: datetime, max_attempts: int, tried: set[str]) -> Job | None:
    """The most urgent job that waits on an idle adapter, or whose lease ran out; of adapters not `tried` yet."""
    running = aliased(Job)
    idle = ~exists().where(running.adapter_id == Job.adapter_id, running.state == "running")
    waiting = and_(Job.state == "queued", or_(Job.ready_at.is_(None), Job.ready_at <= now), idle)
    silent = and_(Job.state == "running", Job.lease_until < now)
    query = select(Job).where(or_(waiting, silent), Job.attempt < max_attempts, Job.adapter_id.not_in(tried))
    query = query.limit(1).execution_options(populate_existing=True)
    urgency = func.coalesce(Job.due_at, Job.created_at)
    erasing = session.scalars(query.where(Job.kind == "erasure").order_by(urgency, Job.created_at, Job.id)).first()
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
    ready = or_(Job.ready_at.is_(None), Job.ready_at <= now)
    queued = and_(Job.state == "queued", ready, ~_more_urgent(now))
    free = or_(queued, and_(Job.state == "running", Job.lease_until < now))
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


def _more_urgent(now: datetime) -> ColumnElement[bool]:
    """Whether another job of the adapter is ready and comes first: by due date, then by age."""
    other = aliased(Job)
    theirs, ours = func.coalesce(other.due_at, other.created_at), func.coalesce(Job.due_at, Job.created_at)
    older = or_(other.created_at < Job.created_at, and_(other.created_at == Job.created_at, other.id < Job.id))
    return exists().where(
        other.adapter_id == Job.adapter_id,
        other.id != Job.id,
        other.state == "queued",
        or_(other.ready_at.is_(None), other.ready_at <= now),
        or_(theirs < ours, and_(theirs == ours, older)),
    )


def unheard(session: Session, before: datetime, now: datetime) -> list[str]:
    """Ids of ready jobs, each the next of an idle adapter, with no doorbell waiting or sent since `before`."""
    running, bell = aliased(Job), aliased(Doorbell)
    query = select(Job.id).where(
        Job.state == "queued",
        or_(Job.ready_at.is_(None), Job.ready_at <= now),
        ~exists().where(running.adapter_id == Job.adapter_id, running.state == "running"),
        ~_more_urgent(now),
        ~exists().where(bell.job_id == Job.id, or_(bell.sent_at.is_(None), bell.sent_at > before)),
    )
    return list(session.scalars(query))
