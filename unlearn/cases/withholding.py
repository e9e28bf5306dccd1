"""Adapters that must not serve until whom they know again is forgotten again. Inside `desk`'s transaction.

An adapter whose weights came out of an old backup knows who was erased from it since. It awaits the requests of these
people; it serves again once it knows none of them, or a person decided otherwise. Speaks no SQL of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from unlearn.cases import telling
from unlearn.cases.store import adapters, ledger
from unlearn.cases.tables import Adapter
from unlearn.errors import Unavailable


class Withheld(Unavailable):
    """Adapters that must not serve yet."""

    kind = "withheld"
    title = "Deletions are being done again"


@dataclass(frozen=True)
class Awaited:
    """How many adapters are withheld, and how many requests they await."""

    adapters: int
    requests: int

    def __str__(self) -> str:
        who = f"{self.adapters} adapter{'s are' if self.adapters > 1 else ' is'} withheld"
        what, end = ("deletions", "are") if self.requests > 1 else ("deletion", "is")
        return f"{who} until {self.requests} {what} that a restored backup took back {end} done again"


def withhold(
    session: Session, adapter: Adapter, request_ids: Iterable[str], hooks: Sequence[str], now: datetime
) -> None:
    """Take the adapter from whoever serves it until these requests are answered."""
    adapter.awaits = sorted(request_ids)
    session.flush()
    telling.deployed(session, adapter, hooks, now, withdrawn=True)


def awaited(session: Session) -> Awaited | None:
    """What is awaited by all adapters; None if none is withheld."""
    found = adapters.withheld(session)
    if not found:
        return None
    return Awaited(len(found), len({one for adapter in found for one in adapters.awaited(session, adapter)}))


def over(session: Session) -> list[Adapter]:
    """Adapters that are withheld and await nothing more."""
    return [adapter for adapter in adapters.withheld(session) if not adapters.awaited(session, adapter)]


def let_go(session: Session, hooks: Sequence[str], now: datetime) -> int:
    """Let adapters that await nothing more serve; how many."""
    found = over(session)
    for adapter in found:
        adapter.awaits = None
        session.flush()
        ledger.append(session, now, "adapter_let_go", {"adapter": adapter.id, "version": adapter.current})
        if adapter.retired_at is None:
            telling.deployed(session, adapter, hooks, now, forced=True)
    return len(found)
