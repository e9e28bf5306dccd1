"""Local files taken away for good: overwritten once, flushed, cut to nothing, unlinked. Knows nothing of their content.

Overwriting reaches what the file system keeps at the same place; it can't reach copies that a solid-state drive, a
snapshot or a backup made (NIST SP 800-88 speaks of those).
"""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

from unlearn.durable import sync

log = logging.getLogger(__name__)

BLOCK_BYTES = 1 << 20


def remove(path: Path) -> None:
    """Take away the file or the directory; where nothing is, nothing happens. Links are unlinked, never followed.

    Raises:
        OSError: a file can't be written to or unlinked.
    """
    if path.is_dir() and not path.is_symlink():
        for entry in sorted(path.iterdir()):
            remove(entry)
        path.rmdir()
    elif path.is_file() and not path.is_symlink():
        os.chmod(path, 0o600)
        with path.open("r+b", buffering=0) as out:
            _overwrite(out.fileno())
        path.unlink(missing_ok=True)
    else:
        path.unlink(missing_ok=True)
    if path.parent.is_dir():
        sync(path.parent)


def clear(directory: Path) -> None:
    """The same for a draft or a copy that is nobody's: what can't be overwritten is unlinked, and the log says so."""
    try:
        remove(directory)
    except OSError as error:
        log.warning("'%s' could not be overwritten (%s), and is unlinked alone", directory, error.strerror)
        shutil.rmtree(directory, ignore_errors=True)


def replace(draft: Path, path: Path) -> None:
    """Put `draft` into the place of the file at `path`, in one step, and overwrite what was there.

    Whoever is killed in between leaves the old bytes on the disk, under no name.

    Raises:
        OSError: it can't be.
    """
    try:
        old = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        draft.replace(path)
        return
    try:
        draft.replace(path)
        _overwrite(old)
    finally:
        os.close(old)


def _overwrite(file: int) -> None:
    """Zeros over every byte, on the disk before the file is cut to nothing."""
    left, place = os.fstat(file).st_size, 0
    while left > place:
        place += os.pwrite(file, bytes(min(left - place, BLOCK_BYTES)), place)
    os.fsync(file)
    os.ftruncate(file, 0)
    os.fsync(file)
