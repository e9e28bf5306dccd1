"""The files of a bundle that follow from its statement and reports alone: made here for the bundle, and for comparison.

They are made of the JSON as it is read, so that whoever reads it makes the same bytes. `RENDERER` is their version.
The bytes of the PDF depend on the library that draws it as well, which the statement names.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import Any

from unlearn.evidence.certificate import certificate
from unlearn.evidence.certificate_html import as_html
from unlearn.evidence.layout import CERTIFICATE, PDF, README, SCRIPT
from unlearn.evidence.sheets import sheet

Json = Mapping[str, Any]


TABLES = ("metrics.csv", "metrics.json", "trace.csv")
"""Made of a job's report."""


def names(jobs: Iterable[str]) -> set[str]:
    """Of the files that are made, by any version; `jobs` are those that have a report."""
    return {README, SCRIPT, CERTIFICATE, PDF, *(f"jobs/{job_id}/{table}" for job_id in jobs for table in TABLES)}


def rendered(predicate: Json, reports: Mapping[str, Json]) -> dict[str, bytes]:
    """The files' contents by their names.

    Args:
        predicate: of the statement, as JSON is read.
        reports: of the jobs that have one, by job; as JSON is read.
    """
    from unlearn.evidence.certificate_pdf import as_pdf  # a drawing library, which nothing else needs

    page = certificate(predicate)
    ledger, text = predicate["ledger"], _resource("bundle.txt").decode()
    files = {
        README: text.format(id=predicate["request"]["id"], origin=ledger["origin"], size=ledger["size"]).encode(),
        SCRIPT: _resource("plain.txt"),
        CERTIFICATE: as_html(page).encode(),
        PDF: as_pdf(page),
    }
    for job_id, report in reports.items():
        figures = _figures(report)
        tables = (
            sheet(figures).encode(),
            pretty({row["metric"]: row for row in figures}),
            sheet([_step_first(row) for row in report.get("trace", [])]).encode(),
        )
        files |= {f"jobs/{job_id}/{table}": data for table, data in zip(TABLES, tables, strict=True)}
    return files


def pretty(data: Json | Sequence[Any]) -> bytes:
    """JSON for people, in the one form that a bundle's files have."""
    return (json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _resource(name: str) -> bytes:
    return resources.files("unlearn.evidence").joinpath(name).read_bytes()


def _figures(report: Json) -> list[dict[str, Any]]:
    """Every number of `before` beside that of `after`, by its path; a figure that only one of them has stays."""
    before, after = _flat(report.get("before", {})), _flat(report.get("after", {}))
    return [{"metric": name, "before": before.get(name), "after": after.get(name)} for name in {**before, **after}]


def _flat(data: Json, prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            flat |= {f"{prefix}{key}.{i}": item for i, item in enumerate(value)}
        else:
            flat[prefix + key] = value
    return flat


def _step_first(row: Json) -> Json:
    return {"step": row["step"], **row} if "step" in row else row
