"""Who is told what becomes of requests and adapters: addresses, callbacks, hooks. Inside `desk`'s transaction.

A callback is planned with the change it tells of; whoever runs it (`unlearn.errands`) reports back here. Speaks no SQL
of its own and calls nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any, cast

from sqlalchemy.orm import Session

from unlearn.cases import clock
from unlearn.cases.ids import new_id
from unlearn.cases.rights import Actor
from unlearn.cases.sealing import seal, unseal
from unlearn.cases.store import adapters, errands, ledger
from unlearn.cases.tables import Adapter, Endpoint, Errand, Request
from unlearn.cases.views import EndpointView, ErrandKind, ErrandState, MessageView, Task
from unlearn.errors import Conflict
from unlearn.locations import is_url
from unlearn.outbound import check_url, new_secret, next_attempt, pause
from unlearn.settings import Settings

MOST_ENDPOINTS = 10
LONGEST_DEPLOY_PAUSE = timedelta(hours=1)


def hook_names(settings: Settings) -> list[str]:
    """Names of the deployment hooks: the link beside versions on this machine, those of the settings by place."""
    link = [] if is_url(settings.effective_store) else ["link"]
    return [*link, *(f"{place}:{hook.get('kind')}" for place, hook in enumerate(settings.hooks))]


def add_endpoint(
    session: Session, url: str, by: Actor, key: bytes, now: datetime, *, allow_private: bool
) -> tuple[EndpointView, str]:
    """Add an address, and make the secret that signs what is sent there; it comes back this once.

    Raises:
        CallbackRefused: an address that may not be called.
        Conflict: there are too many.
    """
    check_url(url, allow_private=allow_private)
    active = [one for one in errands.endpoints(session, by.controller) if one.disabled_at is None]
    if len(active) >= MOST_ENDPOINTS:
        raise Conflict(f"there are {len(active)} addresses already, the most there may be; take one away first")
    secret = new_secret()
    row = Endpoint(
        id=new_id("end"),
        controller_id=by.controller,
        url=url,
        sealed_secret="",
        created_at=now,
        created_by=by.name,
    )
    row.sealed_secret = seal(key, secret, row.id)
    session.add(row)
    session.flush()
    ledger.append(session, now, "endpoint_added", {"endpoint": row.id, "by": by.name})
    return endpoint_view(row), secret


def rotate(session: Session, row: Endpoint, overlap: timedelta, by: Actor, key: bytes, now: datetime) -> str:
    """Give an address a new secret, which comes back this once; the one before signs beside it for the overlap.

    One that an earlier change left signing ends now: a message has two signatures at most.

    Raises:
        Conflict: the address takes no more.
    """
    if row.disabled_at is not None:
        raise Conflict("this address was taken away; add it again, which makes a new secret")
    secret, until = new_secret(), now + overlap
    row.sealed_old_secret, row.old_secret_until = row.sealed_secret, until
    row.sealed_secret = seal(key, secret, row.id)
    session.flush()
    facts = {"endpoint": row.id, "old_secret_until": until.isoformat(), "by": by.name}
    ledger.append(session, now, "endpoint_secret_rotated", facts)
    return secret


def disable(session: Session, row: Endpoint, reason: str, by: str, now: datetime) -> None:
    """Send no more to an address; disabling it again changes nothing."""
    if row.disabled_at is None:
        row.disabled_at, row.disabled_reason = now, reason
        session.flush()
        errands.give_up(session, row.id, "its address takes no more", now)
        ledger.append(session, now, "endpoint_disabled", {"endpoint": row.id, "by": by})


def remind_anew(request: Request) -> None:
    """Let what was said of the due date be said again: the date moved, or the request is open again."""
    request.told_soon_at = request.told_overdue_at = None


def remind(session: Session, now: datetime) -> int:
    """Tell controllers of requests that are due soon or overdue, each once a date; how many were told of."""
    found = errands.untold(session, now, clock.SOON)
    for request in found:
        if request.due_at <= now:
            request.told_soon_at, request.told_overdue_at = request.told_soon_at or now, now
            errands.tell(session, request, "request.overdue", now)
        else:
            request.told_soon_at = now
            errands.tell(session, request, "request.due_soon", now)
    session.flush()
    return len(found)


def deployed(
    session: Session,
    adapter: Adapter,
    hooks: Sequence[str],
    now: datetime,
    *,
    previous: int | None = None,
    forced: bool = False,
    withdrawn: bool = False,
) -> None:
    """Plan that the hooks hear which version serves now, or that none does.

    Of an adapter that is withheld they hear nothing more until it may serve.
    """
    if adapter.awaits is not None and not withdrawn:
        return
    version = adapters.version(session, adapter.id, adapter.current)
    payload = {
        "adapter": adapters.served_as(adapter),
        "adapter_id": adapter.id,
        "number": version.number,
        "path": version.path,
        "sha256": version.sha256,
        "previous": previous,
        "forced": forced,
        "withdrawn": withdrawn,
    }
    errands.deploy(session, adapter, "adapter.withdrawn" if withdrawn else "adapter.released", hooks, payload, now)


def take(session: Session, errand_id: str, key: bytes, now: datetime) -> Task | None:
    """Lease the errand, with what it takes to run it; None if another process was first."""
    errand = errands.take(session, errand_id, now)
    if errand is None:
        return None
    url, secrets = None, tuple[str, ...]()
    if errand.kind == "callback":
        row = session.get_one(Endpoint, errand.target)
        url, secrets = row.url, _secrets(row, key, now)
    assert errand.first_attempt_at is not None  # noqa: S101
    return Task(
        id=errand.id,
        attempt=errand.attempts,
        kind=cast("ErrandKind", errand.kind),
        target=errand.target,
        payload=errand.payload,
        url=url,
        secrets=secrets,
        first_attempt_at=errand.first_attempt_at,
    )


def _secrets(row: Endpoint, key: bytes, now: datetime) -> tuple[str, ...]:
    """What signs for the address, the newest first; an old secret whose time is over is forgotten."""
    if row.old_secret_until is not None and row.old_secret_until <= now:
        row.sealed_old_secret, row.old_secret_until = None, None
    sealed = (row.sealed_secret, row.sealed_old_secret)
    return tuple(unseal(key, one, row.id) for one in sealed if one is not None)


def done(session: Session, task: Task, now: datetime) -> None:
    """Note that an errand is done, if this attempt is still its last.

    That a request's news arrived is a fact, and so is that a server changed over.
    """
    errand = errands.held(session, task.id, task.attempt)
    if errand is not None:
        if errand.kind == "deploy":
            facts = {"adapter": errand.about, "version": errand.payload["number"], "hook": errand.target}
            facts |= {"event": errand.event, "message": errand.id}
            ledger.append(session, now, "deployment_done", facts, errands.newly_served(session, errand))
        _end(errand, "done", None, now)
        if errand.about.startswith("req_"):
            facts = {"request": errand.about, "message": errand.id, "event": errand.event}
            ledger.append(session, now, "callback_delivered", facts, [errand.about])


def failed(
    session: Session,
    task: Task,
    why: str,
    now: datetime,
    random: Random,
    hooks: Sequence[str],
    *,
    retry_after: float | None = None,
    gone: bool = False,
) -> None:
    """Note that an attempt failed: again later, or never once a day has gone by or the receiver wants no more.

    One of the hooks is told until it hears, or until something newer is to be told: its server goes on with weights
    that know somebody.
    """
    errand = errands.held(session, task.id, task.attempt)
    if errand is None:
        return
    again = None if gone else next_attempt(task.first_attempt_at, task.attempt, now, random, retry_after)
    if errand.kind == "deploy" and errand.target in hooks:
        again = now + pause(task.attempt, random, longest=LONGEST_DEPLOY_PAUSE)
    errand.last_error = why[:500]
    if again is None:
        _end(errand, "failed", why, now)
    else:
        errand.next_at = again
    if gone and (row := session.get(Endpoint, errand.target)) is not None:
        disable(session, row, "the receiver answered 410", "receiver", now)
    session.flush()


def replay(session: Session, errand: Errand, now: datetime) -> None:
    """Run an errand again, whatever became of it; its id stays, so that a receiver can tell.

    Raises:
        Conflict: its address takes no more, or is forgotten.
    """
    if errand.kind == "callback" and session.get_one(Endpoint, errand.target).disabled_at is not None:
        raise Conflict("this message's address was taken away; add it again, and look at the request instead")
    if errand.kind == "opendsr" and errand.payload["status_callback_url"] is None:
        raise Conflict("this message's address was forgotten with the person whom its request was about")
    if errand.kind == "deploy":
        _check_current(session, errand)
    errand.state, errand.next_at, errand.ended_at = "waiting", now, None
    errand.first_attempt_at = None
    session.flush()


def _check_current(session: Session, errand: Errand) -> None:
    """Whether a deployment still says what is to serve."""
    adapter, told = session.get_one(Adapter, errand.payload["adapter_id"]), errand.payload
    away = adapter.retired_at is not None or bool(adapter.awaits)
    if told["withdrawn"] != away or told["number"] != adapter.current:
        raise Conflict(
            f"this message told of version {told['number']} of adapter '{adapter.name}', which has changed "
            "since; a later message told of that"
        )


def message_view(errand: Errand) -> MessageView:
    """An errand as others see it."""
    return MessageView(
        id=errand.id,
        kind=cast("ErrandKind", errand.kind),
        target=errand.target,
        event=errand.event,
        about=errand.about,
        state=cast("ErrandState", errand.state),
        attempts=errand.attempts,
        next_at=errand.next_at if errand.state == "waiting" else None,
        last_error=errand.last_error,
        created_at=errand.created_at,
        ended_at=errand.ended_at,
    )


def endpoint_view(row: Endpoint) -> EndpointView:
    """An address without its secret."""
    return EndpointView(
        id=row.id,
        url=row.url,
        created_at=row.created_at,
        created_by=row.created_by,
        old_secret_until=row.old_secret_until,
        disabled_at=row.disabled_at,
        disabled_reason=row.disabled_reason,
    )


def _end(errand: Errand, state: ErrandState, why: Any, now: datetime) -> None:
    errand.state, errand.last_error, errand.ended_at = state, why, now
