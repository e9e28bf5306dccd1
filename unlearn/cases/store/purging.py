"""What is due to be purged, what keeps it from that, and what on the disk is in use."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import and_, case, exists, func, or_, select, union_all
from sqlalchemy.orm import Session, aliased

from unlearn.cases.data_tables import StoredCorpus
from unlearn.cases.store import adapters
from unlearn.cases.store.requests import OPEN
from unlearn.cases.tables import Adapter, AdapterSubject, AdapterVersion, Job, JobRequest, Request, SubjectSalt
from unlearn.cases.views import AdapterView, Purge

UNDECIDED = (*OPEN, "needs_review")


def versions(session: Session, now: datetime) -> list[AdapterVersion]:
    """Versions whose quarantine is over and that no legal hold keeps, the oldest first; begun ones among them."""
    serves = and_(Adapter.current == AdapterVersion.number, Adapter.retired_at.is_(None))
    query = (
        select(AdapterVersion, Adapter)
        .join(Adapter, Adapter.id == AdapterVersion.adapter_id)
        .where(AdapterVersion.purge_after <= now, AdapterVersion.purged_at.is_(None), ~serves)
        .order_by(AdapterVersion.purge_after, AdapterVersion.adapter_id, AdapterVersion.number)
    )
    return [v for v, adapter in session.execute(query) if v.purging_at is not None or not _kept(session, adapter, v)]


def replaced(session: Session, now: datetime) -> list[StoredCorpus]:
    """Corpora that a later edition replaced, whose quarantine is over; begun ones among them, else none of an adapter
    that knows somebody held."""
    query = (
        select(StoredCorpus, Adapter)
        .join(Adapter, Adapter.id == StoredCorpus.adapter_id)
        .where(StoredCorpus.purge_after <= now, StoredCorpus.purged_at.is_(None))
        .order_by(StoredCorpus.adapter_id, StoredCorpus.number, StoredCorpus.edition, StoredCorpus.kind)
    )
    found = session.execute(query)
    return [r for r, adapter in found if r.purging_at is not None or not adapters.held_subjects(session, adapter)]


def jobs(session: Session, before: datetime) -> list[Job]:
    """Jobs that ended before, and whose candidate no request can want any more; begun ones among them."""
    later, link = aliased(Job), aliased(JobRequest)
    newer = exists().where(
        link.request_id == Request.id,
        later.id == link.job_id,
        later.adapter_id == Job.adapter_id,
        or_(later.created_at > Job.created_at, and_(later.created_at == Job.created_at, later.id > Job.id)),
    )
    wanted = exists().where(
        JobRequest.job_id == Job.id,
        Request.id == JobRequest.request_id,
        or_(
            and_(Request.state.in_(UNDECIDED), ~newer),
            Request.held_at.is_not(None),
        ),
    )
    query = select(Job).where(
        Job.state.in_(("done", "failed", "cancelled")),
        Job.purged_at.is_(None),
        Job.finished_at <= before,
        or_(Job.purging_at.is_not(None), ~wanted),
    )
    return list(session.scalars(query.order_by(Job.finished_at, Job.id)))


def people_of(session: Session, adapter: Adapter, number: int) -> Sequence[str]:
    """Ids of the requests whose subjects version `number` knew and the adapter forgot since."""
    gone = adapters.known_by(session, adapter.id, number)
    query = (
        select(Request.id)
        .join(JobRequest, JobRequest.request_id == Request.id)
        .join(Job, Job.id == JobRequest.job_id)
        .where(Job.adapter_id == adapter.id, JobRequest.erased, Request.subject_hash.in_(gone))
    )
    return list(session.scalars(query.distinct().order_by(Request.id)))


def past_retention(session: Session, before: datetime) -> list[tuple[str, str]]:
    """Company and hash of the salted subjects all of whose requests ended before, with none under a legal hold."""
    open_ = or_(Request.state.in_(UNDECIDED), Request.held_at.is_not(None), Request.updated_at > before)
    salted = and_(SubjectSalt.controller_id == Request.controller_id, SubjectSalt.subject_hash == Request.subject_hash)
    query = select(Request.controller_id, Request.subject_hash).join(SubjectSalt, salted)
    query = query.group_by(Request.controller_id, Request.subject_hash)
    found = session.execute(query.having(func.max(case((open_, 1), else_=0)) == 0).order_by(Request.subject_hash))
    return [(row.controller_id, row.subject_hash) for row in found]


def row(session: Session, purge: Purge) -> AdapterVersion | Job:
    """The version or the job that is purged, kept from others until the transaction ends."""
    if purge.number is None:
        return session.get_one(Job, purge.job_id, with_for_update={"key_share": True}, populate_existing=True)
    key = purge.adapter_id, purge.number
    return session.get_one(AdapterVersion, key, with_for_update={"key_share": True}, populate_existing=True)


def places(session: Session) -> frozenset[str]:
    """Where versions and candidates are that were not purged, and every corpus."""
    weights = select(AdapterVersion.path).where(AdapterVersion.purged_at.is_(None))
    candidates = select(Job.candidate).where(Job.candidate.is_not(None), Job.purged_at.is_(None))
    return frozenset(session.scalars(union_all(weights, select(StoredCorpus.path), candidates)))


def adapter_ids(session: Session) -> frozenset[str]:
    """Ids of all adapters, retired ones among them."""
    return frozenset(session.scalars(select(Adapter.id)))


def forgetful(session: Session) -> list[AdapterView]:
    """The adapters from which somebody was erased, on which no job runs, and which are not being purged."""
    left = exists().where(AdapterSubject.adapter_id == Adapter.id, AdapterSubject.erased_at.is_not(None))
    running = exists().where(Job.adapter_id == Adapter.id, Job.state == "running")
    query = select(Adapter).join(
        AdapterVersion, and_(AdapterVersion.adapter_id == Adapter.id, AdapterVersion.number == Adapter.current)
    )
    query = query.where(left, ~running, AdapterVersion.purging_at.is_(None)).order_by(Adapter.id)
    return [adapters.view(session, row) for row in session.scalars(query)]


def busy(session: Session) -> frozenset[str]:
    """Ids of the adapters that a job runs on or waits for."""
    return frozenset(session.scalars(select(Job.adapter_id).where(Job.state.in_(("queued", "running")))))


def _kept(session: Session, adapter: Adapter, version: AdapterVersion) -> bool:
    """Does it know somebody whose request is under a legal hold?"""
    held = adapters.held_subjects(session, adapter)
    return bool(held and held - adapters.erased_by(session, adapter.id, version.number))
