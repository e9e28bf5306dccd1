"""What a bundle says, as an in-toto Statement v1: which weights became which, how, judged by what, decided by whom.

Source: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md. Knows a dossier as plain JSON
and signs nothing.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from importlib import metadata
from typing import Any

from unlearn.evidence.checkpoint import Checkpoint
from unlearn.evidence.dossier import Dossier, Json, Work
from unlearn.evidence.layout import MANIFEST, RENDERER
from unlearn.evidence.ledger import REASON, Entry
from unlearn.evidence.numbering import about_request
from unlearn.evidence.signing import PublicKey

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://unlearn-service/evidence/v1"
"""Raise the version when a field changes its meaning; verification goes by it."""

DECIDED: Mapping[str, str | None] = {
    "request_held": None,
    "request_hold_lifted": None,
    "request_extended": None,
    "request_cancelled": None,
    "request_retried": "retried",
    "request_rejected": "rejected",
    "request_released_by_decision": "released",
}
"""Entries of what people decided, and the kind of decision that the request keeps of it."""

PURGED = frozenset({"data_erased", "corpus_purged", "version_purged", "candidate_purged"})
"""Entries of what was taken away for good."""

CONFIG = "adapter_config.json"
VERSION = ("number", "sha256", "config_sha256")
"""What is said of a version; versions from before their config's digest was noted have none."""

BY_RECORD = frozenset({"forget_record_nlls_nats", "log10_queries", "verbatim", "alarms"})
"""Figures that name single records: the report has them."""


def statement(
    dossier: Dossier, checkpoint: Checkpoint, signers: Sequence[PublicKey], manifest_sha256: str
) -> dict[str, Any]:
    """The statement about a request.

    Args:
        dossier: all that is recorded of it.
        checkpoint: the one in the dossier, read.
        signers: who are going to sign it.
        manifest_sha256: digest of the list of the bundle's files.
    """
    return {
        "_type": STATEMENT_TYPE,
        "subject": subjects(manifest_sha256, dossier.works),
        "predicateType": PREDICATE_TYPE,
        "predicate": predicate(dossier, checkpoint, signers),
    }


def subjects(manifest_sha256: str, works: Iterable[Work]) -> list[dict[str, Any]]:
    """What is spoken of: the list of the bundle's files, and the versions before and after each job."""
    found = {MANIFEST: manifest_sha256}
    for work in works:
        for version in (work.before, work.after):
            if version is not None:
                found |= named(f"{work.job['adapter']}/v{version['number']}", version)
    return [{"name": name, "digest": {"sha256": digest}} for name, digest in found.items()]


def spelled(data: Mapping[str, Any]) -> bytes:
    """The statement as the bytes that are signed."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def predicate(dossier: Dossier, checkpoint: Checkpoint, signers: Sequence[PublicKey]) -> dict[str, Any]:
    """What is said about the subjects; as of the last entry about the request, so that the same state says the same."""
    about = about_request(dossier.entries)
    return copied(dossier.request, dossier.works, dossier.entries) | {
        "renderer": RENDERER,
        "drawn_by": drawn_by(),
        "issued": issue(checkpoint.origin, about[-1].at if about else None, signers),
        "searched": searched(dossier.entries),
        "purged": repeated(dossier.entries, PURGED),
        "ledger": {
            "origin": checkpoint.origin,
            "size": checkpoint.size,
            "root": checkpoint.root.hex(),
            "entries": [entry.seq for entry in dossier.entries],
            "about_request": len(about),
        },
    }


def issue(origin: str, at: str | None, signers: Sequence[PublicKey]) -> dict[str, Any]:
    """Who issues a statement and when: the ledger, under the ids of all keys that sign, in their order."""
    return {"by": origin, "at": at, "key": ", ".join(one.key_id.hex() for one in signers)}


def drawn_by() -> str:
    """The library that draws the PDF here, with its version: another may draw the same page in other bytes."""
    return f"reportlab {metadata.version('reportlab')}"


def copied(request: Json, works: Sequence[Work], entries: Sequence[Entry]) -> dict[str, Any]:
    """What is said as the request and its jobs have it; of the entries, decisions and verdicts on one person alone."""
    kept = ("id", "external_id", "subject", "controller", "regulation", "submitted_by", "state")
    decisions = _decisions(entries, request)
    extended = [one["reason"] for one in decisions if one["action"] == "request_extended"]
    return {
        "request": {key: request.get(key) for key in kept},
        "clock": _clock(request, extended[-1] if extended else None),
        "jobs": [_job(work, _short(request, work.job["id"]), entries) for work in works],
        "decisions": decisions,
    }


def _clock(request: Json, extension_reason: str | None) -> dict[str, Any]:
    """Times against the statutory clock; days and lateness as far as the request was answered."""
    answered = answered_at(request)
    times = ("received_at", "confirm_by", "due_at", "extended_at", "completed_at")
    clock: dict[str, Any] = {key: request.get(key) for key in times}
    clock |= {"extension_reason": extension_reason, "answered_at": answered}
    if answered is not None and request.get("received_at") and request.get("due_at"):
        received, due, end = (datetime.fromisoformat(m) for m in (request["received_at"], request["due_at"], answered))
        clock |= {"days": round((end - received).total_seconds() / 86400, 1), "late": end > due}
    return clock


def answered_at(request: Json) -> str | None:
    """When the controller had its answer: completed, rejected or cancelled; None while it waits."""
    state, decision = request.get("state"), request.get("decision") or {}
    if state == "completed":
        return request.get("completed_at")
    if state == "rejected":
        return decision.get("at") or request.get("updated_at")
    return request.get("updated_at") if state == "cancelled" else None


def _short(request: Json, job_id: str) -> Json:
    return next((job for job in request.get("jobs", ()) if job["id"] == job_id), {})


def _job(work: Work, short: Json, entries: Sequence[Entry]) -> dict[str, Any]:
    """A job; of one that several requests share, what was found of this one alone is told, not what was found of all.

    The verdict is that of the gates, also where a person decided otherwise.
    """
    job, report = work.job, work.job.get("report") or {}
    alone = [e for e in entries if e.action == "verdict_alone" and e.facts["job"] == job["id"]]
    return {
        "id": job["id"],
        "adapter": job["adapter"],
        "state": job.get("state"),
        "attempt": job.get("attempt"),
        "started_at": job.get("started_at"),
        "finished_at": job.get("finished_at"),
        "records": short.get("records"),
        "before": _version(work.before),
        "after": _version(work.after),
        "superseded": [
            {key: one.get(key) for key in ("number", "sha256", "purge_after")} for one in job.get("superseded", ())
        ],
        "candidate_sha256": report.get("adapter", {}).get("after_sha256"),
        "method": report.get("method"),
        "verdict": alone[-1].facts["verdict"] if alone else report.get("verdict"),
        "alone": bool(alone),
        "findings": list(short.get("findings") or ()) if alone else report.get("findings", []),
        "attempts": [
            {key: one.get(key) for key in ("method", "verdict", "reason")} for one in report.get("attempts", [])
        ],
        "metrics": {when: _aggregates(report.get(when, {})) for when in ("before", "after")},
        "recoveries": report.get("recoveries", {}),
        "attacks_without_power": report.get("attacks_without_power", []),
        "warnings": report.get("warnings", []),
        "policy": report.get("policy"),
        "seed": report.get("seed"),
        "base": report.get("base"),
        "corpora": report.get("corpora"),
        "software": report.get("versions"),
        "mlflow_run_id": job.get("mlflow_run_id"),
        "error": job.get("error"),
    }


def _version(version: Json | None) -> dict[str, Any] | None:
    return None if version is None else {key: version[key] for key in VERSION if key in version}


def named(name: str, version: Json) -> dict[str, str]:
    """A version as subjects: its weights, and its config where its digest was noted."""
    config = {f"{name}/{CONFIG}": version["config_sha256"]} if "config_sha256" in version else {}
    return {name: version["sha256"], **config}


def _aggregates(measured: Json) -> dict[str, Any]:
    return {key: value for key, value in measured.items() if key not in BY_RECORD}


def _decisions(entries: Sequence[Entry], request: Json) -> list[dict[str, Any]]:
    """What people decided, from the ledger, with the reasons; one that the entry has the HMAC of with its nonce."""
    kept, nonces = reasons(entries, request), request.get("nonces") or {}
    told = []
    for one in repeated(entries, DECIDED):
        reason = kept.get(one["seq"])
        if REASON not in one["facts"]:
            told.append(one | {"reason": reason})
        else:
            nonce = None if reason is None else nonces.get(str(one["seq"]))
            told.append(one | {"reason": None if nonce is None else reason, "nonce": nonce})
    return told


def reasons(entries: Iterable[Entry], request: Json) -> dict[int, str]:
    """The reasons in words by their entries' numbers; kept beside the ledger are those of the last of each kind.

    An entry about several requests that share a job is one of a decision on one of them.
    """
    decision = request.get("decision") or {}
    kept = {
        "request_held": request.get("hold_reason"),
        "request_extended": request.get("extension_reason"),
        **{action: decision.get("reason") for action, kind in DECIDED.items() if kind and kind == decision.get("kind")},
    }
    own = (e for e in entries if REASON not in e.facts or e.facts["request"] == request.get("id"))
    last = {entry.action: entry.seq for entry in own}
    return {last[action]: reason for action, reason in kept.items() if action in last and reason is not None}


def searched(entries: Sequence[Entry]) -> dict[str, Any] | None:
    """How many adapters were searched for the person, as it was noted at the end."""
    for entry in reversed(entries):
        if entry.action == "request_completed":
            return {key: value for key, value in entry.facts.items() if key.startswith("adapters_")} or None
    return None


def repeated(entries: Sequence[Entry], actions: Collection[str]) -> list[dict[str, Any]]:
    """The entries of these actions, as the statement repeats them."""
    return [
        {"seq": entry.seq, "at": entry.at, "action": entry.action, "facts": dict(entry.facts)}
        for entry in entries
        if entry.action in actions
    ]
