"""Accepting deletion requests, many at once; the same question, the same answer. Inside `desk`'s transaction.

Questions of several clients are answered in one go and in their order, each as if it had come alone: what is known of
all of them is read first, each is judged by that and by what those before it made, and then everything is written.
Gets hashes, never an identity. Speaks no SQL of its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, tzinfo

from sqlalchemy.orm import Session

from unlearn.cases import clock, planning
from unlearn.cases.clock import Regulation
from unlearn.cases.ids import new_id
from unlearn.cases.planning import Plan
from unlearn.cases.rights import Actor
from unlearn.cases.store import adapters, errands, keys, ledger, requests, salts
from unlearn.cases.store.adapters import Learned
from unlearn.cases.store.ahead import ahead
from unlearn.cases.store.ledger import Fact
from unlearn.cases.tables import Request
from unlearn.cases.views import RequestView, Touched, rfc3339
from unlearn.errors import BadInput, Conflict, UnlearnError

MOST = 50
"""Requests in one question."""

Pair = tuple[str, str]
"""A controller's id, and something of its own."""


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


@dataclass(frozen=True)
class Question:
    """Submissions of one client, which are accepted all or not at all.

    Attributes:
        submissions: of distinct subjects.
        by: who submits them.
        idempotency_key: under which the same question gets the same requests; hashed.
        once: whether the one submission is known for good by its external id, and then not accepted again.

    Raises:
        BadInput: too many at once, a subject twice, or no external id to know it by.
        Conflict: an external id twice.
    """

    submissions: tuple[Submission, ...]
    by: Actor
    idempotency_key: str | None = None
    once: bool = False

    def __post_init__(self) -> None:
        number = len(self.submissions)
        if not 1 <= number <= MOST:
            raise BadInput(f"{number} requests at once; send between 1 and {MOST}")
        if len({one.subject_hash for one in self.submissions}) < number:
            raise BadInput("the same subject is asked for twice; send each once")
        called = [one.external_id for one in self.submissions if one.external_id is not None]
        if len(set(called)) < len(called):
            raise Conflict("two of these requests have the same external id; give each its own")
        if self.once and len(called) != 1:
            raise BadInput("give an external id; by it the same request is known again")

    @property
    def whose(self) -> list[Pair]:
        """Each subject with the controller."""
        return [(self.by.controller, one.subject_hash) for one in self.submissions]

    @property
    def names(self) -> list[Pair]:
        """Each external id with the controller."""
        called = [one.external_id for one in self.submissions]
        return [(self.by.controller, name) for name in called if name is not None]


class DuplicateId(Conflict):
    """An external id that is another subject's request."""

    kind = "duplicate"
    title = "This id belongs to another request"


@dataclass
class _Known:
    """What is known while questions are answered; each answer adds to it.

    Attributes:
        now: the moment of all of them.
        zone: in whose calendar they are due.
        busy: subjects with an open request, and its id.
        held: subjects under a legal hold, and a request that says so.
        called: external ids, with the request's id and its subject.
        answered: Idempotency-Keys, with the body's digest and the requests' ids.
        learned: what adapters learned of each subject.
        made: the new requests, not yet written.
        answers: those of `answered` that are new.
        plan: the jobs they need.
    """

    now: datetime
    zone: tzinfo
    busy: dict[Pair, str]
    held: dict[Pair, str]
    called: dict[Pair, tuple[str, str]]
    answered: dict[Pair, tuple[str, list[str]]]
    learned: dict[Pair, list[Learned]]
    made: list[Request] = field(default_factory=list)
    answers: dict[Pair, tuple[str, list[str]]] = field(default_factory=dict)
    plan: Plan = field(default_factory=Plan)


def accept(
    session: Session, questions: Sequence[Question], now: datetime, zone: tzinfo
) -> list[list[RequestView] | UnlearnError]:
    """Answer the questions in their order; the statutory clock is that of `zone`.

    Returns:
        For each its requests, or why they are not accepted: BadInput (a clock far off), DuplicateId (asked once, under
        another subject's external id), or Conflict (a subject is being forgotten already, or the key or an external id
        was used for something else).
    """
    whose = [pair for question in questions for pair in question.whose]
    known = _Known(
        now,
        zone,
        requests.open_for(session, whose),
        requests.held(session, whose),
        requests.called(session, [pair for question in questions for pair in question.names]),
        keys.answered(session, [(q.by.controller, q.idempotency_key) for q in questions if q.idempotency_key]),
        adapters.that_learned(session, whose),
    )
    found = [_answer(session, known, question) for question in questions]
    with ahead(session):
        _write(session, known)
    new = {view.id: view for view in _views(session, known)}
    return [
        ids if isinstance(ids, UnlearnError) else _shown(session, question, ids, new)
        for question, ids in zip(questions, found, strict=True)
    ]


def _answer(session: Session, known: _Known, question: Question) -> list[str] | UnlearnError:
    try:
        return _judge(session, known, question)
    except UnlearnError as error:
        return error


def _judge(session: Session, known: _Known, question: Question) -> list[str]:
    """Ids of the question's requests, as they are or as they will be."""
    controller, key = question.by.controller, question.idempotency_key
    body = None if key is None else _digest(question.submissions)
    if key is not None and (controller, key) in known.answered:
        before, ids = known.answered[controller, key]
        if before != body:
            raise Conflict(
                "this Idempotency-Key was used for another body; take a new key for a new request, and send the "
                "same body to repeat one"
            )
        return ids
    if question.once and question.names[0] in known.called:
        id_, subject = known.called[question.names[0]]
        if subject != question.submissions[0].subject_hash:
            raise DuplicateId("this id was used for a request of another subject; take a new id for a new request")
        return [id_]
    for pair in question.whose:
        if pair in known.busy:
            raise Conflict(f"request {known.busy[pair]} for this subject is still open; follow that one")
    for name in question.names:
        if name in known.called:
            raise Conflict(f"request {known.called[name][0]} has this external id already; follow that one")
    made = [_request(one, question.by, known.now, known.zone) for one in question.submissions]
    for request in made:  # from here on nothing is refused
        _take(session, known, request)
    ids = [request.id for request in made]
    if key is not None and body is not None:
        known.answered[controller, key] = known.answers[controller, key] = body, ids
    return ids


def _request(one: Submission, by: Actor, now: datetime, zone: tzinfo) -> Request:
    received_at = (one.received_at or now).astimezone(UTC)
    deadline = clock.start(one.regulation, received_at.astimezone(zone), now)
    return Request(
        id=new_id("req"),
        controller_id=by.controller,
        external_id=one.external_id,
        subject_hash=one.subject_hash,
        regulation=one.regulation,
        submitted_by=by.name,
        received_at=received_at,
        due_at=deadline.due_at,
        confirm_by=deadline.confirm_by,
        callback_urls=list(one.callback_urls) or None,
        created_at=now,
        updated_at=now,
    )


def _take(session: Session, known: _Known, request: Request) -> None:
    """Take a request in: pending if it needs a job, completed if nobody knows its subject.

    That of a subject under a legal hold is pending and needs none until the hold is lifted.
    """
    pair = request.controller_id, request.subject_hash
    held = pair in known.held
    if known.plan.add(session, request, () if held else known.learned[pair], known.now) or held:
        request.state = "pending"
        known.busy[pair] = request.id
    else:
        request.state, request.completed_at = "completed", known.now
    if request.external_id is not None:
        known.called[request.controller_id, request.external_id] = request.id, request.subject_hash
    known.made.append(request)


def _write(session: Session, known: _Known) -> None:
    """Write what was made. The ledger comes last, as with all who write, so that nobody waits crosswise."""
    if not known.made:
        return
    now, done = known.now, [request for request in known.made if request.state == "completed"]
    names = salts.pseudonyms(session, [(one.controller_id, one.subject_hash) for one in known.made])
    requests.add_many(session, known.made)
    known.plan.write(session, now)
    errands.tell_many(session, done, "request.completed", now)
    keys.note_answers(session, known.answers, now)
    searched = adapters.serving(session, [one.controller_id for one in done]) if done else {}
    for those in searched.values():
        planning.keep_list(session, those)
    told: list[Fact] = []
    for one in known.made:
        pair = one.controller_id, one.subject_hash
        facts = {"request": one.id, "subject": names[pair], "by": one.submitted_by, "regulation": one.regulation}
        facts |= {"controller": one.controller_id}
        facts |= {"received_at": rfc3339(one.received_at), "due_at": rfc3339(one.due_at)}
        facts |= {"confirm_by": rfc3339(one.confirm_by)} if one.confirm_by else {}
        told += [Fact("request_accepted", facts, [one.id]), *known.plan.facts[one.id]]
        if one.state == "completed":
            told.append(planning.completed(one, searched[one.controller_id], known.learned[pair]))
    ledger.append_many(session, now, told)


def _views(session: Session, known: _Known) -> list[RequestView]:
    """The new requests; only those with jobs are looked up."""
    alone = [requests.view(one) for one in known.made if one.state == "completed"]
    waiting = [one for one in known.made if one.state == "pending"]
    return [*alone, *(requests.views(session, waiting) if waiting else ())]


def _shown(session: Session, question: Question, ids: list[str], new: dict[str, RequestView]) -> list[RequestView]:
    if all(id_ in new for id_ in ids):
        return [new[id_] for id_ in ids]
    return requests.several(session, question.by.controller, ids)


def touched(session: Session, subject_hash: str, by: Actor) -> list[Touched]:
    """Which adapters a request for the subject would touch, and how many records each learned."""
    pair = by.controller, subject_hash
    return [Touched(one.name, one.records, one.erased_at) for one in adapters.that_learned(session, [pair])[pair]]


def _digest(submissions: Sequence[Submission]) -> str:
    told = [asdict(one) | {"received_at": one.received_at and one.received_at.isoformat()} for one in submissions]
    for one in told:
        if not one["callback_urls"]:  # answers of before callbacks were known go on being found
            del one["callback_urls"]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
