"""The export of one request: a signed zip that reads the same from the same state, byte for byte.

What is in it and in which file; `container` packs it, `statement` says what it says, `verify` reads it again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from unlearn.evidence.checkpoint import Checkpoint, open_note, read_checkpoint
from unlearn.evidence.container import pack
from unlearn.evidence.dossier import Dossier, Work
from unlearn.evidence.dsse import seal
from unlearn.evidence.layout import (
    CHECKPOINT,
    EARLIER,
    ENTRIES,
    MANIFEST,
    REQUEST,
    SCHEMA,
    SEARCHED,
    STATEMENT,
    key_files,
)
from unlearn.evidence.rendered import pretty, rendered
from unlearn.evidence.signing import Signer
from unlearn.evidence.spelling import line
from unlearn.evidence.statement import predicate, spelled, statement


def build_bundle(dossier: Dossier, *signers: Signer) -> bytes:
    """The zip's bytes.

    Args:
        dossier: all that is recorded of the request.
        signers: of the statement; the ledger's.
    """
    checkpoint, keys = _checkpoint(dossier), [one.public for one in signers]
    said = json.loads(spelled(predicate(dossier, checkpoint, keys)))
    files = {
        REQUEST: pretty(dossier.request),
        ENTRIES: _entries(dossier),
        CHECKPOINT: dossier.checkpoint.encode(),
        EARLIER: pretty({str(size): [one.hex() for one in path] for size, path in dossier.earlier.items()}),
        **key_files(dossier.keys),
    }
    if dossier.searched is not None:
        files[SEARCHED] = dossier.searched
    for work in dossier.works:
        files |= _work(work)
    reports = {work.job["id"]: json.loads(files[_report(work)]) for work in dossier.works if _report(work) in files}
    files |= rendered(said, reports)
    manifest = _manifest(files)
    payload = spelled(statement(dossier, checkpoint, keys, hashlib.sha256(manifest).hexdigest()))
    return pack(files | {MANIFEST: manifest, STATEMENT: seal(payload, *signers)})


def _checkpoint(dossier: Dossier) -> Checkpoint:
    """The dossier's own checkpoint; its signature is checked as an auditor would."""
    text, _ = open_note(dossier.checkpoint, dossier.keys)
    return read_checkpoint(text)


def _manifest(files: Mapping[str, bytes]) -> bytes:
    listed = [
        {"path": name, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        for name, data in sorted(files.items())
    ]
    return pretty({"schema": SCHEMA, "files": listed})


def _entries(dossier: Dossier) -> bytes:
    """One line an entry, with its inclusion path: a line is checked by itself."""
    told = [entry.as_json() | {"path": [one.hex() for one in dossier.paths[entry.seq]]} for entry in dossier.entries]
    return b"".join(map(line, told))


def _report(work: Work) -> str:
    return f"jobs/{work.job['id']}/report.json"


def _work(work: Work) -> dict[str, bytes]:
    place, report = f"jobs/{work.job['id']}", work.job.get("report")
    job = {key: value for key, value in work.job.items() if key != "report"}
    files = {f"{place}/job.json": pretty(job | {"before": work.before, "after": work.after})}
    if report is not None:
        files[_report(work)] = pretty(report)
    if work.run is not None:
        files[f"{place}/mlflow.json"] = pretty(work.run)
    return files | {f"{place}/figures/{name}": data for name, data in work.figures.items()}
