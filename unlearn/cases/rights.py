"""Who may do what: API keys, their scopes, and the actor that every decision records. Pure; knows no database.

A key is `unl_<id>_<secret>`. The id finds the row, and of the secret only the SHA-256 is kept: it has 256 random bits,
so that nothing slower protects it better.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from unlearn.errors import BadInput, NotAllowed, Unauthenticated

Scope = Literal["requests:write", "requests:read", "adapters:write", "review", "audit", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
"""
requests:write   submit, preview and cancel requests
requests:read    look at requests, jobs and adapters
adapters:write   register, roll back and retire adapters
review           decide, retry, hold and extend requests
audit            exports and the ledger
admin            keys and callbacks; and everything else
"""

PREFIX = "unl_"
TOKEN = re.compile(rf"{PREFIX}([0-9a-f]{{16}})_([A-Za-z0-9_-]{{43}})")

HERE = "ctl_default"
"""The controller of a service that serves one company."""


@dataclass(frozen=True)
class Actor:
    """Who acts, for which controller.

    Attributes:
        name: "key:<id>", "oidc:<keyed hash of issuer and subject>" or "operator"; what decisions record.
        controller: id of the controller (tenant) whose rows it may see.
        scopes: what it may do there.
    """

    name: str
    controller: str
    scopes: frozenset[Scope]

    def check(self, *any_of: Scope) -> None:
        """Check that the actor has one of the scopes; `admin` has all.

        Raises:
            NotAllowed: names the scopes that would do.
        """
        if self.scopes.isdisjoint({*any_of, "admin"}):
            need = " or ".join(f"'{scope}'" for scope in any_of)
            oidc = self.name.startswith("oidc:")
            what, how = ("token", "at its issuer") if oidc else ("key", "with `unlearn key create`")
            raise NotAllowed(f"this {what} lacks the scope {need}; ask who gives out {what}s, {how}")


OPERATOR = Actor("operator", HERE, frozenset({"admin"}))
"""Whoever runs commands on the service's own machine."""


@dataclass(frozen=True)
class NewKey:
    """A key as it is made: the token, which is shown once, and what is stored of it."""

    id: str
    token: str
    secret_sha256: str


def new_key() -> NewKey:
    """A key of 256 random bits."""
    id_, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    return NewKey(id_, f"unl_{id_}_{secret}", _digest(secret))


def key_id(token: str) -> str:
    """The id in a token.

    Raises:
        Unauthenticated: it is no token of this program; the message does not repeat it.
    """
    return _parts(token)[0]


def check_secret(
    token: str, secret_sha256: str, expires_at: datetime | None, revoked_at: datetime | None, now: datetime
) -> None:
    """Check a token against what is stored, in a time that does not tell how much of it was right.

    Raises:
        Unauthenticated: another secret, or a key that is expired or revoked.
    """
    if not hmac.compare_digest(_digest(_parts(token)[1]), secret_sha256):
        raise Unauthenticated("no such API key; check UNLEARN_API_KEY")
    if revoked_at is not None:
        raise Unauthenticated(f"the API key was revoked at {revoked_at.isoformat()}; ask for a new one")
    if expires_at is not None and now >= expires_at:
        raise Unauthenticated(f"the API key expired at {expires_at.isoformat()}; ask for a new one")


def parse_scopes(names: list[str] | tuple[str, ...]) -> frozenset[Scope]:
    """The scopes of these names.

    Raises:
        BadInput: one is unknown, or there is none.
    """
    unknown = sorted(set(names) - set(SCOPES))
    if unknown or not names:
        what = f"unknown scope '{unknown[0][:40]}'" if unknown else "a key without a scope can do nothing"
        raise BadInput(f"{what}; the scopes are {', '.join(SCOPES)}")
    return frozenset(scope for scope in SCOPES if scope in names)


def check_name(name: str, what: str) -> str:
    """A name of a key or a company: 1 to 64 printable characters.

    Raises:
        BadInput: it is something else.
    """
    if not 1 <= len(name.strip()) <= 64 or not name.isprintable():
        raise BadInput(f"{what}: give 1 to 64 printable characters")
    return name.strip()


def _parts(token: str) -> tuple[str, str]:
    match = TOKEN.fullmatch(token)
    if match is None:
        raise Unauthenticated("this is no API key of this service; one looks like unl_<id>_<secret>")
    return match[1], match[2]


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
