"""The desk's keys: who may come in."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy.orm import Session

from unlearn.cases import rights
from unlearn.cases.desk.core import Core
from unlearn.cases.ids import new_id
from unlearn.cases.rights import HERE, OPERATOR, Actor
from unlearn.cases.store import keys
from unlearn.cases.tables import ApiKey
from unlearn.cases.tokens import Holder, holder_of
from unlearn.cases.views import KeyView
from unlearn.durable import write_whole
from unlearn.errors import BadInput, NotAllowed, NotFound, Unauthenticated
from unlearn.settings import Settings

RECENT_SECONDS = 1.0
"""For so long a key that was let in is let in again unasked; its revocation holds after that everywhere."""
MOST_RECENT = 1024


@dataclass(frozen=True)
class _Recent:
    """Who was let in, when (monotonic seconds), and when the key expires."""

    actor: Actor
    at: float
    expires_at: datetime | None


class Keys(Core):
    """API keys and companies."""

    def __init__(self, settings: Settings, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        super().__init__(settings, clock)
        self._recent: dict[bytes, _Recent] = {}

    def recognise(self, token: str) -> Actor | None:
        """Who held this API key when it was authenticated within the last second; None if the database must say."""
        found = self._recent.get(_fingerprint(token))
        if found is None or time.monotonic() - found.at > RECENT_SECONDS:
            return None
        return found.actor if found.expires_at is None or self._clock() < found.expires_at else None

    def authenticate(self, token: str) -> Actor:
        """Who holds this API key, or this token of the issuer.

        Raises:
            Unauthenticated: nobody does (any more).
            NotAllowed: the token is for a company that is not known here.
            Unavailable: the issuer can't be asked for its key.
        """
        if self._issuer is not None and not token.startswith(rights.PREFIX):
            return self._actor(holder_of(token, self._issuer, self.settings))
        key_id, at, recent = rights.key_id(token), time.monotonic(), self._recent
        with self.store.reading() as session:
            key = keys.key(session, key_id)
        stored = "" if key is None else key.secret_sha256
        ends = (None, None) if key is None else (key.expires_at, key.revoked_at)
        rights.check_secret(token, stored, *ends, self._clock())
        assert key is not None  # noqa: S101 - no secret has an empty digest
        actor = Actor(f"key:{key.id}", key.controller_id, rights.parse_scopes(key.scopes))
        if len(recent) >= MOST_RECENT:
            recent.clear()
        recent[_fingerprint(token)] = _Recent(actor, at, key.expires_at)  # of no use if one was revoked meanwhile
        return actor

    def _actor(self, holder: Holder) -> Actor:
        """A token's holder in the company that it names."""
        if holder.controller is None:
            return Actor(holder.name, HERE, holder.scopes)
        with self.store.reading() as session:
            found = keys.controller(session, holder.controller)
        if found is None:
            raise NotAllowed(
                "this service does not know the company that the token is for; who runs it adds one, with "
                "`unlearn key create --company NAME`"
            )
        return Actor(holder.name, found.id, holder.scopes)

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
        return found.id if found is not None else keys.add_controller(session, new_id("ctl"), name, now).id

    def keep_local_key(self) -> None:
        """See to it that a good admin key lies under home, readable by the owner alone."""
        file = self.settings.local_key_file
        with contextlib.suppress(OSError, Unauthenticated):
            self.authenticate(file.read_text(encoding="utf-8").strip())
            return
        _, token = self.create_key("local", ["admin"])
        write_whole(file, f"{token}\n".encode())

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
        """End a key: here at once, in other processes within a second. NotFound if there is none.

        Revoking it again changes nothing.
        """
        by.check("admin")
        with self.store.writing() as session:
            row = keys.key(session, key_id)
            if row is None or (by != OPERATOR and row.controller_id != by.controller):
                raise NotFound("no API key has this id; GET /v1/keys lists them")
            if row.revoked_at is None:
                row.revoked_at = self._clock()
                self._enter(session, "key_revoked", {"key": key_id, "by": by.name})
            view = keys.view(session, row)
        self._recent = {}
        return view


def _fingerprint(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
