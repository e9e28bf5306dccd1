"""Adapters, their versions, and which subjects they learned from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple, cast

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from unlearn.cases.rights import HERE
from unlearn.cases.store import corpora
from unlearn.cases.tables import Adapter, AdapterSubject, AdapterVersion, Job, JobRequest, Request, SearchedList
from unlearn.cases.views import AdapterView, JobState, VersionView
from unlearn.evidence.ledger import versions_digest
from unlearn.weights import AdapterFiles


def add(
    session: Session, row: Mapping[str, Any], weights: AdapterFiles, subjects: Mapping[str, int], now: datetime
) -> None:
    """Add an adapter with its first version and the number of train records of each subject hash."""
    adapter = Adapter(**row, current=1, created_at=now)
    session.add(adapter)
    session.flush()
    add_version(session, adapter.id, 1, weights, None, now)
    session.add_all(
        AdapterSubject(adapter_id=adapter.id, subject_hash=subject, records=records)
        for subject, records in subjects.items()
    )
    session.flush()


def add_version(
    session: Session, adapter_id: str, number: int, weights: AdapterFiles, job_id: str | None, now: datetime
) -> None:
    """Add one set of weights, already in its final place."""
    session.add(
        AdapterVersion(
            adapter_id=adapter_id,
            number=number,
            sha256=weights.sha256,
            config_sha256=weights.config_sha256,
            path=weights.place,
            job_id=job_id,
            created_at=now,
        )
    )
    session.flush()


def move_current(session: Session, adapter_id: str, expected: int, number: int) -> bool:
    """Let version `number` serve, if `expected` serves now."""
    moved = session.execute(
        update(Adapter).where(Adapter.id == adapter_id, Adapter.current == expected).values(current=number)
    )
    return bool(moved.rowcount == 1)  # type: ignore[attr-defined]


def row(session: Session, controller: str, name: str) -> Adapter | None:
    """The controller's adapter of this name, kept from others until the transaction ends."""
    query = select(Adapter).where(Adapter.controller_id == controller, Adapter.name == name)
    return session.scalars(query.with_for_update(key_share=True)).first()


def by_name(session: Session, controller: str, name: str) -> AdapterView | None:
    """The controller's adapter called `name`."""
    query = select(Adapter).where(Adapter.controller_id == controller, Adapter.name == name)
    row = session.scalars(query).first()
    return None if row is None else view(session, row)


def by_id(session: Session, adapter_id: str) -> AdapterView:
    """The adapter with this id, which exists."""
    return view(session, session.get_one(Adapter, adapter_id))


def served_as(adapter: Adapter) -> str:
    """Under which name servers have it, where the companies' adapters are beside each other.

    The first company's have their own, another's are `<id of the company>.<name>`.
    """
    return adapter.name if adapter.controller_id == HERE else f"{adapter.controller_id}.{adapter.name}"


def every(session: Session, controller: str) -> list[AdapterView]:
    """The controller's adapters by name."""
    query = select(Adapter).where(Adapter.controller_id == controller).order_by(Adapter.name)
    return [view(session, row) for row in session.scalars(query)]


SERVING = (
    select(Adapter.controller_id, Adapter.id, AdapterVersion.number, AdapterVersion.sha256)
    .join(AdapterVersion, (AdapterVersion.adapter_id == Adapter.id) & (AdapterVersion.number == Adapter.current))
    .where(Adapter.controller_id.in_(bindparam("controllers", expanding=True)), Adapter.retired_at.is_(None))
    .order_by(Adapter.id)
)
LEARNED = (
    select(
        Adapter.controller_id,
        AdapterSubject.subject_hash,
        Adapter.id,
        Adapter.name,
        Adapter.policy,
        AdapterSubject.records,
        AdapterSubject.erased_at,
    )
    .join(Adapter, Adapter.id == AdapterSubject.adapter_id)
    .where(AdapterSubject.subject_hash.in_(bindparam("subjects", expanding=True)), Adapter.retired_at.is_(None))
    .order_by(AdapterSubject.adapter_id)
)


class Learned(NamedTuple):
    """That an adapter learned so many records of a subject, or has some in its holdout alone; when they were erased."""

    adapter_id: str
    name: str
    policy: dict[str, Any]
    records: int
    erased_at: datetime | None


KEEP_LIST = {
    "postgresql": postgresql.insert(SearchedList).on_conflict_do_nothing(),
    "sqlite": sqlite.insert(SearchedList).on_conflict_do_nothing(),
}


class Serving(NamedTuple):
    """An adapter, and the version of it that serves."""

    adapter_id: str
    number: int
    sha256: str


def serving(session: Session, controllers: Iterable[str]) -> dict[str, tuple[Serving, ...]]:
    """The adapters of each of the controllers that serve, by adapter id."""
    found: dict[str, list[Serving]] = {controller: [] for controller in controllers}
    for controller, id_, number, sha256 in session.connection().execute(SERVING, {"controllers": sorted(found)}):
        found[controller].append(Serving(id_, number, sha256))
    return {controller: tuple(those) for controller, those in found.items()}


def keep_list(session: Session, sha256: str, listed: str) -> None:
    """Keep a list of adapters that were searched, under its digest; most often it is there."""
    if session.scalar(select(SearchedList.sha256).where(SearchedList.sha256 == sha256)) is None:
        row = {"sha256": sha256, "adapters": listed}
        session.connection().execute(KEEP_LIST[session.get_bind().dialect.name], row)


def kept_list(session: Session, sha256: str) -> str | None:
    """The list that has this digest; None of one from before lists were kept."""
    return session.scalar(select(SearchedList.adapters).where(SearchedList.sha256 == sha256))


def that_learned(session: Session, whose: Iterable[tuple[str, str]]) -> dict[tuple[str, str], list[Learned]]:
    """Of each pair of controller and subject, the adapters that serve and have records of it, by adapter id."""
    found: dict[tuple[str, str], list[Learned]] = {pair: [] for pair in whose}
    for controller, subject, *learned in session.connection().execute(
        LEARNED, {"subjects": sorted({one for _, one in found})}
    ):
        if (controller, subject) in found:
            found[controller, subject].append(Learned(*learned))
    return found


def version(session: Session, adapter_id: str, number: int) -> AdapterVersion:
    """One version, which exists."""
    return session.get_one(AdapterVersion, (adapter_id, number))


def newest(session: Session, adapter_id: str) -> int:
    """The adapter's highest version number."""
    query = select(func.max(AdapterVersion.number)).where(AdapterVersion.adapter_id == adapter_id)
    return int(session.scalars(query).one())


def known_by(session: Session, adapter_id: str, number: int) -> frozenset[str]:
    """Subjects that count as erased, and that neither version `number` nor one it was made from erased."""
    return erased_hashes(session, adapter_id) - erased_by(session, adapter_id, number)


def erased_by(session: Session, adapter_id: str, number: int) -> frozenset[str]:
    """Subjects that version `number`, or one it was made from, erased; or whose records left its corpora alone."""
    erased: set[str] = set()
    for version in lineage(session, adapter_id, number):
        query = select(Request.subject_hash).join(JobRequest, JobRequest.request_id == Request.id)
        erased |= set(session.scalars(query.where(JobRequest.job_id == version.job_id, JobRequest.erased)))
        erased |= {request.subject_hash for request in left_corpora(session, adapter_id, version.number)}
    return frozenset(erased)


def left_corpora(session: Session, adapter_id: str, number: int) -> list[Request]:
    """The requests for which nobody changed a weight: their subjects' last records left the corpora of `number`."""
    query = select(Request).join(JobRequest, JobRequest.request_id == Request.id).join(Job, Job.id == JobRequest.job_id)
    query = query.where(Job.adapter_id == adapter_id, Job.base_version == number, Job.verdict.is_(None))
    return list(session.scalars(query.where(JobRequest.erased).order_by(Request.id)))


def lineage(session: Session, adapter_id: str, number: int) -> Iterator[AdapterVersion]:
    """Version `number`, the one it was made from, and so on to the first."""
    version = session.get_one(AdapterVersion, (adapter_id, number))
    yield version
    while version.job_id is not None:
        made_from = session.get_one(Job, version.job_id).base_version
        version = session.get_one(AdapterVersion, (adapter_id, made_from))
        yield version


def superseded_sha256(session: Session, adapter_id: str, number: int) -> str:
    """The digest of the versions that version `number` was made from, the newest first (`versions_digest`)."""
    _, *before = lineage(session, adapter_id, number)
    return versions_digest((version.number, version.sha256) for version in before)


def held_subjects(session: Session, adapter: Adapter) -> frozenset[str]:
    """Subjects that the adapter learned from and that have a request under a legal hold."""
    query = select(Request.subject_hash).join(AdapterSubject, AdapterSubject.subject_hash == Request.subject_hash)
    return frozenset(
        session.scalars(
            query.where(
                AdapterSubject.adapter_id == adapter.id,
                Request.controller_id == adapter.controller_id,
                Request.held_at.is_not(None),
            )
        )
    )


def mark_known(session: Session, adapter_id: str, subject_hashes: frozenset[str]) -> None:
    """Take back that the subjects were erased from the adapter."""
    session.execute(
        update(AdapterSubject)
        .where(AdapterSubject.adapter_id == adapter_id, AdapterSubject.subject_hash.in_(subject_hashes))
        .values(erased_at=None)
    )


def requests_to_reopen(session: Session, adapter: Adapter, subject_hashes: frozenset[str]) -> list[Request]:
    """Of each of these subjects the request that is to take her out again: an open one, else the last completed."""
    query = select(Request).where(
        Request.controller_id == adapter.controller_id, Request.subject_hash.in_(subject_hashes)
    )
    order = {"completed": 0, "needs_review": 1, "pending": 2, "in_progress": 2}
    found = list(session.scalars(query.order_by(Request.created_at, Request.id)))
    found = sorted((request for request in found if request.state in order), key=lambda one: order[one.state])
    return list({request.subject_hash: request for request in found}.values())


def erased_hashes(session: Session, adapter_id: str) -> frozenset[str]:
    """Subjects that were erased from the adapter."""
    query = select(AdapterSubject.subject_hash).where(
        AdapterSubject.adapter_id == adapter_id, AdapterSubject.erased_at.is_not(None)
    )
    return frozenset(session.scalars(query))


def learned_hashes(session: Session, adapter_id: str) -> frozenset[str]:
    """Subjects that the adapter's corpora named at its registration."""
    return frozenset(
        session.scalars(select(AdapterSubject.subject_hash).where(AdapterSubject.adapter_id == adapter_id))
    )


def mark_erased(session: Session, adapter_id: str, subject_hashes: frozenset[str], now: datetime) -> None:
    """Remember that the subjects were erased from the adapter."""
    session.execute(
        update(AdapterSubject)
        .where(AdapterSubject.adapter_id == adapter_id, AdapterSubject.subject_hash.in_(subject_hashes))
        .values(erased_at=now)
    )


def knows(session: Session, adapter_id: str, subject_hash: str) -> bool:
    """Did the adapter learn from the subject, and not forget?"""
    learned = session.get(AdapterSubject, (subject_hash, adapter_id))
    return learned is not None and learned.erased_at is None


def all_serving(session: Session) -> list[Adapter]:
    """The adapters of all controllers that are not retired."""
    return list(session.scalars(select(Adapter).where(Adapter.retired_at.is_(None)).order_by(Adapter.id)))


def withheld(session: Session) -> list[Adapter]:
    """The adapters of all controllers that await requests before they serve."""
    return list(session.scalars(select(Adapter).where(Adapter.awaits.is_not(None)).order_by(Adapter.id)))


def withheld_for(session: Session, request: Request) -> bool:
    """Whether an adapter serves nobody until the request has ended."""
    query = select(Adapter.awaits).where(
        Adapter.controller_id == request.controller_id, Adapter.awaits.is_not(None), Adapter.retired_at.is_(None)
    )
    return any(request.id in (awaits or ()) for awaits in session.scalars(query))


def awaited(session: Session, adapter: Adapter) -> list[str]:
    """Of the requests that the adapter awaits those whose subject it still knows, unless a person ended them."""
    query = (
        select(Request.id)
        .join(AdapterSubject, AdapterSubject.subject_hash == Request.subject_hash)
        .where(
            Request.id.in_(adapter.awaits or ()),
            Request.state.not_in(("cancelled", "rejected")),
            AdapterSubject.adapter_id == adapter.id,
            AdapterSubject.erased_at.is_(None),
        )
    )
    return list(session.scalars(query.order_by(Request.id)))


def _shadows(session: Session, adapter_id: str) -> JobState | None:
    """State of the job that makes the adapter's shadow table."""
    query = select(Job.state).where(Job.adapter_id == adapter_id, Job.kind == "shadows")
    return cast("JobState | None", session.scalars(query.order_by(Job.created_at.desc()).limit(1)).first())


def view(session: Session, row: Adapter) -> AdapterView:
    """The adapter with its versions."""
    query = select(AdapterVersion, Job.base_version).outerjoin(Job, Job.id == AdapterVersion.job_id)
    query = query.where(AdapterVersion.adapter_id == row.id).order_by(AdapterVersion.number)
    kept = corpora.views(session, row.id)
    versions = tuple(
        VersionView(
            v.number,
            v.sha256,
            v.path,
            v.job_id,
            v.created_at,
            v.quarantined_at,
            v.purge_after,
            v.purged_at,
            kept.get(v.number, ()),
            v.config_sha256,
            made_from,
        )
        for v, made_from in session.execute(query)
    )
    return AdapterView(
        id=row.id,
        name=row.name,
        served_as=served_as(row),
        base=row.base,
        base_sha256=row.base_sha256,
        train=row.train,
        train_sha256=row.train_sha256,
        train_records=row.train_records,
        holdout=row.holdout,
        holdout_sha256=row.holdout_sha256,
        holdout_records=row.holdout_records,
        policy=row.policy,
        recipe=row.recipe,
        shadows=_shadows(session, row.id),
        created_at=row.created_at,
        retired_at=row.retired_at,
        awaits=tuple(row.awaits or ()),
        current=next(v for v in versions if v.number == row.current),
        versions=versions,
    )
