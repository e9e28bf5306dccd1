"""Numbers of entries: each says of every request that it is about how many entries about that one came before it.

That an entry is in the ledger, its path shows; that none between a request's first and its last was left out, the
numbers do. What came behind the last they can't show. Knows entries alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unlearn.evidence.ledger import Entry
from unlearn.evidence.refusal import NotVerified

NTH = "nth"
"""The fact that holds the numbers, from 0, by request."""


def numbered(facts: Mapping[str, Any], before: Mapping[str, int]) -> dict[str, Any]:
    """The facts of an entry with its number of each request; of an entry about none, as they are."""
    return {**facts, NTH: dict(before)} if before else dict(facts)


def about_request(entries: Sequence[Entry]) -> list[Entry]:
    """Those of a bundle's entries that are about its request; the others say which keys sign."""
    return [entry for entry in entries if not entry.action.startswith("ledger_")]


def check_numbers(request_id: str, entries: Sequence[Entry], stated: int | None) -> bool:
    """Check that no entry about a request is missing.

    Args:
        request_id: of the request.
        entries: about it, in order. The first of an old ledger may have no number; the next one counts them in.
        stated: how many there are, as the statement says; None in one that says nothing of it.

    Returns:
        Whether there was a number to go by.

    Raises:
        NotVerified: one is missing; names the entry behind the gap.
    """
    known = False
    for place, entry in enumerate(entries):
        number = entry.facts.get(NTH, {}).get(request_id)
        if number is None and not known:
            continue
        known = True
        if number is None:
            raise NotVerified("numbers", f"entry {entry.seq} is not one about request {request_id}: it has no number")
        if number != place:
            raise NotVerified(
                "numbers",
                f"by its number, entry {entry.seq} has {number} before it about request {request_id}, and the bundle "
                f"has {place}: entries were left out, or put in",
            )
    if stated is not None and stated != len(entries):
        told = f"the statement says that {stated} entries are about the request"
        raise NotVerified("numbers", f"{told}; the bundle has {len(entries)}")
    return known
