"""What a release tells the serving side, and what a hook offers. Knows no server; decides nothing about a release."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import ClassVar, Protocol

from unlearn.errors import Unavailable

PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
"""What a name or an id may be: safe as one part of a path, and inside a quoted filter."""

SHELF = re.compile(r"adp_[0-9a-z]+")
"""What the directory of an adapter's versions is called: like its id."""

DIRECTORY = re.compile(r"v([0-9]+)(\..*)?")
"""What a version's directory is called: v3, or v3.f7 when an attempt of a job wrote it."""


class HookFailed(Unavailable):
    """A server was not told of a release; the release stands, and the hook may be tried again."""

    kind: ClassVar[str] = "hook-failed"
    title: ClassVar[str] = "The serving side was not told"


@dataclass(frozen=True)
class Release:
    """One version of an adapter that is now the one to serve.

    Attributes:
        adapter: the name under which clients ask for it; no other adapter of the service has it, whatever its company.
        adapter_id: its id.
        number: of the version, from 1.
        path: the version's directory, named v<number> with or without a suffix after a dot; None when it is in an
            object store, and nowhere that the server could read.
        sha256: of its weights.
        previous: number of the version that was served before; None for the first.
        forced: a rollback, which may lead from `previous` back to an older number.
        run_id: the MLflow run that logged the weights as the artifact `adapter`; None when none did.
        url: of the version in an object store; None when it is a directory alone.
    """

    adapter: str
    adapter_id: str
    number: int
    path: Path | None
    sha256: str
    previous: int | None
    forced: bool = False
    run_id: str | None = None
    url: str | None = None

    def __post_init__(self) -> None:
        """Check what no server should have to.

        Raises:
            ValueError: a name, path or number that can't be that of a release.
        """
        for what, value in (("name", self.adapter), ("id", self.adapter_id)):
            if not PLAIN.fullmatch(value):
                raise ValueError(f"{value!r} can't be the {what} of an adapter")
        if self.path is None and self.url is None:
            raise ValueError(f"version {self.number} is nowhere; a release names its path or its URL")
        if self.path is not None and not self.path.is_absolute():
            raise ValueError(f"'{self.path}' is relative; a release names the whole path of its version")
        for place in (self.path, self.url):
            if place is not None and number_of(PurePath(place)) != self.number:
                raise ValueError(f"'{place}' can't hold version {self.number}; its directory is named v{self.number}")

    def may_replace(self, deployed: int | None) -> bool:
        """Whether a server that has version `deployed` is to change over to this one.

        A hook that comes late never takes a newer version away. A rollback does, but only up to the version that it
        was made to leave: what was released since then stays.
        """
        if deployed is None or deployed <= self.number:
            return True
        return self.forced and (self.previous is None or deployed <= self.previous)

    def is_beside(self, place: PurePath) -> bool:
        """Whether `place` holds a version of another adapter, by where it lies: <adapter id>/v<number>."""
        shelf = place.parent.name
        return number_of(place) is not None and bool(SHELF.fullmatch(shelf)) and shelf != self.adapter_id


class Hook(Protocol):
    """Tells one server: a frozen, callable dataclass whose fields say where the server is.

    Each call leads to the same state however often it is made, and wherever an earlier one broke off. What another
    adapter has under the same name is never replaced and never taken away.

    Nobody else's order is kept here: the caller drops what is still to be told of a version once that version was
    rolled back, or once its adapter was retired.
    """

    def __call__(self, release: Release) -> None:
        """Have the release served, unless a newer one is.

        Raises:
            HookFailed: the server could not be told, or serves another adapter under the name; nothing about the
                release changes.
        """
        ...

    def withdraw(self, release: Release) -> None:
        """Have the adapter served no more, whichever version it is at.

        Raises:
            HookFailed: the server could not be told.
        """
        ...


def number_of(path: PurePath) -> int | None:
    """The number of the version in the directory `path`, by its name; None if it is not named like a version."""
    named = DIRECTORY.fullmatch(path.name)
    return None if named is None else int(named[1])
