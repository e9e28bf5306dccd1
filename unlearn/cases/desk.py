"""The deletion desk: what may happen to adapters, requests and jobs, and what the ledger says of it.

Every public method is one transaction: the change of state, the ledger's entry and the doorbell are written together
or not at all. Speaks no SQL (`store` does), knows no HTTP, no queue and no torch.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from unlearn.cases import endings, registration
from unlearn.cases.identity import subject_hash
from unlearn.cases.store import adapters, jobs, ledger, requests
from unlearn.cases.store.engine import Store
from unlearn.cases.tables import Job
from unlearn.cases.views import AdapterView, Claim, JobKind, JobView, RequestView, as_json
from unlearn.errors import Conflict, LeaseLost, NotFound, UnknownSubject
from unlearn.evidence.bundle import build_bundle
from unlearn.evidence.ledger import Action, check_chain
from unlearn.settings import Settings
from unlearn.weights import AdapterFiles, copy_adapter

T = TypeVar("T")

SILENT = "its worker fell silent and the lease ran out"

RING_AGAIN = timedelta(seconds=60)
"""After this long a queued job whose doorbell brought no worker is rung for again."""


class Desk:
    """The case wing's front: the API, the worker and the relay call nothing else.

    Args:
        settings: where database, keys and files are.
        clock: gives the present moment in UTC.
    """

    def __init__(self, settings: Settings, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.settings = settings
        self.store = Store(settings.effective_database_url)
        self._clock = clock

    def migrate(self) -> None:
        """Bring the database to the newest revision; safe when several processes start at once."""
        self.store.migrate()

    def close(self) -> None:
        """Close the database."""
        self.store.close()

    def check(self) -> None:
        """Raise Unavailable unless the database answers."""
        self.store.check()

    # -- adapters -------------------------------------------------------------------------------------------------

    def register_adapter(
        self,
        name: str,
        base: str,
        adapter: str,
        train: str,
        holdout: str,
        policy: dict[str, Any] | None = None,
    ) -> AdapterView:
        """Check and register an adapter; its weights are copied, so that later changes to the files do not matter.

        Registering the same thing again gives the same answer.

        Raises:
            BadInput: something can't be used; nothing was changed.
            Conflict: the name belongs to something else.
        """
        found = registration.examine(
            self.settings,
            self._hash,
            name=name,
            base=base,
            adapter=adapter,
            train=train,
            holdout=holdout,
            policy=policy,
        )
        with self.store.reading() as session:
            taken = adapters.by_name(session, name)
        if taken is not None:
            return registration.the_same(taken, found)
        id_ = _new("adp")
        shelf = self.settings.home / "adapters" / id_
        try:
            weights = copy_adapter(found.weights, shelf / "v1")
            with self.store.writing() as session:
                adapters.add(session, {"id": id_, **found.row}, weights, found.subjects, self._clock())
                facts = {
                    "adapter": id_,
                    "name": name,
                    "sha256": weights.sha256,
                    "base_sha256": found.row["base_sha256"],
                    "train_sha256": found.row["train_sha256"],
                    "holdout_sha256": found.row["holdout_sha256"],
                }
                self._enter(session, "adapter_registered", facts)
                if found.row["policy"]["targets"]["shadows_at_registration"]:
                    job_id = _new("job")
                    jobs.add(session, job_id, id_, {}, self._clock(), "shadows")
                    self._enter(session, "job_planned", {"job": job_id, "adapter": id_, "kind": "shadows"})
                return adapters.by_id(session, id_)
        except IntegrityError:  # somebody else took the name since we looked
            shutil.rmtree(shelf, ignore_errors=True)
            return registration.the_same(self.adapter(name), found)
        except BaseException:
            shutil.rmtree(shelf, ignore_errors=True)
            raise

    def adapter(self, name: str) -> AdapterView:
        """The adapter called `name`; NotFound if there is none."""
        with self.store.reading() as session:
            found = adapters.by_name(session, name)
        if found is None:
            raise NotFound(f"no adapter is called {name[:80]!r}; GET /v1/adapters lists them")
        return found

    def adapters(self) -> list[AdapterView]:
        """All adapters by name."""
        with self.store.reading() as session:
            return adapters.every(session)

    # -- requests -------------------------------------------------------------------------------------------------

    def submit(self, subject: str) -> RequestView:
        """Accept a deletion request and plan a job on every adapter that learned from the subject.

        Raises:
            BadInput: the subject is no identity.
            UnknownSubject: no adapter learned from it.
            Conflict: it is being forgotten already, or was.
        """
        hashed = self._hash(subject)
        try:
            return self._accept(hashed)
        except IntegrityError:  # PostgreSQL: a request for the same subject was accepted since we looked
            return self._accept(hashed)

    def _accept(self, hashed: str) -> RequestView:
        now = self._clock()
        with self.store.writing() as session:
            busy = requests.open_for(session, hashed)
            if busy is not None:
                raise Conflict(f"request {busy} for this subject is still open; follow that one")
            learned = adapters.that_learned(session, hashed)
            if not learned:
                raise UnknownSubject("no registered adapter learned from this subject; check its type and spelling")
            todo = [row for row in learned if row.erased_at is None]
            if not todo:
                raise Conflict("this subject was already forgotten by every adapter that learned from it")
            id_ = _new("req")
            requests.add(session, id_, hashed, now)
            self._enter(session, "request_accepted", {"request": id_, "subject_hash": hashed}, [id_])
            for row in todo:
                job_id = _new("job")
                jobs.add(session, job_id, row.adapter_id, {id_: row.records}, now)
                facts = {"job": job_id, "adapter": row.adapter_id, "requests": [id_], "records": row.records}
                self._enter(session, "job_planned", facts, [id_])
            return _found(requests.by_id(session, id_), "request", id_)

    def request(self, request_id: str) -> RequestView:
        """The request; NotFound if there is none."""
        with self.store.reading() as session:
            return _found(requests.by_id(session, request_id), "request", request_id)

    def requests(self, state: str | None = None, limit: int = 50, after: str | None = None) -> list[RequestView]:
        """Requests, the newest first, behind `after`."""
        with self.store.reading() as session:
            return requests.page(session, state, limit, after)

    def job(self, job_id: str) -> JobView:
        """The job; NotFound if there is none."""
        with self.store.reading() as session:
            return _found(jobs.view(session, job_id), "job", job_id)

    def export(self, request_id: str) -> bytes:
        """The request's export as a zip; the same bytes as long as nothing more happens to the request.

        Raises:
            NotFound: no such request.
            Conflict: it has not ended.
        """
        with self.store.writing() as session:
            request = _found(requests.by_id(session, request_id), "request", request_id)
            if request.state not in requests.ENDED:
                raise Conflict(f"request {request_id} is {request.state}; its export is made once it has ended")
            views = [_found(jobs.view(session, job.id), "job", job.id) for job in request.jobs]
            entries = ledger.entries_about(session, request_id)
            bundle = build_bundle(as_json(request), [as_json(view) for view in views], entries)
            self._enter(session, "export_made", {"request": request_id})
        return bundle

    def check_ledger(self) -> int:
        """Check the whole hash chain and count its entries; LedgerBroken where it does not hold."""
        with self.store.reading() as session:
            return check_chain(ledger.all_entries(session))

    # -- for the worker -------------------------------------------------------------------------------------------

    def claim(self, job_id: str, owner: str) -> Claim | None:
        """Lease the job for `owner`, or None if it is not there to be claimed (done, held, or not yet its turn)."""
        now = self._clock()
        with self.store.writing() as session:
            job = jobs.claim(session, job_id, owner, self._lease(now), now, self.settings.max_attempts)
            if job is None:
                return None
            waiting = jobs.requests_of(session, job_id)
            for request in waiting:
                requests.move(session, request.id, "in_progress", now)
            ids = [request.id for request in waiting]
            facts = {"job": job_id, "attempt": job.attempt, "fence": job.fence, "version": job.base_version}
            self._enter(session, "attempt_started", facts, ids)
            return Claim(
                job_id=job_id,
                kind=cast("JobKind", job.kind),
                fence=job.fence,
                attempt=job.attempt,
                adapter=adapters.by_id(session, job.adapter_id),
                subject_hashes=frozenset(request.subject_hash for request in waiting),
                erased_hashes=adapters.erased_hashes(session, job.adapter_id),
                request_ids=tuple(ids),
                mlflow_run_id=job.mlflow_run_id,
            )

    def heartbeat(self, claim: Claim) -> None:
        """Prolong the lease; LeaseLost if it is over."""
        with self.store.writing() as session:
            if not jobs.renew(session, claim.job_id, claim.fence, self._lease(self._clock())):
                raise _lost(claim)

    def progress(self, claim: Claim, stage: str, step: int, steps: int) -> None:
        """Note where the job is; LeaseLost if the lease is over."""
        self._note(claim, progress={"stage": stage, "step": step, "steps": steps})

    def started_run(self, claim: Claim, mlflow_run_id: str) -> None:
        """Note the MLflow run before the work starts; LeaseLost if the lease is over."""
        self._note(claim, mlflow_run_id=mlflow_run_id)

    def release(self, claim: Claim, weights: AdapterFiles, report: dict[str, Any]) -> None:
        """Let `weights`, already in their final place, serve, and end the job.

        Raises:
            LeaseLost: the lease is over, or another version serves by now; nothing was changed.
        """
        now = self._clock()
        with self.store.writing() as session:
            job = self._held(session, claim)
            number = claim.adapter.current.number + 1
            adapters.add_version(session, job.adapter_id, number, weights, job.id, now)
            if not adapters.move_current(session, job.adapter_id, number - 1, number):
                raise _lost(claim)
            adapters.mark_erased(session, job.adapter_id, claim.subject_hashes, now)
            endings.judge(session, job, claim.request_ids, report, now)
            facts = {"job": job.id, "adapter": job.adapter_id, "version": number, "sha256": weights.sha256}
            self._enter(session, "version_released", facts, claim.request_ids)
            endings.settle(session, job, claim.request_ids, now)

    def finish_shadows(self, claim: Claim, sha256: str) -> None:
        """End the making of a shadow table, which is whole and in its place; LeaseLost if the lease is over."""
        now = self._clock()
        with self.store.writing() as session:
            job = self._held(session, claim)
            jobs.end(session, job, "done", now)
            facts = {"job": job.id, "adapter": job.adapter_id, "sha256": sha256}
            self._enter(session, "shadows_made", facts)
            endings.settle(session, job, (), now)

    def hold(self, claim: Claim, report: dict[str, Any]) -> None:
        """End a job whose candidate the guards did not release: the old version serves on, a person decides."""
        now = self._clock()
        with self.store.writing() as session:
            job = self._held(session, claim)
            endings.judge(session, job, claim.request_ids, report, now)
            endings.settle(session, job, claim.request_ids, now)

    def fail(self, claim: Claim, reason: str, *, final: bool) -> None:
        """End an attempt that broke: back to the queue, or for good when `final` or when all attempts are spent."""
        with self.store.writing() as session:
            job = self._held(session, claim)
            over = final or self._spent(job)
            endings.break_off(session, job, reason, self._clock(), over=over)

    # -- for the relay --------------------------------------------------------------------------------------------

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
            if not jobs.any_expired(session, now) and not jobs.unheard(session, now - RING_AGAIN):
                return 0
        with self.store.writing() as session:
            silent = jobs.expired(session, now)
            for job in silent:
                endings.break_off(session, job, SILENT, now, over=self._spent(job))
            unheard = jobs.unheard(session, now - RING_AGAIN)
            for job_id in unheard:
                jobs.ring(session, job_id, now)
            jobs.forget_rung(session, now)
            return len(silent) + len(unheard)

    # -- inside a transaction -------------------------------------------------------------------------------------

    def _hash(self, subject: str) -> str:
        return subject_hash(self.settings.identity_hash_key, subject)

    def _lease(self, now: datetime) -> datetime:
        return now + timedelta(seconds=self.settings.lease_seconds)

    def _enter(self, session: Session, action: Action, facts: dict[str, Any], about: Sequence[str] = ()) -> None:
        ledger.append(session, self._clock(), action, facts, about)

    def _spent(self, job: Job) -> bool:
        return job.attempt >= self.settings.max_attempts

    def _held(self, session: Session, claim: Claim) -> Job:
        job = jobs.held(session, claim.job_id, claim.fence)
        if job is None:
            raise _lost(claim)
        return job

    def _note(self, claim: Claim, **values: Any) -> None:
        with self.store.writing() as session:
            if not jobs.note(session, claim.job_id, claim.fence, **values):
                raise _lost(claim)


def _found(thing: T | None, what: str, id_: str) -> T:
    if thing is None:
        raise NotFound(f"no {what} has the id {id_[:80]!r}")
    return thing


def _lost(claim: Claim) -> LeaseLost:
    return LeaseLost(f"job {claim.job_id}: fence {claim.fence} does not hold it any more")


def _new(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(12)}"
