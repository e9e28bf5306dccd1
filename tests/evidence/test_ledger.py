"""Entries: a leaf by hand, and what is none."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@pytest.mark.parametrize(
    ("facts", "where"),
    [
        ({"a": 1.0}, "facts.a is 1.0"),
        ({"a": [{"b": 1e21}]}, r"facts.a\[0\].b is 1e\+21"),
        ({"\U0001f600": 1}, "the key '\U0001f600'"),
        ({"a": {"\u00e9": 1}}, "facts.a has the key '\u00e9'"),
    ],
)
def test_facts_that_plain_json_may_spell_otherwise_than_rfc_8785_are_refused(facts, where):
    with pytest.raises(ValueError, match=where):
        new_entry(1, AT, "verdict", facts)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(max_codepoint=127)), inner),
    )
)
def test_every_entry_is_the_same_in_plain_json_as_the_auditors_script_makes_it(value):
    made = new_entry(1, AT, "verdict", {"a": value})
    leaf = {"action": made.action, "at": made.at, "facts": made.facts, "seq": made.seq}
    plain = json.dumps(leaf, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert hashlib.sha256(b"\x00" + plain).hexdigest() == made.hash
