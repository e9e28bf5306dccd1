"""Jobs done by hand: what a worker tells the desk, without a model."""

from __future__ import annotations

from pathlib import Path

from unlearn.cases.desk import Desk
from unlearn.cases.store.ledger import all_entries
from unlearn.cases.views import Claim
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
        return [entry.action for entry in all_entries(session)]
