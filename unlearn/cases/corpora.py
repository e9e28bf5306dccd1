"""The corpora that the service keeps of an adapter's versions: sealed files of its own, so that it owns what it erases.

A file is AES-256-GCM under a key of its own, and that key is sealed under the service's: nothing of a text can be read
from the disk, and a corpus whose key is forgotten is gone. What a client registered from is only ever read. Speaks no
SQL and decides nothing.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from unlearn.cases.sealing import NONCE_BYTES, seal, unseal
from unlearn.cases.views import CorpusKind
from unlearn.corpus.jsonl import without
from unlearn.corpus.records import Record
from unlearn.durable import write_whole
from unlearn.errors import CorpusError
from unlearn.locations import is_url
from unlearn.storage import Vault, objects
from unlearn.storage.loans import MOST_CORPUS_BYTES

KINDS: tuple[CorpusKind, ...] = ("train", "holdout")


@dataclass(frozen=True)
class Kept:
    """A corpus in its sealed file, as a row of `corpora` has it; `sha256` is that of what is inside.

    A version's corpora have another edition once somebody was erased from them alone, by a person's decision.
    """

    adapter_id: str
    number: int
    edition: int
    kind: CorpusKind
    sha256: str
    records: int
    path: str
    sealed_key: str

    @property
    def purpose(self) -> str:
        """What key and content are bound to."""
        return f"corpus:{self.adapter_id}:{self.number}:{self.edition}:{self.kind}"


@dataclass(frozen=True)
class Rewritten:
    """The corpora of the version to come, already in their files: the records that stay, and those that went."""

    kept: tuple[Kept, ...]
    before: Mapping[CorpusKind, str]
    stay: tuple[Record, ...]
    erased: Mapping[CorpusKind, tuple[Record, ...]]

    def discard(self, vault: Vault) -> None:
        """Take the files away again, since nothing came of the version."""
        for corpus in self.kept:
            vault.discard(corpus.path)


def keep(key: bytes, vault: Vault, whose: tuple[str, int, int], kind: CorpusKind, content: bytes, records: int) -> Kept:
    """Seal a corpus into a file of the store, in one step.

    Args:
        key: the service's identity key.
        vault: where the file goes.
        whose: the adapter's id, the version's number, and which edition of its corpora this is, from 1.
        kind: which of the two.
        content: JSON Lines.
        records: how many there are.
    """
    own = secrets.token_bytes(32)
    place = vault.place(whose[0], "corpora", f"{kind}.v{whose[1]}.{secrets.token_hex(4)}.sealed")
    made = Kept(*whose, kind, hashlib.sha256(content).hexdigest(), records, place, "")
    nonce = os.urandom(NONCE_BYTES)
    _write(place, nonce + AESGCM(own).encrypt(nonce, content, made.purpose.encode()))
    return Kept(**(vars(made) | {"sealed_key": seal(key, own.hex(), made.purpose)}))


def opened(key: bytes, corpus: Kept) -> bytes:
    """What is inside.

    Raises:
        CorpusError: the file is gone or was changed.
        Unavailable: the object store can't be used.
    """
    sealed = _read(corpus.path)
    if sealed is None:
        raise CorpusError(f"{corpus.path}: the stored corpus can't be read; put it back from a backup")
    try:
        own = bytes.fromhex(unseal(key, corpus.sealed_key, corpus.purpose))
        return AESGCM(own).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], corpus.purpose.encode())
    except (InvalidTag, ValueError):
        raise CorpusError(f"{corpus.path}: the stored corpus was changed; put it back from a backup") from None


def registered(path: Path, sha256: str) -> bytes:
    """A client's file, as it was when it was registered.

    Raises:
        CorpusError: it is gone or changed.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CorpusError(
            f"{path}: can't be read ({error.strerror}); restore it or register the adapter anew"
        ) from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise CorpusError(f"{path} changed since the adapter was registered; restore it or register the adapter anew")
    return content


def rewrite(
    key: bytes,
    vault: Vault,
    whose: tuple[str, int, int],
    contents: Mapping[CorpusKind, bytes],
    is_gone: Callable[[str], bool],
) -> Rewritten:
    """Seal the corpora of a version: those given, without every record that names somebody who is gone."""
    before = {kind: hashlib.sha256(content).hexdigest() for kind, content in contents.items()}
    made = Rewritten((), before, (), {})
    try:
        for kind, content in contents.items():
            rest, stay, went = without(content, lambda record: any(map(is_gone, record.subjects)))
            kept = keep(key, vault, whose, kind, rest, len(stay))
            made = Rewritten((*made.kept, kept), before, (*made.stay, *stay), {**made.erased, kind: went})
    except BaseException:
        made.discard(vault)
        raise
    return made


def _read(place: str) -> bytes | None:
    if is_url(place):
        return objects.read(place, MOST_CORPUS_BYTES)
    try:
        return Path(place).read_bytes()
    except OSError:
        return None


def _write(place: str, content: bytes) -> None:
    """The whole file is there, flushed, or none is."""
    if is_url(place):
        objects.create(content, place)
        return
    write_whole(Path(place), content)
