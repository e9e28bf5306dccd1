"""The rules that the entries about one request keep to, if it went as it must. Knows entries and what was stated.

accepted -> (attempt -> verdict -> release) of each job -> completed
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from unlearn.evidence.ledger import REASON, Entry, findings_digest, reason_digest, report_digest, versions_digest
from unlearn.evidence.numbering import about_request
from unlearn.evidence.refusal import NotVerified
from unlearn.evidence.statement import DECIDED, PURGED, repeated, searched

ROUNDING = timedelta(seconds=1)
SKEW = timedelta(minutes=5)
"""How far the clocks of the service's machines may be apart."""

ENDINGS = {
    "request_completed": "completed",
    "request_needs_review": "needs_review",
    "request_cancelled": "cancelled",
    "request_rejected": "rejected",
}
ENDS = {"verdict": "done", "nothing_left": "done", "job_cancelled": "cancelled", "attempt_failed": "failed"}
"""Entries that end a job, unless they say that they are not final, and its state then."""

COMINGS = frozenset({"job_planned", "job_joined", "job_left", "job_lost"})
"""Entries that say whether a request has a job."""

JUDGED = frozenset({"verdict", "verdict_alone", "nothing_left", "version_released"})
DIGESTS = {
    "attempt_started": "sha256",
    "verdict": "report_sha256",
    "verdict_alone": "findings_sha256",
    "version_released": "superseded_sha256",
}
"""Facts that hold what the statement says of the version before, the findings and the versions before that."""

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


def ahead(entries: Sequence[Entry], now: datetime) -> str:
    """What to say of entries from after now; no reason to refuse, as one fast clock sets all behind it ahead."""
    late = [entry for entry in entries if datetime.fromisoformat(entry.at) > now]
    if not late:
        return ""
    told = f"; entry {late[0].seq} is of {late[0].at}, which is after now"
    return f"{told}: a clock of the service was fast, or this computer's is slow"


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
    request, entries = predicate["request"], about_request(entries)
    if not entries or entries[0].action != "request_accepted" or entries[0].facts.get("request") != request["id"]:
        raise _no(
            "the first entry must be that the request was accepted; the beginning is missing, or of another request"
        )
    _check_accepted(request, entries[0])
    _check_clock(predicate["clock"], request["state"], entries)
    _check_told("decisions", predicate["decisions"], repeated(entries, DECIDED))
    _check_reasons(predicate["decisions"])
    _check_told("purged", predicate["purged"], repeated(entries, PURGED))
    _check_jobs([job["id"] for job in predicate["jobs"]], entries)
    for job in predicate["jobs"]:
        _check_job(job, entries, reports.get(job["id"]))
    endings = [entry for entry in entries if entry.action in ENDINGS or entry.action == "request_reopened"]
    if not endings or ENDINGS.get(endings[-1].action) != request["state"]:
        told = f"entry {endings[-1].seq}, {endings[-1].action}" if endings else "no entry"
        raise _no(f"the request is said to be {request['state']}, and the ledger's last word on it is {told}")
    if request["state"] == "completed":
        _check_decided(predicate, entries)
    if predicate["searched"] != searched(entries):
        raise _no("the statement says of the search otherwise than the last entry that completes the request")
    releases = [entry.seq for entry in entries if entry.action == "version_released"]
    if request["state"] == "completed" and releases and endings[-1].seq < releases[-1]:
        raise _no(
            f"entry {endings[-1].seq} completes the request before entry {releases[-1]} releases a version for it"
        )


def _check_accepted(request: Mapping[str, Any], accepted: Entry) -> None:
    """Whose request it is, who brought it, and under which law, as far as the entry is new enough to say."""
    whose = request.get("controller") or {}
    for what, stated, fact in (
        ("person", request["subject"], "subject"),
        ("company", whose.get("id"), "controller"),
        ("submitter", request["submitted_by"], "by"),
        ("regulation", request["regulation"], "regulation"),
    ):
        if accepted.facts.get(fact, stated) != stated:
            raise _no(f"entry {accepted.seq} accepts the request of another {what} than the statement speaks of")


def _check_told(what: str, stated: Sequence[Mapping[str, Any]], entries: Sequence[Mapping[str, Any]]) -> None:
    """Check that the statement repeats these entries, all of them and no others; beside them it may have a reason."""
    bare = [{key: value for key, value in one.items() if key not in ("reason", "nonce")} for one in stated]
    for one in bare:
        if one not in entries:
            raise _no(f"the statement tells of '{one['action']}' in entry {one['seq']}, and that entry does not")
    for entry in entries:
        if entry not in bare:
            raise _no(f"entry {entry['seq']} is '{entry['action']}', and the statement leaves it out of '{what}'")
    if bare != entries:
        raise _no(f"the statement repeats an entry in '{what}', or has another order than the ledger")


def _check_reasons(decisions: Sequence[Mapping[str, Any]]) -> None:
    """Check that reasons are those whose HMAC the entries have, where these have one and the reason is told."""
    for one in decisions:
        noted, reason = one["facts"].get(REASON), one["reason"]
        if noted is None and one.get("nonce") is not None:
            raise _no(f"entry {one['seq']} has no HMAC of a reason, and the statement has a nonce for one")
        if noted is None or reason is None:
            continue
        if reason_digest(reason, bytes.fromhex(one["nonce"])) != noted:
            raise _no(f"the reason that the statement gives for '{one['action']}' is not the one of entry {one['seq']}")


def untold(decisions: Sequence[Mapping[str, Any]]) -> list[int]:
    """The entries that have the HMAC of a reason which the statement does not tell."""
    return [one["seq"] for one in decisions if REASON in one["facts"] and one["reason"] is None]


def unproved(decisions: Sequence[Mapping[str, Any]]) -> list[int]:
    """The entries that have no HMAC of the reason which the statement tells."""
    return [one["seq"] for one in decisions if REASON not in one["facts"] and one["reason"] is not None]


def _check_clock(clock: Mapping[str, Any], state: str, entries: Sequence[Entry]) -> None:
    """Received, due, extended and answered as the ledger took them down.

    The moment of an entry is that of the one before it where a machine's clock is behind: what is compared is a fact.
    """
    accepted, last = entries[0].facts, {entry.action: entry for entry in entries}
    extended, ended = last.get("request_extended"), last.get("request_completed")
    decided = last.get({"rejected": "request_rejected", "cancelled": "request_cancelled"}.get(state, ""))
    noted: list[tuple[str, str | None, timedelta]] = [
        ("received_at", accepted.get("received_at"), ROUNDING),
        ("confirm_by", accepted.get("confirm_by"), ROUNDING),
        ("due_at", extended.facts.get("due_at") if extended else accepted.get("due_at"), ROUNDING),
        ("extended_at", extended.facts.get("decided_at") if extended else None, ROUNDING),
        ("answered_at", decided.facts.get("decided_at") if decided else None, ROUNDING),
    ]
    if ended and clock.get("completed_at"):
        fact = ended.facts.get("completed_at")
        noted.append(("completed_at", fact or ended.at, ROUNDING if fact else SKEW))
    for key, noted_at, slack in noted:
        _check_moment(key, clock.get(key), noted_at, slack)
    if (clock.get("extended_at") is None) != (extended is None):
        raise _no("the statement says otherwise than the ledger whether the time for the answer was extended")


def _check_moment(key: str, stated: str | None, noted: str | None, slack: timedelta) -> None:
    if noted is None:
        return
    if stated is None or abs(datetime.fromisoformat(stated) - datetime.fromisoformat(noted)) > slack:
        raise _no(f"the statement says {stated} of {key}, and the ledger says {noted}")


def by_job(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """The entries that name a job, by job, in the order in which the ledger first names them."""
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        if "job" in entry.facts:
            found.setdefault(entry.facts["job"], []).append(entry)
    return found


def lost(entries: Sequence[Entry]) -> list[str]:
    """The jobs of which the ledger alone tells, since a restored database had them no more."""
    again = max((entry.seq for entry in entries if entry.action == "deletion_reapplied"), default=0)
    return [
        job
        for job, told in by_job(entries).items()
        if _fate(told) == "job_lost" or (_fate(told) != "job_left" and told[-1].seq < again)
    ]


def _fate(told: Sequence[Entry]) -> str | None:
    """How a request last came to a job or went from it."""
    return next((entry.action for entry in reversed(told) if entry.action in COMINGS), None)


def _check_jobs(stated: Sequence[str], entries: Sequence[Entry]) -> None:
    """Every job that the entries name is stated, but for lost ones and those that others went on with; and no other."""
    told, gone = by_job(entries), lost(entries)
    for job in stated:
        if job not in told or stated.count(job) > 1:
            raise _no(
                f"the statement speaks of job {job}, and no entry does" if job not in told else f"job {job} twice"
            )
    for job, its in told.items():
        if job in stated or job in gone:
            continue
        if _fate(its) != "job_left" or any(entry.action in JUDGED for entry in its):
            raise _no(f"entry {its[-1].seq} is '{its[-1].action}' of job {job}, and the statement leaves that job out")


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
    _check_own(job, [entry for entry in entries if entry.facts.get("job") == job["id"]])


def _check_own(job: Mapping[str, Any], entries: Sequence[Entry]) -> None:
    """What else the entries about a job say of it: its adapter, how many records, from which version, how it ended."""
    planned = next((one.facts for one in entries if one.action in ("job_planned", "job_joined")), {})
    begun = [one.facts for one in entries if one.action == "attempt_started"]
    ends = [ENDS[one.action] for one in entries if one.action in ENDS and one.facts.get("final", True)]
    version, last = job["before"] or {}, begun[-1] if begun else {}
    before = version.get("number")
    for what, stated, noted in (
        ("adapter", job["adapter"], planned.get("adapter_name")),
        ("records", job["records"], planned.get("records")),
        ("version before", before, last.get("version") if before or job["after"] else None),
        ("SHA-256 of the version before", version.get("sha256"), last.get("sha256") if before else None),
        ("state", job["state"], ends[-1] if ends else None),
        ("attempt", job["attempt"], begun[-1].get("attempt") if begun and ends and ends[-1] == "done" else None),
    ):
        if noted is not None and stated != noted:
            raise _no(f"the statement says {stated} of the {what} of job {job['id']}, and the ledger says {noted}")
    if before and version.get("config_sha256") != last.get("config_sha256", version.get("config_sha256")):
        raise _no(f"job {job['id']} began with another adapter_config.json than the statement speaks of")
    if job["alone"] != any(entry.action == "verdict_alone" for entry in entries):
        raise _no(
            f"the statement says otherwise than the ledger whether the verdict of job {job['id']} is on one alone"
        )


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
    if entry.facts.get("findings_sha256", digest := findings_digest(job["findings"])) != digest:
        raise _no(
            f"the findings of job {job['id']} are not those of the verdict on this person alone, entry {entry.seq}"
        )


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
    stated, told = {job["id"]: job for job in predicate["jobs"]}, by_job(entries)
    counts = {}
    for job, its in told.items():  # in the ledger's order, whatever the statement's
        if job in stated or job in lost(entries):
            counts[stated[job]["adapter"] if job in stated else its[0].facts.get("adapter_name")] = job
    for job in counts.values():
        last = {entry.action: entry for entry in told[job]}
        judged = last.get("verdict_alone") or last.get("verdict")
        if {"nothing_left", "job_cancelled"} & set(last) or (judged and judged.facts["verdict"] == "released"):
            continue
        if judged is None or not any(seq > last["verdict"].seq for seq in decided):
            raise _no(f"the request is completed, though the tests of job {job} did not pass and nobody decided so")


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
    superseded = job.get("superseded") or []
    if release is None and superseded:
        raise _no(f"job {job['id']} released nothing, and the statement speaks of versions before it")
    stated = versions_digest((one["number"], one["sha256"]) for one in superseded)
    if release is not None and release.facts.get("superseded_sha256", stated) != stated:
        raise _no(f"entry {release.seq} releases what was made from other versions than those that the statement lists")


def _no(message: str) -> NotVerified:
    return NotVerified("story", message)
