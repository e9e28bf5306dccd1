"""What people do to requests on the way: cancel, hold, extend, retry, decide. Inside `desk`'s transaction.

Each is allowed from some states alone, records who did it and why, and leaves a fact in the ledger. Speaks no SQL of
its own.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any

from sqlalchemy.orm import Session

from unlearn.cases import clock, planning, telling
from unlearn.cases.clock import Regulation
from unlearn.cases.rights import Actor
from unlearn.cases.store import adapters, jobs, ledger, requests, salts
from unlearn.cases.tables import Job, Request
from unlearn.cases.views import rfc3339
from unlearn.errors import BadInput, Conflict
from unlearn.evidence.ledger import REASON, Action, reason_digest

LONGEST_REASON = 2000

GROUNDS = {
    "freedom_of_expression": "GDPR, article 17(3)(a)",
    "legal_obligation": "GDPR, article 17(3)(b)",
    "public_health": "GDPR, article 17(3)(c)",
    "archiving_or_research": "GDPR, article 17(3)(d)",
    "legal_claims": "GDPR, article 17(3)(e)",
    "unfounded_or_excessive": "GDPR, article 12(5)",
    "exception_of_the_ccpa": "CCPA, section 1798.105(d)",
    "not_the_subject": "the person could not be identified as the subject",
}
"""Grounds on which a request may be rejected."""


def cancel(session: Session, request: Request, by: Actor, now: datetime) -> None:
    """Cancel a request: its person took it back. The version that serves goes on serving; no candidate is kept.

    Raises:
        Conflict: it has ended.
    """
    _check(request, ("pending", "in_progress", "needs_review"), "cancelled")
    if adapters.withheld_for(session, request):
        by.check("review")  # it was confirmed before a backup brought the person back: no tool may end that
    planning.withdraw(session, request, now)
    requests.move(session, request.id, "cancelled", now)
    _enter(session, request, "request_cancelled", by, now)


def cancel_unstarted(session: Session, request: Request, by: Actor, now: datetime) -> None:
    """Cancel a request that nothing was done for yet.

    Raises:
        Conflict: its work has begun, or it has ended.
    """
    _check(request, ("pending",), "cancelled; that is possible while it is pending")
    cancel(session, request, by, now)


def hold(session: Session, request: Request, reason: str, by: Actor, now: datetime) -> None:
    """Put a request under a legal hold: nothing of the subject may be erased. The clock runs on.

    The hold is the subject's: her open request waits whichever is held, one that comes later as well, and what still
    knows her in quarantine is kept from being purged.

    Raises:
        Conflict: it is held already, was cancelled or rejected, or its subject was shredded.
    """
    _check(request, ("pending", "in_progress", "needs_review", "completed"), "held")
    if salts.known_pseudonym(session, *_whose(request)) is None:
        raise Conflict(f"request {request.id} is nobody's any more, so that nothing can be held for its subject")
    if request.held_at is not None:
        raise Conflict(f"request {request.id} is held already; lift the hold first")
    planning.suspend(session, _whose(request), now)
    if request.state == "needs_review" and not requests.open_for(session, [_whose(request)]):
        requests.move(session, request.id, "pending", now)
    request.held_at, request.hold_reason = now, checked_reason(reason)
    _enter(session, request, "request_held", by, now, because=request.hold_reason)


def lift(session: Session, request: Request, by: Actor, now: datetime) -> None:
    """Lift a legal hold: if no other holds the subject, the jobs of her open request are planned anew.

    Raises:
        Conflict: it is not held.
    """
    if request.held_at is None:
        raise Conflict(f"request {request.id} is not held")
    request.held_at, request.hold_reason = None, None
    _enter(session, request, "request_hold_lifted", by, now)
    planning.resume(session, _whose(request), now)


def extend(session: Session, request: Request, reason: str, zone: tzinfo, by: Actor, now: datetime) -> None:
    """Extend the time for an answer, once, before it is over; in the calendar of `zone`.

    Raises:
        Conflict: it was extended already, it is due, or it has ended.
        BadInput: no reason.
    """
    _check(request, ("pending", "in_progress", "needs_review"), "extended")
    if request.extended_at is not None:
        raise Conflict(f"request {request.id} was extended at {request.extended_at.isoformat()}; it can be only once")
    regulation: Regulation = "gdpr" if request.regulation == "gdpr" else "ccpa"
    due_at = clock.extended(regulation, request.received_at.astimezone(zone), request.due_at, now)
    request.extension_reason, request.extended_at, request.due_at = checked_reason(reason), now, due_at
    telling.remind_anew(request)
    jobs.due_anew(session, request.id)
    more = {"due_at": due_at.isoformat()}
    _enter(session, request, "request_extended", by, now, because=request.extension_reason, **more)


def retry(session: Session, request: Request, policy: dict[str, Any] | None, by: Actor, now: datetime) -> None:
    """Try again what the guards did not release or what broke, with another policy if one is given.

    Raises:
        Conflict: it does not wait for a decision.
    """
    _check(request, ("needs_review",), "tried again")
    requests.move(session, request.id, "pending", now)
    request.decision = _decision("retried", None, None, by, now)
    _enter(session, request, "request_retried", by, now, other_policy=policy is not None)
    planning.plan(session, request, now, policy)


def reject(session: Session, request: Request, ground: str, reason: str, by: Actor, now: datetime) -> None:
    """Reject a request on a legal ground, for a reason in writing.

    Raises:
        Conflict: it has ended otherwise.
        BadInput: no such ground, or no reason.
    """
    if ground not in GROUNDS:
        raise BadInput(f"ground: '{ground[:40]}' is none; the grounds are {', '.join(GROUNDS)}")
    _check(request, ("pending", "in_progress", "needs_review"), "rejected")
    decision = _decision("rejected", checked_reason(reason), ground, by, now)
    planning.withdraw(session, request, now)
    requests.move(session, request.id, "rejected", now)
    request.decision = decision
    _enter(session, request, "request_rejected", by, now, because=decision["reason"], ground=ground)


def candidates(session: Session, request: Request) -> list[Job]:
    """The jobs that a person may let pass as they are: the last of each adapter, where the guards refuse the request.

    Either nothing was released, and the job's candidate waits; or the version serves, for the sake of others.

    Raises:
        Conflict: the request waits for no decision, its subject is under a legal hold, or a job has no candidate.
    """
    _check(request, ("needs_review",), "released as it is")
    for other in requests.held(session, [_whose(request)]).values():
        raise Conflict(f"request {other} of this subject is under a legal hold; lift that first")
    last = {job.adapter_id: job for job in jobs.of_request(session, request.id)}
    held = [job for job in last.values() if not jobs.share(session, job.id, request.id).erased]
    for job in held:
        if job.state == "done" and job.verdict == "released":
            continue
        if job.state != "done" or job.candidate is None:
            raise Conflict(f"job {job.id} left no candidate to release; try it again, or reject the request")
        others = [other.id for other in jobs.requests_of(session, job.id) if other.id != request.id]
        if any(session.get_one(Request, other).state != "needs_review" for other in others):
            raise Conflict(f"job {job.id} is shared with a request that waits for no decision; try this one again")
    return held


def released(session: Session, request: Request, held: Sequence[Job], reason: str, by: Actor, now: datetime) -> None:
    """Note that a person released what the guards held back: for this request, in sight of those that share its jobs.

    Raises:
        BadInput: no reason.
    """
    because = checked_reason(reason)
    request.decision = _decision("released", because, None, by, now)
    request.updated_at = now
    session.flush()
    about = {request.id, *(other.id for job in held for other in jobs.requests_of(session, job.id))}
    action: Action = "request_released_by_decision"
    facts = _facts(session, request, action, by, now, because=because)
    ledger.append(session, now, action, facts, sorted(about))


def _whose(request: Request) -> tuple[str, str]:
    return request.controller_id, request.subject_hash


def _decision(kind: str, reason: str | None, ground: str | None, by: Actor, now: datetime) -> dict[str, Any]:
    return {"kind": kind, "reason": reason, "ground": ground, "by": by.name, "at": now.isoformat()}


def _check(request: Request, states: tuple[str, ...], what: str) -> None:
    if request.state not in states:
        raise Conflict(f"request {request.id} is {request.state}, so it can't be {what}")


def checked_reason(reason: str) -> str:
    """A reason in writing, stripped.

    Raises:
        BadInput: empty, too long, or with control characters.
    """
    text = reason.strip()
    if not 1 <= len(text) <= LONGEST_REASON:
        raise BadInput(f"reason: {len(text)} characters; write between 1 and {LONGEST_REASON}")
    if any(unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\r\t" for character in text):
        raise BadInput("reason: it holds control characters; write plain text")  # PostgreSQL keeps no NUL
    return text


def _enter(session: Session, request: Request, action: Action, by: Actor, now: datetime, **more: Any) -> None:
    request.updated_at = now
    session.flush()
    ledger.append(session, now, action, _facts(session, request, action, by, now, **more), [request.id])


def _facts(
    session: Session,
    request: Request,
    action: Action,
    by: Actor,
    now: datetime,
    because: str | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Who decided what and when. Reasons are for people and may name some: of one the ledger gets an HMAC alone."""
    facts = {"request": request.id, "by": by.name, "decided_at": rfc3339(now), **more}
    nonce = None if because is None else nonce_of(session, request, action, facts)
    return facts if because is None or nonce is None else facts | {REASON: reason_digest(because, nonce)}


def nonce_of(session: Session, request: Request, action: str, facts: Mapping[str, Any]) -> bytes | None:
    """Of the HMAC that the entry has of its reason; None once the subject was shredded."""
    return salts.nonce(session, *_whose(request), f"{request.id} {action} {facts['decided_at']}")
