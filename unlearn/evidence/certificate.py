"""The certificate of unlearning: one page for a lawyer, and an annex for whoever checks it.

Made from the signed predicate alone, so that it can't say more than the statement does. Says what was done and which
tests passed at which thresholds; it says of nobody's data that it is gone, as that is to be judged case by case (EDPB,
Opinion 28/2024). Knows no format; `certificate_html` and `certificate_pdf` do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unlearn.evidence.leavings import as_day, as_moment, corpora_taken_from, kept, rows_purged, rows_taken

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """Rows under a head; `widths` are the columns' shares, `numbers` those that are aligned to the right."""

    title: str
    note: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    widths: tuple[float, ...]
    numbers: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Certificate:
    """What the certificate shows, in words.

    Attributes:
        request: its id.
        verdict: in a line.
        outcome: "good", "bad" or "open", for its colour.
        summary: sentences under it.
        facts: label and value, the first page's table.
        tests: on the first page: what was tested, and how it came out.
        limits: what the tests can't show.
        annex: tables behind the first page.
    """

    request: str
    verdict: str
    outcome: str
    summary: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    tests: Table | None
    limits: tuple[str, ...]
    annex: tuple[Table, ...]


STATES = {
    "completed": ("Completed", "good"),
    "needs_review": ("Not completed: a person has to decide", "open"),
    "rejected": ("Rejected", "bad"),
    "cancelled": ("Cancelled", "open"),
}
REGULATIONS = {"gdpr": "GDPR, article 17", "ccpa": "CCPA, section 1798.105"}
MARKS = {"pass": "passed", "fail": "failed", "inconclusive": "can't tell", "untested": "not tested"}
GATES = {
    "membership": "Is the person still recognised?",
    "alarm": "Does any single record stand out?",
    "extraction": "Do records come out word for word?",
    "retain_drift": "Are the others still served as well?",
    "robustness": "Does it come back under attack?",
    "sequence_drift": "Do repeated requests add up?",
    "among_others": "Does the person stand out among the others?",
    "shared_records": "Are those released who share records?",
}
DECISIONS = {
    "request_held": "put under a legal hold",
    "request_hold_lifted": "legal hold lifted",
    "request_extended": "time for the answer extended",
    "request_cancelled": "request cancelled",
    "request_retried": "tried again",
    "request_rejected": "request rejected",
    "request_released_by_decision": "released in spite of the tests",
}
FIGURES = (
    ("forget_nll_nats", "the person's records"),
    ("retain_nll_nats", "records of people who stay"),
    ("neighbours_nll_nats", "of these, the most similar"),
    ("holdout_nll_nats", "records never seen"),
    ("general_nll_nats", "plain sentences"),
)


def certificate(predicate: Json) -> Certificate:
    """The certificate of a predicate as `statement` makes it."""
    request, jobs = predicate["request"], predicate["jobs"]
    verdict, outcome = STATES.get(request["state"], (str(request["state"]), "open"))
    return Certificate(
        request=request["id"],
        verdict=verdict,
        outcome=outcome,
        summary=tuple(_summary(predicate)),
        facts=tuple(_facts(predicate)),
        tests=_tests(jobs),
        limits=tuple(_limits(predicate)),
        annex=tuple(table for table in _annex(predicate) if table.rows),
    )


def _summary(predicate: Json) -> Iterator[str]:
    jobs, state = predicate["jobs"], predicate["request"]["state"]
    released = [job for job in jobs if job["after"] is not None]
    for job in released:
        before = "" if job["before"] is None else f"Version {job['before']['number']} of "
        yield (
            f"{before}{'adapter' if before else 'Adapter'} '{job['adapter']}' was replaced by version "
            f"{job['after']['number']}, made by the method '{job['method']}' to take out what it learned from the "
            f"person's {_records(job)}."
        )
    if state == "completed" and not released:
        searched = predicate["searched"] or {}
        number = _count(searched.get("adapters_searched"), "adapter was", "adapters were")
        yield (
            f"{number} searched by the keyed hash of the person's identity; none that serves has anything left to "
            "unlearn of this person. No weights were changed."
        )
        if taken := corpora_taken_from(predicate["purged"]):
            which = _count(taken, "stored corpus", "stored corpora")
            yield f"Records of the person were taken out of {which} that adapters are compared with, as listed below."
    if state == "needs_review":
        yield "At least one adapter is not released for this person: somebody has to decide."
    if state in ("rejected", "cancelled"):
        yield f"The request was {state}; what a person decided stands below."


def _facts(predicate: Json) -> Iterator[tuple[str, str]]:
    request, clock = predicate["request"], predicate["clock"]
    yield "Request", request["id"]
    whose = request["controller"] or {}
    yield "Company", f"{whose['name']} ({whose['id']})" if whose.get("name") else whose.get("id") or "not named"
    yield "Person", f"known to the ledger by a pseudonym alone: {request['subject']}"
    yield "Right exercised", REGULATIONS.get(request["regulation"], str(request["regulation"]))
    yield "Received", as_day(clock["received_at"])
    extended = f" (extended {as_day(clock['extended_at'])})" if clock["extended_at"] else ""
    yield "Due", as_day(clock["due_at"]) + extended
    if clock["answered_at"]:
        late = "after the due date" if clock.get("late") else "in time"
        days = clock.get("days", 0.0)
        took = "within a day" if days < 1 else f"after {_count(round(days), 'day', 'days')}"
        yield "Answered", f"{as_day(clock['answered_at'])}, {took}, {late}"
    else:
        yield "Answered", "not yet"
    decided = any(one["action"] == "request_released_by_decision" for one in predicate["decisions"])
    for job in predicate["jobs"]:
        yield f"Adapter '{job['adapter']}'", f"{_verdict(job, decided)}; {_versions(job)}"
    for one in predicate["decisions"]:
        reason = f": {one['reason']}" if one["reason"] else ""
        yield "Decided", f"{as_day(one['at'])} by {one['facts'].get('by', '?')}: {DECISIONS[one['action']]}{reason}"
    if predicate["jobs"] and not decided:
        yield "Decided by", "the tests below, without a person's intervention in their outcome"
    yield "Submitted by", str(request["submitted_by"])
    for job in predicate["jobs"]:
        yield from ((f"Kept of '{job['adapter']}'", told) for told in kept(job, predicate["purged"]))
    issued = predicate["issued"]
    keys = "keys" if "," in issued["key"] else "key"
    yield "Issued by", f"ledger {issued['by']}, under its {keys} {issued['key']}, as of {as_moment(issued['at'])}"


def _tests(jobs: Sequence[Json]) -> Table | None:
    several = len(jobs) > 1
    rows = tuple(
        (
            (f"{job['adapter']}: " if several else "") + GATES.get(one["gate"], one["gate"].replace("_", " ")),
            MARKS.get(one["outcome"], one["outcome"]),
            _number(one.get("figure")),
            _threshold(one.get("threshold")),
        )
        for job in jobs
        for one in job["findings"]
    )
    if not rows:
        return None
    head = ("test", "outcome", "figure", "allowed")
    return Table("What was tested", "", head, rows, (0.52, 0.16, 0.14, 0.18), frozenset({2, 3}))


def _limits(predicate: Json) -> Iterator[str]:
    yield (
        "The tests passed or failed at these thresholds, on these records, with these attacks. They do not show that "
        "no other test could find the person's influence again, nor that the model holds no personal data."
    )
    silent = sorted({name for job in predicate["jobs"] for name in job["attacks_without_power"]})
    if silent:
        yield f"Attacks that did not see the records before either, whose silence says nothing: {_list(silent)}."
    for job in predicate["jobs"]:
        yield from (f"{job['adapter']}: {warning}." for warning in job["warnings"])
    if predicate["jobs"]:
        yield "Whoever holds the old version holds what it learned: it has to be locked away until it is purged."
    if any(list(kept(job, predicate["purged"])) for job in predicate["jobs"]):
        yield "What is kept of old versions, above, still holds what they learned and were trained on, under seal."
    yield (
        "No entry covers what lies outside of the service: the company's own files, from which it trained, and "
        "backups, snapshots and copies of them or of old versions."
    )


def _annex(predicate: Json) -> Iterator[Table]:
    for job in predicate["jobs"]:
        title = f"Adapter '{job['adapter']}'"
        yield Table(f"{title}: findings", "", ("test", "finding"), _sentences(job), (0.2, 0.8))
        yield Table(
            f"{title}: likelihood",
            "Mean negative log-likelihood, nats per token; higher means less expected.",
            ("of", "before", "after"),
            tuple(_rows(job["metrics"], FIGURES)),
            (0.5, 0.25, 0.25),
            frozenset({1, 2}),
        )
        yield Table(
            f"{title}: membership attacks",
            "AUC of telling the person's records from never-seen ones; 0.5 is chance.",
            ("attack", "before", "after", "90 % interval after"),
            tuple(_attacks(job["metrics"])),
            (0.4, 0.15, 0.15, 0.3),
            frozenset({1, 2, 3}),
        )
        brought = tuple((name, f"{share:+.1%}") for name, share in job["recoveries"].items())
        note = "Share of the unlearning that each attack undoes, beyond what it does to people never seen."
        yield Table(
            f"{title}: what attacks bring back", note, ("attack", "comes back"), brought, (0.6, 0.4), frozenset({1})
        )
        tried = tuple((one["method"] or "", one["verdict"] or "", one["reason"] or "") for one in job["attempts"])
        yield Table(f"{title}: methods tried", "", ("method", "verdict", "why it ended"), tried, (0.2, 0.2, 0.6))
        yield Table(f"{title}: where it comes from", "", ("what", "value"), tuple(_provenance(job)), (0.28, 0.72))
    yield Table("Taken out of the stored corpora", "", ("when", "what"), rows_taken(predicate["purged"]), (0.24, 0.76))
    yield Table("What was purged", "", ("when", "what"), rows_purged(predicate["purged"]), (0.24, 0.76))
    ledger = predicate["ledger"]
    about = (
        ("ledger", ledger["origin"]),
        ("entries in this bundle", _list([str(seq) for seq in ledger["entries"]])),
        ("size at the checkpoint", str(ledger["size"])),
        ("root at the checkpoint", ledger["root"]),
    )
    yield Table(
        "In the ledger",
        "The files under ledger/ show of each entry that it is in it.",
        ("what", "value"),
        about,
        (0.28, 0.72),
    )


def _sentences(job: Json) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (one["gate"].replace("_", " "), one.get("sentence", MARKS.get(one["outcome"], ""))) for one in job["findings"]
    )


def _rows(metrics: Json, names: Sequence[tuple[str, str]]) -> Iterator[tuple[str, ...]]:
    for key, said in names:
        values = [metrics[when].get(key) for when in ("before", "after")]
        if any(value is not None for value in values):
            yield said, *(_figure(value) for value in values)


def _attacks(metrics: Json) -> Iterator[tuple[str, ...]]:
    before, after = (metrics[when].get("membership", {}) for when in ("before", "after"))
    for name, found in after.items():
        ends = found.get("interval_90")
        interval = "" if ends is None else " to ".join(_figure(end) for end in ends)
        yield name.replace("_", " "), _figure(before.get(name, {}).get("auc")), _figure(found.get("auc")), interval


def _provenance(job: Json) -> Iterator[tuple[str, str]]:
    yield "job", job["id"]
    for when in ("before", "after"):
        if job[when] is not None:
            yield f"version {job[when]['number']} ({when}), SHA-256", job[when]["sha256"]
    if job["after"] is None and job["candidate_sha256"]:
        yield "candidate, not released, SHA-256", job["candidate_sha256"]
    for part in ("base", "corpora"):
        yield from (
            (f"{part} {key.replace('_', ' ').replace('sha256', 'SHA-256')}", str(value))
            for key, value in (job[part] or {}).items()
        )
    yield "seed", str(job["seed"])
    yield "software", _list([f"{name} {version}" for name, version in (job["software"] or {}).items()])
    yield "MLflow run", str(job["mlflow_run_id"])
    for when in ("started_at", "finished_at"):
        yield when.replace("_at", ""), as_moment(job[when])


def _verdict(job: Json, decided: bool) -> str:
    said = {
        "released": "all tests that were made passed",
        "refused": "refused by the tests",
        "inconclusive": "the tests can't tell",
    }
    found = said.get(job["verdict"], job["error"] or f"job {job['state']}")
    if job["after"] is None or job["verdict"] == "released":
        return found
    return (
        f"{found}, and a person released it" if decided else f"{found} for this person alone; others share the version"
    )


def _versions(job: Json) -> str:
    old = "" if job["before"] is None else f"version {job['before']['number']}"
    if job["after"] is None:
        return f"{old} serves on" if old else "no version was released"
    return f"{old} → version {job['after']['number']}" if old else f"version {job['after']['number']}"


def _records(job: Json) -> str:
    return _count(job["records"], "record", "records")


def _count(number: int | None, one: str, many: str) -> str:
    return many if number is None else f"{number} {one if number == 1 else many}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _threshold(ends: Sequence[float | None] | None) -> str:
    low, high = ends or (None, None)
    if low is None and high is None:
        return ""
    if low is None:
        return f"at most {_number(high)}"
    return f"at least {_number(low)}" if high is None else f"{_number(low)} to {_number(high)}"


def _list(names: Sequence[str]) -> str:
    return ", ".join(name.replace("_", " ") for name in names)
