"""How attempts, jobs and requests end: what each ending leaves behind, inside the transaction that `desk` opened.

Speaks no SQL of its own and decides nothing about leases.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from unlearn.cases import planning
from unlearn.cases.store import jobs, ledger, requests, turns
from unlearn.cases.tables import Job, Request
from unlearn.cases.views import Own
from unlearn.evidence.ledger import findings_digest, report_digest

PATIENCE = timedelta(hours=3)
"""How long something that an attempt needs may be away until that counts as one attempt."""

SHORTEST, LONGEST = timedelta(seconds=10), timedelta(minutes=10)
"""Of the pauses before another attempt."""


def judge(
    session: Session,
    job: Job,
    request_ids: Sequence[str],
    report: Mapping[str, Any],
    own: Mapping[str, Own],
    now: datetime,
) -> frozenset[str]:
    """End the job with the verdict of its report, and give each request its own.

    Args:
        session: of a writing transaction.
        job: running.
        request_ids: of its requests.
        report: the job's.
        own: of each subject alone, by its hash, where several share the job; who is missing has the job's verdict.
        now: the moment.

    Returns:
        Hashes of the subjects whose own verdict is "released".
    """
    jobs.end(session, job, "done", now, verdict=report["verdict"], report=dict(report))
    facts = {
        "job": job.id,
        "verdict": report["verdict"],
        "method": report["method"],
        "report_sha256": report_digest(report),
        **_outcomes(report["findings"]),
    }
    ledger.append(session, now, "verdict", facts, request_ids)
    released = set()
    for its, request in jobs.shares(session, job.id):
        alone = own.get(request.subject_hash)
        its.verdict = report["verdict"] if alone is None else alone.verdict
        if its.verdict == "released":
            released.add(request.subject_hash)
            its.erased = True
        if alone is not None:
            its.findings = list(alone.findings)
            facts = {"job": job.id, "request": request.id, "verdict": its.verdict, **_outcomes(alone.findings)}
            facts |= {"findings_sha256": findings_digest(alone.findings)}
            ledger.append(session, now, "verdict_alone", facts, [request.id])
    return frozenset(released)


def _outcomes(findings: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {"findings": {finding["gate"]: finding["outcome"] for finding in findings}}


def break_off(
    session: Session, job: Job, reason: str, now: datetime, *, over: bool, pause: timedelta = timedelta()
) -> None:
    """End an attempt without a verdict: the job goes back to the queue, or has failed when it is `over`.

    Another attempt begins after the pause.
    """
    request_ids = [request.id for request in jobs.requests_of(session, job.id)]
    facts = {"job": job.id, "attempt": job.attempt, "fence": job.fence, "final": over}
    ledger.append(session, now, "attempt_failed", facts, request_ids)
    job.away_since = None
    jobs.end(session, job, "failed" if over else "queued", now, error=reason)
    if over:
        settle(session, job, request_ids, now)
    elif pause:
        _later(session, job, pause, now)
    else:
        jobs.ring(session, job.id, now)


def put_off(session: Session, job: Job, reason: str, now: datetime, *, over: bool) -> None:
    """End an attempt because something that it needs was away: the job goes back to the queue for a while.

    The longer it is away, the longer the pauses. The attempt counts only once that has gone on for `PATIENCE`; when the
    job is `over` by then, it has failed.
    """
    job.away_since = job.away_since or now
    away = now - job.away_since
    if away > PATIENCE:
        break_off(session, job, reason, now, over=over, pause=pause_of(LONGEST))
        return
    _interrupted(session, job, now)
    jobs.end(session, job, "queued", now, error=reason)
    _later(session, job, pause_of(away), now)


def pause_of(about: timedelta) -> timedelta:
    """A pause of about so long, within its bounds; by chance, so that many jobs do not come back at one moment."""
    return min(max(about, SHORTEST), LONGEST) * random.uniform(0.75, 1.25)  # noqa: S311


def _later(session: Session, job: Job, pause: timedelta, now: datetime) -> None:
    """Let the job be ready after a pause, when the sweep rings for it; the adapter's others go on."""
    job.ready_at = now + pause
    session.flush()
    turns.ring_next(session, job.adapter_id, now)


def interrupt(session: Session, job: Job, now: datetime) -> None:
    """End an attempt that somebody stopped: the job goes back to the queue, and the attempt does not count."""
    _interrupted(session, job, now)
    jobs.end(session, job, "queued", now)
    jobs.ring(session, job.id, now)


def _interrupted(session: Session, job: Job, now: datetime) -> None:
    request_ids = [request.id for request in jobs.requests_of(session, job.id)]
    facts = {"job": job.id, "attempt": job.attempt, "fence": job.fence}
    ledger.append(session, now, "attempt_interrupted", facts, request_ids)
    job.attempt -= 1


def settle(session: Session, job: Job, request_ids: Sequence[str], now: datetime) -> None:
    """After a job ended: end the requests that wait for nothing more, and ring for the adapter's next job.

    Of an adapter the last job counts, by whether the subject counts as erased by it; one that was cancelled, because
    the adapter retired, asks for nothing. Whether nothing is left to forget is asked of the adapters, not of the jobs:
    one may have been rolled back, or registered, since its job ended, and is planned now.
    """
    for request_id in request_ids:
        siblings = jobs.of_request(session, request_id)
        if any(sibling.state in ("queued", "running") for sibling in siblings):
            continue
        last = {sibling.adapter_id: sibling for sibling in siblings}
        if all(one.state == "cancelled" or jobs.share(session, one.id, request_id).erased for one in last.values()):
            planning.plan(session, session.get_one(Request, request_id), now)
        else:
            requests.move(session, request_id, "needs_review", now)
            ledger.append(session, now, "request_needs_review", {"request": request_id}, [request_id])
    turns.ring_next(session, job.adapter_id, now)
