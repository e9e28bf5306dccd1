"""Jobs, their leases and fences, and the outbox. Correct under any number of workers and repeated messages."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import and_, exists, func, null, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from unlearn.cases.tables import Adapter, Doorbell, Job, JobRequest, Request
from unlearn.cases.views import JobKind, JobState, JobView, Progress


def add(
    session: Session,
    job_id: str,
    adapter_id: str,
    requests: Mapping[str, int],
    now: datetime,
    kind: JobKind = "erasure",
) -> None:
    """Add a queued job for the requests (id -> records of its subject), and a doorbell."""
    session.add(Job(id=job_id, adapter_id=adapter_id, kind=kind, state="queued", attempt=0, fence=0, created_at=now))
    session.flush()
    session.add_all(JobRequest(job_id=job_id, request_id=r, records=n) for r, n in requests.items())
    ring(session, job_id, now)


def claim(session: Session, job_id: str, owner: str, until: datetime, now: datetime, max_attempts: int) -> Job | None:
    """Lease the job: its state, attempt and fence in one statement. None if it is not there to be claimed.

    A job may be claimed when it is queued, or when its lease ran out; never while another job of its adapter runs or
    an earlier one waits.
    """
    earlier = aliased(Job)
    waits = exists().where(
        earlier.adapter_id == Job.adapter_id,
        earlier.state == "queued",
        or_(earlier.created_at < Job.created_at, and_(earlier.created_at == Job.created_at, earlier.id < Job.id)),
    )
    free = or_(and_(Job.state == "queued", ~waits), and_(Job.state == "running", Job.lease_until < now))
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


def held(session: Session, job_id: str, fence: int) -> Job | None:
    """The job, if this fence still holds it; nobody else can take or end it before the transaction ends."""
    query = (
        select(Job).where(Job.id == job_id, Job.fence == fence, Job.state == "running").with_for_update(key_share=True)
    )
    return session.scalars(query.execution_options(populate_existing=True)).first()


def renew(session: Session, job_id: str, fence: int, until: datetime) -> bool:
    """Prolong the lease; False if the fence does not hold the job any more."""
    statement = update(Job).where(Job.id == job_id, Job.fence == fence, Job.state == "running")
    return bool(session.execute(statement.values(lease_until=until)).rowcount == 1)  # type: ignore[attr-defined]


def note(session: Session, job_id: str, fence: int, **values: Any) -> bool:
    """Write columns of the job; False if the fence does not hold it any more."""
    statement = update(Job).where(Job.id == job_id, Job.fence == fence, Job.state == "running").values(**values)
    return bool(session.execute(statement).rowcount == 1)  # type: ignore[attr-defined]


def end(session: Session, job: Job, state: JobState, now: datetime, **values: Any) -> None:
    """Take the job from its worker: to queued, done or failed."""
    job.state, job.lease_owner, job.lease_until = state, None, None
    job.finished_at = now if state in ("done", "failed") else None
    for key, value in values.items():
        setattr(job, key, value)
    session.flush()


def requests_of(session: Session, job_id: str) -> list[Request]:
    """The requests a job is for."""
    query = select(Request).join(JobRequest, JobRequest.request_id == Request.id).where(JobRequest.job_id == job_id)
    return list(session.scalars(query.order_by(Request.id)))


def of_request(session: Session, request_id: str) -> list[Job]:
    """The jobs of a request, oldest first."""
    query = select(Job).join(JobRequest, JobRequest.job_id == Job.id).where(JobRequest.request_id == request_id)
    return list(session.scalars(query.order_by(Job.created_at, Job.id)))


def next_queued(session: Session, adapter_id: str) -> str | None:
    """Id of the adapter's oldest queued job."""
    query = select(Job.id).where(Job.adapter_id == adapter_id, Job.state == "queued")
    return session.scalars(query.order_by(Job.created_at, Job.id).limit(1)).first()


def any_expired(session: Session, now: datetime) -> bool:
    """Is there a running job whose lease ran out?"""
    return bool(session.scalar(select(exists().where(Job.state == "running", Job.lease_until < now))))


def expired(session: Session, now: datetime) -> list[Job]:
    """Running jobs whose lease ran out, kept from their workers until the transaction ends."""
    query = select(Job).where(Job.state == "running", Job.lease_until < now).order_by(Job.id)
    return list(session.scalars(query.with_for_update(key_share=True)))


def unheard(session: Session, before: datetime) -> list[str]:
    """Ids of queued jobs, each the next of an idle adapter, with no doorbell waiting or sent since `before`."""
    running, bell, earlier = aliased(Job), aliased(Doorbell), aliased(Job)
    query = select(Job.id).where(
        Job.state == "queued",
        ~exists().where(running.adapter_id == Job.adapter_id, running.state == "running"),
        ~exists().where(
            earlier.adapter_id == Job.adapter_id, earlier.state == "queued", earlier.created_at < Job.created_at
        ),
        ~exists().where(bell.job_id == Job.id, or_(bell.sent_at.is_(None), bell.sent_at > before)),
    )
    return list(session.scalars(query))


def ring(session: Session, job_id: str, now: datetime) -> None:
    """Put a doorbell into the outbox."""
    session.add(Doorbell(job_id=job_id, created_at=now))
    session.flush()


def doorbells(session: Session, limit: int) -> list[tuple[int, str]]:
    """Unsent doorbells, oldest first: (outbox id, job id)."""
    query = select(Doorbell.id, Doorbell.job_id).where(Doorbell.sent_at.is_(None)).order_by(Doorbell.id).limit(limit)
    return [(row.id, row.job_id) for row in session.execute(query)]


def rung(session: Session, outbox_ids: list[int], now: datetime) -> None:
    """Mark doorbells as sent."""
    session.execute(update(Doorbell).where(Doorbell.id.in_(outbox_ids)).values(sent_at=now))


def forget_rung(session: Session, now: datetime, keep: timedelta = timedelta(days=1)) -> None:
    """Remove doorbells sent long ago."""
    session.execute(Doorbell.__table__.delete().where(Doorbell.sent_at < now - keep))  # type: ignore[attr-defined]


def view(session: Session, job_id: str) -> JobView | None:
    """The job as others see it."""
    job = session.get(Job, job_id)
    if job is None:
        return None
    return JobView(
        id=job.id,
        kind=cast("JobKind", job.kind),
        adapter=session.get_one(Adapter, job.adapter_id).name,
        request_ids=tuple(request.id for request in requests_of(session, job_id)),
        state=cast("JobState", job.state),
        attempt=job.attempt,
        verdict=job.verdict,
        progress=None if job.progress is None else Progress(**job.progress),
        mlflow_run_id=job.mlflow_run_id,
        error=job.error,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        report=job.report,
    )
