"""The deletion desk: what may happen to adapters, requests and jobs, and what the ledger says of it.

Every public method is one transaction: the change of state, the ledger's entry and the doorbell are written together
or not at all. Speaks no SQL (`store` does), knows no HTTP, no queue and no torch.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, TypeVar, cast

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from unlearn.cases import clock, endings, intake, lifecycle, registration, review, rights, telling
from unlearn.cases.clock import Regulation
from unlearn.cases.identity import subject_hash
from unlearn.cases.intake import Submission
from unlearn.cases.rights import OPERATOR, Actor
from unlearn.cases.store import adapters, errands, figures, jobs, keys, ledger, requests
from unlearn.cases.store.engine import Store
from unlearn.cases.store.requests import Wanted
from unlearn.cases.tables import Adapter, ApiKey, Job, Request
from unlearn.cases.views import (
    AdapterView,
    Claim,
    EndpointView,
    Figures,
    JobKind,
    JobView,
    KeyView,
    MessageView,
    RequestView,
    Task,
    Touched,
    as_json,
)
from unlearn.errors import BadInput, Conflict, LeaseLost, NotAllowed, NotFound, Unauthenticated
from unlearn.evidence.bundle import build_bundle
from unlearn.evidence.ledger import Action, check_chain
from unlearn.policy import parse_policy
from unlearn.settings import Settings
from unlearn.weights import AdapterFiles, copy_adapter

T = TypeVar("T")

SILENT = "its worker fell silent and the lease ran out"

RING_AGAIN = timedelta(seconds=60)
"""After this long a queued job whose doorbell brought no worker is rung for again."""


@dataclass(frozen=True)
class Wish:
    """A deletion request as somebody wants it.

    Attributes:
        subject: "type:value", as the corpora spell it; hashed at once.
        regulation: whose clock runs.
        received_at: when the controller got it; None: now.
        external_id: what the controller calls it.
        callback_urls: who wants to hear of its states; whoever took them in has checked them.
    """

    subject: str
    regulation: Regulation = "gdpr"
    received_at: datetime | None = None
    external_id: str | None = None
    callback_urls: tuple[str, ...] = ()


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

    # -- rights ---------------------------------------------------------------------------------------------------

    def authenticate(self, token: str) -> Actor:
        """Who holds this API key; Unauthenticated if nobody does (any more)."""
        key_id = rights.key_id(token)
        with self.store.reading() as session:
            key = keys.key(session, key_id)
        stored = "" if key is None else key.secret_sha256
        ends = (None, None) if key is None else (key.expires_at, key.revoked_at)
        rights.check_secret(token, stored, *ends, self._clock())
        assert key is not None  # noqa: S101 - no secret has an empty digest
        return Actor(f"key:{key.id}", key.controller_id, rights.parse_scopes(key.scopes))

    def create_key(
        self,
        name: str,
        scopes: Sequence[str],
        *,
        controller: str | None = None,
        expires_at: datetime | None = None,
        by: Actor = OPERATOR,
    ) -> tuple[KeyView, str]:
        """Make an API key; the token comes back this once.

        Args:
            name: what it is for.
            scopes: what it may do.
            controller: name of the company it is for, made if there is none yet; the actor's own without.
            expires_at: when it ends; None: when it is revoked.
            by: an admin; only the operator makes keys of other companies.

        Raises:
            BadInput: a name or a scope that can't be, or an end in the past.
            NotAllowed: a key for another company.
        """
        by.check("admin")
        now, wanted, made = self._clock(), rights.parse_scopes(tuple(scopes)), rights.new_key()
        rights.check_name(name, "name")
        if expires_at is not None and expires_at <= now:
            raise BadInput(f"expires_at {expires_at.isoformat()} is over; give a moment to come")
        with self.store.writing() as session:
            controller_id = by.controller if controller is None else self._controller(session, controller, by, now)
            row = ApiKey(
                id=made.id,
                controller_id=controller_id,
                name=name,
                secret_sha256=made.secret_sha256,
                scopes=[scope for scope in rights.SCOPES if scope in wanted],
                created_at=now,
                created_by=by.name,
                expires_at=expires_at,
                revoked_at=None,
            )
            facts = {"key": made.id, "controller": controller_id, "scopes": row.scopes, "by": by.name}
            self._enter(session, "key_created", facts)
            return keys.add(session, row), made.token

    def _controller(self, session: Session, name: str, by: Actor, now: datetime) -> str:
        found = keys.controller(session, rights.check_name(name, "controller"))
        if found is not None and found.id == by.controller:
            return found.id
        if by != OPERATOR:
            raise NotAllowed("a key makes keys for its own company alone; use `unlearn key create` on the machine")
        return found.id if found is not None else keys.add_controller(session, _new("ctl"), name, now).id

    def keep_local_key(self) -> None:
        """See to it that a good admin key lies under home, readable by the owner alone."""
        file = self.settings.local_key_file
        with contextlib.suppress(OSError, Unauthenticated):
            self.authenticate(file.read_text(encoding="utf-8").strip())
            return
        _, token = self.create_key("local", ["admin"])
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(f"{token}\n")
        draft.replace(file)

    def controller(self, by: Actor = OPERATOR) -> str:
        """The name of the company that `by` acts for."""
        with self.store.reading() as session:
            return keys.controller_name(session, by.controller)

    def keys(self, by: Actor = OPERATOR) -> list[KeyView]:
        """The company's keys, the newest first; the operator sees all."""
        by.check("admin")
        with self.store.reading() as session:
            return keys.every(session, None if by == OPERATOR else by.controller)

    def revoke_key(self, key_id: str, by: Actor = OPERATOR) -> KeyView:
        """End a key now; NotFound if there is none. Revoking it again changes nothing."""
        by.check("admin")
        with self.store.writing() as session:
            row = keys.key(session, key_id)
            if row is None or (by != OPERATOR and row.controller_id != by.controller):
                raise NotFound("no API key has this id; GET /v1/keys lists them")
            if row.revoked_at is None:
                row.revoked_at = self._clock()
                self._enter(session, "key_revoked", {"key": key_id, "by": by.name})
            return keys.view(session, row)

    # -- adapters -------------------------------------------------------------------------------------------------

    def register_adapter(
        self,
        name: str,
        base: str,
        adapter: str,
        train: str,
        holdout: str,
        policy: dict[str, Any] | None = None,
        *,
        by: Actor = OPERATOR,
    ) -> AdapterView:
        """Check and register an adapter; its weights are copied, so that later changes to the files do not matter.

        Registering the same thing again gives the same answer.

        Raises:
            BadInput: something can't be used; nothing was changed.
            Conflict: the name belongs to something else.
        """
        by.check("adapters:write")
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
            taken = adapters.by_name(session, by.controller, name)
        if taken is not None:
            return registration.the_same(taken, found)
        id_, now = _new("adp"), self._clock()
        shelf = self.settings.home / "adapters" / id_
        try:
            weights = copy_adapter(found.weights, shelf / "v1")
            with self.store.writing() as session:
                row = {"id": id_, "controller_id": by.controller, **found.row}
                adapters.add(session, row, weights, found.subjects, now)
                facts = {
                    "adapter": id_,
                    "name": name,
                    "sha256": weights.sha256,
                    "base_sha256": found.row["base_sha256"],
                    "train_sha256": found.row["train_sha256"],
                    "holdout_sha256": found.row["holdout_sha256"],
                    "by": by.name,
                }
                self._enter(session, "adapter_registered", facts)
                if found.row["policy"]["targets"]["shadows_at_registration"]:
                    job_id = _new("job")
                    jobs.add(session, job_id, id_, {}, now, "shadows", due_at=now)
                    self._enter(session, "job_planned", {"job": job_id, "adapter": id_, "kind": "shadows"})
                return adapters.by_id(session, id_)
        except IntegrityError:  # somebody else took the name since we looked
            shutil.rmtree(shelf, ignore_errors=True)
            return registration.the_same(self.adapter(name, by), found)
        except BaseException:
            shutil.rmtree(shelf, ignore_errors=True)
            raise

    def adapter(self, name: str, by: Actor = OPERATOR) -> AdapterView:
        """The adapter called `name`; NotFound if there is none."""
        by.check("requests:read", "adapters:write")
        with self.store.reading() as session:
            found = adapters.by_name(session, by.controller, name)
        return _found(found, "adapter", "GET /v1/adapters lists them")

    def adapters(self, by: Actor = OPERATOR) -> list[AdapterView]:
        """All adapters by name."""
        by.check("requests:read", "adapters:write")
        with self.store.reading() as session:
            return adapters.every(session, by.controller)

    def roll_back(self, name: str, number: int, *, reopen: bool = False, by: Actor = OPERATOR) -> AdapterView:
        """Let an earlier version of an adapter serve again.

        Args:
            name: the adapter's.
            number: of the version.
            reopen: whether requests that a later version fulfilled are opened again; an earlier one knows them.
            by: who does it.

        Raises:
            NotFound: no such adapter or version.
            Conflict: a job runs on it, or somebody was erased since and `reopen` does not say so.
        """
        by.check("adapters:write")
        with self.store.writing() as session:
            adapter = self._adapter(session, name, by)
            lifecycle.roll_back(session, adapter, number, by, self._clock(), self._hooks, reopen=reopen)
            return _found(adapters.by_name(session, by.controller, name), "adapter")

    def retire(self, name: str, by: Actor = OPERATOR) -> AdapterView:
        """Take an adapter out of service for good: its jobs end, and no request waits for it."""
        by.check("adapters:write")
        with self.store.writing() as session:
            lifecycle.retire(session, self._adapter(session, name, by), by, self._clock(), self._hooks)
            return _found(adapters.by_name(session, by.controller, name), "adapter")

    # -- requests -------------------------------------------------------------------------------------------------

    def submit(self, subject: str, *, by: Actor = OPERATOR, **more: Any) -> RequestView:
        """Accept one deletion request; see `submit_many`, whose wishes for a request may be given by name."""
        return self.submit_many([Wish(subject, **more)], by=by)[0]

    def submit_many(
        self, wishes: Sequence[Wish], *, by: Actor = OPERATOR, idempotency_key: str | None = None
    ) -> list[RequestView]:
        """Accept deletion requests, all or none, and plan a job on every adapter that learned from a subject.

        A request of whom no adapter knows (any more) is completed at once, and the ledger says what was searched.

        Args:
            wishes: at most 50.
            by: who submits them.
            idempotency_key: under which the same wishes again get the same requests; hashed, as it may name anybody.

        Raises:
            BadInput: a subject that is no identity, or a clock far off.
            Conflict: a subject is being forgotten already; or the key was used for something else.
        """
        by.check("requests:write")
        submissions = [self._submission(wish) for wish in wishes]
        key = None if idempotency_key is None else self._hash(f"idempotency-key:{idempotency_key}")
        try:
            return self._accept(submissions, by, key)
        except IntegrityError:  # PostgreSQL: somebody accepted the same since we looked
            return self._accept(submissions, by, key)

    def _accept(self, submissions: Sequence[Submission], by: Actor, key: str | None) -> list[RequestView]:
        with self.store.writing() as session:
            return intake.accept(session, submissions, by, key, self._clock())

    def submit_once(self, wish: Wish, *, by: Actor = OPERATOR) -> RequestView:
        """Accept a deletion request, known for good by its external id: again with the same subject, it is the same.

        Raises:
            BadInput: no external id, a subject that is no identity, or a clock far off.
            DuplicateId: the external id is another subject's.
            Conflict: the subject is being forgotten already, under another external id.
        """
        by.check("requests:write")
        submission = self._submission(wish)
        try:
            return self._accept_once(submission, by)
        except IntegrityError:  # PostgreSQL: somebody accepted the same since we looked
            return self._accept_once(submission, by)

    def _accept_once(self, submission: Submission, by: Actor) -> RequestView:
        with self.store.writing() as session:
            return intake.accept_once(session, submission, by, self._clock())

    def preview(self, subject: str, by: Actor = OPERATOR) -> list[Touched]:
        """Which adapters a request for the subject would touch; nothing is stored."""
        by.check("requests:write")
        hashed = self._hash(subject)
        with self.store.reading() as session:
            return intake.touched(session, hashed, by)

    def request(self, request_id: str, by: Actor = OPERATOR) -> RequestView:
        """The request; NotFound if there is none."""
        by.check("requests:read", "requests:write", "review", "audit")
        with self.store.reading() as session:
            return _found(requests.by_id(session, by.controller, request_id), "request")

    def request_called(self, external_id: str, by: Actor = OPERATOR) -> RequestView:
        """The request that the controller calls so; NotFound if there is none."""
        by.check("requests:read", "requests:write")
        with self.store.reading() as session:
            request_id = self._called(session, external_id, by)
            return _found(requests.by_id(session, by.controller, request_id), "request")

    def requests(
        self,
        wanted: Wanted = Wanted(),
        limit: int = 50,
        after: str | None = None,
        *,
        subject: str | None = None,
        by: Actor = OPERATOR,
    ) -> list[RequestView]:
        """A page of the requests that are wanted, behind the request `after`.

        Args:
            wanted: what to show, and in which order.
            limit: most of them.
            after: the last of the page before.
            subject: an identity, if only its requests are wanted.
            by: who asks.
        """
        by.check("requests:read", "review", "audit")
        if subject is not None:
            wanted = replace(wanted, subject_hash=self._hash(subject))
        with self.store.reading() as session:
            return requests.page(session, by.controller, wanted, limit, after)

    def cancel(self, request_id: str, by: Actor = OPERATOR) -> RequestView:
        """Cancel a request that has not ended; what serves goes on serving. Conflict if it has ended."""
        by.check("requests:write")
        return self._change(request_id, by, review.cancel)

    def cancel_unstarted(self, external_id: str, by: Actor = OPERATOR) -> RequestView:
        """Cancel the request that the controller calls so, if nothing was done for it yet.

        Raises:
            NotFound: there is none.
            Conflict: its work has begun, or it has ended.
        """
        by.check("requests:write")
        with self.store.reading() as session:
            request_id = self._called(session, external_id, by)
        return self._change(request_id, by, review.cancel_unstarted)

    def put_on_hold(self, request_id: str, reason: str, by: Actor = OPERATOR) -> RequestView:
        """Put a request under a legal hold: nothing is erased until it is lifted. Conflict if it can't be."""
        by.check("review")
        return self._change(request_id, by, review.hold, reason)

    def lift_hold(self, request_id: str, by: Actor = OPERATOR) -> RequestView:
        """Lift a request's legal hold. Conflict if it has none."""
        by.check("review")
        return self._change(request_id, by, review.lift)

    def extend(self, request_id: str, reason: str, by: Actor = OPERATOR) -> RequestView:
        """Extend the time for an answer, once. Conflict if it can't be any more."""
        by.check("review")
        return self._change(request_id, by, review.extend, reason)

    def retry(self, request_id: str, policy: dict[str, Any] | None = None, by: Actor = OPERATOR) -> RequestView:
        """Try a request again that waits for a decision, under another policy if one is given.

        Raises:
            PolicyError: the policy can't be used.
            Conflict: it waits for none.
        """
        by.check("review")
        whole = None if policy is None else parse_policy(policy, "policy").model_dump(mode="json")
        return self._change(request_id, by, review.retry, whole)

    def reject(self, request_id: str, ground: str, reason: str, by: Actor = OPERATOR) -> RequestView:
        """Reject a request on a legal ground. Conflict if it has ended otherwise."""
        by.check("review")
        return self._change(request_id, by, review.reject, ground, reason)

    def release_as_it_is(self, request_id: str, reason: str, by: Actor = OPERATOR) -> RequestView:
        """Let the candidates serve that the guards held back, for a reason in writing.

        Raises:
            Conflict: the request waits for no decision, there is no candidate, or another version serves since.
        """
        by.check("review")
        with self.store.writing() as session:
            now, request = self._clock(), self._request(session, request_id, by)
            held = review.candidates(session, request)
            review.released(session, request, reason, by, now)
            for job in held:
                lifecycle.release_candidate(session, job, by, now, self._hooks)
            return _found(requests.by_id(session, by.controller, request_id), "request")

    def _change(self, request_id: str, by: Actor, change: Callable[..., None], *given: Any) -> RequestView:
        with self.store.writing() as session:
            change(session, self._request(session, request_id, by), *given, by, self._clock())
            return _found(requests.by_id(session, by.controller, request_id), "request")

    def add_endpoint(self, url: str, by: Actor = OPERATOR) -> tuple[EndpointView, str]:
        """Have an address told what becomes of the company's requests; the secret that signs comes back this once.

        Raises:
            CallbackRefused: an address that may not be called.
            Conflict: there are too many.
        """
        by.check("admin")
        with self.store.writing() as session:
            private, key = self.settings.callbacks_allow_private, self.settings.identity_hash_key
            return telling.add_endpoint(session, url, by, key, self._clock(), allow_private=private)

    def endpoints(self, by: Actor = OPERATOR) -> list[EndpointView]:
        """The company's addresses, the newest first."""
        by.check("admin")
        with self.store.reading() as session:
            return [telling.endpoint_view(row) for row in errands.endpoints(session, by.controller)]

    def disable_endpoint(self, endpoint_id: str, by: Actor = OPERATOR) -> EndpointView:
        """Send no more to an address; NotFound if there is none."""
        by.check("admin")
        with self.store.writing() as session:
            row = _found(errands.endpoint(session, by.controller, endpoint_id), "callback")
            telling.disable(session, row, "taken away", by.name, self._clock())
            return telling.endpoint_view(row)

    def messages(
        self,
        state: str | None = None,
        about: str | None = None,
        limit: int = 50,
        after: str | None = None,
        by: Actor = OPERATOR,
    ) -> list[MessageView]:
        """Callbacks and deployments of the company, the newest first.

        Args:
            state: waiting, done, failed or overtaken.
            about: id of a request or an adapter.
            limit: most of them.
            after: the last of the page before.
            by: who asks.
        """
        by.check("requests:read", "audit")
        with self.store.reading() as session:
            return [telling.message_view(e) for e in errands.page(session, by.controller, state, about, limit, after)]

    def replay(self, message_id: str, by: Actor = OPERATOR) -> MessageView:
        """Send a message, or run a hook, again; NotFound if there is none."""
        by.check("admin")
        with self.store.writing() as session:
            errand = _found(errands.one(session, by.controller, message_id), "message")
            telling.replay(session, errand, self._clock())
            return telling.message_view(errand)

    def job(self, job_id: str, by: Actor = OPERATOR) -> JobView:
        """The job; NotFound if there is none."""
        by.check("requests:read", "requests:write", "review", "audit")
        with self.store.reading() as session:
            return _found(jobs.view(session, by.controller, job_id), "job")

    def export(self, request_id: str, by: Actor = OPERATOR) -> bytes:
        """The request's export as a zip; the same bytes as long as nothing more happens to the request.

        Raises:
            NotFound: no such request.
            Conflict: it has not ended.
        """
        by.check("audit")
        with self.store.writing() as session:
            request = _found(requests.by_id(session, by.controller, request_id), "request")
            if request.state not in requests.ENDED:
                raise Conflict(f"request {request_id} is {request.state}; its export is made once it has ended")
            views = [_found(jobs.view(session, by.controller, job.id), "job") for job in request.jobs]
            entries = ledger.entries_about(session, request_id)
            bundle = build_bundle(as_json(request), [as_json(view) for view in views], entries)
            self._enter(session, "export_made", {"request": request_id, "by": by.name})
        return bundle

    def check_ledger(self) -> int:
        """Check the whole hash chain and count its entries; LedgerBroken where it does not hold."""
        with self.store.reading() as session:
            return check_chain(ledger.all_entries(session))

    def figures(self, by: Actor = OPERATOR) -> Figures:
        """The company in numbers; the operator sees those of all."""
        by.check("audit")
        with self.store.reading() as session:
            return figures.count(session, None if by == OPERATOR else by.controller, self._clock())

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
            adapter = adapters.by_id(session, job.adapter_id)
            return Claim(
                job_id=job_id,
                kind=cast("JobKind", job.kind),
                fence=job.fence,
                attempt=job.attempt,
                adapter=adapter,
                subject_hashes=frozenset(request.subject_hash for request in waiting),
                erased_hashes=adapters.erased_hashes(session, job.adapter_id),
                request_ids=tuple(ids),
                mlflow_run_id=job.mlflow_run_id,
                policy=job.policy or adapter.policy,
                next_number=adapters.newest(session, job.adapter_id) + 1,
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
            number = adapters.newest(session, job.adapter_id) + 1
            adapters.add_version(session, job.adapter_id, number, weights, job.id, now)
            if not adapters.move_current(session, job.adapter_id, claim.adapter.current.number, number):
                raise _lost(claim)
            adapters.mark_erased(session, job.adapter_id, claim.subject_hashes, now)
            adapter = session.get_one(Adapter, job.adapter_id, populate_existing=True)
            telling.deployed(session, adapter, self._hooks, now, previous=claim.adapter.current.number)
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

    def hold(self, claim: Claim, report: dict[str, Any], candidate: AdapterFiles | None = None) -> None:
        """End a job whose candidate the guards did not release: the old version serves on, a person decides.

        Args:
            claim: the job.
            report: why.
            candidate: its weights, already where they stay until then.
        """
        now = self._clock()
        with self.store.writing() as session:
            job = self._held(session, claim)
            job.candidate = None if candidate is None else str(candidate.path)
            endings.judge(session, job, claim.request_ids, report, now)
            endings.settle(session, job, claim.request_ids, now)

    def fail(self, claim: Claim, reason: str, *, final: bool) -> None:
        """End an attempt that broke: back to the queue, or for good when `final` or when all attempts are spent."""
        with self.store.writing() as session:
            job = self._held(session, claim)
            over = final or self._spent(job)
            endings.break_off(session, job, reason, self._clock(), over=over)

    def give_back(self, claim: Claim) -> None:
        """Put a job back whose worker is told to stop: it did not break, so that the attempt does not count."""
        now = self._clock()
        with self.store.writing() as session:
            endings.interrupt(session, self._held(session, claim), now)

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
            idle = not jobs.any_expired(session, now) and not jobs.unheard(session, now - RING_AGAIN, now)
            reminded = not errands.untold(session, now, clock.SOON)
            if idle and reminded and not keys.any_old_answers(session, now):
                return 0
        with self.store.writing() as session:
            silent = jobs.expired(session, now)
            for job in silent:
                endings.break_off(session, job, SILENT, now, over=self._spent(job))
            unheard = jobs.unheard(session, now - RING_AGAIN, now)
            for job_id in unheard:
                jobs.ring(session, job_id, now)
            jobs.forget_rung(session, now)
            keys.forget_answers(session, now)
            telling.remind(session, now)
            return len(silent) + len(unheard)

    # -- for whoever runs errands ---------------------------------------------------------------------------------

    def take_errand(self) -> Task | None:
        """Lease the callback or deployment that waits longest, or None if none is due."""
        now = self._clock()
        with self.store.reading() as session:  # looking takes no writer's lock
            if not errands.any_due(session, now):
                return None
        with self.store.writing() as session:
            return telling.take(session, self.settings.identity_hash_key, now)

    def errand_done(self, task: Task) -> None:
        """Note that an errand is done."""
        with self.store.writing() as session:
            telling.done(session, task, self._clock())

    def errand_failed(self, task: Task, why: str, *, retry_after: float | None = None, gone: bool = False) -> None:
        """Note that an attempt failed: it is made again later, unless the receiver is gone or a day is over."""
        with self.store.writing() as session:
            now = self._clock()
            telling.failed(session, task, why, now, Random(), retry_after=retry_after, gone=gone)  # noqa: S311

    # -- inside a transaction -------------------------------------------------------------------------------------

    def _hash(self, subject: str) -> str:
        return subject_hash(self.settings.identity_hash_key, subject)

    def _submission(self, wish: Wish) -> Submission:
        hashed = self._hash(wish.subject)
        return Submission(hashed, wish.regulation, wish.received_at, wish.external_id, wish.callback_urls)

    def _called(self, session: Session, external_id: str, by: Actor) -> str:
        return _found(requests.by_external_id(session, by.controller, external_id), "request")

    def _request(self, session: Session, request_id: str, by: Actor) -> Request:
        return _found(requests.row(session, by.controller, request_id), "request")

    def _adapter(self, session: Session, name: str, by: Actor) -> Adapter:
        return _found(adapters.row(session, by.controller, name), "adapter", "GET /v1/adapters lists them")

    @property
    def _hooks(self) -> list[str]:
        """Names of the deployment hooks: the link under home, and those of the settings by their place."""
        return ["link", *(f"{place}:{hook.get('kind')}" for place, hook in enumerate(self.settings.hooks))]

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


def _found(thing: T | None, what: str, hint: str = "") -> T:
    """The thing. What it was called is not repeated: whoever mistook the place may have written a person there."""
    if thing is None:
        raise NotFound(f"no {what} has this {'name' if what == 'adapter' else 'id'}{hint and '; '}{hint}")
    return thing


def _lost(claim: Claim) -> LeaseLost:
    return LeaseLost(f"job {claim.job_id}: fence {claim.fence} does not hold it any more")


def _new(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(12)}"
