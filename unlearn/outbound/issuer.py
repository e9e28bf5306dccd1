"""The keys that an OIDC issuer signs its tokens with: found, fetched, kept. Knows no claim and no scope.

The issuer is the operator's choice, so it may be in a private network. Keys are fetched when a token names one that is
not there, at most once in a while, since anybody can make up names; and again after an hour, so that a key that was
withdrawn ends. While the issuer can't be reached, the keys that are there go on.

Source: OpenID Connect Discovery 1.0, section 4; JSON Web Key, RFC 7517
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from unlearn.errors import Unavailable
from unlearn.outbound.addresses import CallbackRefused
from unlearn.outbound.http import CallbackFailed, fetch

if TYPE_CHECKING:
    from jwt import PyJWK

log = logging.getLogger(__name__)

ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)  # fmt: skip
"""Signatures by a private key alone (RFC 7518, section 3.1; RFC 8037): with `none` or HS256 anybody could sign."""

FEWEST_RSA_BITS = 2048
"""RFC 7518, section 3.3."""

FRESH_SECONDS = 3600.0
"""How long keys are used before they are fetched again."""

PATIENCE_SECONDS = 0.5
"""How long a call waits for another that fetches."""

PAUSE_SECONDS = 30.0
"""Between two attempts to fetch."""

WELL_KNOWN = "/.well-known/openid-configuration"


class Issuer:
    """An issuer's keys.

    Args:
        url: the issuer's, exactly as its tokens have it.
        jwks_url: where its keys are; without, its discovery document says so.
        clock: seconds that only grow.
    """

    def __init__(self, url: str, jwks_url: str | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.url = url
        self._jwks_url, self._clock = jwks_url, clock
        self._lock = threading.Lock()
        self._keys: Mapping[str, PyJWK] = {}
        self._stale_at = self._again_at = float("-inf")
        self._down = False

    def key(self, kid: str) -> PyJWK | None:
        """The key of this name, or None if the issuer has none.

        Raises:
            Unavailable: it is not known, and the issuer can't be asked.
        """
        if kid not in self._keys:
            if not self._lock.acquire(timeout=PATIENCE_SECONDS):  # made-up names must not keep every thread waiting
                raise Unavailable("the keys of the OIDC issuer are being fetched; try again in a moment")
            try:
                self._refresh(kid)
            finally:
                self._lock.release()
        elif self._clock() >= self._stale_at and self._lock.acquire(blocking=False):
            try:  # one fetches, the others go on with what is there
                self._refresh()
            finally:
                self._lock.release()
        found = self._keys.get(kid)
        if found is None and self._down:
            raise Unavailable("the OIDC issuer can't be reached, so that this token can't be checked; try again soon")
        return found

    def _refresh(self, wanted: str | None = None) -> None:
        """Fetch the keys, unless that was tried a moment ago or the one wanted came while this call waited."""
        now = self._clock()
        if wanted in self._keys or now < self._again_at:
            return
        self._again_at = now + PAUSE_SECONDS
        try:
            self._keys = _keys(self._jwks_url or self._discovered())
            self._stale_at, self._down = now + FRESH_SECONDS, False
        except Unavailable as error:
            log.warning("keys of the OIDC issuer could not be fetched; %d known ones go on: %s", len(self._keys), error)
            self._down = True

    def _discovered(self) -> str:
        """Where the keys are, by the issuer's own word; its document must be of this very issuer (section 4.3)."""
        told = _json(self.url.rstrip("/") + WELL_KNOWN)
        place = told.get("jwks_uri")
        if told.get("issuer") != self.url or not isinstance(place, str):
            raise Unavailable(
                f"the discovery document of '{self.url}' is another issuer's or names no keys; set UNLEARN_OIDC_ISSUER "
                "exactly as the document has it, or set UNLEARN_OIDC_JWKS_URL"
            )
        if self.url.startswith("https:") and not place.startswith("https:"):
            raise Unavailable(f"the keys of '{self.url}' are to be fetched without https; set UNLEARN_OIDC_JWKS_URL")
        return place


def _keys(url: str) -> dict[str, PyJWK]:
    """The keys of a JWK set by their names; those that are of no use here are left out."""
    given = _json(url).get("keys")
    if not isinstance(given, list):
        raise Unavailable(f"no JWK set is at '{url}'; correct UNLEARN_OIDC_JWKS_URL")
    found = (_key(one) for one in given if isinstance(one, dict))
    return {str(key.key_id): key for key in found if key is not None}


def _key(given: dict[str, Any]) -> PyJWK | None:
    """The public key, if it is one that tokens may be signed with."""
    from jwt import PyJWK, PyJWTError

    named = isinstance(given.get("kid"), str) and given.get("use", "sig") == "sig" and "d" not in given
    if not named or given.get("kty") not in ("RSA", "EC", "OKP") or str(given.get("alg", "RS256")) not in ALGORITHMS:
        return None
    try:
        key = PyJWK(given)
    except (PyJWTError, ValueError, TypeError, KeyError):
        return None
    long_enough = given["kty"] != "RSA" or key.key.key_size >= FEWEST_RSA_BITS
    return key if key.algorithm_name in ALGORITHMS and long_enough else None


def _json(url: str) -> dict[str, Any]:
    try:
        told = json.loads(fetch(url, allow_private=True))
    except (CallbackFailed, CallbackRefused) as error:
        raise Unavailable(str(error)) from None
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise Unavailable(f"what '{url}' answers is no JSON object; see that it is the issuer's")
    return told
