"""The register of a period: one row a request, for whoever keeps the records of processing (GDPR, article 30).

Pseudonymous: ids and keyed hashes, nobody's name. Knows plain JSON; speaks CSV and JSON lines.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from unlearn.evidence.sheets import lines
from unlearn.evidence.statement import answered_at

Format = Literal["csv", "jsonl"]
MEDIA: Mapping[Format, str] = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl"}

COLUMNS = (
    "request",
    "subject",
    "regulation",
    "submitted_by",
    "received_at",
    "due_at",
    "extended_at",
    "state",
    "answered_at",
    "days",
    "late",
    "adapters",
    "methods",
    "verdicts",
    "decision",
    "ground",
    "decided_by",
    "decided_at",
)


def row(request: Mapping[str, Any], jobs: Sequence[Mapping[str, Any]], now: datetime) -> dict[str, Any]:
    """A request's row.

    Args:
        request: as JSON types.
        jobs: its jobs, each with `adapter`, `method` and `verdict`, in order; of an adapter the last counts.
        now: up to when the days of a request run that was not answered.
    """
    received, due = (datetime.fromisoformat(request[key]) for key in ("received_at", "due_at"))
    answered = answered_at(request)
    end = now if answered is None else datetime.fromisoformat(answered)
    last = {job["adapter"]: job for job in jobs}
    decision = request.get("decision") or {}
    same = ("subject", "regulation", "submitted_by", "received_at", "due_at", "extended_at", "state")
    return {
        "request": request["id"],
        **{key: request[key] for key in same},
        "answered_at": answered,
        "days": round((end - received).total_seconds() / 86400, 1),
        "late": end > due,
        "adapters": list(last),
        "methods": [job["method"] for job in last.values()],
        "verdicts": [job["verdict"] for job in last.values()],
        "decision": decision.get("kind"),
        "ground": decision.get("ground"),
        "decided_by": decision.get("by"),
        "decided_at": decision.get("at"),
    }


def written(rows: Iterable[Mapping[str, Any]], form: Format) -> Iterable[str]:
    """The register line by line, as the rows come: CSV with a header, or an object a line."""
    if form == "csv":
        yield from lines(COLUMNS, ({key: _cell(value) for key, value in one.items()} for one in rows))
        return
    for one in rows:
        yield json.dumps({column: one[column] for column in COLUMNS}, ensure_ascii=False) + "\n"


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        return "; ".join(str(one or "") for one in value)
    return ("yes" if value else "no") if isinstance(value, bool) else value
