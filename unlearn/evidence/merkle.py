"""The Merkle tree of RFC 6962, section 2.1 (the same in RFC 9162, section 2.1): hashes, proofs, and checking them.

Knows SHA-256 and where a hash belongs. What the leaves say and where nodes are kept is for others: a `Node` gives the
hash of the complete subtree of 2**level leaves that starts at leaf index * 2**level.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

from unlearn.errors import UnlearnError

HASH_BYTES = 32
Node = Callable[[int, int], bytes]


class ProofBroken(UnlearnError):
    """A proof that does not lead to the root it is for."""

    kind = "proof-broken"
    title = "The proof does not hold"


def leaf_hash(data: bytes) -> bytes:
    """SHA-256(0x00 || data)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(leaf_hashes: Sequence[bytes]) -> bytes:
    """The root over these leaves; without any, SHA-256 of nothing."""
    whole: list[bytes] = []  # roots of complete subtrees, the largest first
    for index, leaf in enumerate(leaf_hashes):
        whole.append(leaf)
        for _ in completed(index):
            right = whole.pop()
            whole.append(node_hash(whole.pop(), right))
    return joined(whole)


def completed(index: int) -> Iterator[tuple[int, int]]:
    """Level and index of the nodes above the leaves that are complete once leaf `index` is there, from below.

    >>> list(completed(3)), list(completed(4))
    ([(1, 1), (2, 0)], [])
    """
    level = 0
    while index >> level & 1:
        level += 1
        yield level, index >> level


def peaks(size: int) -> list[tuple[int, int]]:
    """Level and index of the complete subtrees that a tree of `size` leaves falls into, the largest first.

    >>> peaks(6)
    [(2, 0), (1, 2)]
    """
    return [(level, (size >> level) - 1) for level in reversed(range(size.bit_length())) if size >> level & 1]


def joined(hashes: Sequence[bytes]) -> bytes:
    """One root over the roots of complete subtrees, the largest first; without any, SHA-256 of nothing."""
    if not hashes:
        return hashlib.sha256().digest()
    whole = hashes[-1]
    for left in reversed(hashes[:-1]):
        whole = node_hash(left, whole)
    return whole


def root_of(size: int, node: Node) -> bytes:
    """The root of the first `size` leaves, from at most log2(size) nodes."""
    return joined([node(level, index) for level, index in peaks(size)])


def inclusion_path(index: int, size: int, node: Node) -> list[bytes]:
    """PATH(index, D[size]) of RFC 6962, section 2.1.1: the siblings on the way from leaf `index` to the root.

    Raises:
        ValueError: the tree has no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(_subtree(middle, end, node))
            end = middle
        else:
            path.append(_subtree(start, middle, node))
            start = middle
    return path[::-1]


def consistency_path(old: int, new: int, node: Node) -> list[bytes]:
    """PROOF(old, D[new]) of RFC 6962, section 2.1.2: what shows that the first `old` leaves are unchanged.

    Empty from an empty tree or one of the same size, as those need none.

    Raises:
        ValueError: the old tree is larger than the new one.
    """
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} leaves has no part of {old}")
    if old in (0, new):
        return []
    path: list[bytes] = []
    start, end = 0, new
    while old < end:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(_subtree(middle, end, node))
            end = middle
        else:
            path.append(_subtree(start, middle, node))
            start = middle
    if start > 0:
        path.append(_subtree(start, end, node))
    return path[::-1]


def check_inclusion(index: int, size: int, leaf: bytes, path: Sequence[bytes], root: bytes) -> None:
    """Check that the hash `leaf` stands at `index` under `root` (RFC 9162, section 2.1.3.2).

    Raises:
        ProofBroken: it does not, by this path.
    """
    if not 0 <= index < size:
        raise ProofBroken(f"leaf {index} lies outside a tree of {size} leaves")
    at, last, found = index, size - 1, leaf
    for sibling in _hashes(path):
        if last == 0:
            raise ProofBroken(f"the path of leaf {index} is too long for a tree of {size} leaves")
        if at & 1 or at == last:
            found = node_hash(sibling, found)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        at, last = at >> 1, last >> 1
    if last:
        raise ProofBroken(f"the path of leaf {index} is too short for a tree of {size} leaves")
    if found != root:
        raise ProofBroken(f"the path of leaf {index} leads to another root than that of the tree of {size} leaves")


def check_consistency(old: int, new: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]) -> None:
    """Check that a tree of `new` leaves only adds to the one of `old` leaves (RFC 9162, section 2.1.4.2).

    Raises:
        ProofBroken: it does not, by this path.
    """
    if not 0 <= old <= new:
        raise ProofBroken(f"a tree of {new} leaves can't go on from one of {old}")
    if old in (0, new):
        if path:
            raise ProofBroken(f"from {old} to {new} leaves there is nothing to prove, and the path is not empty")
        if old_root != (new_root if old else root(())):
            raise ProofBroken(f"two trees of {old} leaves have different roots: one of them was rewritten")
        return
    given = _hashes(path)
    start = [old_root, *given] if old & (old - 1) == 0 else given
    if not start:
        raise ProofBroken(f"the path from {old} to {new} leaves is empty")
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    before = after = start[0]
    for sibling in start[1:]:
        if last == 0:
            raise ProofBroken(f"the path from {old} to {new} leaves is too long")
        if at & 1 or at == last:
            before, after = node_hash(sibling, before), node_hash(sibling, after)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            after = node_hash(after, sibling)
        at, last = at >> 1, last >> 1
    if last:
        raise ProofBroken(f"the path from {old} to {new} leaves is too short")
    if (before, after) != (old_root, new_root):
        raise ProofBroken(f"the tree of {new} leaves does not go on from that of {old}: earlier leaves were changed")


def _hashes(path: Sequence[bytes]) -> list[bytes]:
    for place, one in enumerate(path):
        if len(one) != HASH_BYTES:
            raise ProofBroken(f"hash {place} of the path has {len(one)} bytes instead of {HASH_BYTES}")
    return list(path)


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1


def _subtree(start: int, end: int, node: Node) -> bytes:
    """The root over leaves start to end (not included); start is a multiple of the first complete subtree in them."""
    hashes, at = [], start
    for level, _ in peaks(end - start):
        hashes.append(node(level, at >> level))
        at += 1 << level
    return joined(hashes)
