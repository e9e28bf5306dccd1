"""Which jobs a request needs, and how it joins and leaves them, inside the transaction that `desk` opened.

Every adapter of the controller that learned from the subject and serves gets a job, or lets the request share one that
still gathers. Speaks no SQL of its own and knows no rights.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from unlearn.cases.ids import new_id
from unlearn.cases.store import adapters, jobs, ledger, requests
from unlearn.cases.tables import Job, Request


def plan(
    session: Session, request: Request, now: datetime, policy: dict[str, Any] | None = None, *, new: bool = False
) -> None:
    """Plan the erasing of a request's subject from every adapter that still knows it.

    A request for which no adapter has anything (left) to forget is completed; the ledger says how many were searched.
    One that waited for a decision and now waits for a job is pending again.

    Args:
        session: of a writing transaction.
        request: open and not held.
        now: the moment.
        policy: in the place of each adapter's own; such a job is shared with nobody.
        new: whether the request was made just now, so that no job can be for it yet.
    """
    had = [] if new else jobs.of_request(session, request.id)
    waiting = {job.adapter_id for job in had if job.state in ("queued", "running")}
    knowing = adapters.that_learned(session, request.controller_id, request.subject_hash)
    for learned, adapter in knowing:
        if learned.erased_at is not None or adapter.id in waiting:
            continue
        waiting.add(adapter.id)
        facts: dict[str, Any] = {"adapter": adapter.id, "requests": [request.id], "records": learned.records}
        shared = jobs.gathering(session, adapter.id, now) if policy is None else None
        if shared is not None:
            jobs.join(session, shared, request.id, learned.records, request.due_at)
            ledger.append(session, now, "job_joined", {"job": shared.id, **facts}, [request.id])
            continue
        window = float(adapter.policy.get("schedule", {}).get("coalescing_seconds", 0.0))
        ready_at = now + timedelta(seconds=window) if window and policy is None else None
        job_id = new_id("job")
        records = {request.id: learned.records}
        jobs.add(session, job_id, adapter.id, records, now, due_at=request.due_at, ready_at=ready_at, policy=policy)
        ledger.append(session, now, "job_planned", {"job": job_id, **facts}, [request.id])
    if waiting and request.state == "needs_review":
        requests.move(session, request.id, "pending", now)
    if not waiting:
        requests.move(session, request.id, "completed", now)
        searched = {
            "adapters_searched": adapters.count(session, request.controller_id),
            "adapters_that_learned": len(knowing),
        }
        ledger.append(session, now, "request_completed", {"request": request.id, **searched}, [request.id])


def withdraw(session: Session, request: Request, now: datetime) -> None:
    """Take a request out of every job it waits for.

    A job that is for nobody else ends; one that others share goes back to the queue, if it was running, and begins
    anew without the request. A worker that has it finds its fence gone and changes nothing.
    """
    for job in jobs.of_request(session, request.id):
        if job.state in ("queued", "running"):
            _without(session, job, request.id, now)


def _without(session: Session, job: Job, request_id: str, now: datetime) -> None:
    others = [other for other in jobs.requests_of(session, job.id) if other.id != request_id]
    if not others:
        jobs.end(session, job, "cancelled", now)
        ledger.append(session, now, "job_cancelled", {"job": job.id}, [request_id])
        following = jobs.next_queued(session, job.adapter_id, now)
        if following is not None:
            jobs.ring(session, following, now)
        return
    jobs.leave(session, job, request_id)
    job.due_at = min(other.due_at for other in others)
    ledger.append(session, now, "job_left", {"job": job.id, "request": request_id}, [request_id])
    if job.state == "running":
        job.attempt -= 1  # it did not break
        jobs.end(session, job, "queued", now)
        jobs.ring(session, job.id, now)
