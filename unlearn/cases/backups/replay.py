"""Making true again, in a restored database, what happened since its backup. One transaction; the caller opened it.

Requests come back as they were last known, the ledger goes on with its own entries, keys stay revoked and adapters
retired; and what was erased is known again by its fingerprints, also where nothing has to be erased anew, since its
corpus may come once more. Work is not brought back but done again: of whoever an adapter had forgotten since and
knows again, a request is open, and the adapter is withheld until it is answered. Speaks no SQL of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from unlearn.cases import endings, lifecycle, planning, telling, withholding
from unlearn.cases.backups.since import Since
from unlearn.cases.rights import OPERATOR
from unlearn.cases.store import adapters, corpora, fingerprints, jobs, journal, ledger, requests, salts
from unlearn.cases.store.fingerprints import Print
from unlearn.cases.store.journal import Line
from unlearn.cases.store.ledger import Fact
from unlearn.cases.tables import Adapter, ApiKey, Controller, Endpoint, Job, Request
from unlearn.corpus.fingerprints import Fingerprinter
from unlearn.errors import Conflict

LOST = "its text was lost with the database"
STATES = {
    "request_accepted": "pending",
    "request_reopened": "pending",
    "request_retried": "pending",
    "request_needs_review": "pending",
    "request_completed": "completed",
    "request_cancelled": "cancelled",
    "request_rejected": "rejected",
}
"""In which state a fact leaves a request. One that waited for a decision has lost its candidate, and is tried again."""


@dataclass
class Fate:
    """What became of a request since the backup: the last of each kind of fact."""

    state: Line | None = None
    held: Line | None = None
    extended: Line | None = None


@dataclass
class Facts:
    """What the lines say, each by its id.

    Attributes:
        fates: of requests.
        released: by adapter and request, the line that says so; what was rolled back since is out again.
        alone: by job and request, a verdict of the request's own.
        fences: of jobs, the highest that a worker had.
        retired: adapters.
        purged: versions, by adapter and number.
        registered: adapters by their names.
        revoked: keys, and when.
        disabled: addresses of callbacks, and when.
        shredded: names of subjects.
    """

    fates: dict[str, Fate] = field(default_factory=dict)
    released: dict[tuple[str, str], Line] = field(default_factory=dict)
    alone: dict[tuple[str, str], str] = field(default_factory=dict)
    fences: dict[str, int] = field(default_factory=dict)
    retired: list[str] = field(default_factory=list)
    purged: list[tuple[str, int]] = field(default_factory=list)
    registered: dict[str, str] = field(default_factory=dict)
    revoked: dict[str, str] = field(default_factory=dict)
    disabled: dict[str, str] = field(default_factory=dict)
    shredded: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Replayed:
    """What a restore did again.

    Attributes:
        requests: that came in since the backup, and are there again.
        reapplied: deletions, by request and adapter.
        withheld: names of adapters.
        lost: names of adapters that were registered since; their weights are not in the backup.
    """

    requests: int
    reapplied: int
    withheld: tuple[str, ...]
    lost: tuple[str, ...]


def replay(session: Session, since: Since, key: bytes, hooks: Sequence[str], now: datetime) -> Replayed:
    """Make what happened since true again; the ledger's next entry is behind it. `key` is the identity key."""
    lines = since.lines
    facts = read_facts(lines)
    known = {id_: row for id_ in facts.fates if (row := session.get(Request, id_)) is not None}
    for id_, row in known.items():
        _set(row, facts.fates[id_])
    session.flush()  # a subject's older requests are closed before its newer one is opened
    added = journal.add_requests(session, (line.request for line in lines if line.request is not None), now)
    for row in added:
        known[row.id] = row
        _set(row, facts.fates[row.id])
    session.flush()
    journal.take_over(session, lines)
    _note_lost(session, lines, known, now)
    _keep_prints(session, since.prints, key, now)
    _end_work(session, known.values(), facts.fences, now)
    _end_others(session, facts, hooks, now)
    reapplied = _reapply(session, facts, now)
    _shred(session, facts.shredded)
    for row in known.values():
        planning.resume(session, (row.controller_id, row.subject_hash), now)  # hers may be one from before, held then
    withheld = _serve(session, reapplied, hooks, now)
    lost = tuple(name for id_, name in facts.registered.items() if session.get(Adapter, id_) is None)
    return Replayed(len(added), sum(map(len, reapplied.values())), withheld, lost)


def read_facts(lines: Iterable[Line]) -> Facts:
    """What the lines say."""
    found = Facts()
    for line in lines:
        action, told = line.entry.action, line.entry.facts
        if action in STATES:
            found.fates.setdefault(told["request"], Fate()).state = line
        elif action in ("request_held", "request_hold_lifted"):
            found.fates.setdefault(told["request"], Fate()).held = line
        elif action == "request_extended":
            found.fates.setdefault(told["request"], Fate()).extended = line
        elif action == "version_released":
            passed = [one for one in line.about if found.alone.get((told["job"], one), "released") == "released"]
            found.released |= {(told["adapter"], one): line for one in passed}
        elif action == "attempt_started":
            found.fences[told["job"]] = max(told["fence"], found.fences.get(told["job"], 0))
        elif action == "verdict_alone":
            found.alone[told["job"], told["request"]] = told["verdict"]
        elif action == "version_rolled_back":
            _roll_back(found.released, told)
        elif action == "adapter_retired":
            found.retired.append(told["adapter"])
        elif action == "version_purged":
            found.purged.append((told["adapter"], told["version"]))
        elif action == "adapter_registered":
            found.registered[told["adapter"]] = told["name"]
        elif action == "key_revoked":
            found.revoked[told["key"]] = line.entry.at
        elif action == "endpoint_disabled":
            found.disabled[told["endpoint"]] = line.entry.at
        elif action == "subject_shredded":
            found.shredded.add(told["subject"])
    return found


def _roll_back(released: dict[tuple[str, str], Line], told: Mapping[str, Any]) -> None:
    for key, line in list(released.items()):
        if key[0] == told["adapter"] and line.entry.facts["version"] > told["to"]:
            del released[key]


def _set(row: Request, fate: Fate) -> None:
    """Let the request be as it was last known."""
    if fate.state is not None:
        row.state = STATES[fate.state.entry.action]
        row.completed_at = _moment(fate.state) if row.state == "completed" else None
        if row.state == "rejected":
            told = fate.state.entry.facts
            made = {"kind": "rejected", "reason": LOST, "ground": told.get("ground"), "by": told.get("by")}
            row.decision = {**made, "at": _moment(fate.state).isoformat()}
    if fate.held is not None:
        held = fate.held.entry.action == "request_held"
        row.held_at, row.hold_reason = (_moment(fate.held), LOST) if held else (None, None)
        if held and row.state in (*requests.OPEN, "needs_review"):
            row.state = "pending"
    if fate.extended is not None:
        row.due_at = datetime.fromisoformat(fate.extended.entry.facts["due_at"])
        row.extended_at, row.extension_reason = _moment(fate.extended), LOST
    telling.remind_anew(row)
    row.updated_at = max(_moment(line) for line in (fate.state, fate.held, fate.extended) if line is not None)


def _end_work(session: Session, rows: Iterable[Request], fences: Mapping[str, int], now: datetime) -> None:
    """Nobody works on anything any more, and nothing waits to be done for requests that ended or for people held.

    What is done again gets a fence of its own, since files of the first time may still lie about.
    """
    for id_, fence in fences.items():
        done = session.get(Job, id_)
        if done is not None:
            done.fence = max(done.fence, fence)
    for job in jobs.running(session):
        endings.interrupt(session, job, now)
    for row in rows:
        jobs.due_anew(session, row.id)
        if row.state not in requests.OPEN:
            planning.withdraw(session, row, now)
        if row.held_at is not None:
            planning.suspend(session, (row.controller_id, row.subject_hash), now)


def _note_lost(session: Session, lines: Sequence[Line], known: Collection[str], now: datetime) -> None:
    """Note the jobs that were planned since the backup: of them the ledger alone tells now, and new ones follow."""
    had: dict[tuple[str, str], None] = {}
    for line in lines:
        for request_id in line.about if line.entry.action in ("job_planned", "job_joined", "job_left") else ():
            had.pop((request_id, line.entry.facts["job"]), None)
            if line.entry.action != "job_left" and request_id in known:
                had[request_id, line.entry.facts["job"]] = None
    there = {(id_, job.id) for id_ in {id_ for id_, _ in had} for job in jobs.of_request(session, id_)}
    told = [Fact("job_lost", {"job": job, "request": id_}, [id_]) for id_, job in had if (id_, job) not in there]
    ledger.append_many(session, now, told)


def _end_others(session: Session, facts: Facts, hooks: Sequence[str], now: datetime) -> None:
    for id_, at in facts.revoked.items():
        key = session.get(ApiKey, id_)
        if key is not None and key.revoked_at is None:
            key.revoked_at = datetime.fromisoformat(at)
    for id_, at in facts.disabled.items():
        endpoint = session.get(Endpoint, id_)
        if endpoint is not None and endpoint.disabled_at is None:
            endpoint.disabled_at, endpoint.disabled_reason = datetime.fromisoformat(at), LOST
    for id_ in facts.retired:
        adapter = session.get(Adapter, id_)
        if adapter is not None:
            lifecycle.retire(session, adapter, OPERATOR, now, hooks)
    for id_, number in facts.purged:
        corpora.purge_again(session, id_, number, now)
    session.flush()


def _shred(session: Session, names: set[str]) -> None:
    """Destroy the salts that were destroyed since."""
    for row in salts.every(session) if names else ():
        if salts.name(row.salt, row.subject_hash) in names:
            requests.unlink(session, row.controller_id, row.subject_hash)
            salts.destroy(session, row.controller_id, row.subject_hash)


def _keep_prints(session: Session, prints: Iterable[tuple[Print, str | None]], key: bytes, now: datetime) -> None:
    """Let nothing come back that was erased; of a company that is not there any more nothing can."""
    found: dict[tuple[str, str | None], list[Print]] = {}
    for one, job_id in prints:
        if session.get(Controller, one.controller) is not None:
            known = None if job_id is None or session.get(Job, job_id) is None else job_id
            found.setdefault((one.controller, known), []).append(one)
    for (controller, job_id), some in found.items():
        again = Fingerprinter(key, controller).again
        told = [(again(one.exact, one.sketch), one.floor) for one in some]
        fingerprints.add(session, controller, job_id, told, now)


def _reapply(session: Session, facts: Facts, now: datetime) -> dict[str, set[str]]:
    """Have every subject who is known again a request that is open; ids of these requests by adapter."""
    found: dict[str, set[str]] = {}
    for (adapter_id, request_id), line in _answered(session, facts).items():
        adapter, request = session.get(Adapter, adapter_id), session.get(Request, request_id)
        if adapter is None or adapter.retired_at is not None:
            continue
        if request is not None and not adapters.knows(session, adapter_id, request.subject_hash):
            continue
        if request is None or _name(session, request) in facts.shredded:
            raise Conflict(
                f"the backup is older than the retention: whom entry {line.entry.seq} erased from adapter "
                f"'{adapter.name}' is named nowhere any more, so that she can't be erased again; restore a newer backup"
            )
        whose = (request.controller_id, request.subject_hash)
        open_id = requests.open_for(session, [whose]).get(whose)
        again = request if open_id is None else session.get_one(Request, open_id)
        if again.state not in requests.OPEN:
            requests.reopen(session, again, now)
            telling.remind_anew(again)
        told = {"adapter": adapter_id, "request": again.id, "entry": line.entry.seq}
        ledger.append(session, now, "deletion_reapplied", told, [again.id])
        planning.plan(session, again, now)
        found.setdefault(adapter_id, set()).add(again.id)
    return found


def _name(session: Session, request: Request) -> str | None:
    return salts.known_pseudonym(session, request.controller_id, request.subject_hash)


def _answered(session: Session, facts: Facts) -> dict[tuple[str, str], Line]:
    """What was released, and of requests that were completed whatever still knows their subject, whoever decided so."""
    found = dict(facts.released)
    for request_id, fate in facts.fates.items():
        request = session.get(Request, request_id)
        if request is not None and fate.state is not None and STATES[fate.state.entry.action] == "completed":
            whose = (request.controller_id, request.subject_hash)
            for learned in adapters.that_learned(session, [whose])[whose]:
                if learned.erased_at is None:
                    found.setdefault((learned.adapter_id, request_id), fate.state)
    return found


def _serve(session: Session, reapplied: Mapping[str, set[str]], hooks: Sequence[str], now: datetime) -> tuple[str, ...]:
    """Tell the serving side of every adapter, which may have served a version that is gone; names of the withheld."""
    names = []
    for adapter in adapters.all_serving(session):
        waits = {*(adapter.awaits or ()), *reapplied.get(adapter.id, ())}
        if waits:
            withholding.withhold(session, adapter, waits, hooks, now)
            names.append(adapter.name)
        else:
            telling.deployed(session, adapter, hooks, now, forced=True)
    return tuple(sorted(names))


def _moment(line: Line) -> datetime:
    """When it happened; its entry may be of later, if another machine's clock was ahead."""
    facts = line.entry.facts
    return datetime.fromisoformat(facts.get("completed_at") or facts.get("decided_at") or line.entry.at)
