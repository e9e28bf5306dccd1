"""The desk's purges: what is due, begun, done. Whoever runs them (`unlearn.purging`) deletes in between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from unlearn.cases.data_tables import StoredCorpus
from unlearn.cases.desk.core import Core
from unlearn.cases.store import adapters, corpora, jobs, ledger, purging
from unlearn.cases.tables import Adapter, AdapterVersion, Job
from unlearn.cases.views import AdapterView, Purge

SETTLED = timedelta(hours=1)
"""After this long nobody works in an ended job's workshop any more, who did not hear that it ended."""


MLFLOW_COPY = "mlflow_copy"
"""In an entry: how MLflow's copy went, where it was not disposed of like everything else."""


@dataclass(frozen=True)
class InUse:
    """What on the disk belongs to something: places by path; ids of adapters, and of busy ones."""

    places: frozenset[str]
    adapters: frozenset[str]
    busy: frozenset[str]


class Purging(Core):
    """Purges."""

    def due_purges(self) -> list[Purge]:
        """What is to be purged now; begun ones, which somebody did not end, among them."""
        now = self._clock()
        with self.store.reading() as session:
            found = [self._of_version(session, version) for version in purging.versions(session, now)]
            found += _of_editions(purging.replaced(session, now))
            return found + [self._of_job(job) for job in purging.jobs(session, now - SETTLED)]

    def begin_purge(self, purge: Purge) -> bool:
        """Mark that it is being purged: from now on nothing brings it back. False if it is not due any more."""
        now = self._clock()
        with self.store.writing() as session:
            if purge.edition is not None:
                due = [one for one in purging.replaced(session, now) if _is_of(one, purge)]
                for one in due:
                    one.purging_at = one.purging_at or now
                return bool(due)
            row = purging.row(session, purge)
            found = purging.jobs(session, now - SETTLED) if purge.number is None else purging.versions(session, now)
            if row not in found:
                return False
            row.purging_at = row.purging_at or now
            return True

    def purged(self, purge: Purge, *, by_mlflow_alone: bool = False) -> None:
        """Note that it is gone; a second time changes nothing.

        Args:
            purge: what.
            by_mlflow_alone: whether MLflow's copy of the weights could only be deleted by MLflow's own call.
        """
        now = self._clock()
        with self.store.writing() as session:
            row = purging.row(session, purge)
            if purge.edition is not None and isinstance(row, AdapterVersion):
                kept = corpora.rows(session, row.adapter_id, row.number)
                self._corpora_purged(session, row, [one for one in kept if one.purging_at and _is_of(one, purge)], now)
                return
            if row.purging_at is None or row.purged_at is not None:
                return
            row.purged_at = now
            how = {MLFLOW_COPY: "deleted by MLflow alone"} if by_mlflow_alone else {}
            if isinstance(row, Job):
                self._job_purged(session, row, now, how)
            else:
                self._version_purged(session, row, now, how)

    def forgetful(self) -> list[AdapterView]:
        """The adapters from which somebody was erased and on which no worker is at work."""
        with self.store.reading() as session:
            return purging.forgetful(session)

    def past_retention(self) -> list[tuple[str, str]]:
        """Company and hash of subjects whom nothing needs to be linked to any more; none without a retention period."""
        if self.settings.retention_days is None:
            return []
        before = self._clock() - timedelta(days=self.settings.retention_days)
        with self.store.reading() as session:
            return purging.past_retention(session, before)

    def in_use(self) -> InUse:
        """What on the disk is somebody's; the rest nobody knows of."""
        with self.store.reading() as session:
            return InUse(purging.places(session), purging.adapter_ids(session), purging.busy(session))

    def _of_version(self, session: Session, version: AdapterVersion) -> Purge:
        places = [version.path, *(row.path for row in corpora.rows(session, version.adapter_id, version.number))]
        if version.number == session.get_one(Adapter, version.adapter_id).current:  # of an adapter that retired
            places += [self.vault.place(version.adapter_id, f"shadows.parquet{end}") for end in ("", ".parts")]
        run_id = None if version.job_id is None else session.get_one(Job, version.job_id).mlflow_run_id
        return Purge(version.adapter_id, version.number, None, tuple(places), run_id, version.purging_at)

    def _of_job(self, job: Job) -> Purge:
        places = [str(self.settings.home / "jobs" / job.id)]
        if job.verdict == "released" or job.kind != "erasure":  # its weights are a version's
            return Purge(job.adapter_id, None, job.id, tuple(places), None, job.purging_at)
        if job.candidate is not None:
            places.append(job.candidate)
        return Purge(job.adapter_id, None, job.id, tuple(places), job.mlflow_run_id, job.purging_at)

    def _version_purged(self, session: Session, version: AdapterVersion, now: datetime, how: Mapping[str, str]) -> None:
        adapter = session.get_one(Adapter, version.adapter_id)
        about = purging.people_of(session, adapter, version.number)
        facts = {"adapter": adapter.id, "version": version.number, "sha256": version.sha256, **how}
        ledger.append(session, now, "version_purged", facts, about)
        self._corpora_purged(session, version, corpora.rows(session, adapter.id, version.number), now, about)

    def _corpora_purged(
        self,
        session: Session,
        version: AdapterVersion,
        rows: Sequence[StoredCorpus],
        now: datetime,
        about: Sequence[str] = (),
    ) -> None:
        """Note that corpora are gone; of replaced ones, that concerns whoever left them or the version was made for."""
        if not about:
            made_for = [] if version.job_id is None else jobs.requests_of(session, version.job_id)
            left = adapters.left_corpora(session, version.adapter_id, version.number)
            about = sorted({request.id for request in [*made_for, *left]})
        for row in rows:
            row.sealed_key, row.purged_at = None, now
            facts = {"adapter": row.adapter_id, "version": row.number, "edition": row.edition, "kind": row.kind}
            ledger.append(session, now, "corpus_purged", facts | {"sha256": row.sha256, "records": row.records}, about)

    def _job_purged(self, session: Session, job: Job, now: datetime, how: Mapping[str, str]) -> None:
        if job.verdict == "released" or job.report is None:
            return
        about = [request.id for request in jobs.requests_of(session, job.id)]
        facts = {"job": job.id, "adapter": job.adapter_id, "verdict": job.verdict, **how}
        sha256 = job.report.get("adapter", {}).get("after_sha256")
        ledger.append(session, now, "candidate_purged", facts | ({"sha256": sha256} if sha256 else {}), about)


def _of_editions(rows: Sequence[StoredCorpus]) -> list[Purge]:
    of: dict[tuple[str, int, int], list[StoredCorpus]] = {}
    for row in rows:
        of.setdefault((row.adapter_id, row.number, row.edition), []).append(row)
    return [
        Purge(id_, number, None, tuple(row.path for row in found), None, found[0].purging_at, edition)
        for (id_, number, edition), found in of.items()
    ]


def _is_of(row: StoredCorpus, purge: Purge) -> bool:
    return (row.adapter_id, row.number, row.edition) == (purge.adapter_id, purge.number, purge.edition)
