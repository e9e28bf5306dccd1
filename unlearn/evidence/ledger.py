"""The ledger's rules: one fact an entry, each a leaf of a Merkle tree (`merkle`).

An entry's leaf is the canonical JSON (RFC 8785) of its seq, at, action and facts; entry `seq` is leaf seq - 1. Facts
hold ids and keyed hashes under salts that can be destroyed, never an identity. Knows no database.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import rfc8785

from unlearn.errors import UnlearnError
from unlearn.evidence.merkle import leaf_hash

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
    "job_lost",
    "job_cancelled",
    "attempt_started",
    "attempt_failed",
    "attempt_interrupted",
    "verdict",
    "verdict_alone",
    "nothing_left",
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
    "data_erased",
    "version_purged",
    "corpus_purged",
    "candidate_purged",
    "erased_records_admitted",
    "callback_delivered",
    "deployment_done",
    "export_made",
    "register_made",
    "ledger_key_added",
    "ledger_key_retired",
    "ledger_converted",
    "subject_shredded",
    "restored",
    "deletion_reapplied",
    "adapter_let_go",
    "backup_made",
    "backup_disposed",
]
ACTIONS: frozenset[str] = frozenset(get_args(Action))


Fault = Literal["edited", "moved", "missing", "rewritten", "cut off", "forked", "checkpoint", "hidden"]
"""
edited       an entry's content does not have its hash
moved        an entry stands where another belongs
missing      an entry is not there, or a node is not
rewritten    a node is not the hash of what is under it
cut off      the end is not there
forked       the first entries do not have the root that a checkpoint gives them
checkpoint   a stored checkpoint is not what the ledger's key signed
hidden       an entry's number of a request is not the next, or the look-up beside the tree says otherwise than it
"""


class LedgerBroken(UnlearnError):
    """The ledger does not hold; the message names the first entry where it breaks, and how.

    Attributes:
        fault: how.
        seq: of the entry, or the first of several that may be meant; None where a checkpoint is at fault.
    """

    kind = "ledger-broken"
    title = "The ledger was changed"

    def __init__(self, message: str, fault: Fault = "edited", seq: int | None = None) -> None:
        super().__init__(message)
        self.fault, self.seq = fault, seq


@dataclass(frozen=True)
class Entry:
    """One fact. `seq` counts from 1; `at` is RFC 3339 in UTC; `hash` is the leaf's hash in 64 hex digits."""

    seq: int
    at: str
    action: str
    facts: Mapping[str, Any]
    hash: str

    def as_json(self) -> dict[str, Any]:
        """The entry as JSON types."""
        return vars(self) | {"facts": dict(self.facts)}


def report_digest(report: Mapping[str, Any]) -> str:
    """SHA-256 of a job's report as compact JSON with sorted keys, 64 hex digits: what its verdict was given on."""
    plain = json.loads(json.dumps(report, allow_nan=False))  # as it comes back from wherever it is kept
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def findings_digest(findings: Sequence[Mapping[str, Any]]) -> str:
    """SHA-256 of the findings on one person alone as canonical JSON (RFC 8785), 64 hex digits."""
    return hashlib.sha256(rfc8785.dumps(json.loads(json.dumps(list(findings), allow_nan=False)))).hexdigest()


def versions_digest(versions: Iterable[tuple[int, str]]) -> str:
    """SHA-256 of a list of versions, by number and SHA-256 of weights, as canonical JSON (RFC 8785), 64 hex digits."""
    named: list[Any] = [{"number": number, "sha256": sha256} for number, sha256 in versions]
    return hashlib.sha256(rfc8785.dumps(named)).hexdigest()


def reason_digest(reason: str, nonce: bytes) -> str:
    """HMAC-SHA-256 (RFC 2104) of a reason in words under its nonce, 64 hex digits: who has neither can't guess it."""
    return hmac.new(nonce, reason.encode(), hashlib.sha256).hexdigest()


REASON = "reason_hmac"
"""The fact that holds the `reason_digest` of a decision; its nonce is in the request's file."""


def entry_leaf(seq: int, at: str, action: str, facts: Mapping[str, Any]) -> bytes:
    """The leaf of an entry: its canonical JSON (RFC 8785)."""
    return rfc8785.dumps({"seq": seq, "at": at, "action": action, "facts": dict(facts)})


def new_entry(seq: int, at: str, action: Action, facts: Mapping[str, Any]) -> Entry:
    """An entry with its hash.

    Raises:
        ValueError: an action that is not on the list, or facts that plain JSON and RFC 8785 may spell differently:
            floats, and keys outside ASCII.
    """
    if action not in ACTIONS:
        raise ValueError(f"'{action}' is not an action of the ledger")
    _check_plain(facts, "facts")
    return Entry(seq, at, action, facts, leaf_hash(entry_leaf(seq, at, action, facts)).hex())


def _check_plain(value: Any, where: str) -> None:
    """Check that sorted, compact JSON of the value is RFC 8785, so that an auditor needs no library for it."""
    if isinstance(value, float):
        raise ValueError(f"{where} is {value!r}: an entry has no floats; write it as a whole number, or as text")
    if isinstance(value, Mapping):
        for key, one in value.items():
            if not str(key).isascii():
                raise ValueError(f"{where} has the key {key!r}: an entry's keys are ASCII")
            _check_plain(one, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for place, one in enumerate(value):
            _check_plain(one, f"{where}[{place}]")
