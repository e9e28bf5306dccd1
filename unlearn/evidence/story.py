"""The rules that the entries about one request keep to, if it went as it must. Knows entries and what was stated.

accepted -> (attempt -> verdict -> release) of each job -> completed
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from unlearn.evidence.ledger import Entry, report_digest
from unlearn.evidence.refusal import NotVerified

ROUNDING = timedelta(seconds=1)
SKEW = timedelta(minutes=5)
"""How far the clocks of the service's machines may be apart."""

ENDINGS = {
    "request_completed": "completed",
    "request_needs_review": "needs_review",
    "request_cancelled": "cancelled",
    "request_rejected": "rejected",
}
BROKEN_OFF = frozenset({"attempt_failed", "attempt_interrupted", "job_cancelled", "job_left"})


def check_times(entries: Sequence[Entry]) -> None:
    """Check that no entry is much earlier than one before it.

    Raises:
        NotVerified: one is; names both.
    """
    latest: tuple[datetime, Entry] | None = None
    for entry in entries:
        at = datetime.fromisoformat(entry.at)
        if latest is not None and at < latest[0] - SKEW:
            raise NotVerified(
                "times",
                f"entry {entry.seq} is of {entry.at}, and entry {latest[1].seq} before it of {latest[1].at}: clocks of "
                f"the service were more than {SKEW.seconds // 60} minutes apart, or the times are not true; ask which",
            )
        latest = (at, entry) if latest is None or at > latest[0] else latest


def check_story(
    predicate: Mapping[str, Any], entries: Sequence[Entry], reports: Mapping[str, Mapping[str, Any]]
) -> None:
    """Check that the request went the way it must, and that the ledger tells what the statement says.

    Args:
        predicate: of the statement.
        entries: about the request, in order.
        reports: of its jobs, by id.

    Raises:
        NotVerified: it did not, or they differ; names the entry.
    """
    request, entries = predicate["request"], [entry for entry in entries if not entry.action.startswith("ledger_")]
    if not entries or entries[0].action != "request_accepted" or entries[0].facts.get("request") != request["id"]:
        raise _no(
            "the first entry must be that the request was accepted; the beginning is missing, or of another request"
        )
    if "subject" in entries[0].facts and entries[0].facts["subject"] != request["subject"]:
        raise _no(f"entry {entries[0].seq} accepts the request of another person than the statement speaks of")
    _check_clock(predicate["clock"], entries)
    known = {entry.seq: (entry.at, entry.action, entry.facts) for entry in entries}
    for one in [*predicate["decisions"], *predicate["purged"]]:
        if known.get(one["seq"]) != (one["at"], one["action"], one["facts"]):
            raise _no(f"the statement tells of '{one['action']}' in entry {one['seq']}, and that entry does not")
    for job in predicate["jobs"]:
        _check_job(job, entries, reports.get(job["id"]))
    endings = [entry for entry in entries if entry.action in ENDINGS or entry.action == "request_reopened"]
    if not endings or ENDINGS.get(endings[-1].action) != request["state"]:
        told = f"entry {endings[-1].seq}, {endings[-1].action}" if endings else "no entry"
        raise _no(f"the request is said to be {request['state']}, and the ledger's last word on it is {told}")
    if request["state"] == "completed":
        _check_decided(predicate, entries)
    searched = {key: value for key, value in endings[-1].facts.items() if key.startswith("adapters_")}
    if request["state"] == "completed" and (predicate["searched"] or {}) != searched:
        raise _no(f"the statement says of the search otherwise than entry {endings[-1].seq}")
    releases = [entry.seq for entry in entries if entry.action == "version_released"]
    if request["state"] == "completed" and releases and endings[-1].seq < releases[-1]:
        raise _no(
            f"entry {endings[-1].seq} completes the request before entry {releases[-1]} releases a version for it"
        )


def _check_clock(clock: Mapping[str, Any], entries: Sequence[Entry]) -> None:
    """Received and due as the ledger took them down; completed when it says so."""
    accepted = entries[0].facts
    due = [entry.facts["due_at"] for entry in entries if entry.action == "request_extended" and "due_at" in entry.facts]
    ends = [entry.at for entry in entries if entry.action == "request_completed"]
    for key, noted, slack in (
        ("received_at", accepted.get("received_at"), ROUNDING),
        ("due_at", due[-1] if due else accepted.get("due_at"), ROUNDING),
        ("completed_at", ends[-1] if ends and clock.get("completed_at") else None, SKEW),
    ):
        stated = clock.get(key)
        if noted is None or stated is None:
            continue
        if abs(datetime.fromisoformat(stated) - datetime.fromisoformat(noted)) > slack:
            raise _no(f"the statement says {stated} of {key}, and the ledger says {noted}")


def _check_job(job: Mapping[str, Any], entries: Sequence[Entry], report: Mapping[str, Any] | None) -> None:
    """Attempt before verdict before release; what was released is what is stated; the verdict is the report's."""
    running, verdict, release, excused = False, None, None, False
    for entry in entries:
        if entry.action in ("request_reopened", "request_retried"):
            excused = False  # what a person decided before was about what she saw then
        excused |= entry.action == "request_released_by_decision"
        if entry.facts.get("job") != job["id"]:
            continue
        if entry.action == "attempt_started":
            running = True
        elif entry.action in BROKEN_OFF:
            running = False
        elif entry.action == "verdict":
            if not running:
                raise _no(f"entry {entry.seq} has a verdict of job {job['id']} before an attempt of it began")
            _check_verdict(entry, job["id"], report)
            running, verdict = False, entry
        elif entry.action == "verdict_alone":
            _check_alone(entry, job)
        elif entry.action == "version_released":
            if verdict is None:
                raise _no(f"entry {entry.seq} releases a version of job {job['id']} before there was a verdict on it")
            if verdict.facts["verdict"] != "released" and not excused:
                raise _no(f"entry {entry.seq} releases what entry {verdict.seq} did not, and nobody decided so")
            release = entry
    if report is not None and verdict is None:
        raise _no(f"job {job['id']} has a report, and the ledger has no verdict on it")
    _check_release(job, release)


def _check_verdict(entry: Entry, job_id: str, report: Mapping[str, Any] | None) -> None:
    if report is None:
        raise _no(f"entry {entry.seq} has a verdict of job {job_id}, and the bundle has no report of it")
    told = {finding["gate"]: finding["outcome"] for finding in report["findings"]}
    if (entry.facts["verdict"], entry.facts["method"], entry.facts["findings"]) != (
        report["verdict"],
        report["method"],
        told,
    ):
        raise _no(f"the verdict of job {job_id} in entry {entry.seq} is not that of its report")
    if entry.facts.get("report_sha256", digest := report_digest(report)) != digest:
        raise _no(f"the report of job {job_id} is not the one that the verdict in entry {entry.seq} was given on")


def _check_alone(entry: Entry, job: Mapping[str, Any]) -> None:
    """What was found of this person alone, where others share the job."""
    told = {finding["gate"]: finding["outcome"] for finding in job["findings"]}
    if (entry.facts["verdict"], entry.facts["findings"]) != (job["verdict"], told):
        raise _no(f"the verdict of job {job['id']} on this person alone, in entry {entry.seq}, is not the one stated")


def _check_decided(predicate: Mapping[str, Any], entries: Sequence[Entry]) -> None:
    """A request is completed by the tests, by a person's decision, or for want of records: of an adapter the last job
    counts.
    """
    request = predicate["request"]["id"]
    decided = [
        entry.seq
        for entry in entries
        if entry.action == "request_released_by_decision" and entry.facts.get("request") == request
    ]
    for job in {job["adapter"]: job for job in predicate["jobs"]}.values():
        told = {entry.action: entry.seq for entry in entries if entry.facts.get("job") == job["id"]}
        if job["verdict"] == "released" or {"nothing_left", "job_cancelled"} & set(told):
            continue
        if job["verdict"] is None or not any(seq > told.get("verdict", 0) for seq in decided):
            raise _no(
                f"the request is completed, though the tests of job {job['id']} did not pass and nobody decided so"
            )


def _check_release(job: Mapping[str, Any], release: Entry | None) -> None:
    after = job["after"]
    if (after is None) != (release is None):
        told, said = ("a release", "none") if release is not None else ("no release", "one")
        raise _no(f"of job {job['id']} the ledger has {told}, and the statement says {said}")
    if release is not None and (release.facts["sha256"], release.facts["version"]) != (
        after["sha256"],
        after["number"],
    ):
        raise _no(
            f"entry {release.seq} releases version {release.facts['version']} with SHA-256 {release.facts['sha256']}, "
            f"and the statement says version {after['number']} with {after['sha256']}"
        )
    if release is not None and release.facts.get("config_sha256") != after.get("config_sha256"):
        raise _no(f"entry {release.seq} releases another adapter_config.json than the statement speaks of")


def _no(message: str) -> NotVerified:
    return NotVerified("story", message)
