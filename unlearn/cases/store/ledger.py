"""Appending to the ledger and reading it. The rules of the tree are `unlearn.evidence.merkle`'s.

Leaves are rows of `ledger`, complete subtrees rows of `ledger_nodes`: an append adds the leaf and the nodes it
completes, one on average. A proof reads at most as many rows as it has hashes.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, TypeVar, cast

from sqlalchemy import Text, and_, bindparam, func, or_, select, text
from sqlalchemy.orm import Session

from unlearn.cases.store.engine import LEDGER_LOCK, lock
from unlearn.cases.store.rows import add_rows
from unlearn.cases.tables import OF_KEYS, LedgerEntry, LedgerNode, LedgerSubject
from unlearn.cases.views import rfc3339
from unlearn.evidence.inspection import Inspected, KnownRoot, inspect
from unlearn.evidence.ledger import Action, Entry, LedgerBroken, entry_leaf, new_entry
from unlearn.evidence.merkle import HASH_BYTES, Node, completed, leaf_hash, node_hash, root_of
from unlearn.evidence.numbering import numbered
from unlearn.evidence.story import SKEW

log = logging.getLogger(__name__)
T = TypeVar("T")
EDGE = "the right edge of the ledger's tree"
COLUMNS = LedgerEntry.seq, LedgerEntry.at, LedgerEntry.action, LedgerEntry.facts, LedgerEntry.hash
NEWEST = select(LedgerEntry.seq, LedgerEntry.hash, LedgerEntry.at).order_by(LedgerEntry.seq.desc()).limit(1)
THE_EDGE = text(
    """
    WITH RECURSIVE newest AS (SELECT seq, at, hash FROM ledger ORDER BY seq DESC LIMIT 1),
    levels (level) AS (SELECT 0 UNION ALL SELECT level + 1 FROM levels, newest WHERE seq >> (level + 1) > 0)
    SELECT seq, at, newest.hash, level,
        (SELECT hash FROM ledger_nodes n WHERE n.level = levels.level AND n."index" = (seq >> levels.level) - 1)
    FROM newest, levels WHERE level = 0 OR (seq >> level) & 1 = 1
    """
)
"""The newest entry, and with it the roots of the complete subtrees that the tree of all entries consists of."""
LEAVES = select(LedgerEntry.seq, LedgerEntry.hash).where(LedgerEntry.seq.in_(bindparam("seqs", expanding=True)))
ABOUT = (
    select(LedgerSubject.request_id, func.count())
    .where(LedgerSubject.request_id.in_(bindparam("ids", expanding=True)))
    .group_by(LedgerSubject.request_id)
)
AT_ONCE = 10_000
"""Most ids in one statement; SQLite takes 32,766 parameters."""


class Fact(NamedTuple):
    """What an entry is to say.

    Attributes:
        action: what happened.
        facts: ids, and names of subjects under their salts (`salts`).
        about: request ids whose export shall hold the entry.
    """

    action: Action
    facts: Mapping[str, Any]
    about: Sequence[str] = ()


@dataclass
class _Edge:
    """How many entries there are, when the last was made, and the nodes known here of those the next will join.

    `about` has how many there are about each request, of those that were asked for.
    """

    size: int
    at: str
    nodes: dict[tuple[int, int], bytes]
    about: dict[str, int] = field(default_factory=dict)


def append(
    session: Session, now: datetime, action: Action, facts: Mapping[str, Any], about: Sequence[str] = ()
) -> Entry:
    """Add one fact (see `Fact`) in the running transaction; writers take turns."""
    return append_many(session, now, [Fact(action, facts, about)])[0]


def append_many(session: Session, now: datetime, told: Sequence[Fact]) -> list[Entry]:
    """Add facts in this order, in the running transaction; writers take turns.

    Args:
        session: of a writing transaction.
        now: when it all happened.
        told: the facts.
    """
    if not told:
        return []
    edge = _edge(session)
    at = _not_before(edge.at, rfc3339(now))
    given = zip(told, _numbered(session, edge, told), strict=True)
    entries = [new_entry(seq, at, one.action, facts) for seq, (one, facts) in enumerate(given, edge.size + 1)]
    _write(session, edge, entries)
    about = [{"request_id": id_, "seq": e.seq} for e, one in zip(entries, told, strict=True) for id_ in one.about]
    add_rows(session, LedgerSubject, about)
    return entries


def _not_before(last: str, now: str) -> str:
    """The moment of a new entry: a machine whose clock is behind another's does not go back."""
    if last > now and (ahead := datetime.fromisoformat(last) - datetime.fromisoformat(now)) > SKEW:
        log.warning(
            "the ledger's last entry is %d seconds ahead of this clock, and new entries take its moment until the "
            "clock is there: set the clocks of the service's machines by NTP",
            ahead.total_seconds(),
        )
    return max(now, last)


def _numbered(session: Session, edge: _Edge, told: Sequence[Fact]) -> list[dict[str, Any]]:
    """The facts of each, with how many entries were before it about each request that it is about."""
    new = {id_ for one in told if one.action == "request_accepted" for id_ in one.about}
    asked = sorted({id_ for one in told for id_ in one.about} - new - edge.about.keys())
    edge.about |= dict.fromkeys([*new, *asked], 0)
    for start in range(0, len(asked), AT_ONCE):
        ids = {"ids": asked[start : start + AT_ONCE]}
        for id_, count in session.connection().execute(ABOUT, ids):
            edge.about[id_] = count
    facts = []
    for one in told:
        facts.append(numbered(one.facts, {id_: edge.about[id_] for id_ in one.about}))
        edge.about |= {id_: edge.about[id_] + 1 for id_ in one.about}
    return facts


def take_over(session: Session, entry: Entry) -> None:
    """Append an entry that this ledger had before, as it was.

    Raises:
        LedgerBroken: it does not follow the last one, or was edited.
    """
    edge = _edge(session)
    if entry.seq != edge.size + 1:
        raise LedgerBroken(f"entry {edge.size + 1} is missing: entry {entry.seq} stands in its place", "missing")
    if leaf_hash(entry_leaf(entry.seq, entry.at, entry.action, entry.facts)).hex() != entry.hash:
        raise LedgerBroken(f"entry {entry.seq} was edited: its content does not have its hash", "edited", entry.seq)
    _write(session, edge, [entry])


def _write(session: Session, edge: _Edge, entries: Sequence[Entry]) -> None:
    session.flush()  # what the entries are about comes first
    made = _grow(edge, [bytes.fromhex(entry.hash) for entry in entries])
    edge.at = entries[-1].at
    rows = [{"seq": e.seq, "at": e.at, "action": e.action, "facts": dict(e.facts), "hash": e.hash} for e in entries]
    add_rows(session, LedgerEntry, rows)
    add_rows(session, LedgerNode, made)


def wait_turn(session: Session) -> None:
    """Hold the ledger until the end of the transaction: what it says now goes on being all that it says."""
    _edge(session)


def _edge(session: Session) -> _Edge:
    """Where the next entry goes. Once the transaction has looked, it knows: until its end, nobody else appends."""
    if EDGE not in session.info:
        lock(session.connection(), LEDGER_LOCK)
        session.info[EDGE] = _edge_of(tuple(row) for row in session.connection().execute(THE_EDGE))
    return cast("_Edge", session.info[EDGE])


def _edge_of(rows: Iterable[Sequence[Any]]) -> _Edge:
    edge = _Edge(0, "", {})
    for size, at, newest, level, peak in rows:
        edge.size, edge.at = size, at
        found = bytes.fromhex(newest) if level == 0 else peak
        edge.nodes[level, (size >> level) - 1] = found
    return edge


def _grow(edge: _Edge, leaves: Sequence[bytes]) -> list[dict[str, Any]]:
    """Add leaves to the edge; rows of the nodes that they complete."""
    above = [place for index in range(edge.size, edge.size + len(leaves)) for place in completed(index)]
    for leaf in leaves:
        edge.nodes[0, edge.size] = found = leaf
        for level, index in completed(edge.size):
            edge.nodes[level, index] = found = node_hash(edge.nodes[level - 1, 2 * index], found)
        edge.size += 1
    return [{"level": level, "index": index, "hash": edge.nodes[level, index]} for level, index in above]


def _hashes(session: Session, places: Iterable[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
    """The hashes at these levels and indices."""
    leaves = [index + 1 for level, index in places if level == 0]
    inner = [place for place in places if place[0] > 0]
    found: dict[tuple[int, int], bytes] = {}
    if leaves:
        for seq, hash_ in session.connection().execute(LEAVES, {"seqs": leaves}):
            found[0, seq - 1] = bytes.fromhex(hash_)
    if inner:
        # each by its key: of a list of pairs SQLite makes a scan
        each = [and_(LedgerNode.level == level, LedgerNode.index == index) for level, index in inner]
        query = select(LedgerNode.level, LedgerNode.index, LedgerNode.hash).where(or_(*each))
        found |= {(level, index): hash_ for level, index, hash_ in session.execute(query)}
    return found


def from_tree(session: Session, compute: Callable[[Node], T]) -> T:
    """What `compute` makes of the tree's nodes; it runs twice, first to say which it wants."""
    wanted: set[tuple[int, int]] = set()

    def note(level: int, index: int) -> bytes:
        wanted.add((level, index))
        return bytes(HASH_BYTES)

    compute(note)
    found = _hashes(session, wanted)
    return compute(lambda level, index: found[level, index])


def size(session: Session) -> int:
    """How many entries there are."""
    newest = session.connection().execute(NEWEST).first()
    return 0 if newest is None else int(newest.seq)


def root(session: Session, of: int) -> bytes:
    """The root of the tree of the first `of` entries; there are that many."""
    return from_tree(session, lambda node: root_of(of, node))


def all_entries(session: Session) -> Iterator[Entry]:
    """The whole ledger in order, whatever its facts have become."""
    columns = LedgerEntry.seq, LedgerEntry.at, LedgerEntry.action, LedgerEntry.facts.cast(Text), LedgerEntry.hash
    query = select(*columns).order_by(LedgerEntry.seq)
    for seq, at, action, facts, hash_ in session.execute(query.execution_options(yield_per=1000)):
        yield Entry(seq, at, action, _facts(facts), hash_)


def all_nodes(session: Session) -> Iterator[tuple[int, int, bytes]]:
    """Level, index and hash of every inner node, in the order in which entries complete them."""
    order = (LedgerNode.index + 1).bitwise_lshift(LedgerNode.level), LedgerNode.level
    query = select(LedgerNode.level, LedgerNode.index, LedgerNode.hash).order_by(*order)
    yield from session.execute(query.execution_options(yield_per=1000))


def all_subjects(session: Session) -> Iterator[tuple[int, str]]:
    """Seq and request of every row of the look-up, in order of seq."""
    query = select(LedgerSubject.seq, LedgerSubject.request_id).order_by(LedgerSubject.seq)
    yield from session.execute(query.execution_options(yield_per=1000))


def inspected(
    session: Session, known: Sequence[KnownRoot] = (), on_entry: Callable[[int], None] = lambda count: None
) -> Inspected:
    """The whole ledger, inspected with its look-up.

    Raises:
        LedgerBroken: it does not hold.
    """
    return inspect(all_entries(session), all_nodes(session), known, on_entry, all_subjects(session))


def entries_after(session: Session, seq: int, limit: int) -> list[Entry]:
    """Up to `limit` entries that follow entry `seq`."""
    query = select(*COLUMNS).where(LedgerEntry.seq > seq).order_by(LedgerEntry.seq).limit(limit)
    return [Entry(*row) for row in session.execute(query)]


def entries_about(session: Session, request_id: str) -> list[Entry]:
    """The entries about one request, in order."""
    about = select(LedgerSubject.seq).where(LedgerSubject.request_id == request_id)
    query = select(*COLUMNS).where(LedgerEntry.seq.in_(about)).order_by(LedgerEntry.seq)
    return [Entry(*row) for row in session.execute(query)]


def entries_of_keys(session: Session) -> list[Entry]:
    """The entries that say which keys sign the ledger, in order."""
    query = select(*COLUMNS).where(text(OF_KEYS.text)).order_by(LedgerEntry.seq)
    return [Entry(*row) for row in session.execute(query)]


def _facts(given: str) -> dict[str, Any]:
    """The facts in a text; of one that is no JSON object, something that no entry has."""
    try:
        facts = json.loads(given)
    except ValueError:
        facts = None
    return facts if isinstance(facts, dict) else {"unreadable": given}
