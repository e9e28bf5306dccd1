"""Taking files away for good: overwritten once, flushed, truncated, unlinked; on object stores, every version of them.

Overwriting reaches what the file system keeps at the same place; it can't reach copies that a solid-state drive, a
snapshot or a backup made (NIST SP 800-88 speaks of those). Knows no adapter and no corpus.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from unlearn.durable import sync
from unlearn.storage import objects

BLOCK_BYTES = 1 << 20


def dispose(place: str) -> None:
    """Take away the file or the directory at a path or URL; where nothing is, nothing happens.

    Links are unlinked, never followed.

    Raises:
        Unavailable: an object store kept something.
        BadInput: a store of which no version could be removed for good.
        OSError: a file can't be written to or unlinked.
    """
    parts = urlsplit(place)
    if parts.scheme in ("", "file"):
        _dispose_local(Path(url2pathname(parts.path) if parts.scheme else place))
    else:
        objects.remove(place)


def _dispose_local(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        for entry in sorted(path.iterdir()):
            _dispose_local(entry)
        path.rmdir()
    elif path.is_file() and not path.is_symlink():
        _overwrite(path)
        path.unlink(missing_ok=True)
    else:
        path.unlink(missing_ok=True)
    if path.parent.is_dir():
        sync(path.parent)


def _overwrite(path: Path) -> None:
    """Zeros over every byte, on the disk before the file is cut to nothing."""
    os.chmod(path, 0o600)
    with path.open("r+b", buffering=0) as out:
        left = os.fstat(out.fileno()).st_size
        while left > 0:
            left -= out.write(bytes(min(left, BLOCK_BYTES)))
        os.fsync(out.fileno())
        out.truncate(0)
        os.fsync(out.fileno())
