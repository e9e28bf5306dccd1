"""A link `current` for servers that read a directory. Knows file systems; asks no server whether it looked."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from unlearn.deploy.base import HookFailed, Release, number_of
from unlearn.durable import sync
from unlearn.errors import Unavailable
from unlearn.locks import hold

log = logging.getLogger(__name__)

LINK = "current"
DRAFTS = ".current.*"
LOCK = ".current.lock"
PATIENCE_SECONDS = 30.0
"""How long another process may take to move the same link."""


@dataclass(frozen=True)
class CurrentLink:
    """Points `<directory>/<adapter id>/current` at the version to serve.

    The link moves in one step, so that a reader finds the one version or the other, whole, at any moment and after
    any crash. It is relative when the version lies beside it, so that the directory can be moved.
    """

    directory: Path

    def __call__(self, release: Release) -> None:
        """Move the link to the release, unless it is at a newer one."""
        link = self.directory / release.adapter_id / LINK
        if release.path is None or not release.path.is_dir():
            raise HookFailed(
                f"link '{link}': version {release.number} of adapter '{release.adapter}' is no directory at "
                f"'{release.path or release.url}'; restore that directory"
            )
        with _alone(link, "moved"):
            deployed = _deployed(link, release)
            if not release.may_replace(deployed):
                log.info("link '%s' is at version %s already; not moved to %d", link, deployed, release.number)
                return
            draft = link.with_name(f".{LINK}.draft")
            beside = release.path.parent == link.parent
            draft.symlink_to(release.path.name if beside else release.path)
            draft.replace(link)
            sync(link.parent)

    def withdraw(self, release: Release) -> None:
        """Remove the link; the versions stay where they are."""
        link = self.directory / release.adapter_id / LINK
        if not link.parent.is_dir():
            return
        with _alone(link, "removed"):
            _refuse_other_things(link)
            link.unlink(missing_ok=True)
            sync(link.parent)


@contextmanager
def _alone(link: Path, done: str) -> Iterator[None]:
    """Hold the link's lock, with what an earlier crash left behind cleared away.

    Raises:
        HookFailed: in place of what the file system says.
    """
    held = None
    try:
        link.parent.mkdir(parents=True, exist_ok=True)
        held = hold(link.with_name(LOCK), PATIENCE_SECONDS, "another process holds its lock")
        for draft in link.parent.glob(DRAFTS):
            if draft.is_symlink():
                draft.unlink()
        yield
    except HookFailed:
        raise
    except (OSError, Unavailable) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise HookFailed(
            f"link '{link}' could not be {done}: {why}; see that this process may write to '{link.parent}'"
        ) from None
    finally:
        if held is not None:
            os.close(held)


def _deployed(link: Path, release: Release) -> int | None:
    """Number of the version that the link is at; None when there is no link."""
    _refuse_other_things(link)
    if not link.is_symlink():
        return None
    target = link.readlink()
    number = number_of(target)
    if number is None and not release.forced:
        raise HookFailed(
            f"link '{link}' points to '{target}', which is not named like a version (v<number>); nobody can tell "
            "whether it is newer: remove the link if it is not"
        )
    return number


def _refuse_other_things(link: Path) -> None:
    if link.exists() and not link.is_symlink():
        raise HookFailed(f"'{link}' is no link; move it away, so that a link can take its place")
