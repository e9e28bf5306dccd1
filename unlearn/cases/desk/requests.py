"""The desk's intake: requests as they come in, and finding them again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from unlearn.cases import intake
from unlearn.cases.clock import Regulation
from unlearn.cases.desk.core import Core, there
from unlearn.cases.intake import Question, Submission
from unlearn.cases.rights import OPERATOR, Actor
from unlearn.cases.store import requests
from unlearn.cases.store.engine import collided
from unlearn.cases.store.requests import Wanted
from unlearn.cases.together import Together
from unlearn.cases.views import RequestView, Touched
from unlearn.errors import Unavailable
from unlearn.settings import Settings

AT_ONCE = 64
"""Questions that share a transaction, at most."""


@dataclass(frozen=True)
class Wish:
    """A deletion request as somebody wants it.

    Attributes:
        subject: "type:value", as the corpora spell it; hashed at once.
        regulation: whose clock runs.
        received_at: when the controller got it; None: now.
        external_id: what the controller calls it.
        callback_urls: who wants to hear of its states; whoever took them in has checked them.
    """

    subject: str
    regulation: Regulation = "gdpr"
    received_at: datetime | None = None
    external_id: str | None = None
    callback_urls: tuple[str, ...] = ()


class Requests(Core):
    """Deletion requests. What is submitted at once is accepted in one transaction, and confirmed after its commit."""

    def __init__(self, settings: Settings, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        super().__init__(settings, clock)
        self._intake = Together[Question, list[RequestView]](self._accept, AT_ONCE, self.store.writers)

    def submit(self, subject: str, *, by: Actor = OPERATOR, **more: Any) -> RequestView:
        """Accept one deletion request; see `submit_many`, whose wishes for a request may be given by name."""
        return self.submit_many([Wish(subject, **more)], by=by)[0]

    def submit_many(
        self, wishes: Sequence[Wish], *, by: Actor = OPERATOR, idempotency_key: str | None = None
    ) -> list[RequestView]:
        """Accept deletion requests, all or none, and plan a job on every adapter that learned from a subject.

        A request of whom no adapter knows (any more) is completed at once, and the ledger says what was searched.

        Args:
            wishes: at most 50.
            by: who submits them.
            idempotency_key: under which the same wishes again get the same requests; hashed, as it may name anybody.

        Raises:
            BadInput: a subject that is no identity, or a clock far off.
            Conflict: a subject is being forgotten already; or the key was used for something else.
        """
        return self._intake.ask(self._question(wishes, by, idempotency_key))

    async def submit_soon(
        self, wishes: Sequence[Wish], *, by: Actor = OPERATOR, idempotency_key: str | None = None
    ) -> list[RequestView]:
        """As `submit_many`, for callers on an event loop."""
        return await self._intake.ask_soon(self._question(wishes, by, idempotency_key))

    def submit_once(self, wish: Wish, *, by: Actor = OPERATOR) -> RequestView:
        """Accept a deletion request, known for good by its external id: again with the same subject, it is the same.

        Raises:
            BadInput: no external id, a subject that is no identity, or a clock far off.
            DuplicateId: the external id is another subject's.
            Conflict: the subject is being forgotten already, under another external id.
        """
        by.check("requests:write")
        return self._intake.ask(Question((self._submission(wish),), by, once=True))[0]

    def _accept(self, questions: Sequence[Question]) -> Sequence[list[RequestView] | Exception]:
        """Accept in one transaction. If that fails for what one question brought, each is tried alone."""
        try:
            return self._accept_once(questions)
        except Unavailable as error:
            if not collided(error):
                raise
        except Exception:  # noqa: S110 - PostgreSQL: somebody accepted the same since we looked
            pass
        return [self._accept_alone(one) for one in questions]

    def _accept_alone(self, question: Question) -> list[RequestView] | Exception:
        try:
            return self._accept_once([question])[0]
        except Exception as error:
            return error

    def _accept_once(self, questions: Sequence[Question]) -> Sequence[list[RequestView] | Exception]:
        with self.store.writing() as session:
            return intake.accept(session, questions, self._clock(), self.settings.zone)

    def preview(self, subject: str, by: Actor = OPERATOR) -> list[Touched]:
        """Which adapters a request for the subject would touch; nothing is stored."""
        by.check("requests:write")
        hashed = self._hash(subject)
        with self.store.reading() as session:
            return intake.touched(session, hashed, by)

    def request(self, request_id: str, by: Actor = OPERATOR) -> RequestView:
        """The request; NotFound if there is none."""
        by.check("requests:read", "requests:write", "review", "audit")
        with self.store.reading() as session:
            return there(requests.by_id(session, by.controller, request_id), "request")

    def request_called(self, external_id: str, by: Actor = OPERATOR) -> RequestView:
        """The request that the controller calls so; NotFound if there is none."""
        by.check("requests:read", "requests:write")
        with self.store.reading() as session:
            request_id = self._called(session, external_id, by)
            return there(requests.by_id(session, by.controller, request_id), "request")

    def requests(
        self,
        wanted: Wanted = Wanted(),
        limit: int = 50,
        after: str | None = None,
        *,
        subject: str | None = None,
        by: Actor = OPERATOR,
    ) -> list[RequestView]:
        """A page of the requests that are wanted, behind the request `after`.

        Args:
            wanted: what to show, and in which order.
            limit: most of them.
            after: the last of the page before.
            subject: an identity, if only its requests are wanted.
            by: who asks.
        """
        by.check("requests:read", "review", "audit")
        if subject is not None:
            wanted = replace(wanted, subject_hash=self._hash(subject))
        with self.store.reading() as session:
            return requests.page(session, by.controller, wanted, limit, after)

    def _question(self, wishes: Sequence[Wish], by: Actor, idempotency_key: str | None) -> Question:
        by.check("requests:write")
        key = None if idempotency_key is None else self._hash(f"idempotency-key:{idempotency_key}")
        return Question(tuple(self._submission(wish) for wish in wishes), by, key)

    def _submission(self, wish: Wish) -> Submission:
        hashed = self._hash(wish.subject)
        return Submission(hashed, wish.regulation, wish.received_at, wish.external_id, wish.callback_urls)
