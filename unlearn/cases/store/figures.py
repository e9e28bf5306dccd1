"""What there is, how much and for how long: the service in numbers. No id of anybody, no name."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, case, func, or_, select
from sqlalchemy.orm import Session

from unlearn.cases.clock import SOON
from unlearn.cases.tables import Adapter, Doorbell, Errand, Job, Request
from unlearn.cases.views import UNANSWERED, Figures, Wait

DAY = timedelta(days=1)
"""Jobs that ended longer ago say nothing of how long one takes now."""

FAILED = case((Errand.attempts == 0, 0), (Errand.last_error.is_(None), Errand.attempts - 1), else_=Errand.attempts)
"""Attempts of an errand that failed: all, but for a last one that succeeded or is under way; those left no error."""


def count(session: Session, controller: str | None, now: datetime) -> Figures:
    """The figures of a controller, or of all."""
    waits = Request.state.in_(UNANSWERED)
    ready = or_(Job.ready_at.is_(None), Job.ready_at <= now)
    seconds, stages = _seconds(session, controller, now)
    queued = _jobs(controller, func.count(), func.min(func.coalesce(Job.ready_at, Job.created_at)))
    unsent = _jobs(controller, func.count(), func.min(Doorbell.created_at)).join(Doorbell, Doorbell.job_id == Job.id)
    expired = _jobs(controller, func.count()).where(Job.state == "running", Job.lease_until < now)
    return Figures(
        requests=_grouped(session, _requests(controller, Request.state, func.count()).group_by(Request.state)),
        overdue=_number(session, _requests(controller, func.count()).where(waits, Request.due_at < now)),
        confirmed_late=_number(
            session, _requests(controller, func.count()).where(Request.confirm_by < Request.created_at)
        ),
        due_soon=_number(
            session, _requests(controller, func.count()).where(waits, Request.due_at.between(now, now + SOON))
        ),
        held=_number(session, _requests(controller, func.count()).where(waits, Request.held_at.is_not(None))),
        jobs=_grouped(session, _jobs(controller, Job.kind, Job.state, func.count()).group_by(Job.kind, Job.state)),
        queue=_wait(session, queued.where(Job.state == "queued", ready), now),
        expired_leases=_number(session, expired),
        outbox=_wait(session, unsent.where(Doorbell.sent_at.is_(None)), now),
        errands=_grouped(
            session, _errands(controller, Errand.kind, Errand.state, func.count()).group_by(Errand.kind, Errand.state)
        ),
        errands_due=_wait(
            session,
            _errands(controller, func.count(), func.min(Errand.next_at)).where(
                Errand.state == "waiting", Errand.next_at <= now
            ),
            now,
        ),
        errands_retried=_grouped(
            session,
            _errands(controller, Errand.kind, func.count())
            .where(Errand.state == "waiting", or_(Errand.last_error.is_not(None), Errand.attempts > 1))
            .group_by(Errand.kind),
        ),
        errand_failures=_grouped(session, _errands(controller, Errand.kind, func.sum(FAILED)).group_by(Errand.kind)),
        errand_seconds=_ages(session, controller, now),
        verdicts=_verdicts(session, controller),
        attempts=_grouped(session, _jobs(controller, Job.kind, func.sum(Job.fence)).group_by(Job.kind)),
        job_seconds=seconds,
        stage_seconds=stages,
    )


def _ages(session: Session, controller: str | None, now: datetime) -> dict[str, float]:
    """How long ago the oldest errand of each kind that still waits was planned."""
    query = _errands(controller, Errand.kind, func.min(Errand.created_at)).where(Errand.state == "waiting")
    rows = session.execute(query.group_by(Errand.kind))
    return {kind: max(0.0, (now - oldest).total_seconds()) for kind, oldest in rows}


Seconds = dict[str, tuple[float, ...]]


def _seconds(session: Session, controller: str | None, now: datetime) -> tuple[Seconds, Seconds]:
    """How long each job took that ended within the last day: in all, by kind; and in each stage, by stage."""
    whole: dict[str, list[float]] = {}
    parts: dict[str, list[float]] = {}
    ended = _jobs(controller, Job.kind, Job.started_at, Job.finished_at, Job.stages)
    for kind, started, finished, stages in session.execute(
        ended.where(Job.finished_at > now - DAY, Job.started_at.is_not(None))
    ):
        whole.setdefault(kind, []).append((finished - started).total_seconds())
        for stage, spent in (stages or {}).items():
            parts.setdefault(stage, []).append(spent)
    return _frozen(whole), _frozen(parts)


def _frozen(found: dict[str, list[float]]) -> Seconds:
    return {name: tuple(values) for name, values in found.items()}


def _verdicts(session: Session, controller: str | None) -> dict[Any, int]:
    """What the gates said, by verdict and method; a person's later release takes nothing of it back."""
    verdict, method = (Job.report[key].as_string().label(key) for key in ("verdict", "method"))
    told = _jobs(controller, verdict, method).where(Job.verdict.is_not(None)).subquery()
    return _grouped(
        session, select(told.c.verdict, told.c.method, func.count()).group_by(told.c.verdict, told.c.method)
    )


def _requests(controller: str | None, *columns: Any) -> Select[Any]:
    query = select(*columns).select_from(Request)
    return query if controller is None else query.where(Request.controller_id == controller)


def _errands(controller: str | None, *columns: Any) -> Select[Any]:
    query = select(*columns).select_from(Errand)
    return query if controller is None else query.where(Errand.controller_id == controller)


def _jobs(controller: str | None, *columns: Any) -> Select[Any]:
    query = select(*columns).select_from(Job)
    if controller is None:
        return query
    theirs: ColumnElement[bool] = Adapter.controller_id == controller
    return query.join(Adapter, Adapter.id == Job.adapter_id).where(theirs)


def _number(session: Session, query: Select[Any]) -> int:
    return int(session.scalar(query) or 0)


def _grouped(session: Session, query: Select[Any]) -> dict[Any, int]:
    """The last column by those before it: by itself where there is one, by a tuple where there are several."""
    rows = [tuple(row) for row in session.execute(query)]
    return {(key[0] if len(key) == 1 else tuple(key)): int(number) for *key, number in rows}


def _wait(session: Session, query: Select[Any], now: datetime) -> Wait:
    number, oldest = session.execute(query).one()
    return Wait(number, 0.0 if oldest is None else max(0.0, (now - oldest).total_seconds()))
