"""The corpora of versions, and the quarantine that both are in while a version does not serve."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import cast

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import Session

from unlearn.cases.corpora import Kept
from unlearn.cases.data_tables import StoredCorpus
from unlearn.cases.tables import Adapter, AdapterVersion, Job
from unlearn.cases.views import CorpusKind, CorpusView
from unlearn.policy import RetentionPolicy

GRACE_DAYS = RetentionPolicy().grace_days
"""Of adapters that were registered before policies spoke of it."""


def add(session: Session, kept: Iterable[Kept], now: datetime) -> None:
    """Add corpora, already in their files, of a version that is there."""
    session.add_all(StoredCorpus(**asdict(corpus), created_at=now) for corpus in kept)
    session.flush()


def of_version(session: Session, adapter_id: str, number: int) -> list[Kept]:
    """The corpora of one version in their last edition; none of one that was registered before they were kept."""
    query = select(StoredCorpus).where(_of(adapter_id, number), StoredCorpus.quarantined_at.is_(None))
    query = query.where(StoredCorpus.sealed_key.is_not(None))
    return [
        Kept(
            adapter_id,
            number,
            row.edition,
            cast("CorpusKind", row.kind),
            row.sha256,
            row.records,
            row.path,
            cast("str", row.sealed_key),
        )
        for row in session.scalars(query)
    ]


def rows(session: Session, adapter_id: str, number: int) -> list[StoredCorpus]:
    """What is there of one version's corpora, in every edition."""
    query = select(StoredCorpus).where(_of(adapter_id, number), StoredCorpus.purged_at.is_(None))
    return list(session.scalars(query.order_by(StoredCorpus.edition, StoredCorpus.kind)))


def newest_edition(session: Session, adapter_id: str, number: int) -> int:
    """The last edition of a version's corpora; 0 if it has none."""
    return int(session.scalar(select(func.max(StoredCorpus.edition)).where(_of(adapter_id, number))) or 0)


def views(session: Session, adapter_id: str) -> dict[int, tuple[CorpusView, ...]]:
    """The corpora of each version by its number, in their last edition."""
    found: dict[int, tuple[CorpusView, ...]] = {}
    query = select(StoredCorpus).where(StoredCorpus.adapter_id == adapter_id, StoredCorpus.quarantined_at.is_(None))
    for row in session.scalars(query.order_by(StoredCorpus.kind.desc())):
        view = CorpusView(cast("CorpusKind", row.kind), row.sha256, row.records)
        found[row.number] = (*found.get(row.number, ()), view)
    return found


def replace(session: Session, adapter: Adapter, number: int, now: datetime) -> datetime:
    """Put what the corpora to come of the serving version `number` replace into quarantine; when it is to be purged.

    That is the version it was made from, with its corpora, or, if it has corpora already, those; nothing of a first
    version that was registered before corpora were kept.
    """
    purge_after, current = now + _grace(adapter), StoredCorpus.quarantined_at.is_(None)
    before = list(session.scalars(select(StoredCorpus).where(_of(adapter.id, number), current)))
    version = session.get_one(AdapterVersion, (adapter.id, number))
    if not before and version.job_id is not None:
        made_from = session.get_one(Job, version.job_id).base_version
        return quarantine(session, adapter, cast("int", made_from), now)
    for row in before:
        row.quarantined_at, row.purge_after = now, purge_after
    session.flush()
    return purge_after


def quarantine(session: Session, adapter: Adapter, number: int, now: datetime) -> datetime:
    """Put a version that serves no more, and its corpora, out of use; when they are to be purged."""
    version = session.get_one(AdapterVersion, (adapter.id, number))
    version.quarantined_at, version.purge_after = now, now + _grace(adapter)
    session.flush()
    return version.purge_after


def take_back(session: Session, adapter_id: str, number: int) -> bool:
    """Bring a version, and its corpora, into use again; False if they are purged, or being purged."""
    query = select(AdapterVersion).where(AdapterVersion.adapter_id == adapter_id, AdapterVersion.number == number)
    version = session.scalars(query.with_for_update(key_share=True).execution_options(populate_existing=True)).one()
    if version.purging_at is not None:
        return False
    version.quarantined_at, version.purge_after = None, None
    session.flush()
    return True


def purge_again(session: Session, adapter_id: str, number: int, now: datetime) -> None:
    """Have a version that came out of a backup, and was purged before, purged once more; not one that serves."""
    version = session.get(AdapterVersion, (adapter_id, number))
    if version is not None and session.get_one(Adapter, adapter_id).current != number:
        version.quarantined_at, version.purge_after = version.quarantined_at or now, now
        session.flush()


def _of(adapter_id: str, number: int) -> ColumnElement[bool]:
    return and_(StoredCorpus.adapter_id == adapter_id, StoredCorpus.number == number)


def _grace(adapter: Adapter) -> timedelta:
    return timedelta(days=float(adapter.policy.get("retention", {}).get("grace_days", GRACE_DAYS)))
