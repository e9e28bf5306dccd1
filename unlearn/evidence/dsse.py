"""DSSE 1.0: a signature over bytes and what they are, so that one can't pass for another.

Dead Simple Signing Envelope, protocol.md: what is signed is "DSSEv1", and payload type and payload with their lengths.
Knows no statement. The envelope has one spelling: canonical JSON, a line's end.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any

from unlearn.evidence.refusal import NotVerified
from unlearn.evidence.signing import LedgerKeyError, PublicKey, Signer

PAYLOAD_TYPE = "application/vnd.in-toto+json"
ENVELOPE = "application/vnd.dsse.envelope.v1+json"
"""The media type of an envelope."""

FIELDS = {"payload", "payloadType", "signatures"}
MOST_SIGNATURES = 16
"""Of an envelope: one, or while a key follows another one of each."""


def pae(payload_type: str, payload: bytes) -> bytes:
    """Pre-authentication encoding: what is signed.

    >>> pae("http://example.com/HelloWorld", b"hello world")
    b'DSSEv1 29 http://example.com/HelloWorld 11 hello world'
    """
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def seal(payload: bytes, *signers: Signer) -> bytes:
    """The envelope around an in-toto payload, signed by each signer, in their order."""
    signed = [(one.public.text, one.sign(pae(PAYLOAD_TYPE, payload))) for one in signers]
    return _spell(payload, PAYLOAD_TYPE, signed)


def unseal(envelope: bytes, keys: Sequence[PublicKey]) -> tuple[bytes, list[PublicKey]]:
    """The payload of an envelope, and all keys that signed it, in the order of their signatures.

    One of `keys` is among them. Each other is only said to be somebody's by its keyid, and did sign.

    Raises:
        NotVerified: it is no such envelope, none of the keys signed it, or a signature is wrong.
    """
    data = _parse(envelope)
    if data["payloadType"] != PAYLOAD_TYPE:
        raise NotVerified("payload type", f"the envelope holds {_shown(data['payloadType'])}, not '{PAYLOAD_TYPE}'")
    if not data["signatures"]:
        raise _no("the envelope has no signature")
    payload = _bytes(data["payload"])
    signed = [(one["keyid"], _bytes(one["sig"])) for one in data["signatures"]]
    if not any(_trusted(payload, *one, keys) for one in signed):
        said = [keyid for keyid, _ in signed]
        raise _no(
            f"it says that it was signed under {' and '.join(map(_shown, said))}, and no key you trust signed it "
            f"({', '.join(key.text for key in keys)}); {_way_out([str(one) for one in said], keys)}"
        )
    signers = [_signer(payload, *one) for one in signed]
    if len(set(signers)) < len(signers):
        raise _no("a key signed it twice: a signature was added")
    if envelope != _spell(payload, PAYLOAD_TYPE, signed):
        raise _no("the envelope is not spelled as this program spells it, though its signature holds")
    return payload, signers


def _trusted(payload: bytes, keyid: Any, signature: bytes, keys: Sequence[PublicKey]) -> bool:
    """Whether one of the keys made the signature."""
    made = [key.text for key in keys if key.verify(pae(PAYLOAD_TYPE, payload), signature)]
    if made and keyid not in made:
        raise _no(
            f"your key signed it, but as {_shown(keyid)}: another deployment with the same key, or a changed keyid"
        )
    return bool(made)


def _signer(payload: bytes, keyid: Any, signature: bytes) -> PublicKey:
    """The key that the keyid spells out and that made the signature."""
    try:
        key = PublicKey.from_text(keyid)
    except (LedgerKeyError, AttributeError):
        raise _no(f"the keyid {_shown(keyid)} is no key") from None
    if key.text != keyid or not key.verify(pae(PAYLOAD_TYPE, payload), signature):
        raise _no(f"the signature under {_shown(keyid)} is wrong: it was changed or added")
    return key


def _way_out(said: Sequence[str], keys: Sequence[PublicKey]) -> str:
    if not {keyid.partition("+")[0] for keyid in said} & {key.name for key in keys}:
        return "it is of another deployment, or your key is: get the key of the one that it is of"
    if set(said) & {key.text for key in keys}:
        return "the key is right and the signature is not: the statement was changed after it was signed"
    return (
        "it is the same deployment's under another key: get that key from a place you trust, not from where this lies"
    )


def _parse(envelope: bytes) -> dict[str, Any]:
    try:
        data = json.loads(envelope)
        fit = (
            set(data) == FIELDS
            and isinstance(data["signatures"], list)
            and len(data["signatures"]) <= MOST_SIGNATURES
            and all(set(one) == {"keyid", "sig"} for one in data["signatures"])
        )
    except (ValueError, TypeError, RecursionError):
        fit = False
    if not fit:
        raise _no("it is no DSSE envelope of payload, type and signatures")
    return dict(data)


def _bytes(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise _no("payload and signature must be base64") from None


def _spell(payload: bytes, kind: str, signed: Sequence[tuple[str, bytes]]) -> bytes:
    data = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": kind,
        "signatures": [{"keyid": keyid, "sig": base64.b64encode(one).decode()} for keyid, one in signed],
    }
    return json.dumps(data, indent=1).encode() + b"\n"


def _shown(value: Any) -> str:
    return ascii(value if len(str(value)) <= 100 else str(value)[:100])


def _no(message: str) -> NotVerified:
    return NotVerified("signature", message)
