"""What becomes of an adapter beside its erasings: a rollback, its retirement, a candidate that a person releases.

Inside the transaction that `desk` opened. Speaks no SQL of its own and knows no rights.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from unlearn.cases import endings, planning, telling
from unlearn.cases.rights import Actor
from unlearn.cases.store import adapters, corpora, jobs, ledger, requests
from unlearn.cases.tables import Adapter, AdapterVersion, Job, Request
from unlearn.errors import Conflict, NotFound
from unlearn.locations import name_of
from unlearn.storage import Loan, Vault


def roll_back(
    session: Session, adapter: Adapter, number: int, by: Actor, now: datetime, hooks: Sequence[str], *, reopen: bool
) -> None:
    """Let version `number` serve again. Requests that a later one fulfilled are opened again, and planned.

    A subject whose newest request is open already has no other opened: that one now waits for this adapter, too.

    Raises:
        NotFound: there is no such version.
        Conflict: a job runs, the adapter is retired, the version is purged, or somebody was erased since and nobody
            says to reopen.
    """
    _serving(adapter)
    if session.get(AdapterVersion, (adapter.id, number)) is None:
        raise NotFound(f"adapter '{adapter.name}' has no version {number}")
    if number == adapter.current:
        return
    if number > adapter.current:
        raise Conflict(
            f"version {number} of adapter '{adapter.name}' is newer than version {adapter.current}, which serves; "
            "newer ones come from erasures alone"
        )
    if any(job.state == "running" for job in jobs.open_of_adapter(session, adapter.id)):
        raise Conflict(f"a job runs on adapter '{adapter.name}'; wait for its end, or cancel its requests")
    known = adapters.known_by(session, adapter.id, number)
    if known and not reopen:
        raise Conflict(
            f"version {number} of adapter '{adapter.name}' knows {len(known)} subjects that were erased since; say "
            "reopen to have their requests opened again"
        )
    if not corpora.take_back(session, adapter.id, number):
        raise Conflict(f"version {number} of adapter '{adapter.name}' is purged; nothing can bring it back")
    before, adapter.current = adapter.current, number
    corpora.quarantine(session, adapter, before, now)
    adapters.mark_known(session, adapter.id, known)
    telling.deployed(session, adapter, hooks, now, previous=before, forced=True)
    facts = {"adapter": adapter.id, "from": before, "to": number, "by": by.name}
    concerned = adapters.requests_to_reopen(session, adapter, known)
    if {request.subject_hash for request in concerned} != known:
        raise Conflict(
            f"version {number} of adapter '{adapter.name}' knows somebody who was erased since and has no request that "
            "could be opened again; submit one first"
        )
    ledger.append(session, now, "version_rolled_back", facts, [request.id for request in concerned])
    for request in concerned:
        if request.state == "completed":
            requests.move(session, request.id, "pending", now)
            telling.remind_anew(request)
            ledger.append(session, now, "request_reopened", {"request": request.id, "by": by.name}, [request.id])
        if request.state in requests.OPEN:
            planning.plan(session, request, now)


def retire(session: Session, adapter: Adapter, by: Actor, now: datetime, hooks: Sequence[str]) -> None:
    """Take an adapter out of service, its versions into quarantine; retiring it again changes nothing."""
    if adapter.retired_at is not None:
        return
    adapter.retired_at = now
    corpora.quarantine(session, adapter, adapter.current, now)
    telling.deployed(session, adapter, hooks, now, withdrawn=True)
    ledger.append(session, now, "adapter_retired", {"adapter": adapter.id, "by": by.name})
    for job in jobs.open_of_adapter(session, adapter.id):
        waiting = [request.id for request in jobs.requests_of(session, job.id)]
        jobs.end(session, job, "cancelled", now)
        ledger.append(session, now, "job_cancelled", {"job": job.id}, waiting)
        endings.settle(session, job, waiting, now)


def release_candidate(
    session: Session, job: Job, request: Request, by: Actor, now: datetime, hooks: Sequence[str], vault: Vault
) -> int:
    """Let a candidate that the guards held back serve, as a person decided of one request.

    Others that share the job go on waiting, each for a decision of its own: the reasons may not hold for them.

    Returns:
        The new version's number.

    Raises:
        Conflict: another version serves since it was made, or its files are gone or changed.
    """
    adapter = session.get_one(Adapter, job.adapter_id)
    _serving(adapter)
    if job.candidate is None or not vault.exists(job.candidate):
        raise Conflict(f"job {job.id}: the candidate's files are gone; try again, or reject the request")
    with Loan(vault.settings) as loan:
        weights = vault.version(job.candidate, loan)
    judged = (job.report or {}).get("adapter", {})
    expected = judged.get("after_sha256", weights.sha256), judged.get("after_config_sha256", weights.config_sha256)
    if (weights.sha256, weights.config_sha256) != expected:
        raise Conflict(f"job {job.id}: the candidate's files changed since they were judged; try again")
    if job.base_version != adapter.current:
        raise Conflict(
            f"job {job.id}: version {adapter.current} serves since, and the candidate was made from version "
            f"{job.base_version}; try again"
        )
    number = adapters.newest(session, adapter.id) + 1
    if not name_of(weights.place).startswith(f"v{number}."):
        raise Conflict(f"job {job.id}: version {number - 1} was made since the candidate was; try again")
    previous = adapter.current
    adapters.add_version(session, adapter.id, number, weights, job.id, now)
    adapter.current = number
    telling.deployed(session, adapter, hooks, now, previous=previous)
    shares = jobs.shares(session, job.id)
    its = jobs.share(session, job.id, request.id)
    its.erased = True
    its.verdict = its.verdict if its.findings else "released"  # what the gates found of one alone is evidence
    adapters.mark_erased(session, adapter.id, frozenset({request.subject_hash}), now)
    job.verdict = "released"
    facts = {"job": job.id, "adapter": adapter.id, "version": number, "sha256": weights.sha256, "by": by.name}
    facts |= {"config_sha256": weights.config_sha256}
    facts |= {"superseded_sha256": adapters.superseded_sha256(session, adapter.id, number)}
    ledger.append(session, now, "version_released", facts, [one.id for _, one in shares])
    return number


def accept(session: Session, job: Job, request: Request, now: datetime) -> int:
    """Let a request's subject count as erased by the version that serves, though it was released for others alone.

    Returns:
        The number of that version.

    Raises:
        Conflict: another version serves, one is being made, or the adapter is retired: later ones were made to keep
            whoever did not count as erased, and nothing was tested of her there.
    """
    adapter = session.get_one(Adapter, job.adapter_id)
    _serving(adapter)
    if adapters.version(session, adapter.id, adapter.current).job_id != job.id:
        raise Conflict(f"job {job.id}: its version serves no more; try again")
    if any(one.state == "running" for one in jobs.open_of_adapter(session, adapter.id)):
        raise Conflict(f"a job runs on adapter '{adapter.name}'; wait for its end")
    jobs.share(session, job.id, request.id).erased = True
    adapters.mark_erased(session, adapter.id, frozenset({request.subject_hash}), now)
    return adapter.current


def _serving(adapter: Adapter) -> None:
    if adapter.retired_at is not None:
        raise Conflict(f"adapter '{adapter.name}' was retired at {adapter.retired_at.isoformat()}")
