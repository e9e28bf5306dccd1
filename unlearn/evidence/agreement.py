"""Whether a bundle's statement says what its files say, and its subjects are what it speaks of. Knows no signature."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from unlearn.evidence.layout import MANIFEST, REQUEST
from unlearn.evidence.refusal import NotVerified, laid_out
from unlearn.evidence.statement import VERSION, named

Files = Mapping[str, bytes]
Json = Mapping[str, Any]
TIMES = ("received_at", "confirm_by", "due_at", "extended_at", "completed_at")


@laid_out("statement")
def agreed(files: Files, statement: Mapping[str, Any]) -> dict[str, Any]:
    """The predicate, once it agrees with the subjects and with the files.

    Raises:
        NotVerified: it does not; where.
    """
    predicate: dict[str, Any] = statement["predicate"]
    request, subjects = json.loads(files[REQUEST]), {MANIFEST: subjects_of(statement)[MANIFEST]}
    for key in ("id", "state", "subject", "regulation"):
        if predicate["request"][key] != request[key]:
            raise NotVerified(
                "statement",
                f"it says '{predicate['request'][key]}' of the request's {key}, and {REQUEST} says otherwise",
            )
    for key in TIMES:
        if predicate["clock"][key] != request.get(key):
            raise NotVerified(
                "statement", f"it says '{predicate['clock'][key]}' of {key}, and {REQUEST} says otherwise"
            )
    short = {job["id"]: job for job in request["jobs"]}
    if {job["id"] for job in predicate["jobs"]} != set(short):
        raise NotVerified("statement", f"its jobs are not those of {REQUEST}")
    for job in predicate["jobs"]:
        report = report_of(files, job["id"])
        _same_versions(job, json.loads(files[f"jobs/{job['id']}/job.json"]), report)
        _same_findings(job, short[job["id"]], report or {})
        for version in (job["before"], job["after"]):
            if version is not None:
                subjects |= named(f"{job['adapter']}/v{version['number']}", version)
    if subjects != subjects_of(statement):
        raise NotVerified("statement", "its subjects are not the versions that it speaks of")
    return predicate


def _same_versions(said: Json, job: Json, report: Json | None) -> None:
    """Check the versions that are said to be before and after a job against its files."""
    for when in ("before", "after"):
        digest = (report or {}).get("adapter", {}).get(f"{when}_sha256")
        if said[when] != _short(job[when]) or (said[when] and digest and said[when]["sha256"] != digest):
            raise NotVerified(
                "statement",
                f"the version {when} job {said['id']} has another SHA-256 in the statement than in the job's files",
            )


def _same_findings(said: Json, short: Json, report: Json) -> None:
    """Check method, verdict and figures against the report, or what was found of this request in a job of several."""
    parts = {"method": report.get("method"), "seed": report.get("seed")}
    parts["findings"] = short.get("findings") or report.get("findings", [])
    if not said["alone"]:  # that of one alone is in the ledger
        parts["verdict"] = report.get("verdict")
    for key, value in parts.items():
        if said[key] != value:
            raise NotVerified("statement", f"the {key} of job {said['id']} are not those of its report")
    for when, figures in said["metrics"].items():
        if any(report.get(when, {}).get(name) != value for name, value in figures.items()):
            raise NotVerified("statement", f"the figures {when} job {said['id']} are not those of its report")


def reports_of(files: Files, predicate: Mapping[str, Any]) -> dict[str, Any]:
    """The reports of the jobs that have one, by job."""
    found = {job["id"]: report_of(files, job["id"]) for job in predicate["jobs"]}
    return {job_id: report for job_id, report in found.items() if report is not None}


def report_of(files: Files, job_id: str) -> dict[str, Any] | None:
    """A job's report, if it has one."""
    name = f"jobs/{job_id}/report.json"
    return json.loads(files[name]) if name in files else None


def _short(version: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if version is None else {key: version[key] for key in VERSION if key in version}


def subjects_of(statement: Mapping[str, Any]) -> dict[str, str]:
    """The SHA-256 of each subject, by its name."""
    return {one["name"]: one["digest"]["sha256"] for one in statement["subject"]}
