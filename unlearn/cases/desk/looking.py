"""What the desk shows of its work: jobs, exports, the ledger's check, figures."""

from __future__ import annotations

from unlearn.cases.desk.core import Core, there
from unlearn.cases.rights import OPERATOR, Actor
from unlearn.cases.store import figures, jobs, ledger, requests
from unlearn.cases.views import Figures, JobView, as_json
from unlearn.errors import Conflict
from unlearn.evidence.bundle import build_bundle
from unlearn.evidence.inspection import inspect


class Looking(Core):
    """Jobs, exports, figures."""

    def job(self, job_id: str, by: Actor = OPERATOR) -> JobView:
        """The job; NotFound if there is none."""
        by.check("requests:read", "requests:write", "review", "audit")
        with self.store.reading() as session:
            return there(jobs.view(session, by.controller, job_id), "job")

    def export(self, request_id: str, by: Actor = OPERATOR) -> bytes:
        """The request's export as a zip; the same bytes as long as nothing more happens to the request.

        Raises:
            NotFound: no such request.
            Conflict: it has not ended.
        """
        by.check("audit")
        with self.store.writing() as session:
            request = there(requests.by_id(session, by.controller, request_id), "request")
            if request.state not in requests.ENDED:
                raise Conflict(f"request {request_id} is {request.state}; its export is made once it has ended")
            views = [there(jobs.view(session, by.controller, job.id), "job") for job in request.jobs]
            entries = ledger.entries_about(session, request_id)
            bundle = build_bundle(as_json(request), [as_json(view) for view in views], entries)
            self._enter(session, "export_made", {"request": request_id, "by": by.name})
        return bundle

    def check_ledger(self) -> int:
        """Check the whole ledger and count its entries; LedgerBroken where it does not hold."""
        with self.store.reading() as session:
            return inspect(ledger.all_entries(session), ledger.all_nodes(session)).entries

    def figures(self, by: Actor = OPERATOR) -> Figures:
        """The company in numbers; the operator sees those of all."""
        by.check("audit")
        with self.store.reading() as session:
            return figures.count(session, None if by == OPERATOR else by.controller, self._clock())
