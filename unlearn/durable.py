"""Files that outlive a loss of power: there whole, or not at all. Knows nothing of what is in them."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Put a file that its owner alone can read at `path`, in one step, in the place of the one that may be there."""
    with _draft(path, content) as draft:
        draft.replace(path)
    sync(path.parent)


def write_once(path: Path, content: bytes) -> None:
    """The same unless a file is there: of several processes that do it at once, one is first and its file stays."""
    with _draft(path, content) as draft, contextlib.suppress(FileExistsError):
        os.link(draft, path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Have the content of a file, or the entries of a directory, survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems can't do it to directories
            raise
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _draft(path: Path, content: bytes) -> Iterator[Path]:
    """The content on the disk, beside `path`; gone at the end of the block."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        yield draft
    finally:
        draft.unlink(missing_ok=True)
