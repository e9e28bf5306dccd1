"""Inputs at hand for as long as they are needed: local paths as they are, copies of what is in an object store.

A base model is kept in the cache. What people's records went into (adapters, corpora, shadow tables) is lent: the
copy is this loan's own, overwritten and gone with it, and what a killed process left is taken away by the next. Only
files that are needed are fetched; a pickle never is.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import Self

from unlearn import overwriting
from unlearn.errors import BadInput, CorpusError, ModelError, Unavailable, UnlearnError
from unlearn.locations import is_url
from unlearn.locks import hold
from unlearn.settings import Settings
from unlearn.storage import objects
from unlearn.storage.cache import Cache
from unlearn.storage.objects import Found
from unlearn.weights import ADAPTER_CONFIG, ADAPTER_WEIGHTS, LINEAGE, PICKLES, RECIPE

BASE_FILES = ("*.safetensors", "*.json", "*.jinja", "merges.txt", "vocab.txt")
ADAPTER_FILES = (ADAPTER_CONFIG, ADAPTER_WEIGHTS, RECIPE, LINEAGE)
MOST_ADAPTER_BYTES = 16 * 2**30
MOST_CORPUS_BYTES = 4 * 2**30
LENT = "lent"


class Loan:
    """A context manager; its places are as `unlearn.roots` spells them.

    Errors that leave it name the place that was given, not the copy.
    """

    def __init__(self, settings: Settings) -> None:
        self._cache = Cache(settings.home / "cache", settings.cache_bytes)
        self._shelf = settings.home / LENT
        self._copies: dict[str, str] = {}
        self._directory: Path | None = None
        self._lock: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._directory is not None and self._lock is not None:
            _dispose(self._directory)
            self._directory.with_suffix(".lock").unlink(missing_ok=True)
            os.close(self._lock)
        if isinstance(error, UnlearnError) and error.args:
            said = str(error.args[0])
            for copy, place in self._copies.items():
                said = said.replace(copy, place)
            error.args = (said, *error.args[1:])

    def base(self, place: str) -> Path:
        """Directory of the base model at `place`.

        Raises:
            ModelError: nothing is there, or no safetensors.
        """
        if not is_url(place):
            return Path(place)
        files = _needed(place, "base", BASE_FILES, "*.safetensors")
        return self._known_as(self._cache.get(place, files), place)

    def adapter(self, place: str) -> Path:
        """Directory of the adapter at `place`, which is an input, not one of the store's versions.

        Raises:
            ModelError: nothing is there, or no safetensors.
            BadInput: it is too large.
        """
        if not is_url(place):
            return Path(place)
        files = _needed(place, "adapter", ADAPTER_FILES, ADAPTER_WEIGHTS)
        _check_size(place, sum(found.bytes for found in files.values()), MOST_ADAPTER_BYTES)
        copy = self.room(place)
        copy.mkdir()
        for name, found in files.items():
            objects.fetch(f"{place}/{name}", found, copy / name)
        return copy

    def corpus(self, place: str) -> Path:
        """The file of records at `place`.

        Raises:
            CorpusError: nothing is there.
            BadInput: it is too large.
        """
        if not is_url(place):
            return Path(place)
        found = objects.at(place)
        if found is None:
            raise CorpusError(f"nothing at '{place}'; name the object that holds the records")
        _check_size(place, found.bytes, MOST_CORPUS_BYTES)
        copy = self.room(place)
        objects.fetch(place, found, copy)
        return copy

    def room(self, place: str) -> Path:
        """A path for this loan's own copy of what is at `place`; nothing is there yet."""
        if self._directory is None:
            self._open()
        assert self._directory is not None  # noqa: S101
        inside = self._directory / secrets.token_hex(4)
        inside.mkdir()
        return self._known_as(inside / place.rpartition("/")[2], place)

    def _open(self) -> None:
        self._shelf.mkdir(parents=True, exist_ok=True, mode=0o700)
        for lock in self._shelf.glob("*.lock"):
            _clear(lock)
        directory = self._shelf / secrets.token_hex(8)
        self._lock = hold(directory.with_suffix(".lock"), 5, "the lock of a new loan is held by somebody else")
        directory.mkdir(mode=0o700)
        self._directory = directory

    def _known_as(self, copy: Path, place: str) -> Path:
        self._copies[str(copy)] = place
        return copy


def _clear(lock: Path) -> None:
    """Take away what a killed process was lent; a living one holds its lock."""
    with contextlib.suppress(Unavailable, FileNotFoundError):
        held = hold(lock, 0, "in use")
        _dispose(lock.with_suffix(""))
        lock.unlink(missing_ok=True)
        os.close(held)


def _dispose(directory: Path) -> None:
    """Overwrite the copies, which know people, and take them away; of a file that has another name this one alone."""
    for file in directory.rglob("*"):
        if file.is_file() and not file.is_symlink() and file.stat().st_nlink > 1:
            file.unlink()
    overwriting.clear(directory)


def _needed(place: str, what: str, patterns: tuple[str, ...], weights: str) -> dict[str, Found]:
    """The objects of `place` that are worth fetching, by name; told before anything is fetched if there are none."""
    there = objects.below(place)
    if not there:
        raise ModelError(f"{what}: nothing at '{place}'; name the prefix of what save_pretrained wrote")
    files = {name: found for name, found in there.items() if any(fnmatch.fnmatch(name, one) for one in patterns)}
    if not fnmatch.filter(files, weights):
        pickles = sorted(name for name in there if any(fnmatch.fnmatch(name, one) for one in PICKLES))
        if pickles:
            raise ModelError(
                f"{what} '{place}' holds pickled weights ({', '.join(pickles[:3])}), which are never fetched; save it "
                "again with safe_serialization=True"
            )
        raise ModelError(f"{what} '{place}' has no weights ({weights})")
    return files


def _check_size(place: str, size: int, most: int) -> None:
    if size > most:
        raise BadInput(f"'{place}' has {size} bytes; {most} are the most")
