"""The zip that a bundle travels in: one way to write it, and a reader that takes nothing else.

Files are stored as they are, in the order of their names, under a fixed date (APPNOTE.TXT 6.3.10, sections 4.3.7,
4.3.12 and 4.3.16). Written by hand, since libraries differ from version to version in bytes that mean nothing: here any
other byte is found. Knows names and bytes, and nothing of what they say.
"""

from __future__ import annotations

import io
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping

from unlearn.evidence.refusal import NotVerified

LARGEST_BYTES = 256 * 1024 * 1024
"""Of a bundle."""

MOST_FILES = 5000

NAME = re.compile(r"(?!.*(^|/)\.)[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")
"""A name in a bundle: ASCII, relative, no part of it begins with a dot."""

LONGEST_NAME = 200

VERSION, FROM_UNIX, STORED, TIME, DATE = 20, 3, 0, 0, 33
"""2.0; 1980-01-01 00:00, the first moment that a zip can name."""

FILE_MODE = 0o100644


def pack(files: Mapping[str, bytes]) -> bytes:
    """The zip with these files: the same files, the same bytes.

    Raises:
        ValueError: a name that a bundle can't hold, or too much to hold.
    """
    if len(files) > MOST_FILES or sum(map(len, files.values())) > LARGEST_BYTES // 2:
        raise ValueError(f"{len(files)} files of {sum(map(len, files.values()))} bytes are too many for a bundle")
    out, directory = io.BytesIO(), io.BytesIO()
    for name in sorted(files):
        if not NAME.fullmatch(name) or len(name) > LONGEST_NAME:
            raise ValueError(f"'{name}' can't be a file's name in a bundle")
        data, offset = files[name], out.tell()
        about = struct.pack(
            "<HHHHHIIIHH", VERSION, 0, STORED, TIME, DATE, zlib.crc32(data), len(data), len(data), len(name), 0
        )
        out.write(b"PK\3\4" + about + name.encode() + data)
        place = struct.pack("<HHHII", 0, 0, 0, FILE_MODE << 16, offset)
        directory.write(b"PK\1\2" + struct.pack("<BB", VERSION, FROM_UNIX) + about + place + name.encode())
    start, listed = out.tell(), directory.getvalue()
    end = struct.pack("<HHHHIIH", 0, 0, len(files), len(files), len(listed), start, 0)
    return out.getvalue() + listed + b"PK\5\6" + end


def unpack(data: bytes) -> dict[str, bytes]:
    """The files in a zip, if it is one that `pack` makes.

    Nothing is written anywhere, and nothing is read of which the sizes have not been added up.

    Raises:
        NotVerified: it is none; what was wrong first.
    """
    if len(data) > LARGEST_BYTES:
        raise _no(f"it has {len(data)} bytes; a bundle has at most {LARGEST_BYTES}")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _check(archive.infolist(), len(data))
            files = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        RuntimeError,
        EOFError,
        ValueError,
        struct.error,
        zlib.error,
    ) as error:
        raise _no(f"it is no zip, or a damaged one ({error})") from None
    whole = pack(files)
    if whole != data:
        place = next(
            (i for i, (a, b) in enumerate(zip(whole, data, strict=False)) if a != b), min(len(whole), len(data))
        )
        raise _no(
            f"byte {place} of the zip is not as this program writes it, though its files can be read; take the bundle "
            "as it was downloaded, not packed anew"
        )
    return files


def _check(entries: Iterable[zipfile.ZipInfo], size: int) -> None:
    entries = list(entries)
    if not 0 < len(entries) <= MOST_FILES:
        raise _no(f"it holds {len(entries)} files; a bundle has between 1 and {MOST_FILES}")
    names: set[str] = set()
    for entry in entries:
        name = entry.orig_filename
        if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name) or ".." in re.split(r"[/\\]", name):
            raise _no(f"it holds the path {_shown(name)}, which leads out of the folder it is unpacked in")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise _no(f"{_shown(name)} is a symbolic link; a bundle holds plain files alone")
        if not NAME.fullmatch(name) or len(name) > LONGEST_NAME:
            raise _no(f"{_shown(name)} is no name of a file in a bundle")
        if name in names:
            raise _no(f"it holds two files called {_shown(name)}")
        names.add(name)
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise _no(
                f"{_shown(name)} is packed: {entry.compress_size} bytes say they become {entry.file_size}. A bundle's "
                "files are stored as they are: it was packed anew, or is a zip bomb"
            )
    total = sum(entry.file_size for entry in entries)
    if total > size:
        raise _no(f"its files say they have {total} bytes in a zip of {size}: they overlap, as in a zip bomb")


def _shown(name: str) -> str:
    return ascii(name if len(name) <= 60 else f"{name[:60]}…")


def _no(message: str) -> NotVerified:
    return NotVerified("container", message)
