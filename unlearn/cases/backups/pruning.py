"""Backups that are older than they may be, and what restores set aside: found, and taken away for good.

A backup is known by its seal: what has no manifest under this service's identity key is nobody's to take, and is left
alone. Knows no table.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from unlearn.cases.backups.archive import MANIFEST, SEAL, Archive, BackupBroken
from unlearn.disposal import dispose
from unlearn.errors import BadInput, Unavailable


def outdated(into: Path, key: bytes, before: datetime) -> list[Archive]:
    """The service's own backups under `into` that were made before a moment, the oldest first."""
    found = []
    for path in into.expanduser().resolve().iterdir():
        if path.is_dir() and not path.is_symlink():
            try:
                archive = Archive(path, key)
            except (BadInput, BackupBroken):  # not ours, or nothing that says so
                continue
            if datetime.fromisoformat(archive.manifest.made_at) < before:
                found.append(archive)
    return sorted(found, key=lambda one: one.manifest.made_at)


def take_away(backup: Archive) -> None:
    """Overwrite and unlink a backup: the manifest last, so that one which broke off is found again.

    Raises:
        Unavailable: something can't be written to or unlinked.
    """
    clear_away(*sorted(backup.path.iterdir(), key=lambda one: (one.name in (MANIFEST, SEAL), one.name)), backup.path)


def clear_away(*paths: Path) -> None:
    """Overwrite and unlink files and directories, in this order.

    Raises:
        Unavailable: something can't be written to or unlinked; the message has the last of the paths.
    """
    try:
        for path in paths:
            dispose(str(path))
    except OSError as error:
        raise Unavailable(f"'{paths[-1]}' can't be taken away: {error.strerror or error}") from None
