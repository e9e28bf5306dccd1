"""The export of one request: a zip that reads the same from the same state, byte for byte.

Knows what the case wing hands it as plain JSON. Not yet signed, and it says so.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

from unlearn.evidence.ledger import Entry

EPOCH = (1980, 1, 1, 0, 0, 0)

README = """Export of deletion request {id}

request.json             the request: its state and times; the subject as a keyed hash
jobs/<id>/job.json       each erasing: attempt, verdict, MLflow run
jobs/<id>/report.json    what was measured before and after, the gates' findings, seeds, versions, digests
jobs/<id>/metrics.csv    the figures before and after, side by side
jobs/<id>/trace.csv      the loop, step by step
ledger.jsonl             the ledger's entries about this request, in order
SHA256SUMS               digests of all files; check them with: sha256sum -c SHA256SUMS

To check a ledger entry by hand: the SHA-256 of a zero byte and the canonical JSON (RFC 8785) of its action, at, facts
and seq is its hash, a leaf of the ledger's Merkle tree (RFC 6962, section 2.1).

What this shows: which method ran on which weights, which tests it passed at which thresholds, and in which order it
was recorded. What it does not show: that no other test could find the data again. It is not signed: it shows that
nothing was changed by accident, not that its keeper did not rewrite it.
"""


def build_bundle(request: Mapping[str, Any], jobs: Sequence[Mapping[str, Any]], entries: Sequence[Entry]) -> bytes:
    """The zip's bytes.

    Args:
        request: the request as JSON types, with `id`.
        jobs: its jobs as JSON types, each with `id` and `report` (None when it has none).
        entries: the ledger's entries about it, in order.
    """
    files = {
        "README.txt": README.format(id=request["id"]),
        "request.json": _pretty(request),
        "ledger.jsonl": "".join(json.dumps(entry.as_json(), sort_keys=True) + "\n" for entry in entries),
    }
    for job in jobs:
        place, report = f"jobs/{job['id']}", job["report"]
        files[f"{place}/job.json"] = _pretty({key: value for key, value in job.items() if key != "report"})
        if report is not None:
            files[f"{place}/report.json"] = _pretty(report)
            files[f"{place}/metrics.csv"] = _metrics(report)
            files[f"{place}/trace.csv"] = _rows(report["trace"])
    sums = "".join(f"{hashlib.sha256(files[name].encode()).hexdigest()}  {name}\n" for name in sorted(files))
    return _zip(files | {"SHA256SUMS": sums})


def _zip(files: Mapping[str, str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, date_time=EPOCH)
            entry.compress_type = zipfile.ZIP_STORED  # builds of zlib differ in the bytes they make
            entry.external_attr = 0o644 << 16
            entry.create_system = 3
            archive.writestr(entry, files[name])
    return out.getvalue()


def _pretty(data: Mapping[str, Any]) -> str:
    return json.dumps(data, indent=2, sort_keys=True, allow_nan=False) + "\n"


def _metrics(report: Mapping[str, Any]) -> str:
    """Every number of `before` beside that of `after`, by its path; a figure that only one of them has stays."""
    before, after = _flat(report["before"]), _flat(report["after"])
    return _rows(
        [{"metric": name, "before": before.get(name), "after": after.get(name)} for name in {**before, **after}]
    )


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            flat |= {f"{prefix}{key}.{i}": item for i, item in enumerate(value)}
        else:
            flat[prefix + key] = value
    return flat


def _rows(rows: Sequence[Mapping[str, Any]]) -> str:
    """CSV with a header; a text that a spreadsheet would run as a formula gets a quote before it."""
    if not rows:
        return ""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    columns = list(dict.fromkeys(column for row in rows for column in row))
    writer.writerow([_inert(column) for column in columns])
    for row in rows:
        writer.writerow([_inert(row.get(column)) for column in columns])
    return out.getvalue()


def _inert(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r\n" and value else value
