"""DSSE 1.0: a signature over bytes and what they are, so that one can't pass for another.

Dead Simple Signing Envelope, protocol.md: what is signed is "DSSEv1", and payload type and payload with their lengths.
Knows no statement. The envelope has one spelling: canonical JSON, one signature, a line's end.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any

from unlearn.evidence.refusal import NotVerified
from unlearn.evidence.signing import PublicKey, Signer

PAYLOAD_TYPE = "application/vnd.in-toto+json"
ENVELOPE = "application/vnd.dsse.envelope.v1+json"
"""The media type of an envelope."""

FIELDS = {"payload", "payloadType", "signatures"}


def pae(payload_type: str, payload: bytes) -> bytes:
    """Pre-authentication encoding: what is signed.

    >>> pae("http://example.com/HelloWorld", b"hello world")
    b'DSSEv1 29 http://example.com/HelloWorld 11 hello world'
    """
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def seal(payload: bytes, signer: Signer) -> bytes:
    """The envelope around an in-toto payload, signed by `signer`."""
    return _spell(payload, PAYLOAD_TYPE, signer.public.text, signer.sign(pae(PAYLOAD_TYPE, payload)))


def unseal(envelope: bytes, keys: Sequence[PublicKey]) -> tuple[bytes, PublicKey]:
    """The payload of an envelope, and the key among `keys` that signed it.

    Raises:
        NotVerified: it is no such envelope, or none of the keys signed it.
    """
    data = _parse(envelope)
    if data["payloadType"] != PAYLOAD_TYPE:
        raise NotVerified("payload type", f"the envelope holds {_shown(data['payloadType'])}, not '{PAYLOAD_TYPE}'")
    if not data["signatures"]:
        raise _no("the envelope has no signature")
    [signature] = data["signatures"]
    payload, signed = _bytes(data["payload"]), _bytes(signature["sig"])
    for key in keys:
        if key.verify(pae(PAYLOAD_TYPE, payload), signed):
            if signature["keyid"] != key.text:
                said = _shown(signature["keyid"])
                raise _no(
                    f"your key signed it, but as {said}: another deployment with the same key, or a changed keyid"
                )
            if envelope != _spell(payload, PAYLOAD_TYPE, key.text, signed):
                raise _no("the envelope is not spelled as this program spells it, though its signature holds")
            return payload, key
    raise _no(
        f"it says that it was signed under {_shown(signature['keyid'])}, and no key you trust signed it "
        f"({', '.join(key.text for key in keys)}); {_way_out(str(signature['keyid']), keys)}"
    )


def _way_out(keyid: str, keys: Sequence[PublicKey]) -> str:
    if keyid.partition("+")[0] not in {key.name for key in keys}:
        return "the bundle is of another deployment, or your key is: get the key of the one that it is of"
    if keyid in {key.text for key in keys}:
        return "the key is right and the signature is not: the statement was changed after it was signed"
    return "it is the same deployment's under another key: get that key from a place you trust, not from the bundle"


def _parse(envelope: bytes) -> dict[str, Any]:
    try:
        data = json.loads(envelope)
        fit = (
            set(data) == FIELDS
            and isinstance(data["signatures"], list)
            and len(data["signatures"]) <= 1
            and all(set(one) == {"keyid", "sig"} for one in data["signatures"])
        )
    except (ValueError, TypeError, RecursionError):
        fit = False
    if not fit:
        raise _no("it is no DSSE envelope with one signature")
    return dict(data)


def _bytes(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise _no("payload and signature must be base64") from None


def _spell(payload: bytes, kind: str, keyid: str, signature: bytes) -> bytes:
    data = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": kind,
        "signatures": [{"keyid": keyid, "sig": base64.b64encode(signature).decode()}],
    }
    return json.dumps(data, indent=1).encode() + b"\n"


def _shown(value: Any) -> str:
    return ascii(value if len(str(value)) <= 100 else str(value)[:100])


def _no(message: str) -> NotVerified:
    return NotVerified("signature", f"statement.dsse.json: {message}")
