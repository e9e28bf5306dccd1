"""What people decide of requests at the desk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from unlearn.cases import endings, lifecycle, review
from unlearn.cases.desk.core import there
from unlearn.cases.desk.data import Data, Renewal
from unlearn.cases.rights import OPERATOR, Actor
from unlearn.cases.store import adapters, fingerprints, requests
from unlearn.cases.views import RequestView
from unlearn.errors import Conflict, Unavailable
from unlearn.policy import parse_policy


class Decisions(Data):
    """From cancelling to releasing."""

    def cancel(self, request_id: str, by: Actor = OPERATOR) -> RequestView:
        """Cancel a request that has not ended; what serves goes on serving. Conflict if it has ended."""
        by.check("requests:write")
        return self._change(request_id, by, review.cancel)

    def cancel_unstarted(self, external_id: str, by: Actor = OPERATOR) -> RequestView:
        """Cancel the request that the controller calls so, if nothing was done for it yet.

        Raises:
            NotFound: there is none.
            Conflict: its work has begun, or it has ended.
        """
        by.check("requests:write")
        with self.store.reading() as session:
            request_id = self._called(session, external_id, by)
        return self._change(request_id, by, review.cancel_unstarted)

    def put_on_hold(self, request_id: str, reason: str, by: Actor = OPERATOR) -> RequestView:
        """Put a request under a legal hold: nothing is erased until it is lifted. Conflict if it can't be."""
        by.check("review")
        return self._change(request_id, by, review.hold, reason)

    def lift_hold(self, request_id: str, by: Actor = OPERATOR) -> RequestView:
        """Lift a request's legal hold. Conflict if it has none."""
        by.check("review")
        return self._change(request_id, by, review.lift)

    def extend(self, request_id: str, reason: str, by: Actor = OPERATOR) -> RequestView:
        """Extend the time for an answer, once. Conflict if it can't be any more."""
        by.check("review")
        return self._change(request_id, by, review.extend, reason, self.settings.zone)

    def retry(self, request_id: str, policy: dict[str, Any] | None = None, by: Actor = OPERATOR) -> RequestView:
        """Try a request again that waits for a decision, under another policy if one is given.

        Raises:
            PolicyError: the policy can't be used.
            Conflict: it waits for none.
        """
        by.check("review")
        whole = None if policy is None else parse_policy(policy, "policy").model_dump(mode="json")
        return self._change(request_id, by, review.retry, whole)

    def reject(self, request_id: str, ground: str, reason: str, by: Actor = OPERATOR) -> RequestView:
        """Reject a request on a legal ground. Conflict if it has ended otherwise."""
        by.check("review")
        return self._change(request_id, by, review.reject, ground, reason)

    def release_as_it_is(self, request_id: str, reason: str, by: Actor = OPERATOR) -> RequestView:
        """Let the candidates serve that the guards held back, for a reason in writing.

        Raises:
            Conflict: the request waits for no decision, there is no candidate, or another version serves since.
        """
        by.check("review")
        renewals = self._renewals(request_id, by)
        try:
            with self.store.writing() as session:
                fingerprints.take_turns(session)
                now, request = self._clock(), self._request(session, request_id, by)
                held = review.candidates(session, request)
                review.released(session, request, held, reason, by, now)
                for job in held:
                    if job.verdict == "released":
                        number = lifecycle.accept(session, job, request, now)
                    else:
                        number = lifecycle.release_candidate(session, job, request, by, now, self._hooks, self.vault)
                    renewal = renewals.get(job.id)
                    if renewal is None or renewal.number != number or not self._fits(session, job, renewal):
                        raise Conflict(f"job {job.id}: its adapter changed just now; try again")
                    self._renew(session, job, renewal, [request.id], now)
                    endings.settle(session, job, [request.id], now)
                return there(requests.by_id(session, by.controller, request_id), "request")
        except Unavailable:  # which says nothing of what the database took
            raise
        except BaseException:
            for renewal in renewals.values():
                self._discard(renewal)
            raise

    def _renewals(self, request_id: str, by: Actor) -> dict[str, Renewal]:
        """The corpora that releasing a request's candidates would make, by the candidate's job."""
        found = []
        with self.store.reading() as session:
            request = there(requests.seen(session, by.controller, request_id), "request")
            for job in review.candidates(session, request):
                adapter, gone = adapters.by_id(session, job.adapter_id), adapters.erased_hashes(session, job.adapter_id)
                if job.verdict == "released":  # its version serves already
                    found.append((job.id, adapter, adapter.current.number, gone | {request.subject_hash}))
                else:
                    number = adapters.newest(session, adapter.id) + 1
                    found.append((job.id, adapter, number, gone | {request.subject_hash}))
        return {job_id: self._renewed(adapter, number, gone) for job_id, adapter, number, gone in found}

    def _change(self, request_id: str, by: Actor, change: Callable[..., None], *given: Any) -> RequestView:
        with self.store.writing() as session:
            change(session, self._request(session, request_id, by), *given, by, self._clock())
            return there(requests.by_id(session, by.controller, request_id), "request")
