"""Whether a bundle's statement says what its files say, and its subjects are what it speaks of. Knows no signature.

What the statement copies is copied once more, from the files, and compared both ways; what it takes from the ledger's
entries, `story` compares.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence, Set
from itertools import zip_longest
from typing import Any

from unlearn.evidence.dossier import Work
from unlearn.evidence.layout import MANIFEST, RENDERER, REQUEST, SEARCHED
from unlearn.evidence.ledger import Entry
from unlearn.evidence.refusal import NotVerified, laid_out
from unlearn.evidence.rendered import pretty
from unlearn.evidence.spelling import read
from unlearn.evidence.statement import copied, subjects

Files = Mapping[str, bytes]
Json = Mapping[str, Any]
OF_ENTRIES = frozenset({"renderer", "drawn_by", "issued", "searched", "purged", "ledger"})
"""Parts of the predicate that no file but the ledger's has."""

LISTED = "adapters_versions_sha256"
"""The field that has the digest of the list of adapters, where they are too many to be named."""

STATEMENT_FIELDS = frozenset({"_type", "subject", "predicateType", "predicate"})
LEDGER_FIELDS = frozenset({"origin", "size", "root", "entries", "about_request"})
SINCE_RENDERED = frozenset({"controller", "superseded"})
"""Fields that are missing in statements from before these named their renderer."""


@laid_out("statement")
def agreed(files: Files, statement: Mapping[str, Any]) -> dict[str, Any]:
    """The predicate, once it agrees with the subjects and with the files.

    Raises:
        NotVerified: it does not; where.
    """
    said: dict[str, Any] = statement["predicate"]
    _check_searched(files, said)
    request = read("statement", REQUEST, files[REQUEST], pretty)
    works = [_work(files, job["id"]) for job in request["jobs"]]
    decided = [Entry(one["seq"], one["at"], one["action"], one["facts"], "") for one in said["decisions"]]
    made = copied(request, works, decided)
    if [job["id"] for job in said["jobs"]] != [job["id"] for job in made["jobs"]]:
        raise NotVerified("statement", f"its jobs are not those of {REQUEST}")
    for job, own, short, work in zip(said["jobs"], made["jobs"], request["jobs"], works, strict=True):
        if job["alone"]:  # the verdict on one alone is in the ledger
            own |= {"alone": True, "verdict": job["verdict"], "findings": short["findings"]}
        _same_verdict(own, short, work.job, decided)
    old = "renderer" not in said
    _same({key: value for key, value in said.items() if key not in OF_ENTRIES}, made, "", old)
    for work, job in zip(works, said["jobs"], strict=True):
        _same_weights(job, work.job.get("report") or {})
    if statement["subject"] != subjects(hashlib.sha256(files[MANIFEST]).hexdigest(), works):
        raise NotVerified("statement", "its subjects are not the versions that it speaks of")
    _same_fields(statement, made)
    return said


def _check_searched(files: Files, said: Json) -> None:
    """Check the list of the adapters that were searched, where there is one, against the digest that is stated."""
    stated = said.get("searched") or {}
    if SEARCHED not in files:
        return
    if hashlib.sha256(files[SEARCHED]).hexdigest() != stated.get(LISTED):
        raise NotVerified("statement", f"{SEARCHED} is not the list of adapters whose SHA-256 the statement has")
    if len(json.loads(files[SEARCHED])) != stated["adapters_searched"]:
        raise NotVerified("statement", f"{SEARCHED} has another number of adapters than the statement says")


def unlisted(files: Files, said: Json) -> str:
    """What is to be said where the list of the adapters that were searched is not in the bundle."""
    if SEARCHED in files or LISTED not in (said.get("searched") or {}):
        return ""
    return f"; which adapters were searched it does not show, as {SEARCHED} is not in it: their list's SHA-256 alone"


def _same_fields(statement: Json, made: Json) -> None:
    """Check that the statement has the fields that this program writes, and no others; an older one may lack some."""
    said = statement["predicate"]
    for where, there, known in (
        ("it", statement, STATEMENT_FIELDS),
        ("its predicate", said, OF_ENTRIES | made.keys()),
        ("its ledger", said["ledger"], LEDGER_FIELDS),
    ):
        _check_fields(where, there.keys(), known, said)
    for part in ("request", "clock"):
        _check_fields(f"its {part}", said[part].keys(), made[part].keys(), said)
    for job, own in zip(said["jobs"], made["jobs"], strict=True):
        _check_fields(f"its job {job['id']}", job.keys(), own.keys(), said)


def _check_fields(where: str, there: Set[str], known: Set[str], said: Json) -> None:
    differs = there ^ known if said.get("renderer") == RENDERER else there - known
    if differs:
        raise NotVerified("statement", f"{where} has not the fields that this program writes: '{min(differs)}'")


def _work(files: Files, job_id: str) -> Work:
    """A job as its files have it."""
    found = {
        one: read("statement", name, files[name], pretty)
        for one in ("job", "report", "mlflow")
        if (name := f"jobs/{job_id}/{one}.json") in files
    }
    job, run = found["job"], found.get("mlflow")
    if run is not None and run["run_id"] != job["mlflow_run_id"]:
        raise NotVerified("statement", f"jobs/{job_id}/mlflow.json is of another run than the job's")
    return Work({**job, "id": job_id, "report": found.get("report")}, job["before"], job["after"])


def _same(said: Any, made: Any, where: str, old: bool) -> None:
    """Check that what is said is what is copied, part by part; what is missing says as little as nothing does."""
    if isinstance(said, Mapping) and isinstance(made, Mapping):
        for key in {**made, **said}:
            if not (old and key in SINCE_RENDERED and key not in said):
                _same(said.get(key), made.get(key), f"{where}.{key}" if where else str(key), old)
    elif isinstance(said, list) and isinstance(made, list):
        for place, (one, other) in enumerate(zip_longest(said, made)):
            _same(one, other, f"{where}[{place}]", old)
    elif json.dumps(said) != json.dumps(made):
        raise NotVerified("statement", f"it says {_short(said)} of {where}, and the files say {_short(made)}")


def _same_verdict(own: Json, short: Json, job: Json, decided: Sequence[Entry]) -> None:
    """Check what the files of request and job say of the verdict, which a decision may turn, and of findings."""
    turned = any(one.action == "request_released_by_decision" for one in decided)
    of_all = (job["report"] or {}).get("verdict")
    for name, judged, verdict in (
        (REQUEST, own["verdict"], short.get("verdict")),
        (f"jobs/{own['id']}/job.json", of_all, job.get("verdict", of_all)),
    ):
        if verdict != judged and not (turned and verdict == "released"):
            raise NotVerified(
                "statement", f"{name} says {_short(verdict)} of the verdict of job {own['id']}, not {_short(judged)}"
            )
    if not own["alone"] and short.get("findings") not in (None, own["findings"]):
        raise NotVerified("statement", f"{REQUEST} has findings of job {own['id']} that are not those of its report")


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:60]} …"


def _same_weights(said: Json, report: Json) -> None:
    """Check the digests of the versions before and after a job against those that its report has."""
    for when in ("before", "after"):
        digest = report.get("adapter", {}).get(f"{when}_sha256")
        if said[when] and digest and said[when]["sha256"] != digest:
            raise NotVerified(
                "statement",
                f"the version {when} job {said['id']} has another SHA-256 in the statement than in the job's report",
            )


def reports_of(files: Files, predicate: Mapping[str, Any]) -> dict[str, Any]:
    """The reports of the jobs that have one, by job."""
    found = {job["id"]: report_of(files, job["id"]) for job in predicate["jobs"]}
    return {job_id: report for job_id, report in found.items() if report is not None}


def report_of(files: Files, job_id: str) -> dict[str, Any] | None:
    """A job's report, if it has one."""
    name = f"jobs/{job_id}/report.json"
    return json.loads(files[name]) if name in files else None


def subjects_of(statement: Mapping[str, Any]) -> dict[str, str]:
    """The SHA-256 of each subject, by its name."""
    return {one["name"]: one["digest"]["sha256"] for one in statement["subject"]}
