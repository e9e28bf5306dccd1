"""Which jobs requests need, and how they join and leave them, inside the transaction that `desk` opened.

Every adapter of the controller that serves and has records of a subject gets a job, or lets the request share one that
still gathers. Whose records are in the holdout alone, of whom no weight knows, shares none: that job only rewrites
corpora, and waits for nobody's verdict. Speaks no SQL of its own and knows no rights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

import rfc8785
from sqlalchemy.orm import Session

from unlearn.cases.ids import new_id
from unlearn.cases.store import adapters, jobs, ledger, requests, turns
from unlearn.cases.store.adapters import Learned, Serving
from unlearn.cases.store.jobs import NewJob
from unlearn.cases.store.ledger import Fact
from unlearn.cases.tables import Job, Request
from unlearn.cases.views import rfc3339

MOST_NAMED = 100
"""Versions that one entry of the ledger names."""


@dataclass
class Plan:
    """What requests need, before it is written.

    Attributes:
        made: new jobs.
        joined: jobs that were there: which, the request, and its records.
        facts: what the ledger is to say of each request, by its id.
    """

    made: list[NewJob] = field(default_factory=list)
    joined: list[tuple[Job, Request, int]] = field(default_factory=list)
    facts: dict[str, list[Fact]] = field(default_factory=dict)

    def add(
        self,
        session: Session,
        request: Request,
        learned: Sequence[Learned],
        now: datetime,
        policy: dict[str, Any] | None = None,
        waiting: Collection[str] = (),
    ) -> bool:
        """Plan the erasing of a request's subject from the adapters that still know it; whether there are any.

        Args:
            session: of a writing transaction.
            request: which; it need not be in the database yet.
            learned: what each adapter has of the subject.
            now: the moment.
            policy: in the place of each adapter's own; such a job is shared with nobody.
            waiting: adapters with a job that the request has already.
        """
        told = self.facts.setdefault(request.id, [])
        wanted = [one for one in learned if one.erased_at is None and one.adapter_id not in waiting]
        for one in wanted:
            window = 0.0
            if policy is None and one.records:
                window = float(one.policy.get("schedule", {}).get("coalescing_seconds", 0.0))
            facts: dict[str, Any] = {"adapter": one.adapter_id, "adapter_name": one.name}
            facts |= {"requests": [request.id], "records": one.records}
            shared = self._share(session, request, one, now) if window else None
            if shared is not None:
                told.append(Fact("job_joined", {"job": shared, **facts}, [request.id]))
                continue
            job = NewJob(new_id("job"), one.adapter_id, request.due_at, policy=policy)
            job.ready_at = now + timedelta(seconds=window) if window else None
            job.records[request.id] = one.records
            self.made.append(job)
            told.append(Fact("job_planned", {"job": job.id, **facts}, [request.id]))
        return bool(wanted)

    def _share(self, session: Session, request: Request, one: Learned, now: datetime) -> str | None:
        """Let the request share the adapter's job that still gathers; its id, if there is one."""
        for new in self.made:
            if new.adapter_id == one.adapter_id and new.ready_at is not None:
                new.records[request.id], new.due_at = one.records, min(new.due_at, request.due_at)
                return new.id
        found = jobs.gathering(session, one.adapter_id, now)
        if found is None:
            return None
        self.joined.append((found, request, one.records))
        return found.id

    def write(self, session: Session, now: datetime) -> None:
        """Write jobs and shares; the requests are there. What the ledger is to say is for the caller."""
        jobs.add_many(session, self.made, now)
        for job, request, records in self.joined:
            jobs.join(session, job, request.id, records, request.due_at)


def plan(session: Session, request: Request, now: datetime, policy: dict[str, Any] | None = None) -> None:
    """Plan the erasing of a request's subject from every adapter that still knows it.

    A request for which no adapter has anything (left) to forget is completed; the ledger says which were searched.
    One that waited for a decision and now waits for a job is pending again. Of a subject under a legal hold nothing is
    planned: her request is pending until `resume`.

    Args:
        session: of a writing transaction.
        request: open, or waiting for a decision.
        now: the moment.
        policy: in the place of each adapter's own; such a job is shared with nobody.
    """
    whose = request.controller_id, request.subject_hash
    if requests.held(session, [whose]):
        requests.move(session, request.id, "pending", now)
        return
    had = jobs.of_request(session, request.id)
    waiting = {job.adapter_id for job in had if job.state in ("queued", "running")}
    learned = adapters.that_learned(session, [whose])[whose]
    planned = Plan()
    busy = planned.add(session, request, learned, now, policy, waiting) or bool(waiting)
    planned.write(session, now)
    ledger.append_many(session, now, planned.facts[request.id])
    if busy and request.state == "needs_review":
        requests.move(session, request.id, "pending", now)
    if not busy:
        requests.move(session, request.id, "completed", now)
        searched = adapters.serving(session, [request.controller_id])[request.controller_id]
        keep_list(session, searched)
        ledger.append_many(session, now, [completed(request, searched, learned)])


def completed(request: Request, searched: tuple[Serving, ...], learned: Sequence[Learned]) -> Fact:
    """That a request needs no job (any more): which adapters were searched, and how many of them had learned."""
    knew = sum(one.records > 0 for one in learned)
    facts = {"request": request.id, "adapters_searched": len(searched), "adapters_that_learned": knew}
    facts |= {"completed_at": rfc3339(request.completed_at)} if request.completed_at else {}
    return Fact("request_completed", {**facts, **_versions(searched)}, [request.id])


def keep_list(session: Session, searched: tuple[Serving, ...]) -> None:
    """Keep what was searched where the ledger gets the digest of its list alone: an export has the list."""
    if len(searched) > MOST_NAMED:
        adapters.keep_list(session, *_listed(searched))


def _versions(searched: tuple[Serving, ...]) -> dict[str, Any]:
    """The versions searched, by adapter id; of very many the digest of their list."""
    if len(searched) > MOST_NAMED:
        return {"adapters_versions_sha256": _listed(searched)[0]}
    return {"adapters_versions": _named(searched)}


@lru_cache(maxsize=16)
def _listed(searched: tuple[Serving, ...]) -> tuple[str, str]:
    """SHA-256 and text of the list, as canonical JSON (RFC 8785)."""
    listed = rfc8785.dumps(_named(searched))
    return hashlib.sha256(listed).hexdigest(), listed.decode()


def _named(searched: tuple[Serving, ...]) -> list[Any]:
    return [{"adapter": one.adapter_id, "version": one.number, "sha256": one.sha256} for one in searched]


def suspend(session: Session, whose: tuple[str, str], now: datetime) -> None:
    """Let a subject's open request wait, out of every job, since she is under a legal hold."""
    for request in _open(session, whose):
        withdraw(session, request, now)
        requests.move(session, request.id, "pending", now)


def resume(session: Session, whose: tuple[str, str], now: datetime) -> None:
    """Plan a subject's open request after a hold was lifted, unless another one holds her."""
    for request in _open(session, whose):
        plan(session, request, now)


def _open(session: Session, whose: tuple[str, str]) -> list[Request]:
    """At most one."""
    session.flush()
    return [session.get_one(Request, id_) for id_ in requests.open_for(session, [whose]).values()]


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
        turns.ring_next(session, job.adapter_id, now)
        return
    jobs.leave(session, job, request_id)
    job.due_at = min(other.due_at for other in others)
    ledger.append(session, now, "job_left", {"job": job.id, "request": request_id}, [request_id])
    if job.state == "running":
        job.attempt -= 1  # it did not break
        jobs.end(session, job, "queued", now)
        jobs.ring(session, job.id, now)
