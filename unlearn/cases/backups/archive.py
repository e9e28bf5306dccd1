"""A backup as a directory: a manifest with the digest of every file, and a seal on the manifest.

The seal is an HMAC (RFC 2104) under the identity key: it tells damage from another deployment's backup, and nobody
without the key can make one. Written beside its place and moved there whole. Knows no table and no adapter.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from unlearn import __version__, overwriting
from unlearn.durable import sync
from unlearn.errors import BadInput, Conflict, Unavailable, UnlearnError

MANIFEST, SEAL = "manifest.json", "manifest.seal"
LABEL = b"unlearn backup manifest v1\n"
"""Sets the seal apart from identity hashes, which are of one line."""
BLOCK_BYTES = 1 << 20
Watch = Callable[[int], None]
"""Hears how many bytes were done since it last did."""


class BackupBroken(UnlearnError):
    """A backup that is not what was written."""

    kind = "backup-broken"
    title = "The backup can't be used"


class Listed(BaseModel):
    """A file as the manifest lists it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str
    bytes: int


class Manifest(BaseModel):
    """What a backup holds.

    Attributes:
        made_at: in UTC.
        program: version that made it.
        revision: of the tables.
        ledger_size: entries.
        ledger_root: of these, hexadecimal.
        checkpoint: the newest signed note, if there is one.
        missing: what the database knows and the disk did not have, in words.
        journal_sealed: whether the service that made it seals its journal, so that one without seals was edited.
        files: every other file, by its path.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_: Literal["unlearn/backup/v1"] = "unlearn/backup/v1"
    program: str = __version__
    made_at: str
    revision: str
    ledger_size: int
    ledger_root: str
    checkpoint: str | None
    missing: tuple[str, ...]
    journal_sealed: bool = False
    files: dict[str, Listed]

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(file.bytes for file in self.files.values())


class Draft:
    """A backup that is being written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: dict[str, Listed] = {}

    def write(self, name: str, blocks: Iterable[bytes]) -> Listed:
        """Add a file; its digest and size."""
        place = self._path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        digest, count = hashlib.sha256(), 0
        with place.open("xb") as out:
            for block in blocks:
                out.write(block)
                digest.update(block)
                count += len(block)
            out.flush()
            os.fsync(out.fileno())
        self._files[name] = Listed(sha256=digest.hexdigest(), bytes=count)
        return self._files[name]

    def seal(self, key: bytes, **about: Any) -> Manifest:
        """Write the manifest and its seal: the last thing."""
        manifest = Manifest(**about, files=dict(sorted(self._files.items())))
        text = (json.dumps(manifest.model_dump(), indent=1, sort_keys=True) + "\n").encode()
        self.write(MANIFEST, [text])
        self.write(SEAL, [_seal(key, text)])
        return manifest


@contextmanager
def drafted(into: Path, name: str) -> Iterator[Draft]:
    """A draft that becomes `into/name` at the end of the block, or nothing if the block raises.

    Raises:
        Conflict: there is such a backup.
        Unavailable: it can't be written.
    """
    place, draft = into / name, into / f".draft-{secrets.token_hex(8)}"
    try:
        into.mkdir(parents=True, exist_ok=True, mode=0o700)
        if place.exists():
            raise Conflict(f"'{place}' is there already; name another directory, or wait a second")
        draft.mkdir(mode=0o700)
        yield Draft(draft)
        for directory, _, _ in os.walk(draft):
            sync(Path(directory))
        draft.rename(place)
        sync(into)
    except OSError as error:
        raise Unavailable(f"the backup can't be written under '{into}': {error.strerror or error}") from None
    finally:
        overwriting.clear(draft)


class Archive:
    """A backup whose manifest is what was written.

    Args:
        path: its directory.
        key: the identity key.

    Raises:
        BadInput: no backup, or one of another identity key.
        BackupBroken: the manifest was changed.
    """

    def __init__(self, path: Path, key: bytes) -> None:
        self.path = path
        try:
            text, seal = (path / MANIFEST).read_bytes(), (path / SEAL).read_bytes()
        except OSError as error:
            raise BadInput(f"'{path}' is no backup: {error.strerror} ('{error.filename}')") from None
        if seal != _seal(key, text):
            damaged = seal.split(b"\n")[0] != _seal(key, text).split(b"\n")[0] or len(seal) != len(_seal(key, text))
            raise BackupBroken(
                f"'{path / MANIFEST}' or its seal was changed since the backup was made; take another backup"
                if damaged
                else f"'{path}' was sealed with another identity key than this service's, or its seal was changed; put "
                "the key of then into UNLEARN_IDENTITY_KEY or keys/identity.key"
            )
        try:
            self.manifest = Manifest.model_validate_json(text)
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"]))
            raise BadInput(f"'{path}' was made by another version of this program ({where}); use that one") from None

    def verify(self, watch: Watch = lambda count: None) -> None:
        """Check that every file is what was written, and that there are no others; BackupBroken where not."""
        there = {str(place.relative_to(self.path)) for place in self.path.rglob("*") if not place.is_dir()}
        stray = sorted(there - self.manifest.files.keys() - {MANIFEST, SEAL})
        if stray:
            raise BackupBroken(f"'{self.path / stray[0]}' was not there when the backup was made; take it away")
        for name in self.manifest.files:
            for block in self.blocks(name):
                watch(len(block))

    def blocks(self, name: str) -> Iterator[bytes]:
        """The content of a file; BackupBroken behind the last block if it is not what was written."""
        place, listed = self.path / name, self.manifest.files.get(name)
        if listed is None or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise BackupBroken(f"the backup lists no file '{name}'")
        digest = hashlib.sha256()
        try:
            with open(place, "rb", opener=_no_link) as file:
                while block := file.read(BLOCK_BYTES):
                    digest.update(block)
                    yield block
        except OSError as error:
            raise BackupBroken(f"'{place}' can't be read ({error.strerror}); take another backup") from None
        if digest.hexdigest() != listed.sha256:
            raise BackupBroken(f"'{place}' was changed since the backup was made; take another backup")

    def lines(self, name: str) -> Iterator[dict[str, Any]]:
        """The JSON lines of a file, which is checked before the first."""
        if name in self.manifest.files:
            for line in b"".join(self.blocks(name)).splitlines():
                yield json.loads(line)

    def extract(self, folder: str, to: Path, watch: Watch) -> None:
        """Copy what lies under `folder` to the directory `to`, checked on the way."""
        for name in self.manifest.files:
            if not name.startswith(f"{folder}/"):
                continue
            place = to / PurePosixPath(name).relative_to(folder)
            blocks = self.blocks(name)  # which checks the name
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("xb") as out:
                for block in blocks:
                    out.write(block)
                    watch(len(block))
                out.flush()
                os.fsync(out.fileno())
        for directory, _, _ in os.walk(to):
            sync(Path(directory))


def json_lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """Each row as a line."""
    return (json.dumps(row, allow_nan=False).encode() + b"\n" for row in rows)


def blocks_of(path: Path) -> Iterator[bytes]:
    """The content of a file on the disk."""
    with open(path, "rb", opener=_no_link) as file:
        while block := file.read(BLOCK_BYTES):
            yield block


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW)


def _seal(key: bytes, text: bytes) -> bytes:
    mac = hmac.new(key, LABEL + text, hashlib.sha256).hexdigest()
    return f"sha256 {hashlib.sha256(text).hexdigest()}\nhmac-sha256 {mac}\n".encode()
