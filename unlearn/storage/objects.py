"""Objects at URLs: listed, read, written, removed, through fsspec. Knows no adapter and keeps nothing.

The drivers are imported when a URL is used. Their credentials and endpoint come from the environment, their errors
leave as this program's own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearn.errors import BadInput, Unavailable, UnlearnError
from unlearn.locations import name_of

CHUNK_BYTES = 16 * 2**20
MOST_KEYS = 1000
"""Objects that S3 removes in one call."""

PATIENCE = {"connect_timeout": 5, "read_timeout": 60, "retries": {"max_attempts": 3, "mode": "standard"}}


@dataclass(frozen=True)
class Found:
    """An object: its size, and a mark that changes with its content (S3's ETag); None where the store has none."""

    bytes: int
    mark: str | None


def at(url: str) -> Found | None:
    """The object at `url`; None if there is none."""
    with _reached(url) as (driver, key):
        try:
            info = driver.info(key)
        except FileNotFoundError:
            return None
        return _found(info) if info["type"] == "file" else None


def below(url: str) -> dict[str, Found]:
    """The objects right below `url`, by the last part of their keys."""
    with _reached(url) as (driver, key):
        try:
            listed = driver.ls(key, detail=True)
        except FileNotFoundError:
            return {}
        files = {one["name"].removeprefix(f"{key}/"): _found(one) for one in listed if one["type"] == "file"}
        return {name: found for name, found in files.items() if name and "/" not in name}


def prefixes(url: str) -> list[str]:
    """The names right below `url` that something is below of."""
    with _reached(url) as (driver, key):
        try:
            listed = driver.ls(key, detail=True)
        except FileNotFoundError:
            return []
        return sorted(name_of(one["name"]) for one in listed if one["type"] == "directory")


def fetch(url: str, found: Found, file: Path) -> str:
    """Write the object to the new file `file`; its SHA-256.

    Raises:
        Unavailable: it is not what was found any more, or the store can't be reached.
    """
    digest, size = hashlib.sha256(), 0
    with _reached(url) as (driver, key), file.open("xb") as out:
        with driver.open(key, "rb", block_size=CHUNK_BYTES, cache_type="none") as stream:
            while size <= found.bytes and (chunk := stream.read(CHUNK_BYTES)):
                size += len(chunk)
                digest.update(chunk)
                out.write(chunk)
        if size != found.bytes or _found(driver.info(key)) != found:
            raise Unavailable(f"'{url}' changed while it was read; try again")
    return digest.hexdigest()


def read(url: str, most_bytes: int) -> bytes | None:
    """The content of a small object; None if there is none.

    Raises:
        Unavailable: it is larger than `most_bytes`.
    """
    with _reached(url) as (driver, key):
        try:
            content: bytes = driver.cat_file(key, start=0, end=most_bytes + 1)
        except FileNotFoundError:
            return None
        if len(content) > most_bytes:
            raise Unavailable(f"'{url}' is larger than {most_bytes} bytes")
        return content


def upload(file: Path, url: str) -> None:
    """Put the file at `url`, in the place of what is there: a reader finds the one or the other, whole."""
    with _reached(url) as (driver, key):
        driver.put_file(str(file), key)


def create(content: bytes, url: str) -> None:
    """Put a small object where none is. FileExistsError if one is."""
    with _reached(url) as (driver, key):
        driver.pipe_file(key, content, mode="create")


def remove(url: str, *, below: bool = True, latest: bool = True) -> None:
    """Remove the object at `url` for good: every version of it, every mark of a deletion, every unfinished upload.

    Args:
        url: of S3; removing what is not there does nothing.
        below: everything below it as well.
        latest: False keeps the version that is read now.

    Raises:
        Unavailable: something is left.
    """
    if not url.startswith("s3://"):
        raise BadInput(f"'{url}': only what is at s3:// can be removed")
    with _reached(url) as (driver, key):
        bucket, _, name = key.partition("/")
        if not name:
            raise BadInput(f"'{url}' is a whole bucket; name what is to be removed in it")

        def ours(one: dict[str, Any]) -> bool:
            return one["Key"] == name or (below and one["Key"].startswith(f"{name}/"))

        for upload in _pages(driver, "list_multipart_uploads", bucket, name, "Uploads"):
            if ours(upload):
                driver.call_s3("abort_multipart_upload", Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
        versions = _pages(driver, "list_object_versions", bucket, name, "Versions", "DeleteMarkers")
        gone = [
            {"Key": one["Key"], "VersionId": one["VersionId"]}
            for one in versions
            if ours(one) and (latest or not one["IsLatest"])
        ]
        for start in range(0, len(gone), MOST_KEYS):
            batch = {"Objects": gone[start : start + MOST_KEYS], "Quiet": True}
            answer = driver.call_s3("delete_objects", Bucket=bucket, Delete=batch)
            if answer.get("Errors"):
                codes = sorted({str(one.get("Code")) for one in answer["Errors"]})
                raise Unavailable(f"'{url}': the object store did not remove everything ({', '.join(codes)})")


def _pages(driver: Any, call: str, bucket: str, prefix: str, *kinds: str) -> list[dict[str, Any]]:
    """Everything that a paginated call of S3 lists."""
    found: list[dict[str, Any]] = []
    markers: dict[str, str] = {}
    while True:
        page = driver.call_s3(call, Bucket=bucket, Prefix=prefix, **markers)
        found += [one for kind in kinds for one in page.get(kind) or ()]
        if not page.get("IsTruncated"):
            return found
        names = ("KeyMarker", "VersionIdMarker", "UploadIdMarker")
        markers = {name: page[f"Next{name}"] for name in names if page.get(f"Next{name}")}


def _found(info: dict[str, Any]) -> Found:
    mark = info.get("ETag") or info.get("etag")
    return Found(int(info["size"]), str(mark) if mark else None)


@contextmanager
def _reached(url: str) -> Iterator[tuple[Any, str]]:
    """The driver and the key of `url`.

    Raises:
        BadInput: the driver is not installed.
        Unavailable: in place of whatever else the driver raises.
    """
    scheme, _, key = url.partition("://")
    try:
        import fsspec

        given = {"config_kwargs": PATIENCE} if scheme == "s3" else {}
        yield fsspec.filesystem(scheme, use_listings_cache=False, **given), key
    except (UnlearnError, FileExistsError):
        raise
    except ImportError as error:
        raise BadInput(f"'{url}': no driver for {scheme} is installed ({error.name}); install it") from None
    except FileNotFoundError:
        raise Unavailable(f"'{url}': nothing is there any more, or its bucket does not exist") from None
    except PermissionError:
        raise Unavailable(
            f"'{url}': the object store refuses this; see that the credentials in the environment may list, read and "
            "write there"
        ) from None
    except Exception as error:  # each driver raises its own
        raise Unavailable(f"'{url}': the object store can't be used ({type(error).__name__})") from error
