"""Which paths and URLs a client may name: what lies under home or one of the roots. Opens nothing."""

from __future__ import annotations

from pathlib import Path

from unlearn.errors import BadInput, PathNotAllowed
from unlearn.locations import is_url, is_within, url_of
from unlearn.settings import Settings


def allowed_place(settings: Settings, place: str, what: str) -> str:
    """The place in its one spelling: an allowed path, or a URL at or below a root that is one.

    Args:
        settings: home and the roots.
        place: as a client named it.
        what: what it is for, for the message.

    Raises:
        PathNotAllowed: it is elsewhere, or a relative path.
        BadInput: nothing is at the path, or no such URL can be; at a URL nothing is looked for yet.
    """
    if not is_url(place):
        return str(allowed_path(settings, place, what))
    try:
        url = url_of(place)
    except ValueError as error:
        raise BadInput(f"{what}: {error}") from None
    if not any(is_within(url, root) for root in settings.roots if isinstance(root, str)):
        raise PathNotAllowed(
            f"{what}: '{url}' is outside the allowed roots; copy it to one of them, or add its bucket or prefix "
            "to UNLEARN_ROOTS"
        )
    return url


def allowed_path(settings: Settings, path: str, what: str) -> Path:
    """The real path of `path`, if it lies under home or one of the roots; links are followed before the check.

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
    directories = [settings.home, *(root for root in settings.roots if isinstance(root, Path))]
    if not any(real.is_relative_to(directory) for directory in directories):
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
