"""What the desk shows of its work: jobs and figures."""

from __future__ import annotations

from unlearn.cases.desk.core import Core, there
from unlearn.cases.rights import OPERATOR, Actor
from unlearn.cases.store import figures, jobs
from unlearn.cases.views import Figures, JobView


class Looking(Core):
    """Jobs and figures."""

    def job(self, job_id: str, by: Actor = OPERATOR) -> JobView:
        """The job; NotFound if there is none."""
        by.check("requests:read", "requests:write", "review", "audit")
        with self.store.reading() as session:
            return there(jobs.view(session, by.controller, job_id), "job")

    def figures(self, by: Actor = OPERATOR) -> Figures:
        """The company in numbers; the operator sees those of all."""
        by.check("audit")
        with self.store.reading() as session:
            return figures.count(session, None if by == OPERATOR else by.controller, self._clock())
