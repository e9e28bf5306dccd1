"""The requests of a period, page by page in the order in which they came."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from unlearn.cases.clock import OLDEST, SKEW
from unlearn.cases.store import requests
from unlearn.cases.tables import Job, JobRequest, Request
from unlearn.cases.views import RequestView


@dataclass(frozen=True)
class Period:
    """Requests that a controller received from `since` to before `until`; with a job on `adapter`, if one is named."""

    since: datetime
    until: datetime
    adapter: str | None = None


def page(
    session: Session, controller: str, period: Period, after: RequestView | None, limit: int
) -> Sequence[RequestView]:
    """At most `limit` of the period's requests, behind the request `after`.

    The index by arrival leads there: a request is received at most a year before it arrives here.
    """
    query = select(Request).where(
        Request.controller_id == controller,
        Request.received_at >= period.since,
        Request.received_at < period.until,
        Request.created_at >= period.since - SKEW,
        Request.created_at < period.until + OLDEST,
        *requests.conditions(requests.Wanted(adapter=period.adapter)),
    )
    if after is not None:
        query = query.where(tuple_(Request.created_at, Request.id) > (after.created_at, after.id))
    return requests.views(session, session.scalars(query.order_by(Request.created_at, Request.id).limit(limit)))


def methods(session: Session, request_ids: Iterable[str]) -> dict[str, str | None]:
    """Of each job of these requests the method that its report names, without reading the reports."""
    query = select(Job.id, Job.report["method"].as_string().label("method"))
    query = query.join(JobRequest, JobRequest.job_id == Job.id).where(JobRequest.request_id.in_(list(request_ids)))
    return {row.id: row.method for row in session.execute(query)}
