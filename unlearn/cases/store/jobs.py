"""Jobs, their leases and fences, and the outbox. Correct under any number of workers and repeated messages; `turns`
says whose turn it is."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import delete, exists, func, insert, select, tuple_, update
from sqlalchemy.orm import Session

from unlearn.cases.store import adapters
from unlearn.cases.tables import Adapter, AdapterVersion, Doorbell, Job, JobRequest, Request
from unlearn.cases.views import JobKind, JobState, JobView, Progress, Superseded, Trace

AT_ONCE = 500
"""Ids asked for in one statement."""

NUMBERED = re.compile(r" \d+ of \d+$")
"""What parts of one stage are told apart by: their seconds are the stage's."""


ADD, SHARE, RING = insert(Job), insert(JobRequest), insert(Doorbell)


@dataclass
class NewJob:
    """A queued job to be added; `records` by the id of each request that shares it."""

    id: str
    adapter_id: str
    due_at: datetime
    kind: JobKind = "erasure"
    ready_at: datetime | None = None
    policy: dict[str, Any] | None = None
    records: dict[str, int] = field(default_factory=dict)


def add_many(session: Session, made: Sequence[NewJob], now: datetime) -> None:
    """Add queued jobs with the shares of their requests, and doorbells for those that may begin at once."""
    new: dict[str, Any] = {"state": "queued", "attempt": 0, "fence": 0, "created_at": now}
    rows = [
        {
            "id": job.id,
            "adapter_id": job.adapter_id,
            "kind": job.kind,
            "due_at": job.due_at,
            "ready_at": job.ready_at,
            "policy": job.policy,
            **new,
        }
        for job in made
    ]
    shares = [{"job_id": job.id, "request_id": id_, "records": n} for job in made for id_, n in job.records.items()]
    bells = [{"job_id": job.id, "created_at": now} for job in made if job.ready_at is None or job.ready_at <= now]
    session.flush()
    connection = session.connection()
    for table, given in ((ADD, rows), (SHARE, shares), (RING, bells)):
        if given:
            connection.execute(table, given)


def gathering(session: Session, adapter_id: str, now: datetime) -> Job | None:
    """The adapter's erasure that still waits for requests to join it."""
    query = select(Job).where(
        Job.adapter_id == adapter_id,
        Job.kind == "erasure",
        Job.state == "queued",
        Job.ready_at > now,
        Job.fence == 0,
        Job.policy.is_(None),
    )
    return session.scalars(query.order_by(Job.created_at, Job.id).limit(1).with_for_update(key_share=True)).first()


def join(session: Session, job: Job, request_id: str, records: int, due_at: datetime) -> None:
    """Let a request share the job."""
    session.add(JobRequest(job_id=job.id, request_id=request_id, records=records))
    job.due_at = due_at if job.due_at is None else min(job.due_at, due_at)
    session.flush()


def leave(session: Session, job: Job, request_id: str) -> None:
    """Take a request out of the job."""
    session.execute(delete(JobRequest).where(JobRequest.job_id == job.id, JobRequest.request_id == request_id))
    session.flush()


def due_anew(session: Session, request_id: str) -> None:
    """Let the request's jobs be due when the most urgent request of each is, since its own date moved."""
    session.flush()
    its = select(JobRequest.job_id).where(JobRequest.request_id == request_id)
    earliest = select(func.min(Request.due_at)).join(JobRequest, JobRequest.request_id == Request.id)
    earliest = earliest.where(JobRequest.job_id == Job.id)
    session.execute(
        update(Job)
        .where(Job.id.in_(its), Job.state.in_(("queued", "running")))
        .values(due_at=earliest.scalar_subquery()),
        execution_options={"synchronize_session": False},
    )


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


def enter_stage(job: Job, stage: str, step: int, steps: int, now: datetime) -> None:
    """Note where the job is; a change of stage ends the seconds of the one before."""
    if job.progress is None or job.progress["stage"] != stage:
        leave_stage(job, now)
        job.stage_since = now
    job.progress = {"stage": stage, "step": step, "steps": steps}


def leave_stage(job: Job, now: datetime) -> None:
    """Add the seconds of the job's stage, if it is in one, to what its attempts spent there."""
    if job.stage_since is None or job.progress is None:
        return
    stage = NUMBERED.sub("", job.progress["stage"])
    spent = dict(job.stages or {})
    spent[stage] = round(spent.get(stage, 0.0) + max(0.0, (now - job.stage_since).total_seconds()), 3)
    job.stages, job.stage_since = spent, None


def note(session: Session, job_id: str, fence: int, **values: Any) -> bool:
    """Write columns of the job; False if the fence does not hold it any more."""
    statement = update(Job).where(Job.id == job_id, Job.fence == fence, Job.state == "running").values(**values)
    return bool(session.execute(statement).rowcount == 1)  # type: ignore[attr-defined]


def end(session: Session, job: Job, state: JobState, now: datetime, **values: Any) -> None:
    """Take the job from its worker: to queued, done, failed or cancelled. Its fence holds it no more."""
    leave_stage(job, now)
    job.state, job.lease_owner, job.lease_until = state, None, None
    job.finished_at = None if state == "queued" else now
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


def judged_before(session: Session, job: Job, waiting: Sequence[Request]) -> int:
    """Methods that may pass by chance and were judged in vain for the same people, in the adapter's earlier jobs.

    In vain for a person, whatever her job's verdict: what was released may have left her behind.
    """
    people = {(request.controller_id, request.subject_hash) for request in waiting}
    earlier = (
        select(Job.id, Job.report)
        .join(JobRequest, JobRequest.job_id == Job.id)
        .join(Request, Request.id == JobRequest.request_id)
        .where(Job.adapter_id == job.adapter_id, Job.id != job.id, JobRequest.verdict.in_(("refused", "inconclusive")))
        .where(tuple_(Request.controller_id, Request.subject_hash).in_(people))
    )
    reports = {id_: report or {} for id_, report in session.execute(earlier)}
    tries = [one for report in reports.values() for one in report.get("attempts", ())]
    return sum(one.get("verdict") is not None and one.get("method") != "retrain" for one in tries)


def shares(session: Session, job_id: str) -> list[tuple[JobRequest, Request]]:
    """The requests of a job, each with its share in it."""
    query = select(JobRequest, Request).join(Request, Request.id == JobRequest.request_id)
    return [
        (its, request)
        for its, request in session.execute(query.where(JobRequest.job_id == job_id).order_by(Request.id))
    ]


def share(session: Session, job_id: str, request_id: str) -> JobRequest:
    """A request's share in one of its jobs."""
    return session.get_one(JobRequest, (job_id, request_id))


def open_of_adapter(session: Session, adapter_id: str) -> list[Job]:
    """The adapter's jobs that have not ended, kept from their workers until the transaction ends."""
    query = select(Job).where(Job.adapter_id == adapter_id, Job.state.in_(("queued", "running"))).order_by(Job.id)
    return list(session.scalars(query.with_for_update(key_share=True)))


def running(session: Session) -> list[Job]:
    """The jobs of all adapters that somebody works on."""
    return list(session.scalars(select(Job).where(Job.state == "running").order_by(Job.id)))


def any_expired(session: Session, now: datetime) -> bool:
    """Is there a running job whose lease ran out?"""
    return bool(session.scalar(select(exists().where(Job.state == "running", Job.lease_until < now))))


def expired(session: Session, now: datetime) -> list[Job]:
    """Running jobs whose lease ran out, kept from their workers until the transaction ends."""
    query = select(Job).where(Job.state == "running", Job.lease_until < now).order_by(Job.id)
    return list(session.scalars(query.with_for_update(key_share=True)))


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


def traces(session: Session, job_ids: Collection[str]) -> dict[str, Trace]:
    """Where each of these jobs stands, and the places of weights that rows name as its own."""
    wanted = sorted(job_ids)
    places: dict[str, set[str]] = {}
    found: dict[str, Trace] = {}
    for start in range(0, len(wanted), AT_ONCE):
        some = wanted[start : start + AT_ONCE]
        made = select(AdapterVersion.job_id, AdapterVersion.path).where(AdapterVersion.job_id.in_(some))
        for job_id, path in session.execute(made):
            places.setdefault(str(job_id), set()).add(path)
        for row in session.execute(select(Job.id, Job.state, Job.fence, Job.candidate).where(Job.id.in_(some))):
            held = {row.candidate} if row.candidate else set()
            found[row.id] = Trace(row.state, row.fence, frozenset(places.get(row.id, set()) | held))
    return found


def view(session: Session, controller: str, job_id: str) -> JobView | None:
    """The controller's job as others see it."""
    query = select(Job).join(Adapter, Adapter.id == Job.adapter_id)
    job = session.scalars(query.where(Job.id == job_id, Adapter.controller_id == controller)).first()
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
        erased=job.erased,
        superseded=_superseded(session, job),
        purged_at=job.purged_at,
    )


def _superseded(session: Session, job: Job) -> tuple[Superseded, ...]:
    """The versions that the job's own was made from."""
    own = session.scalars(select(AdapterVersion.number).where(AdapterVersion.job_id == job.id)).first()
    if own is None:
        return ()
    _, *before = adapters.lineage(session, job.adapter_id, own)
    return tuple(Superseded(v.number, v.sha256, v.quarantined_at, v.purge_after, v.purged_at) for v in before)
