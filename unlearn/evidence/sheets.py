"""Tables as CSV (RFC 4180, lines ended by LF) that a spreadsheet shows and never runs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a text begins with that a spreadsheet runs as a formula, or may."""


def sheet(rows: Sequence[Mapping[str, Any]]) -> str:
    """All rows under a header of every column that any has; nothing for no rows."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    return "".join(lines(columns, rows)) if rows else ""


def lines(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    """A header, and a line for each row as it comes."""
    yield _line(columns)
    for row in rows:
        yield _line([row.get(column) for column in columns])


def _line(cells: Iterable[Any]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow([_inert(cell) for cell in cells])
    return out.getvalue()


def _inert(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
