"""The hash chain: by hand, and every kind of tampering found."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearn.evidence.ledger import GENESIS, Entry, LedgerBroken, check_chain, next_entry

AT = "2026-01-02T03:04:05.678Z"


def chain(n):
    entries: list[Entry] = []
    for i in range(n):
        entries.append(next_entry(entries[-1] if entries else None, AT, "request_accepted", {"request": f"req_{i}"}))
    return entries


def test_the_first_hash_by_hand():
    (entry,) = chain(1)
    # RFC 8785: keys sorted, no white space.
    text = (
        '{"action":"request_accepted","at":"2026-01-02T03:04:05.678Z","facts":{"request":"req_0"},'
        f'"previous":"{GENESIS}","seq":1}}'
    )
    assert entry.hash == hashlib.sha256(text.encode()).hexdigest()


def test_a_whole_chain_holds_and_is_counted():
    assert check_chain(chain(20)) == 20
    assert check_chain([]) == 0
    assert check_chain(chain(5), head=chain(5)[-1].hash) == 5


@given(st.integers(0, 9), st.sampled_from(["at", "action", "facts", "previous", "hash", "seq"]))
def test_an_edit_of_any_field_of_any_entry_is_found(index, field):
    entries = chain(10)
    values = {"at": "2026-01-02T03:04:05.679Z", "action": "verdict", "facts": {"request": "req_x"}, "seq": 99}
    value = values.get(field, "f" * 64)
    entries[index] = dataclasses.replace(entries[index], **{field: value})
    with pytest.raises(LedgerBroken, match=r"entry \d+"):
        check_chain(entries)


def test_an_edit_with_its_own_hash_made_anew_breaks_the_next_link():
    entries = chain(5)
    entries[2] = next_entry(entries[1], AT, "verdict", {})
    with pytest.raises(LedgerBroken, match="entry 4 does not follow entry 3"):
        check_chain(entries)


def test_removed_swapped_and_cut_off_entries_are_found():
    entries = chain(6)
    with pytest.raises(LedgerBroken, match="entry 3 is missing"):
        check_chain(entries[:2] + entries[3:])
    with pytest.raises(LedgerBroken, match="out of order"):
        check_chain([entries[1], entries[0], *entries[2:]])
    with pytest.raises(LedgerBroken, match="cut off"):
        check_chain(entries[:4], head=entries[-1].hash)


def test_an_action_that_is_not_on_the_list_is_refused():
    with pytest.raises(ValueError, match="not an action"):
        next_entry(None, AT, "party", {})  # type: ignore[arg-type]
