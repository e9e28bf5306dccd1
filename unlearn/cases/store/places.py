"""Where in the store of versions lies what the database speaks of: what a backup takes along."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from unlearn.cases.store import corpora
from unlearn.cases.tables import AdapterVersion, Job, JobRequest, Request

SHADOWS = "shadows.parquet"


@dataclass(frozen=True)
class Place:
    """A version, or a single file.

    Attributes:
        place: path or URL.
        adapter_id: whose it is.
        what: it in words; None for what may be missing.
        sha256: of the weights in it; None for a file.
    """

    place: str
    adapter_id: str
    what: str | None = None
    sha256: str | None = None

    @property
    def name(self) -> str:
        """Where it is below the root of any store."""
        return below(self.place, self.adapter_id)


def below(place: str, adapter_id: str) -> str:
    """The end of a place, from the adapter's id on."""
    return f"{adapter_id}/{place.partition(f'/{adapter_id}/')[2]}"


def known(session: Session) -> Iterator[Place]:
    """Versions, their corpora, candidates that wait for a decision, shadow tables; nothing that is being purged."""
    query = select(AdapterVersion).where(AdapterVersion.purging_at.is_(None))
    versions = session.scalars(query.order_by(AdapterVersion.adapter_id, AdapterVersion.number)).all()
    for one in versions:
        named = f"version {one.number} of adapter {one.adapter_id}"
        yield Place(one.path, one.adapter_id, named, one.sha256)
        for corpus in corpora.rows(session, one.adapter_id, one.number):
            if corpus.purging_at is not None:
                continue
            yield Place(corpus.path, one.adapter_id, f"{corpus.kind} corpus of {named}")
    waiting = (
        select(JobRequest.job_id)
        .join(Request, Request.id == JobRequest.request_id)
        .where(Request.state == "needs_review")
    )
    undecided = (
        select(Job).where(Job.candidate.is_not(None), Job.purging_at.is_(None), Job.id.in_(waiting)).order_by(Job.id)
    )
    listed = {one.path for one in versions}
    for job in session.scalars(undecided):
        sha256 = (job.report or {}).get("adapter", {}).get("after_sha256")
        if job.candidate not in listed and sha256 is not None:
            yield Place(str(job.candidate), job.adapter_id, f"the candidate of job {job.id}", sha256)
    for adapter_id, place in {one.adapter_id: one.path for one in versions}.items():
        yield Place(f"{place.rpartition('/')[0]}/{SHADOWS}", adapter_id)
