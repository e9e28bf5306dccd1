"""The ledger over HTTP: an auditor who has a checkpoint and a key of his own checks the rest by arithmetic."""

from __future__ import annotations

import pytest
from test_endpoints import is_problem

from unlearn.evidence.checkpoint import open_note, read_checkpoint
from unlearn.evidence.ledger import entry_leaf
from unlearn.evidence.merkle import check_consistency, check_inclusion, leaf_hash, root
from unlearn.evidence.signing import PublicKey


@pytest.fixture
def filled(api):
    for person in range(5):
        api.post("/v1/requests", json={"subject": {"type": "customer", "value": f"nobody-{person}"}})
    return api


def read(api):
    keys = [PublicKey.from_text(one["key"]) for one in api.get("/v1/ledger/keys").json()]
    answer = api.get("/v1/ledger/checkpoint")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    return read_checkpoint(open_note(answer.text, keys)[0])


def test_entries_proofs_and_checkpoint_agree(filled):
    first = read(filled)
    filled.post("/v1/requests", json={"subject": {"type": "customer", "value": "late"}})
    point = read(filled)
    entries, after = [], 0
    while after is not None:
        page = filled.get("/v1/ledger/entries", params={"after": after, "limit": 4}).json()
        entries += page["items"]
        after = page["next"]
    assert [one["seq"] for one in entries] == list(range(1, point.size + 1))
    leaves = [bytes.fromhex(one["hash"]) for one in entries]
    assert root(leaves) == point.root
    for one in entries:
        if one["action"] is not None:
            leaf = entry_leaf(one["seq"], one["at"], one["action"], one["facts"])
            assert leaf_hash(leaf).hex() == one["hash"]
    proof = filled.get("/v1/ledger/proof/3", params={"size": point.size}).json()
    check_inclusion(2, point.size, leaves[2], [bytes.fromhex(one) for one in proof["path"]], point.root)
    asked = {"old": first.size, "new": point.size}
    path = filled.get("/v1/ledger/consistency", params=asked).json()["path"]
    check_consistency(first.size, point.size, first.root, point.root, [bytes.fromhex(one) for one in path])


def test_another_companys_entries_are_hashes_alone(filled):
    _, token = filled.app.state.desk.create_key("theirs", ["audit"], controller="other")
    items = filled.get("/v1/ledger/entries", headers={"Authorization": f"Bearer {token}"}).json()["items"]
    told = [one["action"] for one in items if one["action"]]
    assert set(told) == {"ledger_key_added", "key_created"}
    assert len(items) > 10
    assert all(one["at"] is None and one["facts"] is None for one in items if one["action"] is None)


def test_what_is_not_there_is_bad_input(filled):
    is_problem(filled.get("/v1/ledger/proof/3", params={"size": 10**6}), 422, "bad-input")
    is_problem(filled.get("/v1/ledger/proof/3", params={"size": 2}), 422, "bad-input")
    is_problem(filled.get("/v1/ledger/proof/3"), 422, "bad-input")
    is_problem(filled.get("/v1/ledger/proof/0", params={"size": 2}), 422, "bad-input")
    is_problem(filled.get("/v1/ledger/consistency", params={"old": 3, "new": 2}), 422, "bad-input")
    is_problem(filled.get("/v1/ledger/entries", params={"after": 2**70}), 422, "bad-input")
