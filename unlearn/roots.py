"""Which paths and URLs a client may name: what lies under one of the roots, or under `inputs` in home. Opens nothing.

Nothing else of home may be named, whatever the roots: it holds every company's weights, keys, and the database. A
process that opens and closes SQLite's file as a corpus drops its own locks on it (POSIX), and another may then delete
the log under it.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import make_url

from unlearn.errors import BadInput, PathNotAllowed
from unlearn.locations import is_url, is_within, url_of
from unlearn.settings import Settings

INPUTS = "inputs"
"""Directory under home that is always a root."""

CONTROLLER = "{controller}"
"""What stands for the id of the company that asks, in a root."""


def allowed_place(settings: Settings, place: str, what: str, controller: str) -> str:
    """The place in its one spelling: an allowed path, or a URL at or below a root that is one.

    Args:
        settings: home and the roots.
        place: as a client named it.
        what: what it is for, for the message.
        controller: id of the company that asks.

    Raises:
        PathNotAllowed: it is elsewhere, or a relative path.
        BadInput: nothing is at the path, or no such URL can be; at a URL nothing is looked for yet.
    """
    if not is_url(place):
        return str(allowed_path(settings, place, what, controller))
    try:
        url = url_of(place)
    except ValueError as error:
        raise BadInput(f"{what}: {error}") from None
    roots = [root.replace(CONTROLLER, controller) for root in settings.roots if isinstance(root, str)]
    own = settings.effective_store if is_url(settings.effective_store) else None
    if not any(is_within(url, root) for root in roots) or (own is not None and is_within(url, own)):
        raise PathNotAllowed(
            f"{what}: '{url}' is outside the allowed roots; copy it to one of them, or add its bucket or prefix "
            "to UNLEARN_ROOTS"
        )
    return url


def allowed_path(settings: Settings, path: str, what: str, controller: str) -> Path:
    """The real path of `path`, if it lies under a root and is nothing of the service's own; links are followed first.

    Raises:
        PathNotAllowed: it lies elsewhere, or is relative.
        BadInput: nothing is there.
    """
    if "\0" in path:
        raise BadInput(f"{what}: the path holds a NUL character")
    given = Path(path)
    if not given.is_absolute():
        raise PathNotAllowed(f"{what}: '{path}' is relative; give an absolute path under an allowed root")
    try:
        real = given.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise BadInput(f"{what}: '{path}' can't be resolved ({error})") from None
    inputs = settings.home / INPUTS
    roots = [Path(str(root).replace(CONTROLLER, controller)) for root in settings.roots if isinstance(root, Path)]
    own = any(real.is_relative_to(one) for one in _own(settings)) and not real.is_relative_to(inputs)
    if own or not any(real.is_relative_to(root) for root in (inputs, *roots)):
        raise PathNotAllowed(
            f"{what}: '{path}' is outside the allowed roots; move it under one of them, "
            "or add its directory to UNLEARN_ROOTS"
        )
    try:
        there = real.exists()
    except OSError as error:
        raise BadInput(f"{what}: '{path}' can't be reached ({error.strerror})") from None
    if not there:
        raise BadInput(f"{what}: nothing at '{path}'")
    return real


def _own(settings: Settings) -> list[Path]:
    """Where the service keeps what is its own."""
    own = [settings.home, settings.effective_journal]
    if not is_url(settings.effective_store):
        own.append(Path(settings.effective_store))
    database = make_url(settings.effective_database_url)
    if database.get_backend_name() == "sqlite" and database.database:
        own += [Path(f"{database.database}{end}") for end in ("", "-wal", "-shm")]
    return [place.resolve() for place in own]
