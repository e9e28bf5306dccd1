"""What the parts of the desk share. Decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from unlearn.cases.identity import subject_hash
from unlearn.cases.rights import Actor
from unlearn.cases.store import adapters, jobs, ledger, requests
from unlearn.cases.store.engine import Store
from unlearn.cases.tables import Adapter, Job, Request
from unlearn.cases.telling import hook_names
from unlearn.cases.tokens import issuer_of
from unlearn.cases.views import Claim
from unlearn.errors import LeaseLost, NotFound
from unlearn.evidence.ledger import Action
from unlearn.settings import Settings
from unlearn.storage import Vault

T = TypeVar("T")


class Core:
    """What every part of the desk has: settings, store, clock, and what several of them need inside a transaction.

    Args:
        settings: where database, keys and files are.
        clock: gives the present moment in UTC.
    """

    def __init__(self, settings: Settings, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.settings = settings
        self.store = Store(settings.effective_database_url)
        self.vault = Vault(settings)
        self._clock = clock
        self._issuer = issuer_of(settings)

    def migrate(self) -> None:
        """Bring the database to the newest revision; safe when several processes start at once."""
        self.store.migrate()

    def close(self) -> None:
        """Close the database."""
        self.store.close()

    def check(self) -> None:
        """Raise Unavailable unless the database answers."""
        self.store.check()

    def _hash(self, subject: str) -> str:
        return subject_hash(self.settings.identity_hash_key, subject)

    def _request(self, session: Session, request_id: str, by: Actor) -> Request:
        return there(requests.row(session, by.controller, request_id), "request")

    def _adapter(self, session: Session, name: str, by: Actor) -> Adapter:
        return there(adapters.row(session, by.controller, name), "adapter", "GET /v1/adapters lists them")

    @property
    def _hooks(self) -> list[str]:
        return hook_names(self.settings)

    def _lease(self, now: datetime) -> datetime:
        return now + timedelta(seconds=self.settings.lease_seconds)

    def _enter(self, session: Session, action: Action, facts: dict[str, Any], about: Sequence[str] = ()) -> None:
        ledger.append(session, self._clock(), action, facts, about)

    def _spent(self, job: Job) -> bool:
        return job.attempt >= self.settings.max_attempts

    def _held(self, session: Session, claim: Claim) -> Job:
        job = jobs.held(session, claim.job_id, claim.fence)
        if job is None:
            raise lost(claim)
        return job

    def _note(self, claim: Claim, **values: Any) -> None:
        with self.store.writing() as session:
            if not jobs.note(session, claim.job_id, claim.fence, **values):
                raise lost(claim)

    def _called(self, session: Session, external_id: str, by: Actor) -> str:
        return there(requests.by_external_id(session, by.controller, external_id), "request")


def there(thing: T | None, what: str, hint: str = "") -> T:
    """The thing, or NotFound. What it was called is not repeated: whoever mistook the place may have named a person."""
    if thing is None:
        raise NotFound(f"no {what} has this {'name' if what == 'adapter' else 'id'}{hint and '; '}{hint}")
    return thing


def lost(claim: Claim) -> LeaseLost:
    """What is said to a worker whose fence does not hold its job any more."""
    return LeaseLost(f"job {claim.job_id}: fence {claim.fence} does not hold it any more")
