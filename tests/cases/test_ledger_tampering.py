"""Hundreds of ways to change the ledger's tables past the triggers: every one is found, by the check that is for it."""

from __future__ import annotations

import json
import random
from collections import Counter
from datetime import UTC, datetime

import pytest
from sqlalchemy import Connection, select, text, update

from tampering import let_rows_change
from unlearn.cases.desk import Desk
from unlearn.cases.desk.bookkeeping import inspect_within
from unlearn.cases.store import ledger
from unlearn.cases.tables import LedgerEntry
from unlearn.evidence.ledger import LedgerBroken, entry_leaf
from unlearn.evidence.merkle import completed, leaf_hash, node_hash
from unlearn.settings import Settings

SIZE = 45
EACH = 50
"""Tries of each kind."""


@pytest.fixture
def desk(tmp_path, database_url, clock):
    desk = Desk(Settings(home=tmp_path / "home", database_url=database_url), clock)
    desk.migrate()
    for place in range(1, SIZE):
        with desk.store.writing() as session:
            facts = {"request": f"req_{place}", "by": "key:1", "n": place}
            ledger.append(session, datetime(2026, 3, 1, tzinfo=UTC), "request_held", facts)
        if place in (9, 30):
            desk.checkpoint()
    desk.published = [("published.txt", desk.checkpoint())]
    assert desk.inspect_ledger(desk.published).entries == SIZE
    yield desk
    desk.close()


def edit(connection, dice):
    """One character of an entry's field, and nothing else."""
    seq, column = dice.randint(1, SIZE), dice.choice(["at", "action", "facts", "hash"])
    before = connection.execute(select(LedgerEntry.__table__.c[column]).where(LedgerEntry.seq == seq)).scalar_one()
    value = json.dumps(before)
    place = dice.randrange(len(value))
    while value[place] in ' "{}:,\\':  # what is between the values of JSON is no content
        place = dice.randrange(len(value))
    changed = value[:place] + ("7" if value[place] != "7" else "8") + value[place + 1 :]
    connection.execute(update(LedgerEntry).where(LedgerEntry.seq == seq).values({column: json.loads(changed)}))
    return {"edited"}, {seq}


def swap(connection, dice):
    """Two entries change places."""
    first, second = sorted(dice.sample(range(1, SIZE + 1), 2))
    for old, new in ((first, -1), (second, first), (-1, second)):
        connection.execute(text("UPDATE ledger SET seq = :new WHERE seq = :old"), {"old": old, "new": new})
    return {"moved"}, {first}


def delete(connection, dice):
    """An entry goes."""
    seq = dice.randint(1, SIZE - 1)
    connection.execute(text("DELETE FROM ledger WHERE seq = :seq"), {"seq": seq})
    return {"missing"}, {seq}


def renumber(connection, dice):
    """An entry goes, and those behind it close the gap."""
    seq = dice.randint(1, SIZE - 1)
    connection.execute(text("DELETE FROM ledger WHERE seq = :seq"), {"seq": seq})
    for later in range(seq + 1, SIZE + 1):
        connection.execute(text("UPDATE ledger SET seq = :to WHERE seq = :seq"), {"seq": later, "to": later - 1})
    return {"moved"}, {seq}


def cut(connection, dice):
    """The end goes, with its nodes or without, with its checkpoints or without."""
    size = dice.randint(0, SIZE - 1)
    connection.execute(text("DELETE FROM ledger WHERE seq > :size"), {"size": size})
    if dice.random() < 0.7:
        rows = connection.execute(text('SELECT level, "index" FROM ledger_nodes')).all()
        for level, index in rows:
            if (index + 1) << level > size:
                place = {"level": level, "index": index}
                connection.execute(text('DELETE FROM ledger_nodes WHERE level = :level AND "index" = :index'), place)
    if dice.random() < 0.5:
        connection.execute(text("DELETE FROM checkpoints WHERE size > :size"), {"size": size})
    return {"cut off"}, {size + 1}


def rewrite(connection, dice):
    """An entry is another, with its own hash made anew."""
    seq = dice.randint(1, SIZE - 1)
    put(connection, seq, {"request": "req_forged"})
    return {"rewritten"}, {seq - (seq - 1) % 2}


def fork(connection, dice):
    """An entry is another, with every hash above it made anew; stored checkpoints of it go, or stay."""
    seq = dice.randint(1, SIZE)
    put(connection, seq, {"request": "req_forged"})
    rows = connection.execute(text("SELECT hash FROM ledger ORDER BY seq")).scalars()
    hashes = {(0, leaf): bytes.fromhex(one) for leaf, one in enumerate(rows)}
    for leaf in range(SIZE):
        for level, index in completed(leaf):
            hashes[level, index] = node_hash(hashes[level - 1, 2 * index], hashes[level - 1, 2 * index + 1])
            node = {"level": level, "index": index, "hash": hashes[level, index]}
            change = 'UPDATE ledger_nodes SET hash = :hash WHERE level = :level AND "index" = :index'
            connection.execute(text(change), node)
    if dice.random() < 0.5:
        connection.execute(text("DELETE FROM checkpoints WHERE size >= :seq"), {"seq": seq})
    return {"forked"}, set(range(1, seq + 1))


def node(connection, dice):
    """A node is another, or goes."""
    rows = connection.execute(text('SELECT level, "index" FROM ledger_nodes')).all()
    level, index = dice.choice(rows)
    goes = dice.random() < 0.5
    change = "DELETE FROM ledger_nodes" if goes else "UPDATE ledger_nodes SET hash = :hash"
    values = {"level": level, "index": index} | ({} if goes else {"hash": dice.randbytes(32)})
    connection.execute(text(f'{change} WHERE level = :level AND "index" = :index'), values)
    return {"missing" if goes else "rewritten"}, {(index << level) + 1}


def note(connection, dice):
    """A stored checkpoint is another."""
    size, before = dice.choice(connection.execute(text("SELECT size, note FROM checkpoints")).all())
    place = dice.randrange(len(before))
    changed = before[:place] + ("x" if before[place] != "x" else "y") + before[place + 1 :]
    connection.execute(text("UPDATE checkpoints SET note = :n WHERE size = :size"), {"n": changed, "size": size})
    return {"checkpoint"}, {None}


def put(connection: Connection, seq: int, facts: dict[str, str]) -> None:
    one = LedgerEntry.seq == seq
    at, action = connection.execute(select(LedgerEntry.at, LedgerEntry.action).where(one)).one()
    hash_ = leaf_hash(entry_leaf(seq, at, action, facts)).hex()
    connection.execute(update(LedgerEntry).where(one).values(facts=facts, hash=hash_))


@pytest.mark.parametrize("change", [edit, swap, delete, renumber, cut, rewrite, fork, node, note])
def test_every_change_is_found_by_the_check_that_is_for_it(desk, change):
    dice, found = random.Random(change.__name__), Counter()
    for _ in range(EACH):
        with desk.store.writing() as session:
            let_rows_change(session)
            faults, seqs = change(session.connection(), dice)
            with pytest.raises(LedgerBroken) as broken:
                inspect_within(session, desk.published)
            session.rollback()
        assert broken.value.fault in faults
        assert broken.value.seq in seqs
        found[broken.value.fault] += 1
    assert found.total() == EACH
    assert desk.inspect_ledger(desk.published).entries == SIZE
