"""The deletion desk: what may happen to adapters, requests and jobs, and what the ledger says of it.

Every public method is one transaction: the change of state, the ledger's entry and the doorbell are written together
or not at all. Speaks no SQL (`store` does), knows no HTTP, no queue and no torch. The API, the worker, the relay and
whoever runs errands call nothing else of the case wing.

    keys       who may come in                        decisions  what people decide of requests
    adapters   registered, rolled back, retired       looking    jobs and figures
    requests   as they come in, and found again       telling    addresses, messages, errands
    work       claims, heartbeats, endings, doorbells      bookkeeping  checkpoints and proofs of the ledger
    ledger_keys  the keys that sign it                exporting  bundles; `registers` of periods
    keeping    backups, the journal, what is withheld  witnessing  what witnesses signed of checkpoints
    data       corpora, fingerprints of the erased    purging    what is due to be purged, begun, done
"""

from __future__ import annotations

from unlearn.cases.desk.adapters import UNFINISHED, Adapters
from unlearn.cases.desk.decisions import Decisions
from unlearn.cases.desk.keeping import Keeping
from unlearn.cases.desk.keys import Keys
from unlearn.cases.desk.looking import Looking
from unlearn.cases.desk.purging import Purging
from unlearn.cases.desk.registers import Registers
from unlearn.cases.desk.requests import Requests, Wish
from unlearn.cases.desk.telling import Telling
from unlearn.cases.desk.witnessing import Witnessing
from unlearn.cases.desk.work import RING_AGAIN, Work


class Desk(Keys, Adapters, Requests, Decisions, Looking, Telling, Work, Registers, Witnessing, Purging, Keeping):
    """The front of the case wing.

    Args:
        settings: where database, keys and files are.
        clock: gives the present moment in UTC.
    """


__all__ = ["RING_AGAIN", "UNFINISHED", "Desk", "Wish"]
