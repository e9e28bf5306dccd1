"""Where versions of adapters live: a directory of this machine, or a prefix of an object store that many share.

A version is there whole or not at all. In a directory it is renamed into place; in an object store its files go
first and a manifest with the SHA-256 of each comes last: without one there is no version, whatever else is there.
Whoever reads verifies. A place has one writer, by its name (`v<number>.<job>.f<fence>`). Knows no database.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from unlearn import overwriting
from unlearn.errors import ModelError, UnlearnError
from unlearn.locations import is_url
from unlearn.settings import Settings
from unlearn.storage import objects
from unlearn.storage.loans import Loan
from unlearn.weights import AdapterFiles, copy_adapter, read_adapter, settle

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
MOST_MANIFEST_BYTES = 2**20
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


class _File(BaseModel):
    """One file of a version."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0)]


class Manifest(BaseModel):
    """What a version consists of. Names are of plain parts, so that none leads out of a directory."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
    form: Literal["unlearn/version/v1"] = Field(default="unlearn/version/v1", alias="schema")
    files: dict[Annotated[str, StringConstraints(pattern=f"^{_NAME.pattern}(/{_NAME.pattern})*$")], _File]


class Vault:
    """The store of these settings."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.root = settings.effective_store

    @property
    def is_local(self) -> bool:
        """Whether versions are directories of this machine."""
        return not is_url(self.root)

    def place(self, *parts: str) -> str:
        """The place of something in the store, by its parts."""
        return "/".join([self.root, *parts])

    def put(self, directory: Path, place: str) -> None:
        """Write the files of `directory` to `place`, whole or not at all; what a broken attempt left goes first.

        Raises:
            FileExistsError: something whole is there already.
            Unavailable: the object store can't be used; nothing is there then that counts.
        """
        if self.exists(place):
            raise FileExistsError(place)
        if is_url(place):
            _upload(directory, place)
            return
        destination = Path(place)
        destination.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", dir=destination.parent))
        try:
            for name, file in _files(directory).items():
                (draft / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, draft / name)
            settle(draft, destination)
        except BaseException:
            overwriting.clear(draft)
            raise

    def get(self, place: str, into: Path) -> Path:
        """The directory of what is at `place`: itself, or a copy of an object store's at `into`, each file verified.

        Raises:
            ModelError: nothing whole is there, or a file is not what the manifest says.
            Unavailable: the object store can't be used.
        """
        if not is_url(place):
            return Path(place)
        manifest = _manifest(place)
        if manifest is None:
            raise ModelError(f"nothing whole at '{place}': there is no {MANIFEST}; restore it from a backup")
        into.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{into.name}.", dir=into.parent))
        try:
            for name, file in manifest.files.items():
                found = objects.at(f"{place}/{name}")
                if found is None or found.bytes != file.bytes:
                    raise ModelError(f"'{place}': '{name}' is not what {MANIFEST} says; restore it from a backup")
                (draft / name).parent.mkdir(parents=True, exist_ok=True)
                if objects.fetch(f"{place}/{name}", found, draft / name) != file.sha256:
                    raise ModelError(f"'{place}': '{name}' has another SHA-256 than {MANIFEST} says; restore it")
            settle(draft, into)
        except BaseException:
            overwriting.clear(draft)
            raise
        return into

    def exists(self, place: str) -> bool:
        """Whether something whole is at `place`."""
        return Path(place).exists() if not is_url(place) else objects.at(f"{place}/{MANIFEST}") is not None

    def remove(self, place: str) -> None:
        """Remove what is at `place` and below, in an object store with every version of it; nothing there is well."""
        if is_url(place):
            objects.remove(f"{place}/{MANIFEST}", below=False)  # from here on it does not count
            objects.remove(place)
        else:
            overwriting.remove(Path(place))

    def discard(self, place: str) -> None:
        """Remove what nobody will ask for; when that fails, it stays without being in anybody's way."""
        try:
            self.remove(place)
        except (UnlearnError, OSError) as error:
            log.warning("'%s' could not be removed: %s", place, error)

    def shelve(self, adapter: AdapterFiles, place: str) -> AdapterFiles:
        """Write the adapter to `place` as one of its versions.

        Raises:
            FileExistsError: something is there already.
            ModelError: the files changed since they were read.
        """
        if not is_url(place):
            return copy_adapter(adapter, Path(place))
        with Loan(self.settings) as loan:
            self.put(copy_adapter(adapter, loan.room(place)).path, place)
        return replace(adapter, stored=place)

    def version(self, place: str, loan: Loan) -> AdapterFiles:
        """The adapter at `place`, lent.

        Raises:
            ModelError: it is not there, or not what was written.
        """
        if not is_url(place):
            return read_adapter(Path(place))
        return replace(read_adapter(self.get(place, loan.room(place))), stored=place)

    def lend(self, place: str, loan: Loan) -> Path | None:
        """The single file at `place`, which `replace` wrote; None if there is none."""
        if not is_url(place):
            return Path(place) if Path(place).exists() else None
        found = objects.at(place)
        if found is None:
            return None
        copy = loan.room(place)
        objects.fetch(place, found, copy)
        return copy

    def mark(self, place: str) -> Hashable | None:
        """What changes with the single file at `place`; None if there is none."""
        if is_url(place):
            return objects.at(place)
        try:
            found = os.stat(place)
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def replace(self, file: Path, place: str) -> None:
        """Put a single file in the place of the one that is there, of which no version stays behind."""
        if is_url(place):
            objects.upload(file, place)
            objects.remove(place, below=False, latest=False)
        elif file != Path(place):
            Path(place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, draft := Path(f"{place}.draft"))
            overwriting.replace(draft, Path(place))


def _upload(directory: Path, place: str) -> None:
    objects.remove(place)
    try:
        files = {}
        for name, file in _files(directory).items():
            with file.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            files[name] = _File(sha256=digest, bytes=file.stat().st_size)
            objects.upload(file, f"{place}/{name}")
        manifest = Manifest(files=files).model_dump_json(by_alias=True)
        objects.create(manifest.encode(), f"{place}/{MANIFEST}")
    except FileExistsError:  # another writer was first, and its files are there
        raise
    except BaseException:
        with contextlib.suppress(UnlearnError):
            objects.remove(place)
        raise


def _manifest(place: str) -> Manifest | None:
    content = objects.read(f"{place}/{MANIFEST}", MOST_MANIFEST_BYTES)
    if content is None:
        return None
    try:
        return Manifest.model_validate_json(content)
    except ValidationError:
        raise ModelError(f"'{place}': {MANIFEST} is damaged; restore it from a backup") from None


def _files(directory: Path) -> dict[str, Path]:
    """The files of `directory` and below, by the parts of their names with a slash between."""
    files: dict[str, Path] = {}
    for file in sorted(directory.rglob("*")):
        name = file.relative_to(directory).as_posix()
        plain = _NAME.fullmatch(file.name) and name != MANIFEST and not file.is_symlink()
        if not plain or not (file.is_file() or file.is_dir()):
            raise ModelError(f"'{directory}': '{name}' can't be part of a version; it takes plain files alone")
        if file.is_file():
            files[name] = file
    return files
