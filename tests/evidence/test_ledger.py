"""Entries: a leaf by hand, and what is none."""

from __future__ import annotations

import hashlib

import pytest

from unlearn.evidence.ledger import entry_leaf, new_entry

AT = "2026-01-02T03:04:05.678Z"


def test_a_leaf_by_hand():
    # RFC 8785: keys sorted, no white space.
    text = '{"action":"request_accepted","at":"2026-01-02T03:04:05.678Z","facts":{"b":null,"request":"req_0"},"seq":1}'
    assert entry_leaf(1, AT, "request_accepted", {"request": "req_0", "b": None}) == text.encode()
    entry = new_entry(1, AT, "request_accepted", {"request": "req_0", "b": None})
    assert entry.hash == hashlib.sha256(b"\x00" + text.encode()).hexdigest()  # RFC 6962, section 2.1
    assert entry.as_json() == {
        "seq": 1,
        "at": AT,
        "action": "request_accepted",
        "facts": {"request": "req_0", "b": None},
        "hash": entry.hash,
    }


def test_an_action_that_is_not_on_the_list_is_refused():
    with pytest.raises(ValueError, match="not an action"):
        new_entry(1, AT, "party", {})  # type: ignore[arg-type]
