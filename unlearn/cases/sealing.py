"""Sealing secrets that must be read again, such as those that sign callbacks: AES-256-GCM under a derived key.

The key comes from the service's identity key by HKDF (RFC 5869), so that one key is all there is to keep. What a text
is for is bound to it: it opens nowhere else. Knows no database.
"""

from __future__ import annotations

import base64
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from unlearn.errors import BadInput

NONCE_BYTES = 12


def seal(key: bytes, text: str, purpose: str) -> str:
    """`text` sealed for `purpose`, in base64."""
    nonce = os.urandom(NONCE_BYTES)
    sealed = AESGCM(_derived(key)).encrypt(nonce, text.encode(), purpose.encode())
    return base64.b64encode(nonce + sealed).decode("ascii")


def unseal(key: bytes, sealed: str, purpose: str) -> str:
    """What was sealed for `purpose`.

    Raises:
        BadInput: another key or purpose, or a changed text.
    """
    raw = base64.b64decode(sealed)
    try:
        return AESGCM(_derived(key)).decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], purpose.encode()).decode()
    except InvalidTag:
        raise BadInput(
            "a sealed secret can't be opened: UNLEARN_IDENTITY_KEY is another than when it was sealed; put it back"
        ) from None


def _derived(key: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"unlearn/sealing/v1").derive(key)
