"""Whose an entry of the ledger is: the company that its facts name, or whose request, job, adapter, key or address."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from unlearn.cases.tables import Adapter, ApiKey, Endpoint, Job, Request
from unlearn.evidence.ledger import Entry

OWNERS = {
    "request": select(Request.id, Request.controller_id).where,
    "adapter": select(Adapter.id, Adapter.controller_id).where,
    "job": select(Job.id, Adapter.controller_id).join(Adapter, Adapter.id == Job.adapter_id).where,
    "key": select(ApiKey.id, ApiKey.controller_id).where,
    "endpoint": select(Endpoint.id, Endpoint.controller_id).where,
}
IDS = {"request": Request.id, "adapter": Adapter.id, "job": Job.id, "key": ApiKey.id, "endpoint": Endpoint.id}


def of_entries(session: Session, entries: Sequence[Entry]) -> dict[int, str]:
    """The controller of each entry, by seq; of one whose things are gone, or were nobody's, nothing is said."""
    named: dict[tuple[str, str], list[int]] = {}
    for entry in entries:
        for what in OWNERS:
            if isinstance(entry.facts.get(what), str):
                named.setdefault((what, entry.facts[what]), []).append(entry.seq)
    found = {one.seq: one.facts["controller"] for one in entries if isinstance(one.facts.get("controller"), str)}
    for what, where in OWNERS.items():
        ids = [id_ for kind, id_ in named if kind == what]
        if ids:
            for id_, controller in session.execute(where(IDS[what].in_(ids))):
                found |= dict.fromkeys(named[what, id_], controller)
    return found
