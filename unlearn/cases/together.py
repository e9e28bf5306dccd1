"""What is asked at once is done at once: group commit. Knows neither questions nor answers.

While as many goes are under way as there may be, whoever asks waits in line; the next go takes all who wait. Nobody
waits for company: a question that comes alone is done alone, and the line forms only while there is something to wait
for.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextvars import Context
from typing import Generic, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")

ROUNDS = 3
"""Of the event loop before a go: what has arrived is read in one, begun in the next, and asks in the third. They take
no time when there is nothing to do."""


class Together(Generic[Q, A]):
    """Gathers questions; thread-safe, and for one event loop.

    Args:
        do: answers questions, each with an answer or with an error that is hers alone. What it raises is everybody's.
        most: questions in one go.
        goes: at once.
    """

    def __init__(self, do: Callable[[Sequence[Q]], Sequence[A | Exception]], most: int, goes: int = 1) -> None:
        self._do, self._most, self._goes = do, most, goes
        self._line: deque[tuple[Q, Future[A]]] = deque()
        self._turn, self._taking = threading.Semaphore(goes), threading.Lock()
        self._leads: set[asyncio.Task[None] | None] = set()
        self._gathering = False

    def ask(self, question: Q) -> A:
        """The answer, as soon as it is there; raises her own error, or everybody's."""
        future = self._enter(question)
        while not (future.done() or future.running()):
            with self._turn:
                if not (future.done() or future.running()):
                    self._go()
        return future.result()

    async def ask_soon(self, question: Q) -> A:
        """As `ask`, without holding the event loop up."""
        future = self._enter(question)
        if not self._gathering and len(self._leads) < self._goes:
            self._gathering = True
            lead = asyncio.create_task(self._answer_all(), context=Context())  # it is nobody's own
            self._leads.add(lead)
        return await asyncio.wrap_future(future)

    async def _answer_all(self) -> None:
        """Go as long as somebody waits whom no other lead gathers."""
        own = asyncio.current_task()
        try:
            while True:
                for _ in range(ROUNDS):
                    await asyncio.sleep(0)
                self._gathering = False
                await asyncio.to_thread(self._go_alone)
                if self._gathering or not self._line:
                    return
                self._gathering = True
        finally:
            self._leads.discard(own)

    def _go_alone(self) -> None:
        with self._turn:
            self._go()

    def _enter(self, question: Q) -> Future[A]:
        future: Future[A] = Future()
        self._line.append((question, future))
        return future

    def _go(self) -> None:
        """Answer the first of the line; without those who went away meanwhile."""
        with self._taking:
            taken = [self._line.popleft() for _ in range(min(self._most, len(self._line)))]
            taken = [(question, future) for question, future in taken if future.set_running_or_notify_cancel()]
        if not taken:
            return
        try:
            found: Sequence[A | BaseException] = self._do([question for question, _ in taken])
        except BaseException as error:
            found = [error] * len(taken)
        for (_, future), answer in zip(taken, found, strict=True):
            if isinstance(answer, BaseException):
                future.set_exception(answer)
            else:
                future.set_result(answer)
