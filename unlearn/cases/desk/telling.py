"""Whom the desk tells, and the errands that do it."""

from __future__ import annotations

from datetime import timedelta
from random import Random

from unlearn.cases import telling
from unlearn.cases.desk.core import Core, there
from unlearn.cases.rights import OPERATOR, Actor
from unlearn.cases.store import errands
from unlearn.cases.views import EndpointView, MessageView, Task

OVERLAP = timedelta(hours=24)
"""How long a receiver has to take up a new secret."""


class Telling(Core):
    """Addresses, messages, errands."""

    def add_endpoint(self, url: str, by: Actor = OPERATOR) -> tuple[EndpointView, str]:
        """Have an address told what becomes of the company's requests; the secret that signs comes back this once.

        Raises:
            CallbackRefused: an address that may not be called.
            Conflict: there are too many.
        """
        by.check("admin")
        with self.store.writing() as session:
            private, key = self.settings.callbacks_allow_private, self.settings.identity_hash_key
            return telling.add_endpoint(session, url, by, key, self._clock(), allow_private=private)

    def endpoints(self, by: Actor = OPERATOR) -> list[EndpointView]:
        """The company's addresses, the newest first."""
        by.check("admin")
        with self.store.reading() as session:
            return [telling.endpoint_view(row) for row in errands.endpoints(session, by.controller)]

    def rotate_secret(
        self, endpoint_id: str, overlap: timedelta = OVERLAP, by: Actor = OPERATOR
    ) -> tuple[EndpointView, str]:
        """Give an address a new signing secret, which comes back this once.

        Args:
            endpoint_id: of the address.
            overlap: for how long the secret of before signs beside it.
            by: an admin.

        Raises:
            NotFound: there is no such address.
            Conflict: it takes no more.
        """
        by.check("admin")
        with self.store.writing() as session:
            row = there(errands.endpoint(session, by.controller, endpoint_id), "callback")
            secret = telling.rotate(session, row, overlap, by, self.settings.identity_hash_key, self._clock())
            return telling.endpoint_view(row), secret

    def disable_endpoint(self, endpoint_id: str, by: Actor = OPERATOR) -> EndpointView:
        """Send no more to an address; NotFound if there is none."""
        by.check("admin")
        with self.store.writing() as session:
            row = there(errands.endpoint(session, by.controller, endpoint_id), "callback")
            telling.disable(session, row, "taken away", by.name, self._clock())
            return telling.endpoint_view(row)

    def messages(
        self,
        state: str | None = None,
        about: str | None = None,
        limit: int = 50,
        after: str | None = None,
        by: Actor = OPERATOR,
    ) -> list[MessageView]:
        """Callbacks and deployments of the company, of the first also checkpoints that are published; the newest first.

        Args:
            state: waiting, done, failed or overtaken.
            about: id of a request or an adapter, `ledger/` and the size of a checkpoint.
            limit: most of them.
            after: the last of the page before.
            by: who asks.
        """
        by.check("requests:read", "audit")
        with self.store.reading() as session:
            return [telling.message_view(e) for e in errands.page(session, by.controller, state, about, limit, after)]

    def replay(self, message_id: str, by: Actor = OPERATOR) -> MessageView:
        """Send a message, or run a hook, again; NotFound if there is none, Conflict if its address takes no more."""
        by.check("admin")
        with self.store.writing() as session:
            errand = there(errands.one(session, by.controller, message_id), "message")
            telling.replay(session, errand, self._clock())
            return telling.message_view(errand)

    def take_errand(self) -> Task | None:
        """Lease the errand that waits longest, deployments before all others; None if none is due.

        An address gets one at a time.
        """
        while True:
            now = self._clock()
            with self.store.reading() as session:  # looking takes no writer's lock
                found = errands.next_due(session, now)
            if found is None:
                return None
            with self.store.writing() as session:
                task = telling.take(session, found, self.settings.identity_hash_key, now)
            if task is not None:
                return task

    def errand_done(self, task: Task) -> None:
        """Note that an errand is done."""
        with self.store.writing() as session:
            telling.done(session, task, self._clock())

    def errand_failed(self, task: Task, why: str, *, retry_after: float | None = None, gone: bool = False) -> None:
        """Note that an attempt failed: it is made again later, unless the receiver is gone or a day is over.

        A day ends no deployment to a hook that there still is.
        """
        with self.store.writing() as session:
            now = self._clock()
            jitter = Random()  # noqa: S311
            telling.failed(session, task, why, now, jitter, self._hooks, retry_after=retry_after, gone=gone)
