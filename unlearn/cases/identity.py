"""Identities at the door: one spelling, one keyed hash. Behind this file nobody needs the plain identity."""

from __future__ import annotations

import hashlib
import hmac
import unicodedata

from unlearn.errors import BadInput

MAX_CHARACTERS = 512


def canonical(subject: str) -> str:
    """One spelling of an identity: "type:value", NFC, stripped, the type (and an e-mail's value) casefolded.

    A subject without a colon gets the type "id".

    Raises:
        BadInput: empty, too long, or with control characters; the message does not repeat it.

    >>> canonical(" Email: Ada@Post.example ")
    'email:ada@post.example'
    >>> canonical("c-17")
    'id:c-17'
    """
    text = unicodedata.normalize("NFC", subject).strip()
    kind, colon, value = text.partition(":")
    kind, value = (kind.strip().casefold(), value.strip()) if colon else ("id", text)
    if not kind or not value:
        raise BadInput("the subject is empty; give its type and value, such as customer and c-0017")
    if len(text) > MAX_CHARACTERS:
        raise BadInput(f"the subject has {len(text)} characters; at most {MAX_CHARACTERS} are allowed")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise BadInput("the subject holds control characters; give plain text")
    whole = f"{kind}:{value.casefold() if kind == 'email' else value}"
    return unicodedata.normalize("NFC", whole)  # casefolding can leave a letter and its accent apart


def subject_hash(key: bytes, subject: str) -> str:
    """HMAC-SHA-256 (RFC 2104) of the canonical identity under `key`: 64 hex digits."""
    return hmac.new(key, canonical(subject).encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
