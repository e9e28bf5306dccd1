"""What must hold when `chaos.py` is done, looked at from outside: database, ledger, files, processes. Changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from chaos_faults import Hurt
from chaos_parts import left_running
from sqlalchemy import select
from sqlalchemy.orm import Session

from unlearn.cases.desk import Desk
from unlearn.cases.store import ledger
from unlearn.cases.tables import Adapter, AdapterVersion, Errand, Job, JobRequest, Request
from unlearn.errors import ModelError
from unlearn.evidence.ledger import Entry, LedgerBroken
from unlearn.weights import read_adapter

ENDED = ("completed", "needs_review")
BESIDE = {"current", ".current.lock", "corpora"}
"""What may lie beside an adapter's versions."""


@dataclass(frozen=True)
class Check:
    """One thing that must hold, and what contradicts it."""

    name: str
    faults: list[str]


@dataclass(frozen=True)
class Seen:
    """The database at the end."""

    requests: list[Request]
    jobs: list[Job]
    links: list[JobRequest]
    adapters: list[Adapter]
    versions: list[AdapterVersion]
    errands: list[Errand]
    entries: list[Entry]


def see(session: Session) -> Seen:
    """Read all of it."""
    tables: tuple[type[Any], ...] = (Request, Job, JobRequest, Adapter, AdapterVersion, Errand)
    return Seen(*(list(session.scalars(select(table))) for table in tables), list(ledger.all_entries(session)))


def check_all(desk: Desk, seen: Seen, confirmed: dict[str, str], planned: int) -> list[Check]:
    """Every check.

    Args:
        desk: the case wing; every process of the service has ended.
        seen: the database.
        confirmed: person -> id of the request that the API confirmed.
        planned: jobs that these requests take.
    """
    home = desk.settings.home
    return [
        Check("requests that have not ended", [r.id for r in seen.requests if r.state not in ENDED]),
        Check("requests lost or made twice", list(_lost(seen, confirmed))),
        Check("jobs lost or made twice", [] if len(seen.jobs) == planned else [f"{len(seen.jobs)} of {planned}"]),
        Check("jobs open, or with their attempts spent", list(_unfinished(seen, desk.settings.max_attempts))),
        Check("jobs released twice, or never", list(_releases(seen))),
        Check("adapters half written", list(_half_written(seen))),
        Check("releases that a later one lost", list(_forgotten_releases(seen))),
        Check("files left beside the versions", list(_left_on_shelves(home, seen))),
        Check("files left in workshops", [str(p.relative_to(home)) for p in (home / "jobs").glob("*")]),
        Check("leases left", [j.id for j in seen.jobs if j.lease_owner or j.lease_until or j.state == "running"]),
        Check(
            "errands left", [f"{e.kind} {e.event} {e.state}" for e in seen.errands if e.state in ("waiting", "failed")]
        ),
        Check("links that are not at the serving version", list(_links(home, seen))),
        Check("breaks in the ledger's tree", list(_breaks(desk))),
        Check("processes left", [str(pid) for pid in left_running(home)]),
    ]


def _lost(seen: Seen, confirmed: dict[str, str]) -> Iterator[str]:
    there = {request.id for request in seen.requests}
    yield from (id_ for id_ in confirmed.values() if id_ not in there)
    yield from there - set(confirmed.values())
    yield from (hash_ for hash_, n in Counter(r.subject_hash for r in seen.requests).items() if n > 1)


def _unfinished(seen: Seen, max_attempts: int) -> Iterator[str]:
    """A job that can't be done for a reason in its input has failed at its first attempt, which is an end."""
    for job in seen.jobs:
        if job.state != "done" and not (job.state == "failed" and job.attempt < max_attempts):
            yield f"{job.id}: {job.state}, attempt {job.attempt}, {job.error}"


def _releases(seen: Seen) -> Iterator[str]:
    """One version and one ledger entry a released job, none of others, numbers without a gap."""
    told = Counter(e.facts["job"] for e in seen.entries if e.action == "version_released")
    made = Counter(v.job_id for v in seen.versions if v.job_id is not None)
    judged = Counter(e.facts["job"] for e in seen.entries if e.action == "verdict")
    for job in seen.jobs:
        expected = int(job.verdict == "released")
        if (told[job.id], made[job.id]) != (expected, expected) or judged[job.id] != int(job.verdict is not None):
            yield f"{job.id}: {made[job.id]} versions, {told[job.id]} entries, {judged[job.id]} verdicts"
    for adapter in seen.adapters:
        numbers = sorted(v.number for v in seen.versions if v.adapter_id == adapter.id)
        if numbers != list(range(1, len(numbers) + 1)) or adapter.current != numbers[-1]:
            yield f"{adapter.name}: versions {numbers}, serving {adapter.current}"


def _half_written(seen: Seen) -> Iterator[str]:
    rows = [(Path(v.path), v.sha256) for v in seen.versions]
    rows += [(Path(j.candidate), j.report["adapter"]["after_sha256"]) for j in seen.jobs if j.candidate and j.report]
    for path, sha256 in rows:
        try:
            if read_adapter(path).sha256 != sha256:
                yield f"{path.name}: another digest"
        except ModelError as error:
            yield f"{path.name}: {error}"


def _forgotten_releases(seen: Seen) -> Iterator[str]:
    """Each release stands on the one before: the lineage of version n has n - 1 erasures."""
    for version in seen.versions:
        if Path(version.path).is_dir() and len(read_adapter(Path(version.path)).lineage) != version.number - 1:
            yield f"{Path(version.path).name}: {len(read_adapter(Path(version.path)).lineage)} erasures"


def _left_on_shelves(home: Path, seen: Seen) -> Iterator[str]:
    known = {v.path for v in seen.versions} | {j.candidate for j in seen.jobs}
    for shelf in (home / "adapters").iterdir():
        yield from (str(p.relative_to(home)) for p in shelf.iterdir() if str(p) not in known and p.name not in BESIDE)


def _links(home: Path, seen: Seen) -> Iterator[str]:
    """The hook tells of releases, so that an adapter has no link before its first."""
    for adapter in seen.adapters:
        (serving,) = (v.path for v in seen.versions if (v.adapter_id, v.number) == (adapter.id, adapter.current))
        link = home / "adapters" / adapter.id / "current"
        at = str(link.resolve()) if link.is_symlink() else None
        if at != (serving if adapter.current > 1 else None):
            yield f"{adapter.name}: at {link.resolve().name}, {Path(serving).name} serves"


def _breaks(desk: Desk) -> Iterator[str]:
    try:
        desk.inspect_ledger()
    except LedgerBroken as error:
        yield str(error)


@dataclass(frozen=True)
class Recovery:
    """What became of the jobs that ran where a fault struck.

    Attributes:
        queued: seconds from each fault to its job's return to the queue.
        again: seconds from each fault to the next claim of its job.
        handed_back: seconds from SIGTERM to the job's return to the queue.
        not_handed_back: jobs whose worker was told to stop and whose lease ran out instead.
        ended: faults whose job ended under the same fence nevertheless.
        idle: faults at whose moment no job ran.
    """

    queued: list[float]
    again: list[float]
    handed_back: list[float]
    not_handed_back: list[str]
    ended: int
    idle: int


def recovery(hurts: list[Hurt], entries: list[Entry], kinds: tuple[str, ...]) -> Recovery:
    """Of the faults of these kinds, by the ledger's times."""
    queued, again, back, stuck, ended, idle = [], [], [], [], 0, 0
    for hurt in (h for h in hurts if h.kind in kinds):
        if hurt.job is None or hurt.fence is None:
            idle += 1
            continue
        later = [e for e in entries if e.facts.get("job") == hurt.job]
        claimed = [e for e in later if e.action == "attempt_started" and e.facts["fence"] > hurt.fence]
        given = [e for e in later if e.action == "attempt_interrupted" and e.facts["fence"] == hurt.fence]
        if not claimed:
            ended += 1
            continue
        again.append(_seconds(claimed[0]) - hurt.at)
        broken = [e for e in later if e.action == "attempt_failed" and e.facts["fence"] == hurt.fence]
        queued += [_seconds(e) - hurt.at for e in (broken + given)[:1]]
        if given:
            back.append(_seconds(given[0]) - hurt.at)
        elif hurt.kind == "worker told to stop":
            stuck.append(hurt.job)
    return Recovery(queued, again, back, stuck, ended, idle)


def _seconds(entry: Entry) -> float:
    return datetime.fromisoformat(entry.at).timestamp()
