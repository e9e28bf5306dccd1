"""The desk's side of a worker's life: claims, heartbeats, endings; and the relay's doorbells and sweeps."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Literal, cast

from sqlalchemy.orm import Session

from unlearn.cases import clock, endings, planning, telling, withholding
from unlearn.cases.desk.core import lost
from unlearn.cases.desk.data import Data, Renewal
from unlearn.cases.store import adapters, errands, fingerprints, jobs, keys, requests, turns
from unlearn.cases.tables import Adapter, Job, Request
from unlearn.cases.views import Claim, JobKind, Own, Trace
from unlearn.errors import BadInput
from unlearn.weights import AdapterFiles

NOBODY: Mapping[str, Own] = MappingProxyType({})
SILENT = "its worker fell silent and the lease ran out"

RING_AGAIN = timedelta(seconds=60)
"""After this long a queued job whose doorbell brought no worker is rung for again."""


class Work(Data):
    """Jobs under way."""

    def claim(self, job_id: str, owner: str) -> Claim | None:
        """Lease the job for `owner`, or None if it is not there to be claimed (done, held, or not yet its turn)."""
        with self.store.writing() as session:
            now = self._clock()  # once it is this writer's turn: a lease must not be spent by waiting for it
            job = turns.claim(session, job_id, owner, self._lease(now), now, self.settings.max_attempts)
            return None if job is None else self._begun(session, job, now)

    def claim_first(self, owner: str) -> Claim | None:
        """Lease the most urgent job of all for `owner`, or None if none is there to be claimed.

        Args:
            owner: a name of its own for each doorbell: asked again, because the answer was lost, it gets the same job.
        """
        with self.store.writing() as session:
            now = self._clock()
            held = turns.leased_to(session, owner)
            if held is not None:
                return self._claim(session, held, jobs.requests_of(session, held.id))
            job = turns.claim_first(session, owner, self._lease(now), now, self.settings.max_attempts)
            return None if job is None else self._begun(session, job, now)

    def _begun(self, session: Session, job: Job, now: datetime) -> Claim | None:
        """Note that the job's requests are in progress; None if a hold came in just while one of them was planned."""
        waiting = jobs.requests_of(session, job.id)
        held = requests.held(session, [(request.controller_id, request.subject_hash) for request in waiting])
        if held:
            for whose in held:
                planning.suspend(session, whose, now)
            return None
        for request in waiting:
            requests.move(session, request.id, "in_progress", now)
        claim = self._claim(session, job, waiting)
        before = claim.adapter.current
        facts = {"job": job.id, "attempt": job.attempt, "fence": job.fence, "version": job.base_version}
        facts |= {"sha256": before.sha256, "config_sha256": before.config_sha256}
        self._enter(session, "attempt_started", facts, [request.id for request in waiting])
        return claim

    def _claim(self, session: Session, job: Job, waiting: Sequence[Request]) -> Claim:
        adapter = adapters.by_id(session, job.adapter_id)
        return Claim(
            job_id=job.id,
            kind=cast("JobKind", job.kind),
            fence=job.fence,
            attempt=job.attempt,
            adapter=adapter,
            subject_hashes=frozenset(request.subject_hash for request in waiting),
            erased_hashes=adapters.erased_hashes(session, job.adapter_id),
            request_ids=tuple(request.id for request in waiting),
            mlflow_run_id=job.mlflow_run_id,
            policy=job.policy or adapter.policy,
            next_number=adapters.newest(session, job.adapter_id) + 1,
            judged_before=jobs.judged_before(session, job, waiting),
        )

    def heartbeat(self, claim: Claim) -> None:
        """Prolong the lease; LeaseLost if it is over."""
        with self.store.writing() as session:
            if not jobs.renew(session, claim.job_id, claim.fence, self._lease(self._clock())):
                raise lost(claim)

    def progress(self, claim: Claim, stage: str, step: int, steps: int) -> None:
        """Note where the job is; LeaseLost if the lease is over."""
        now = self._clock()
        with self.store.writing() as session:
            jobs.enter_stage(self._held(session, claim), stage, step, steps, now)

    def started_run(self, claim: Claim, mlflow_run_id: str) -> None:
        """Note the MLflow run before the work starts; LeaseLost if the lease is over."""
        self._note(claim, mlflow_run_id=mlflow_run_id)

    def release(
        self, claim: Claim, weights: AdapterFiles, report: dict[str, Any], own: Mapping[str, Own] = NOBODY
    ) -> frozenset[str]:
        """Let `weights`, already in their final place, serve, erase people from the corpora, and end the job.

        Args:
            claim: the job.
            weights: the version to be.
            report: on all subjects together.
            own: of each alone, by its hash, where several share the job. A request whose own verdict is another than
                released stays open.

        Returns:
            Hashes of the subjects that count as erased now.

        Raises:
            LeaseLost: the lease is over, or another version serves by now; nothing was changed.
            CorpusError: a stored corpus is gone or was changed.
        """
        released = frozenset(h for h in claim.subject_hashes if h not in own or own[h].verdict == "released")
        return self._renewing(
            claim.adapter, claim.next_number, released, lambda new: self._release(claim, weights, report, own, new)
        )

    def _release(
        self,
        claim: Claim,
        weights: AdapterFiles,
        report: dict[str, Any],
        own: Mapping[str, Own],
        renewal: Renewal,
    ) -> frozenset[str] | None:
        """The hashes of those who count as erased now; None if more were erased since the corpora were written."""
        now = self._clock()
        with self.store.writing() as session:
            fingerprints.take_turns(session)
            job = self._held(session, claim)
            if not adapters.erased_hashes(session, job.adapter_id) <= renewal.gone:
                return None
            number = adapters.newest(session, job.adapter_id) + 1
            adapters.add_version(session, job.adapter_id, number, weights, job.id, now)
            before = claim.adapter.current.number
            if number != claim.next_number or not adapters.move_current(session, job.adapter_id, before, number):
                raise lost(claim)
            erased = endings.judge(session, job, claim.request_ids, report, own, now)
            adapters.mark_erased(session, job.adapter_id, erased, now)
            adapter = session.get_one(Adapter, job.adapter_id, populate_existing=True)
            telling.deployed(session, adapter, self._hooks, now, previous=before)
            facts = {"job": job.id, "adapter": job.adapter_id, "version": number, "sha256": weights.sha256}
            facts |= {"config_sha256": weights.config_sha256}
            facts |= {"superseded_sha256": adapters.superseded_sha256(session, job.adapter_id, number)}
            self._enter(session, "version_released", facts, claim.request_ids)
            gone = [request.id for _, request in jobs.shares(session, job.id) if request.subject_hash in erased]
            self._renew(session, job, renewal, gone, now)
            endings.settle(session, job, claim.request_ids, now)
            return erased

    def nothing_left(self, claim: Claim, recorded: frozenset[str]) -> None:
        """End a job for people of whom the version that serves has nothing to forget: no train record names them.

        Each such record named somebody else, too, and went with her; or there never was one. What the holdout still has
        of them leaves it, in another edition of the corpora.

        Args:
            claim: the job.
            recorded: hashes of all whom the train corpus names; they must be known here, or the worker's identity key
                is another than ours and it would find nobody.

        Raises:
            BadInput: they are not; nothing was changed.
            LeaseLost: the lease is over, or another version serves by now; nothing was changed.
            CorpusError: a stored corpus is gone or was changed.
        """
        adapter = claim.adapter
        self._renewing(
            adapter, adapter.current.number, claim.subject_hashes, lambda new: self._nothing_left(claim, recorded, new)
        )

    def _nothing_left(self, claim: Claim, recorded: frozenset[str], renewal: Renewal) -> Literal[True] | None:
        """True once it is noted; None if the corpora are to be written once more."""
        now = self._clock()
        with self.store.writing() as session:
            fingerprints.take_turns(session)
            job = self._held(session, claim)
            if session.get_one(Adapter, job.adapter_id, populate_existing=True).current != renewal.number:
                raise lost(claim)
            if not self._fits(session, job, renewal):
                return None
            if not recorded or not recorded <= adapters.learned_hashes(session, job.adapter_id):
                raise BadInput(
                    f"no record of the corpora of adapter '{claim.adapter.name}' names the subject, nor anybody else "
                    "who was counted at its registration: give API and workers the same UNLEARN_IDENTITY_KEY"
                )
            jobs.end(session, job, "done", now)
            for its, _ in jobs.shares(session, job.id):
                its.erased = True
            adapters.mark_erased(session, job.adapter_id, claim.subject_hashes, now)
            number = claim.adapter.current.number
            before = [one.job_id for one in adapters.lineage(session, job.adapter_id, number) if one.job_id]
            facts = {"job": job.id, "adapter": job.adapter_id, "version": number, "erased_by": before[::-1]}
            self._enter(session, "nothing_left", facts, claim.request_ids)
            if not renewal.is_empty:
                self._renew(session, job, renewal, claim.request_ids, now)
            endings.settle(session, job, claim.request_ids, now)
        if renewal.is_empty:
            self._discard(renewal)
        return True

    def finish_shadows(self, claim: Claim, sha256: str) -> None:
        """End the making of a shadow table, which is whole and in its place; LeaseLost if the lease is over."""
        now = self._clock()
        with self.store.writing() as session:
            job = self._held(session, claim)
            jobs.end(session, job, "done", now)
            facts = {"job": job.id, "adapter": job.adapter_id, "sha256": sha256}
            self._enter(session, "shadows_made", facts)
            endings.settle(session, job, (), now)

    def hold(
        self,
        claim: Claim,
        candidate: AdapterFiles | None,
        report: dict[str, Any],
        own: Mapping[str, Own] = NOBODY,
    ) -> None:
        """End a job whose candidate the guards did not release: the old version serves on, a person decides.

        Args:
            claim: the job.
            candidate: its weights, already where they stay until then; None if there is none to release.
            report: why.
            own: what the gates found of each subject alone, by its hash, where several share the job.
        """
        now = self._clock()
        with self.store.writing() as session:
            job = self._held(session, claim)
            job.candidate = None if candidate is None else candidate.place
            endings.judge(session, job, claim.request_ids, report, own, now)
            endings.settle(session, job, claim.request_ids, now)

    def fail(self, claim: Claim, reason: str, *, final: bool) -> None:
        """End an attempt that broke: back to the queue, for a while, or for good if `final` or all are spent."""
        with self.store.writing() as session:
            job = self._held(session, claim)
            over = final or self._spent(job)
            pause = endings.pause_of(endings.SHORTEST * 3**job.attempt)
            endings.break_off(session, job, reason, self._clock(), over=over, pause=pause)

    def put_off(self, claim: Claim, reason: str) -> None:
        """End an attempt for which a part of the service was away; it counts only once that has gone on for hours."""
        with self.store.writing() as session:
            job = self._held(session, claim)
            endings.put_off(session, job, reason, self._clock(), over=self._spent(job))

    def give_back(self, claim: Claim) -> None:
        """Put a job back whose worker is told to stop: it did not break, so that the attempt does not count."""
        now = self._clock()
        with self.store.writing() as session:
            endings.interrupt(session, self._held(session, claim), now)

    def traces(self, job_ids: Collection[str]) -> dict[str, Trace]:
        """What the database knows of these jobs' files; of a job that it does not know, nothing."""
        with self.store.reading() as session:
            return jobs.traces(session, job_ids)

    def doorbells(self, limit: int = 100) -> list[tuple[int, str]]:
        """Unsent doorbells, oldest first: (outbox id, job id)."""
        with self.store.reading() as session:
            return jobs.doorbells(session, limit)

    def rung(self, outbox_ids: Sequence[int]) -> None:
        """Mark doorbells as sent."""
        with self.store.writing() as session:
            jobs.rung(session, list(outbox_ids), self._clock())

    def sweep(self) -> int:
        """Take jobs from workers that fell silent, and ring again for jobs that nobody came for; how many."""
        now = self._clock()
        with self.store.reading() as session:  # a sweep that finds nothing takes no writer's lock
            idle = not jobs.any_expired(session, now) and not turns.unheard(session, now - RING_AGAIN, now)
            idle = idle and not errands.untold(session, now, clock.SOON) and not withholding.over(session)
            if idle and not keys.any_old_answers(session, now):
                return 0
        with self.store.writing() as session:
            silent = jobs.expired(session, now)
            for job in silent:
                endings.break_off(session, job, SILENT, now, over=self._spent(job))
            unheard = turns.unheard(session, now - RING_AGAIN, now)
            for job_id in unheard:
                jobs.ring(session, job_id, now)
            jobs.forget_rung(session, now)
            keys.forget_answers(session, now)
            telling.remind(session, now)
            withholding.let_go(session, self._hooks, now)
            return len(silent) + len(unheard)
