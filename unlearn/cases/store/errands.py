"""Errands: what is to be done outside, who is told what, how it went. A lease makes it one attempt at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, cast
from urllib.parse import urlsplit

from sqlalchemy import ColumnElement, bindparam, case, func, or_, select, tuple_, update
from sqlalchemy.orm import Session

from unlearn.cases.ids import new_id
from unlearn.cases.rights import HERE
from unlearn.cases.store.engine import ERRAND_LOCK, lock
from unlearn.cases.tables import Adapter, AdapterVersion, Controller, Endpoint, Errand, JobRequest, Request
from unlearn.cases.views import OPENDSR_STATUS, UNANSWERED, RequestState, rfc3339

LEASE = timedelta(seconds=120)
"""How long one attempt may take before another process makes the next."""

LONGEST_TARGET = 200
"""Characters; the column's."""

ADDRESSES = select(Endpoint.controller_id, Endpoint.id).where(
    Endpoint.controller_id.in_(bindparam("controllers", expanding=True)), Endpoint.disabled_at.is_(None)
)


def tell(session: Session, request: Request, event: str, now: datetime) -> None:
    """As `tell_many`, of one request."""
    tell_many(session, [request], event, now)


def tell_many(session: Session, requests: Sequence[Request], event: str, now: datetime) -> None:
    """Plan a callback about each request for every address of its controller, and for those that came with it.

    It says ids, states and times alone. The latter are OpenDSR's, and hear of changes of state.
    """
    if not requests:
        return
    addresses: dict[str, list[str]] = {}
    controllers = sorted({request.controller_id for request in requests})
    for controller, endpoint in session.connection().execute(ADDRESSES, {"controllers": controllers}):
        addresses.setdefault(controller, []).append(endpoint)
    for request in requests:
        for endpoint in addresses.get(request.controller_id, ()):
            payload = {
                "type": event,
                "timestamp": now.isoformat(),
                "data": {
                    "request": request.id,
                    "external_id": request.external_id,
                    "state": request.state,
                    "due_at": request.due_at.isoformat(),
                },
            }
            _add(session, request.controller_id, "callback", endpoint, event, request.id, payload, now)
        for url in (request.callback_urls or ()) if event == f"request.{request.state}" else ():
            told = {
                "controller_id": session.get_one(Controller, request.controller_id).name,
                "status_callback_url": url,
                "subject_request_id": request.external_id,
                "request_status": OPENDSR_STATUS[cast("RequestState", request.state)],
                "expected_completion_time": rfc3339(request.due_at),
            }
            _add(session, request.controller_id, "opendsr", _named(url), event, request.id, told, now)
    session.flush()


def _named(url: str) -> str:
    """What stands for an address that came with a request: its host, and a digest that tells its addresses apart."""
    digest = hashlib.sha256(url.encode()).hexdigest()[:12]
    return f"{urlsplit(url).netloc[: LONGEST_TARGET - 13]}#{digest}"


def deploy(
    session: Session, adapter: Adapter, event: str, hooks: Sequence[str], payload: Mapping[str, Any], now: datetime
) -> None:
    """Plan that each hook hears of what became of the adapter; what waited for it before is overtaken."""
    session.execute(
        update(Errand)
        .where(Errand.kind == "deploy", Errand.about == adapter.id, Errand.state == "waiting")
        .values(state="overtaken", ended_at=now),
        execution_options={"synchronize_session": False},
    )
    for hook in hooks:
        _add(session, adapter.controller_id, "deploy", hook, event, adapter.id, dict(payload), now)
    session.flush()


def _add(
    session: Session,
    controller_id: str,
    kind: str,
    target: str,
    event: str,
    about: str,
    payload: dict[str, Any],
    now: datetime,
) -> None:
    session.add(
        Errand(
            id=new_id("msg"),
            controller_id=controller_id,
            kind=kind,
            target=target,
            event=event,
            about=about,
            payload=payload,
            state="waiting",
            attempts=0,
            next_at=now,
            created_at=now,
        )
    )


def _due(now: datetime) -> tuple[ColumnElement[bool], ...]:
    """What could be run now: an address is left alone while an attempt is under way there, and after a failed one.

    What the receiver of one company answers keeps no other company waiting; hooks are all companies'.
    A failed deployment keeps no other waiting, since what a server refuses may be about that one adapter. An attempt
    that is under way has said nothing yet, so that its errand has no error.
    """
    whose = case((Errand.kind == "deploy", ""), else_=Errand.controller_id)
    place = whose, Errand.kind, Errand.target
    busy = select(*place).where(
        Errand.state == "waiting",
        Errand.next_at > now,
        Errand.attempts > 0,
        or_(Errand.kind != "deploy", Errand.last_error.is_(None)),
    )
    return Errand.state == "waiting", Errand.next_at <= now, tuple_(*place).not_in(busy)


def next_due(session: Session, now: datetime) -> str | None:
    """Id of the errand to run: the one that waits longest, deployments before all others."""
    query = select(Errand.id).where(*_due(now)).order_by(Errand.kind != "deploy", Errand.next_at, Errand.id)
    return session.scalars(query.limit(1)).first()


def take(session: Session, errand_id: str, now: datetime) -> Errand | None:
    """Lease the errand if it is still due: until the lease is over nobody else gets it, nor any other of its address.

    Looking for it takes longer where many wait, so that it is not done in this transaction, which writes.
    """
    lock(session.connection(), ERRAND_LOCK)  # two at once would not see each other's lease
    errand = session.scalars(select(Errand).where(Errand.id == errand_id, *_due(now)).with_for_update()).first()
    if errand is None:
        return None
    errand.attempts += 1
    errand.first_attempt_at = errand.first_attempt_at or now
    errand.next_at, errand.last_error = now + LEASE, None
    session.flush()
    return errand


def unpublished(session: Session, about: str, targets: Sequence[str]) -> list[str]:
    """Those of the targets for which no errand is to publish, or has published, this checkpoint."""
    query = select(Errand.target).where(Errand.about == about, Errand.kind == "checkpoint")
    planned = set(session.scalars(query))
    return [target for target in targets if target not in planned]


def publish(session: Session, about: str, targets: Sequence[str], note: str, now: datetime) -> int:
    """Plan that each of the targets gets a checkpoint; how many do."""
    for target in targets:
        _add(session, HERE, "checkpoint", target, "ledger.checkpoint", about, {"note": note}, now)
    session.flush()
    return len(targets)


def give_up(session: Session, endpoint_id: str, why: str, now: datetime) -> None:
    """Fail what waits to be told to an address."""
    session.execute(
        update(Errand)
        .where(Errand.kind == "callback", Errand.target == endpoint_id, Errand.state == "waiting")
        .values(state="failed", last_error=why, ended_at=now),
        execution_options={"synchronize_session": "fetch"},
    )


def held(session: Session, errand_id: str, attempt: int) -> Errand | None:
    """The errand, if this attempt is still its last and it still waits."""
    query = select(Errand).where(Errand.id == errand_id, Errand.attempts == attempt, Errand.state == "waiting")
    return session.scalars(query.with_for_update()).first()


def newly_served(session: Session, errand: Errand) -> list[str]:
    """Requests for which versions were made up to the one that a deployment tells of, since its hook last heard."""
    if errand.payload["withdrawn"]:
        return []
    heard = select(func.max(Errand.created_at)).where(
        Errand.about == errand.about, Errand.target == errand.target, Errand.state == "done"
    )
    query = (
        select(JobRequest.request_id)
        .join(AdapterVersion, AdapterVersion.job_id == JobRequest.job_id)
        .where(AdapterVersion.adapter_id == errand.about, AdapterVersion.number <= errand.payload["number"])
    )
    last = session.scalar(heard)
    query = query if last is None else query.where(AdapterVersion.created_at > last)
    return list(session.scalars(query.distinct().order_by(JobRequest.request_id)))


def page(
    session: Session, controller_id: str, state: str | None, about: str | None, limit: int, after: str | None
) -> list[Errand]:
    """The controller's errands, the newest first, behind `after`."""
    query = select(Errand).where(Errand.controller_id == controller_id)
    query = query.order_by(Errand.created_at.desc(), Errand.id.desc()).limit(limit)
    if state is not None:
        query = query.where(Errand.state == state)
    if about is not None:
        query = query.where(Errand.about == about)
    if after is not None:
        last = session.get(Errand, after)
        if last is None or last.controller_id != controller_id:
            return []
        query = query.where(
            or_(
                Errand.created_at < last.created_at,
                (Errand.created_at == last.created_at) & (Errand.id < last.id),
            )
        )
    return list(session.scalars(query))


def one(session: Session, controller_id: str, errand_id: str) -> Errand | None:
    """The controller's errand with this id."""
    query = select(Errand).where(Errand.id == errand_id, Errand.controller_id == controller_id)
    return session.scalars(query.with_for_update()).first()


def endpoints(session: Session, controller_id: str) -> list[Endpoint]:
    """The controller's addresses, the newest first."""
    query = select(Endpoint).where(Endpoint.controller_id == controller_id)
    return list(session.scalars(query.order_by(Endpoint.created_at.desc(), Endpoint.id)))


def endpoint(session: Session, controller_id: str, endpoint_id: str) -> Endpoint | None:
    """The controller's address with this id."""
    found = session.get(Endpoint, endpoint_id)
    return found if found is not None and found.controller_id == controller_id else None


def untold(session: Session, now: datetime, soon: timedelta) -> list[Request]:
    """Open requests that are due soon or overdue, and whose controller was not told so."""
    query = select(Request).where(
        Request.state.in_(UNANSWERED),
        or_(
            (Request.due_at <= now + soon) & Request.told_soon_at.is_(None),
            (Request.due_at <= now) & Request.told_overdue_at.is_(None),
        ),
    )
    return list(session.scalars(query.with_for_update(skip_locked=True)))


def unlink(session: Session, request_ids: Sequence[str]) -> None:
    """Take what the controller calls these requests, and where it was to be told, out of errands; what waits ends."""
    for row in session.scalars(select(Errand).where(Errand.about.in_(request_ids)).with_for_update()):
        if row.state == "waiting":
            row.state, row.ended_at = "overtaken", func.now()
        told = dict(row.payload)
        if "data" in told:
            told["data"] = told["data"] | {"external_id": None}
        for name in {"subject_request_id", "status_callback_url"} & told.keys():
            told[name] = None
        row.payload = told
