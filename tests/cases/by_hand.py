"""Jobs done by hand: what a worker tells the desk, without a model."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from safetensors.numpy import load_file, save_file

from unlearn.cases.desk import Desk
from unlearn.cases.store import ledger
from unlearn.cases.views import Claim
from unlearn.evidence.trust import TrustedKey
from unlearn.evidence.verify import verify
from unlearn.weights import copy_adapter, read_adapter

REPORT = {
    "schema": "unlearn/report/v1",
    "verdict": "released",
    "method": "ascent",
    "findings": [{"gate": "membership", "outcome": "pass"}],
    "before": {"forget_nll_nats": 1.0},
    "after": {"forget_nll_nats": 2.0},
    "trace": [],
}
REFUSED = REPORT | {"verdict": "refused"}


def work(desk: Desk, job_id: str, owner: str = "w1") -> Claim:
    claim = desk.claim(job_id, owner)
    assert claim is not None
    return claim


def new_version(desk: Desk, claim: Claim):
    source = read_adapter(Path(claim.adapter.current.path))
    shelf = desk.settings.home / "adapters" / claim.adapter.id
    return copy_adapter(source, shelf / f"v{claim.next_number}.{claim.job_id[-6:]}.f{claim.fence}")


def submit(desk, company, which=0):
    request = desk.submit(company.people[which])
    return request, request.jobs[0].id


def actions(desk):
    with desk.store.reading() as session:
        return [entry.action for entry in ledger.all_entries(session)]


def changed_version(desk, claim):
    """A version with a digest of its own."""
    path = new_version(desk, claim).path / "adapter_model.safetensors"
    save_file(load_file(path), path, {"made": "anew"})
    return read_adapter(path.parent)


def told(claim, version, **more):
    """A report with the digests of this adapter."""
    digests = {"before_sha256": claim.adapter.current.sha256, "after_sha256": version.sha256}
    return REPORT | {"adapter": digests} | more


def release(desk, claim):
    version = changed_version(desk, claim)
    desk.release(claim, version, told(claim, version))
    return claim


def released(desk, company, which=0):
    """A request that was fulfilled, and the claim by which it was."""
    request, job_id = submit(desk, company, which)
    claim = release(desk, work(desk, job_id))
    return desk.request(request.id), claim


def second_try(desk, company):
    """A request that was held once and tried again, and the claim of the second try."""
    request, job_id = submit(desk, company)
    desk.hold(work(desk, job_id), None, REFUSED)
    return request, work(desk, desk.retry(request.id).jobs[-1].id)


def keys(desk):
    return [TrustedKey(key.public.name, key.public.raw) for key in desk.ledger_keys()]


def names(data, desk, **more):
    """Of the checks that a bundle passes."""
    return [check.name for check in verify(data, keys(desk), **more) if check.made]


def fill(desk, count):
    """Some entries more."""
    with desk.store.writing() as session:
        for place in range(count):
            facts = {"request": f"req_{place}"}
            ledger.append(session, datetime(2026, 3, 1, tzinfo=UTC), "request_cancelled", facts)
