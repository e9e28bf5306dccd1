"""The one spelling of a bundle's JSON: what could be read in two ways, such as a key that is there twice, is refused.

Knows no file: which writes what is `rendered`'s, `statement`'s and `bundle`'s.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from typing import Any

from unlearn.evidence.refusal import NotVerified


def line(data: Mapping[str, Any]) -> bytes:
    """JSON as a line of a file."""
    return json.dumps(data, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def read(check: str, name: str, data: bytes, write: Callable[[Any], bytes]) -> Any:
    """What the JSON says, which is spelled as `write` spells it.

    Raises:
        NotVerified: it is spelled otherwise.
        ValueError: it is no JSON.
    """
    said = json.loads(data)
    if write(said) != data:
        raise NotVerified(
            check,
            f"{name} is JSON in another spelling than this program's, such as a key that is there twice: another "
            "reader may find something else in it",
        )
    return said


def read_lines(check: str, name: str, data: bytes) -> Iterator[Any]:
    """What each line says; they are apart by a line feed alone.

    Raises:
        NotVerified: one is spelled otherwise than `line` does.
        ValueError: one is no JSON.
    """
    for place, one in enumerate(BytesIO(data), 1):
        yield read(check, f"line {place} of {name}", one, line)
