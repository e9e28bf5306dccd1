"""Inspection of a whole ledger: every entry, every node, and every root that it is known to have had.

Finds any edit, removal, move, cut and fork, and names the first. What can't be found is a change after the last root
that somebody else keeps, by whoever holds the signing key too: that is what publishing checkpoints is for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from unlearn.evidence.ledger import Entry, LedgerBroken, entry_leaf
from unlearn.evidence.merkle import completed, joined, leaf_hash, node_hash, root

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
) -> Inspected:
    """Check a ledger from its first entry.

    Args:
        entries: in order of seq.
        nodes: level, index and hash, in the order in which entries complete them.
        known: roots that it must have had.
        on_entry: hears how many entries were checked.

    Raises:
        LedgerBroken: it does not hold.
    """
    count, seen, held = 0, 0, 0
    whole: list[bytes] = []
    stored = iter(nodes)
    waiting = sorted(known, key=lambda one: one.size, reverse=True)
    for entry in entries:
        count += 1
        whole.append(_leaf(entry, count))
        for level, index in completed(count - 1):
            right = whole.pop()
            whole.append(node_hash(whole.pop(), right))
            seen += 1
            _check_node(stored, level, index, whole[-1])
        while waiting and waiting[-1].size <= count:
            held = _check_root(waiting.pop(), whole, held)
        on_entry(count)
    _check_end(count, next(stored, None), waiting)
    return Inspected(count, seen, len(known), joined(whole))


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
