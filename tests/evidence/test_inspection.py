"""Inspection: a whole ledger holds, and every kind of tampering is found under its name."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearn.evidence.inspection import KnownRoot, inspect
from unlearn.evidence.ledger import LedgerBroken, entry_leaf, new_entry
from unlearn.evidence.merkle import completed, leaf_hash, node_hash, root

AT = "2026-01-02T03:04:05.678Z"
MANY = 37


def ledger(size=MANY, **changed):
    """Entries, nodes and the root; `changed` gives other facts to the entry e<seq>."""
    facts = ({"request": changed.get(f"e{seq}", f"req_{seq}")} for seq in range(1, size + 1))
    entries = [new_entry(seq, AT, "request_accepted", one) for seq, one in enumerate(facts, 1)]
    hashes = {(0, entry.seq - 1): bytes.fromhex(entry.hash) for entry in entries}
    nodes = []
    for leaf in range(size):
        for level, index in completed(leaf):
            hashes[level, index] = node_hash(hashes[level - 1, 2 * index], hashes[level - 1, 2 * index + 1])
            nodes.append((level, index, hashes[level, index]))
    return entries, nodes, root([hashes[0, leaf] for leaf in range(size)])


ENTRIES, NODES, ROOT = ledger()
KNOWN = [KnownRoot(MANY, ROOT, "the checkpoint"), KnownRoot(12, ledger(12)[2], "the checkpoint of 12")]


def fault(entries=ENTRIES, nodes=NODES, known=KNOWN):
    with pytest.raises(LedgerBroken) as broken:
        inspect(entries, nodes, known)
    assert broken.value.seq is None or f"{broken.value.seq}" in str(broken.value)
    return broken.value.fault, broken.value.seq


def test_a_whole_ledger_holds_and_is_counted():
    heard = []
    found = inspect(ENTRIES, NODES, KNOWN, heard.append)
    assert (found.entries, found.nodes, found.roots, found.root) == (MANY, len(NODES), 2, ROOT)
    assert heard == list(range(1, MANY + 1))
    assert inspect([], [], [KnownRoot(0, root([]), "the first")]).entries == 0


@given(st.integers(0, MANY - 1), st.sampled_from(["at", "action", "facts", "hash"]))
def test_an_edited_field_of_any_entry_names_it(place, field):
    values = {"at": "2026-01-02T03:04:05.679Z", "action": "verdict", "facts": {"request": "req_x"}, "hash": "f" * 64}
    entries = list(ENTRIES)
    entries[place] = dataclasses.replace(entries[place], **{field: values[field]})
    assert fault(entries) == ("edited", place + 1)


@given(st.lists(st.integers(0, MANY - 1), min_size=2, max_size=2, unique=True))
def test_two_entries_that_changed_places_are_found(places):
    first, second = sorted(places)
    entries = list(ENTRIES)
    entries[first] = dataclasses.replace(ENTRIES[second], seq=first + 1)
    entries[second] = dataclasses.replace(ENTRIES[first], seq=second + 1)
    assert fault(entries) == ("moved", first + 1)


@given(st.integers(0, MANY - 2))
def test_a_removed_entry_is_missed_and_a_gap_that_was_closed_is_found(place):
    entries = ENTRIES[:place] + ENTRIES[place + 1 :]
    assert fault(entries) == ("missing", place + 1)
    assert fault([dataclasses.replace(e, seq=seq) for seq, e in enumerate(entries, 1)]) == ("moved", place + 1)


@given(st.integers(0, MANY - 1))
def test_an_entry_that_was_cut_off_with_its_nodes_is_found_by_what_was_known(size):
    assert fault(ENTRIES[:size]) == (("cut off", size + 1))
    entries, nodes, _ = ledger(size)
    assert fault(entries, nodes) == ("cut off", size + 1)


@given(st.integers(0, MANY - 1))
def test_an_entry_rewritten_with_its_hash_is_found_by_its_node_or_by_a_known_root(place):
    entries = list(ENTRIES)
    entries[place] = new_entry(place + 1, AT, "verdict", {})
    found, seq = fault(entries)
    assert (found, seq) == (("forked", 13) if place == MANY - 1 else ("rewritten", place // 2 * 2 + 1))


@given(st.integers(1, MANY))
def test_a_fork_with_all_its_hashes_made_anew_is_found_by_a_known_root(place):
    entries, nodes, _ = ledger(MANY, **{f"e{place}": "req_forged"})
    assert fault(entries, nodes) == ("forked", 1 if place <= 12 else 13)
    assert inspect(entries, nodes).entries == MANY  # without one, nothing shows


@given(st.integers(0, len(NODES) - 1))
def test_a_node_that_is_missing_or_changed_is_found(place):
    level, index, _ = NODES[place]
    assert fault(nodes=NODES[:place] + NODES[place + 1 :]) == ("missing", (index << level) + 1)
    changed = [*NODES[:place], (level, index, bytes(32)), *NODES[place + 1 :]]
    assert fault(nodes=changed) == ("rewritten", (index << level) + 1)


def test_facts_that_no_json_has_are_an_edit():
    entries = [dataclasses.replace(ENTRIES[0], facts={"n": 2**60}), *ENTRIES[1:]]
    assert fault(entries) == ("edited", 1)


def test_a_root_of_nothing_that_is_something_is_a_fork():
    assert fault(known=[KnownRoot(0, bytes(32), "the first")]) == ("forked", None)


def test_the_message_says_who_knew_better():
    with pytest.raises(LedgerBroken, match=r"do not have the root in published\.txt: an entry from 1 to 37"):
        inspect(ENTRIES, NODES, [KnownRoot(MANY, leaf_hash(entry_leaf(1, AT, "x", {})), "published.txt")])


def numbered(*nths):
    """Entries with these numbers, and their nodes."""
    facts = [{} if nth is None else {"nth": nth} for nth in nths]
    entries = [new_entry(seq, AT, "request_held", one) for seq, one in enumerate(facts, 1)]
    hashes = {(0, entry.seq - 1): bytes.fromhex(entry.hash) for entry in entries}
    nodes = []
    for leaf in range(len(entries)):
        for level, index in completed(leaf):
            hashes[level, index] = node_hash(hashes[level - 1, 2 * index], hashes[level - 1, 2 * index + 1])
            nodes.append((level, index, hashes[level, index]))
    return entries, nodes


@pytest.mark.parametrize(
    ("nths", "rows"),
    [
        ([{"a": 0}, {"a": 1, "b": 0}, None, {"b": 1}], [(1, "a"), (2, "a"), (2, "b"), (4, "b")]),
        ([None, None, {"a": 2}], [(1, "a"), (2, "a"), (3, "a")]),  # two from before they were numbered
        ([{"a": 0, "lost": 7}, {"a": 1}, {"lost": 8}], [(1, "a"), (2, "a")]),  # of a request that a restore lost
        ([{"a": 0}, {"a": 1}], None),
    ],
)
def test_numbers_without_a_gap_and_their_look_up_hold(nths, rows):
    assert inspect(*numbered(*nths), subjects=rows).entries == len(nths)


@pytest.mark.parametrize(
    ("nths", "rows", "seq"),
    [
        ([{"a": 0}, {"a": 1}, {"a": 1}], [(1, "a"), (3, "a")], 2),  # hidden, and its number given again
        ([{"a": 0}, {"a": 1}, {"a": 1}], [(1, "a"), (2, "a"), (3, "a")], 3),  # and the row put back
        ([{"a": 0}, {"a": 1}, {"a": 1}], None, 3),
        ([{"a": 0}, {"a": 2}], [(1, "a"), (2, "a")], 2),
        ([{"a": 0}, {"a": 1}], [(1, "a")], 2),
        ([{"a": 0}, {"a": 1}], [(2, "a")], 2),
        ([{"a": 0}], [(1, "a"), (1, "b")], 1),
        ([{"a": 0}, None], [(1, "a"), (2, "a")], 2),
        ([{"a": 0}], [(1, "a"), (2, "a")], 2),
    ],
)
def test_an_entry_that_was_hidden_or_put_in_is_found(nths, rows, seq):
    with pytest.raises(LedgerBroken) as broken:
        inspect(*numbered(*nths), subjects=rows)
    assert (broken.value.fault, broken.value.seq) == ("hidden", seq)
