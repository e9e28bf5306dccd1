"""Inspection of a whole ledger: every entry, every node, and every root that it is known to have had.

Finds any edit, removal, move, cut and fork, and names the first; and any entry about a request that was hidden, by
taking its row out of the look-up beside the tree, whether or not it is back since. What can't be found is a change
after the last root that somebody else keeps, by whoever holds the signing key too: that is what publishing checkpoints
is for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from unlearn.evidence.ledger import Entry, LedgerBroken, entry_leaf
from unlearn.evidence.merkle import completed, joined, leaf_hash, node_hash, root
from unlearn.evidence.numbering import NTH

Nodes = Iterable[tuple[int, int, bytes]]


@dataclass(frozen=True)
class KnownRoot:
    """A root that the ledger had at one size.

    Attributes:
        size: entries.
        root: of these.
        source: who says so, for the message.
    """

    size: int
    root: bytes
    source: str


@dataclass(frozen=True)
class Inspected:
    """A ledger that holds: how many entries, inner nodes and known roots were checked, and the root over all."""

    entries: int
    nodes: int
    roots: int
    root: bytes


def inspect(
    entries: Iterable[Entry],
    nodes: Nodes,
    known: Sequence[KnownRoot] = (),
    on_entry: Callable[[int], None] = lambda count: None,
    subjects: Iterable[tuple[int, str]] | None = None,
) -> Inspected:
    """Check a ledger from its first entry.

    Args:
        entries: in order of seq.
        nodes: level, index and hash, in the order in which entries complete them.
        subjects: seq and request of each row of the look-up, in order of seq; None where there is none.
        known: roots that it must have had.
        on_entry: hears how many entries were checked.

    Raises:
        LedgerBroken: it does not hold.
    """
    count, seen, held = 0, 0, 0
    whole: list[bytes] = []
    stored = iter(nodes)
    numbers = _Numbers(subjects)
    waiting = sorted(known, key=lambda one: one.size, reverse=True)
    for entry in entries:
        count += 1
        whole.append(_leaf(entry, count))
        numbers.count(entry)
        for level, index in completed(count - 1):
            right = whole.pop()
            whole.append(node_hash(whole.pop(), right))
            seen += 1
            _check_node(stored, level, index, whole[-1])
        while waiting and waiting[-1].size <= count:
            held = _check_root(waiting.pop(), whole, held)
        on_entry(count)
    _check_end(count, next(stored, None), waiting)
    numbers.check()
    return Inspected(count, seen, len(known), joined(whole))


class _Numbers:
    """How many entries there were about each request: what each entry says of that, and the look-up, must be so.

    A request that a restore found nowhere is in the entries' numbers, and in no row of the look-up.
    """

    def __init__(self, subjects: Iterable[tuple[int, str]] | None) -> None:
        self._rows = groupby(subjects or (), key=lambda row: row[0])
        self._next = next(self._rows, None)
        self._looks = subjects is not None
        self._counts: dict[str, int] = {}
        self._rowless: set[str] = set()
        self._begun = False
        self._fault: LedgerBroken | None = None

    def count(self, entry: Entry) -> None:
        """Count the entry in."""
        there: set[str] = set()
        if self._next is not None and self._next[0] == entry.seq:
            there = {request for _, request in self._next[1]}
            self._next = next(self._rows, None)
        told = entry.facts.get(NTH)
        if not isinstance(told, Mapping):  # about nobody, or from before they were numbered
            told = {request: self._counts.get(request, 0) for request in there}
            if self._begun and there:
                self._hidden(entry.seq, f"the look-up has it about {min(there)}, and it has no number of that request")
        elif told:
            self._begun = True
        self._rowless |= {request for request in told.keys() - there if request not in self._counts}
        differs = (told.keys() - there - self._rowless) | (there - told.keys()) | (there & self._rowless)
        if self._looks and differs:
            self._hidden(entry.seq, f"its numbers and the look-up differ on whether it is about {min(differs)}")
        for request, number in told.items():
            before = self._counts.get(request, number if request in self._rowless else 0)
            if number != before:
                self._hidden(entry.seq, f"it says that {number} are before it about {request}, and {before} are")
            self._counts[request] = before + 1

    def _hidden(self, seq: int, why: str) -> None:
        message = f"entry {seq} or one before it was hidden, or put in: {why}"
        self._fault = self._fault or LedgerBroken(message, "hidden", seq)

    def check(self) -> None:
        """Raise the first fault, once all else holds."""
        if self._next is not None:
            self._hidden(self._next[0], "the look-up names it, and the ledger has no such entry")
        if self._fault is not None:
            raise self._fault


def _leaf(entry: Entry, place: int) -> bytes:
    """The hash of the entry's content, which stands in its place."""
    if entry.seq != place:
        raise LedgerBroken(f"entry {place} is missing: entry {entry.seq} stands in its place", "missing", place)
    found = _hash(entry, place)
    if found.hex() == entry.hash:
        return found
    for near in range(1, max(2 * place, place + 1000)):
        if _hash(entry, near).hex() == entry.hash:
            raise LedgerBroken(f"entry {place} was moved: what stands there is entry {near}", "moved", place)
    raise LedgerBroken(f"entry {place} was edited: its content does not have its hash", "edited", place)


def _hash(entry: Entry, seq: int) -> bytes:
    try:
        return leaf_hash(entry_leaf(seq, entry.at, entry.action, entry.facts))
    except ValueError:  # numbers that no canonical JSON has
        return b""


def _check_node(stored: Iterator[tuple[int, int, bytes]], level: int, index: int, found: bytes) -> None:
    there = next(stored, None)
    first = (index << level) + 1
    if there is None or there[:2] != (level, index):
        raise LedgerBroken(f"the node over {_span(level, index)} is missing", "missing", first)
    if there[2] != found:
        raise LedgerBroken(
            f"the node over {_span(level, index)} is not their hash: one of them was rewritten together with its own "
            "hash, or the node was",
            "rewritten",
            first,
        )


def _check_root(one: KnownRoot, whole: Sequence[bytes], held: int) -> int:
    """Compare a known root; the size up to which roots hold."""
    if one.size and joined(whole) != one.root:
        raise LedgerBroken(
            f"the first {one.size} entries do not have the root in {one.source}: an entry from {held + 1} to "
            f"{one.size} was rewritten with all that hangs on it, a fork of the ledger",
            "forked",
            held + 1,
        )
    if not one.size and one.root != root(()):
        raise LedgerBroken(f"{one.source} is of no entries and not the root of nothing", "forked")
    return one.size


def _check_end(count: int, surplus: tuple[int, int, bytes] | None, waiting: Sequence[KnownRoot]) -> None:
    """Nothing may be known of entries behind the last."""
    if surplus is not None:
        told = f"nodes over later entries are there, such as that over {_span(surplus[0], surplus[1])}"
        raise LedgerBroken(
            f"the ledger ends with entry {count}, but {told}: entries were cut off", "cut off", count + 1
        )
    for one in reversed(waiting):
        if one.size:
            raise LedgerBroken(
                f"the ledger ends with entry {count}, but {one.source} is of {one.size} entries: those from "
                f"{count + 1} on were cut off",
                "cut off",
                count + 1,
            )


def _span(level: int, index: int) -> str:
    return f"entries {(index << level) + 1} to {(index + 1) << level}"
