"""Names of places in object stores: `s3://bucket/prefix`. How they are spelled alone; nothing is opened here.

The spelling is strict, so that a name means one place and can be shown to anybody: no credentials, no query, no `..`,
no driver in front of another (`simplecache::s3://`), nothing that a driver would expand.
"""

from __future__ import annotations

import re

SCHEMES = ("s3", "gs", "abfs")
"""What may be read from, as fsspec calls it. S3 is tested; the other two take a driver that is not installed here."""

NO_SECRETS = (
    "the URL holds a user, a query or a fragment; credentials come from the environment alone (AWS_ACCESS_KEY_ID, "
    "AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL)"
)
_USER = re.compile(r"://[^/]*@")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9_.-]{1,61}[a-z0-9]")
_PART = re.compile(r"[A-Za-z0-9_.=+,-]{1,255}")


def is_url(place: str) -> bool:
    """Whether `place` is spelled like a URL rather than a path."""
    return "://" in place


def holds_user(text: str) -> bool:
    """Whether a URL in `text` names a user, and maybe a password with a colon before it."""
    return _USER.search(text) is not None


def url_of(place: str) -> str:
    """The URL in its one spelling: without a slash at its end.

    Raises:
        ValueError: it can't be used; the message never quotes it, because it may hold a password.
    """
    scheme, _, rest = place.partition("://")
    if scheme not in SCHEMES:
        raise ValueError(f"the URL's scheme is none of {', '.join(SCHEMES)}")
    bucket, _, key = rest.partition("/")
    if "@" in bucket or "?" in rest or "#" in rest:
        raise ValueError(NO_SECRETS)
    if not _BUCKET.fullmatch(bucket):
        raise ValueError("the URL's bucket can't be one; use 3 to 63 of a-z, 0-9, '-', '_', '.'")
    parts = key.removesuffix("/").split("/") if key else []
    if not all(_PART.fullmatch(part) and part.strip(".") for part in parts):
        raise ValueError("a part of the URL's key is empty, '.', '..', or not of A-Z, a-z, 0-9 and '_.=+,-' alone")
    return f"{scheme}://{'/'.join([bucket, *parts])}"


def is_within(url: str, root: str) -> bool:
    """Whether `url` is `root`, or below it; both in their one spelling."""
    return url == root or url.startswith(f"{root}/")


def name_of(place: str) -> str:
    """The last part of a path or URL."""
    return place.rstrip("/").rpartition("/")[2]
