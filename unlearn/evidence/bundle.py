"""The export of one request: a signed zip that reads the same from the same state, byte for byte.

What is in it and in which file; `container` packs it, `statement` says what it says, `verify` reads it again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from unlearn.evidence.certificate import certificate
from unlearn.evidence.certificate_html import as_html
from unlearn.evidence.certificate_pdf import as_pdf
from unlearn.evidence.checkpoint import Checkpoint, open_note, read_checkpoint
from unlearn.evidence.container import pack
from unlearn.evidence.dossier import Dossier, Json, Work
from unlearn.evidence.dsse import seal
from unlearn.evidence.layout import (
    CHECKPOINT,
    EARLIER,
    ENTRIES,
    MANIFEST,
    README,
    REQUEST,
    SCHEMA,
    SCRIPT,
    STATEMENT,
)
from unlearn.evidence.sheets import sheet
from unlearn.evidence.signing import Signer
from unlearn.evidence.statement import spelled, statement


def build_bundle(dossier: Dossier, signer: Signer) -> bytes:
    """The zip's bytes.

    Args:
        dossier: all that is recorded of the request.
        signer: of the statement; the ledger's.
    """
    checkpoint = _checkpoint(dossier)
    said = statement(dossier, checkpoint, "")["predicate"]
    page = certificate(said)
    files = {
        README: _readme(dossier, checkpoint),
        SCRIPT: resources.files("unlearn.evidence").joinpath("plain.txt").read_bytes(),
        REQUEST: _pretty(dossier.request),
        "certificate.html": as_html(page).encode(),
        "certificate.pdf": as_pdf(page),
        ENTRIES: _entries(dossier),
        CHECKPOINT: dossier.checkpoint.encode(),
        EARLIER: _pretty({str(size): [one.hex() for one in path] for size, path in dossier.earlier.items()}),
        "keys/ledger.pub": "".join(f"{key.text}\n" for key in dossier.keys).encode(),
    }
    for key in dossier.keys:
        files[f"keys/{key.key_id.hex()}.pem"] = key.pem.encode()
    for work in dossier.works:
        files |= _work(work)
    manifest = _manifest(files)
    payload = spelled(statement(dossier, checkpoint, hashlib.sha256(manifest).hexdigest()))
    return pack(files | {MANIFEST: manifest, STATEMENT: seal(payload, signer)})


def _checkpoint(dossier: Dossier) -> Checkpoint:
    """The dossier's own checkpoint; its signature is checked as an auditor would."""
    text, _ = open_note(dossier.checkpoint, dossier.keys)
    return read_checkpoint(text)


def _manifest(files: Mapping[str, bytes]) -> bytes:
    listed = [
        {"path": name, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        for name, data in sorted(files.items())
    ]
    return _pretty({"schema": SCHEMA, "files": listed})


def _entries(dossier: Dossier) -> bytes:
    """One line an entry, with its inclusion path: a line is checked by itself."""
    told = [entry.as_json() | {"path": [one.hex() for one in dossier.paths[entry.seq]]} for entry in dossier.entries]
    return "".join(json.dumps(one, sort_keys=True, ensure_ascii=False) + "\n" for one in told).encode()


def _work(work: Work) -> dict[str, bytes]:
    place, report = f"jobs/{work.job['id']}", work.job.get("report")
    job = {key: value for key, value in work.job.items() if key != "report"}
    files = {f"{place}/job.json": _pretty(job | {"before": work.before, "after": work.after})}
    if report is not None:
        figures = _figures(report)
        files[f"{place}/report.json"] = _pretty(report)
        files[f"{place}/metrics.csv"] = sheet(figures).encode()
        files[f"{place}/metrics.json"] = _pretty({row["metric"]: row for row in figures})
        files[f"{place}/trace.csv"] = sheet(report.get("trace", [])).encode()
    if work.run is not None:
        files[f"{place}/mlflow.json"] = _pretty(work.run)
    return files | {f"{place}/figures/{name}": data for name, data in work.figures.items()}


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


def _pretty(data: Json | Sequence[Any]) -> bytes:
    return (json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _readme(dossier: Dossier, checkpoint: Checkpoint) -> bytes:
    text = resources.files("unlearn.evidence").joinpath("bundle.txt").read_text(encoding="utf-8")
    return text.format(id=dossier.request["id"], origin=checkpoint.origin, size=checkpoint.size).encode()
