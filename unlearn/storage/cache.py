"""Base models from object stores, kept on this machine under the digest of their content. Knows no adapter.

An entry is a directory `<digest>/<name>/`, there whole or not at all. One process fetches at a time; another that
wants the same finds it then. Room is made by taking away what was not used for longest; what was used within the time
of a job stays.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from unlearn.errors import BadInput, Unavailable
from unlearn.locks import hold
from unlearn.storage import objects
from unlearn.storage.objects import Found
from unlearn.weights import settle

IN_USE_SECONDS = 6 * 3600
"""Longer than a job may run: what was used since then may be in use."""

FETCH_SECONDS = 3600.0
"""How long another process may take to fetch."""


@dataclass(frozen=True)
class Cache:
    """The entries in `directory`, of `most_bytes` together."""

    directory: Path
    most_bytes: int

    def get(self, url: str, files: Mapping[str, Found]) -> Path:
        """The directory with these files of `url`; not fetched again while the store's marks say that they are here.

        Raises:
            BadInput: they are larger than everything the cache may hold.
            Unavailable: there is no room, or the store can't be reached.
        """
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        size = sum(found.bytes for found in files.values())
        if size > self.most_bytes:
            raise BadInput(f"'{url}' has {size} bytes, more than UNLEARN_CACHE_BYTES ({self.most_bytes}); raise that")
        mark = self.directory / f"{_digest({name: str(found) for name, found in files.items()}, url)}.mark"
        trusted = all(found.mark for found in files.values())
        if trusted and (entry := self._entry(mark)):
            return entry / _name(url)
        lock = hold(self.directory / ".lock", FETCH_SECONDS, "another process still fetches a base model; try again")
        try:
            entry = self._entry(mark) if trusted else None
            if entry is None:
                self._make_room(size)
                entry = self._fetch(url, files)
                mark.write_text(entry.name, encoding="utf-8")
            return entry / _name(url)
        finally:
            os.close(lock)

    def _entry(self, mark: Path) -> Path | None:
        """The entry that `mark` names, if it is here, marked as used."""
        with contextlib.suppress(FileNotFoundError):
            entry = self.directory / mark.read_text(encoding="utf-8")
            os.utime(entry)
            return entry
        return None

    def _fetch(self, url: str, files: Mapping[str, Found]) -> Path:
        draft = Path(tempfile.mkdtemp(prefix=".draft.", dir=self.directory))
        try:
            inside = draft / ".files"
            inside.mkdir()
            digests = {name: objects.fetch(f"{url}/{name}", found, inside / name) for name, found in files.items()}
            entry = self.directory / _digest(digests, _name(url))
            if entry.is_dir():  # the same content, from elsewhere
                os.utime(entry)
            else:
                settle(inside, draft / _name(url))
                draft.rename(entry)
            return entry
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _make_room(self, size: int) -> None:
        """Take entries away until `size` bytes fit, the least recently used first."""
        entries = sorted((p for p in self.directory.iterdir() if p.is_dir()), key=lambda p: p.stat().st_mtime)
        left = self.most_bytes - size - sum(map(_bytes, entries))
        for entry in entries:
            dead = entry.name.startswith(".")  # a draft whose process was killed
            if dead or (left < 0 and entry.stat().st_mtime < time.time() - IN_USE_SECONDS):
                left += _bytes(entry)
                gone = entry.rename(entry.with_name(f".gone.{entry.name}"))
                shutil.rmtree(gone, ignore_errors=True)
        if left < 0:
            raise Unavailable(
                f"the cache of base models is full of what was used in the last {IN_USE_SECONDS // 3600} hours; raise "
                f"UNLEARN_CACHE_BYTES ({self.most_bytes}), or try again later"
            )


def _name(url: str) -> str:
    return url.rpartition("/")[2]


def _digest(digests: Mapping[str, str], name: str) -> str:
    """SHA-256 of the files' names and digests, and of what they are called together."""
    lines = "".join(f"{digest}  {name}/{file}\n" for file, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _bytes(entry: Path) -> int:
    return sum(file.stat().st_size for file in entry.rglob("*") if file.is_file())
