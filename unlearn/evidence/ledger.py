"""The ledger's rules: one fact an entry, each holding the hash of the one before.

An entry's hash is SHA-256 over the canonical JSON (RFC 8785) of its seq, at, action, facts and previous. Facts hold
ids and keyed hashes, never an identity. Knows no database.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import rfc8785

from unlearn.errors import UnlearnError

GENESIS = "0" * 64

Action = Literal[
    "key_created",
    "key_revoked",
    "endpoint_added",
    "endpoint_secret_rotated",
    "endpoint_disabled",
    "adapter_registered",
    "adapter_retired",
    "shadows_made",
    "request_accepted",
    "job_planned",
    "job_joined",
    "job_left",
    "job_cancelled",
    "attempt_started",
    "attempt_failed",
    "attempt_interrupted",
    "verdict",
    "verdict_alone",
    "version_released",
    "request_completed",
    "request_needs_review",
    "request_cancelled",
    "request_held",
    "request_hold_lifted",
    "request_extended",
    "request_retried",
    "request_rejected",
    "request_released_by_decision",
    "request_reopened",
    "version_rolled_back",
    "export_made",
]
ACTIONS: frozenset[str] = frozenset(get_args(Action))


class LedgerBroken(UnlearnError):
    """The chain of entries does not hold; the message names the first entry where it breaks."""

    kind = "ledger-broken"
    title = "The ledger was changed"


@dataclass(frozen=True)
class Entry:
    """One fact. `at` is RFC 3339 in UTC; `previous` and `hash` are 64 hex digits."""

    seq: int
    at: str
    action: str
    facts: Mapping[str, Any]
    previous: str
    hash: str

    def as_json(self) -> dict[str, Any]:
        """The entry as JSON types."""
        return asdict(self) | {"facts": dict(self.facts)}


def next_entry(previous: Entry | None, at: str, action: Action, facts: Mapping[str, Any]) -> Entry:
    """The entry that follows `previous` (None: the first).

    Raises:
        ValueError: an action that is not on the list.
    """
    if action not in ACTIONS:
        raise ValueError(f"'{action}' is not an action of the ledger")
    seq, before = (1, GENESIS) if previous is None else (previous.seq + 1, previous.hash)
    return Entry(seq, at, action, facts, before, entry_hash(seq, at, action, facts, before))


def entry_hash(seq: int, at: str, action: str, facts: Mapping[str, Any], previous: str) -> str:
    """SHA-256 of the canonical JSON of an entry without its hash: 64 hex digits."""
    body: dict[str, Any] = {"seq": seq, "at": at, "action": action, "facts": dict(facts), "previous": previous}
    return hashlib.sha256(rfc8785.dumps(body)).hexdigest()


def check_chain(entries: Iterable[Entry], head: str | None = None) -> int:
    """Check the whole chain from its first entry.

    Args:
        entries: in order of seq.
        head: hash that the last entry must have, when it is known from elsewhere; without it a truncated end can't
            be seen.

    Returns:
        How many entries there are.

    Raises:
        LedgerBroken: an entry was edited, left out, moved, or cut off.
    """
    count, before = 0, GENESIS
    for entry in entries:
        count += 1
        if entry.seq != count:
            raise LedgerBroken(f"entry {count} is missing or out of order: entry {entry.seq} stands in its place")
        if entry.previous != before:
            raise LedgerBroken(f"entry {entry.seq} does not follow entry {entry.seq - 1}: its previous hash differs")
        if entry_hash(entry.seq, entry.at, entry.action, entry.facts, entry.previous) != entry.hash:
            raise LedgerBroken(f"entry {entry.seq} was edited: its content does not have its hash")
        before = entry.hash
    if head is not None and before != head:
        raise LedgerBroken(f"the ledger ends with entry {count}, which is not the expected head; entries were cut off")
    return count
