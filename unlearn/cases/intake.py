"""Accepting deletion requests, one or many; the same question, the same answer. Inside `desk`'s transaction.

Gets hashes, never an identity. Speaks no SQL of its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from sqlalchemy.orm import Session

from unlearn.cases import clock, planning
from unlearn.cases.clock import Regulation
from unlearn.cases.ids import new_id
from unlearn.cases.rights import Actor
from unlearn.cases.store import adapters, keys, ledger, requests, salts
from unlearn.cases.tables import Request
from unlearn.cases.views import RequestView, Touched
from unlearn.errors import BadInput, Conflict

MOST = 50
"""Requests that are accepted at once."""


@dataclass(frozen=True)
class Submission:
    """One deletion request as it comes in.

    Attributes:
        subject_hash: keyed hash of the identity.
        regulation: whose clock runs.
        received_at: when the controller got it; None: now.
        external_id: what the controller calls it.
        callback_urls: who wants to hear of its states.
    """

    subject_hash: str
    regulation: Regulation = "gdpr"
    received_at: datetime | None = None
    external_id: str | None = None
    callback_urls: tuple[str, ...] = ()


class DuplicateId(Conflict):
    """An external id that is another subject's request."""

    kind = "duplicate"
    title = "This id belongs to another request"


def accept(
    session: Session, submissions: Sequence[Submission], by: Actor, idempotency_key: str | None, now: datetime
) -> list[RequestView]:
    """Accept all of the submissions, or none; under a key that was answered before, the same requests as then.

    Raises:
        BadInput: too many at once, a subject twice, or a clock far off.
        Conflict: a subject is being forgotten already, or the key or an external id was used for something else.
    """
    if not 1 <= len(submissions) <= MOST:
        raise BadInput(f"{len(submissions)} requests at once; send between 1 and {MOST}")
    body = _digest(submissions)
    if idempotency_key is not None:
        before = keys.answered(session, by.controller, idempotency_key)
        if before is not None:
            if before.body_sha256 != body:
                raise Conflict(
                    "this Idempotency-Key was used for another body; take a new key for a new request, and send the "
                    "same body to repeat one"
                )
            return requests.several(session, by.controller, before.request_ids)
    if len({one.subject_hash for one in submissions}) < len(submissions):
        raise BadInput("the same subject is asked for twice; send each once")
    accepted = [_accept(session, one, by, now) for one in submissions]
    if idempotency_key is not None:
        keys.note_answer(session, by.controller, idempotency_key, body, [request.id for request in accepted], now)
    return requests.views(session, accepted)


def accept_once(session: Session, one: Submission, by: Actor, now: datetime) -> RequestView:
    """Accept the submission, or give the request that its external id and subject were accepted as before.

    Raises:
        BadInput: no external id, or a clock far off.
        DuplicateId: the external id is another subject's.
        Conflict: the subject is being forgotten already, under another external id.
    """
    if one.external_id is None:
        raise BadInput("give an external id; by it the same request is known again")
    known = requests.by_external_id(session, by.controller, one.external_id)
    ids = [known or _accept(session, one, by, now).id]
    [view] = requests.several(session, by.controller, ids)
    if view.subject_hash != one.subject_hash:
        raise DuplicateId("this id was used for a request of another subject; take a new id for a new request")
    return view


def _accept(session: Session, one: Submission, by: Actor, now: datetime) -> Request:
    busy = requests.open_for(session, by.controller, one.subject_hash)
    if busy is not None:
        raise Conflict(f"request {busy} for this subject is still open; follow that one")
    if one.external_id is not None:
        known = requests.by_external_id(session, by.controller, one.external_id)
        if known is not None:
            raise Conflict(f"request {known} has this external id already; follow that one")
    received_at = (one.received_at or now).astimezone(UTC)
    deadline = clock.start(one.regulation, received_at, now)
    row = {
        "id": new_id("req"),
        "controller_id": by.controller,
        "external_id": one.external_id,
        "subject_hash": one.subject_hash,
        "regulation": one.regulation,
        "submitted_by": by.name,
        "received_at": received_at,
        "due_at": deadline.due_at,
        "confirm_by": deadline.confirm_by,
        "callback_urls": list(one.callback_urls) or None,
    }
    request = requests.add(session, row, now)
    subject = salts.pseudonym(session, by.controller, one.subject_hash)
    facts = {"request": request.id, "subject": subject, "by": by.name, "regulation": one.regulation}
    ledger.append(session, now, "request_accepted", facts, [request.id])
    planning.plan(session, request, now, new=True)
    return request


def touched(session: Session, subject_hash: str, by: Actor) -> list[Touched]:
    """Which adapters a request for the subject would touch, and by how many records."""
    learned = adapters.that_learned(session, by.controller, subject_hash)
    return [Touched(adapter.name, one.records, one.erased_at) for one, adapter in learned]


def _digest(submissions: Sequence[Submission]) -> str:
    told = [asdict(one) | {"received_at": one.received_at and one.received_at.isoformat()} for one in submissions]
    for one in told:
        if not one["callback_urls"]:  # answers of before callbacks were known go on being found
            del one["callback_urls"]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
