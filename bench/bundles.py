"""A real bundle that is tampered with, and what a kind of tampering is. Knows no edit."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from unlearn.evidence.anchored import Published
from unlearn.evidence.container import pack
from unlearn.evidence.dsse import seal
from unlearn.evidence.layout import CHECKPOINT, ENTRIES, MANIFEST, SCHEMA, STATEMENT
from unlearn.evidence.rendered import pretty
from unlearn.evidence.signing import Signer
from unlearn.evidence.statement import spelled
from unlearn.evidence.trust import TrustedKey

Files = dict[str, bytes]


@dataclass(frozen=True)
class Real:
    """A real bundle, and who may sign for its ledger."""

    data: bytes
    files: Files
    signer: Signer
    stranger: Signer

    @property
    def keys(self) -> list[TrustedKey]:
        """What whoever verifies trusts."""
        return [TrustedKey(self.signer.public.name, self.signer.public.raw)]

    @property
    def entries(self) -> list[dict[str, Any]]:
        """The lines of the ledger, parsed."""
        return [json.loads(line) for line in self.files[ENTRIES].splitlines()]

    @property
    def statement(self) -> dict[str, Any]:
        """What is signed, parsed."""
        return json.loads(base64.b64decode(json.loads(self.files[STATEMENT])["payload"]))

    @property
    def published(self) -> Published:
        """The bundle's own checkpoint, as published."""
        return Published(self.files[CHECKPOINT].decode())


Edit = Callable[[Real, random.Random], bytes]


@dataclass(frozen=True)
class Kind:
    """One kind of edit, whose hands it takes, the checks that may find it, and which bundles it can be made to."""

    name: str
    hands: str
    edit: Edit
    checks: frozenset[str]
    share: int = 1
    fits: Callable[[Real], bool] = lambda real: True


def flipped(data: bytes, dice: random.Random) -> bytes:
    """The data with one byte changed."""
    changed = bytearray(data)
    changed[dice.randrange(len(changed))] ^= dice.randrange(1, 256)
    return bytes(changed)


def resigned(files: Files, statement: dict[str, Any], signer: Signer) -> bytes:
    """The bundle of these files with manifest and signature made anew."""
    files = {name: data for name, data in files.items() if name not in (STATEMENT, MANIFEST)}
    listed = [
        {"path": name, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        for name, data in sorted(files.items())
    ]
    manifest = pretty({"schema": SCHEMA, "files": listed})
    digest = {"sha256": hashlib.sha256(manifest).hexdigest()}
    subjects = [one | {"digest": digest} if one["name"] == MANIFEST else one for one in statement["subject"]]
    sealed = seal(spelled(statement | {"subject": subjects}), signer)
    return pack(files | {MANIFEST: manifest, STATEMENT: sealed})
