"""Bearer tokens of an OIDC issuer: what a good one says of its holder. Knows no database and fetches nothing itself.

A token's subject may be an e-mail address, so its holder is recorded by a keyed hash: the same person has the same one
as long as the service keeps its identity key.

Source: JSON Web Token, RFC 7519; what a profile for access tokens requires, RFC 9068, section 2.2; JSON Web Token Best
Current Practices, RFC 8725, sections 3.1, 3.8 and 3.9
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unlearn.cases.rights import SCOPES, Scope
from unlearn.errors import NotAllowed, Unauthenticated
from unlearn.outbound import ALGORITHMS, Issuer
from unlearn.settings import Settings

if TYPE_CHECKING:
    from jwt import PyJWK

LEEWAY_SECONDS = 30
"""How far the issuer's clock and ours may be apart."""

LONGEST_TOKEN = 16 * 1024
"""Characters."""

REQUIRED = ("exp", "iat", "iss", "aud", "sub")


@dataclass(frozen=True)
class Holder:
    """Who holds a token.

    Attributes:
        name: "oidc:" and the keyed hash of issuer and subject; what decisions record.
        controller: name of the company, where the settings name a claim for it.
        scopes: our scopes among those that the token has.
    """

    name: str
    controller: str | None
    scopes: frozenset[Scope]


def issuer_of(settings: Settings) -> Issuer | None:
    """Whose tokens are taken; None where API keys alone are. Asks nobody."""
    return None if settings.oidc_issuer is None else Issuer(settings.oidc_issuer, settings.oidc_jwks_url)


def holder_of(token: str, issuer: Issuer, settings: Settings) -> Holder:
    """Who holds this token, once its signature, issuer, audience and times are found good.

    Raises:
        Unauthenticated: it is not good; the message repeats nothing of it.
        NotAllowed: it does not say which company it is for.
        Unavailable: the issuer can't be asked for its key.
    """
    claims = _claims(token, issuer, settings)
    controller = None
    if settings.oidc_controller_claim is not None:
        controller = claims.get(settings.oidc_controller_claim)
        if not isinstance(controller, str):
            raise NotAllowed(
                f"the token does not say which company it is for: it has no claim '{settings.oidc_controller_claim}'; "
                "ask who runs the issuer"
            )
    scopes = _scopes(claims.get(settings.oidc_scope_claim), settings.oidc_scope_prefix)
    return Holder(actor_name(settings.identity_hash_key, issuer.url, claims["sub"]), controller, scopes)


def actor_name(key: bytes, issuer: str, subject: str) -> str:
    """What is recorded of a token's holder: "oidc:" and 32 hex digits of an HMAC-SHA-256 (RFC 2104).

    No identity begins with the zero byte that the text does, so that this hash is never a subject's.
    """
    text = f"\0{issuer}\0{subject}".encode("utf-8", "surrogatepass")
    return f"oidc:{hmac.new(key, text, hashlib.sha256).hexdigest()[:32]}"


def _claims(token: str, issuer: Issuer, settings: Settings) -> dict[str, Any]:
    import jwt

    key = _key(token, issuer)
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[key.algorithm_name],
            audience=settings.oidc_audience,
            issuer=issuer.url,
            leeway=LEEWAY_SECONDS,
            options={"require": list(REQUIRED)},
        )
    except jwt.ExpiredSignatureError:
        raise Unauthenticated("the token has expired; get a new one from the issuer") from None
    except jwt.ImmatureSignatureError:
        raise Unauthenticated("the token is not good yet; see that the issuer's clock and this one agree") from None
    except jwt.InvalidAudienceError:
        raise Unauthenticated("the token is for another audience; ask the issuer for one for this service") from None
    except jwt.InvalidIssuerError:
        raise Unauthenticated("the token is another issuer's; get one from the issuer of this service") from None
    except jwt.MissingRequiredClaimError as error:
        raise Unauthenticated(f"the token lacks the claim '{error.claim}'; ask who runs the issuer") from None
    except jwt.PyJWTError:
        raise _not_good() from None
    if not claims["sub"]:
        raise Unauthenticated("the token lacks the claim 'sub'; ask who runs the issuer")
    return claims


def _key(token: str, issuer: Issuer) -> PyJWK:
    """The key that the token says it is signed with; the issuer is asked only for a signature that could be."""
    import jwt

    try:
        header = jwt.get_unverified_header(token) if len(token) <= LONGEST_TOKEN else {}
    except (jwt.PyJWTError, ValueError, RecursionError):
        header = {}
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS or not isinstance(kid, str):
        raise Unauthenticated(
            "this is no API key of this service and no signed token of its issuer; send 'unl_<id>_<secret>', or a "
            f"token with a 'kid', signed with one of {', '.join(sorted(ALGORITHMS))}"
        )
    key = issuer.key(kid)
    if key is None or key.algorithm_name != algorithm:
        raise _not_good()
    return key


def _not_good() -> Unauthenticated:
    return Unauthenticated("the token is not signed with a key of the issuer; get a new one")


def _scopes(given: object, prefix: str) -> frozenset[Scope]:
    """Our scopes among the words of a claim: a text with spaces between (RFC 8693, section 4.2), or a list."""
    words = given.split() if isinstance(given, str) else given if isinstance(given, list) else []
    ours = {word.removeprefix(prefix) for word in words if isinstance(word, str) and word.startswith(prefix)}
    return frozenset(scope for scope in SCOPES if scope in ours)
