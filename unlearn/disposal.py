"""Taking what is at a place away for good: local files overwritten, on object stores every version of them.

Knows no adapter and no corpus.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from unlearn import overwriting
from unlearn.storage import objects


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
        overwriting.remove(Path(url2pathname(parts.path) if parts.scheme else place))
    else:
        objects.remove(place)
