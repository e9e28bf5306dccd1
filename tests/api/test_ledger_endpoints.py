"""The ledger over HTTP: an auditor who has a checkpoint and a key of his own checks the rest by arithmetic."""

from __future__ import annotations

import json
import threading

import httpx
import pytest
import uvicorn
from fastapi.testclient import TestClient
from test_endpoints import is_problem
from typer.testing import CliRunner

from api.app import create_app
from polling import until
from unlearn.cli.app import app
from unlearn.evidence.checkpoint import open_note, read_checkpoint
from unlearn.evidence.ledger import entry_leaf
from unlearn.evidence.merkle import check_consistency, check_inclusion, leaf_hash, root
from unlearn.evidence.signing import PublicKey
from unlearn.settings import Settings


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


@pytest.fixture
def listening(settings):
    """The API behind a real socket: its URL and a key."""
    server = uvicorn.Server(uvicorn.Config(create_app(settings), port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}", settings.local_key_file.read_text().strip()
    server.should_exit = True
    thread.join()


def test_a_witness_asks_the_service_for_checkpoint_and_proof(listening, tmp_path, monkeypatch):
    url, token = listening
    monkeypatch.setenv("UNLEARN_API_KEY", token)
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, trust_env=False) as client:
        (tmp_path / "log.pub").write_text(client.get("/v1/ledger/keys").json()[0]["key"])
        words = [word for name in ("key", "state", "log-key") for word in (f"--{name}", str(tmp_path / FILES[name]))]
        sizes = []
        for person in range(3):
            asked = {"subject": {"type": "customer", "value": f"nobody-{person}"}}
            assert client.post("/v1/requests", json=asked).status_code == 201
            done = CliRunner().invoke(app, ["ledger", "witness", "--checkpoint", url, "--json", *words])
            assert done.exit_code == 0, done.output
            sizes.append((json.loads(done.stdout)["seen"], json.loads(done.stdout)["size"]))
    assert [seen for seen, _ in sizes] == [0, *(size for _, size in sizes[:-1])]
    assert sizes[0][1] < sizes[1][1] < sizes[2][1]


FILES = {"key": "witness.pem", "state": "seen.txt", "log-key": "log.pub"}


def test_where_a_checkpoint_goes_is_a_message_of_the_first_company_and_of_no_other(settings, tmp_path):
    to = str(tmp_path / "anchor.txt")
    with TestClient(create_app(Settings(**settings.model_dump() | {"ledger_publish": [to], "errands": False}))) as api:
        desk = api.app.state.desk
        desk.plan_publication()
        _, secret = desk.create_key("other", ["audit"], controller="another company")
        _, own = desk.create_key("own", ["audit"])
        [message] = api.get("/v1/callbacks/messages", headers={"Authorization": f"Bearer {own}"}).json()["items"]
        assert (message["kind"], message["target"], message["state"]) == ("checkpoint", to, "waiting")
        asked = {"params": {"about": message["about"]}, "headers": {"Authorization": f"Bearer {own}"}}
        assert api.get("/v1/callbacks/messages", **asked).json()["items"] == [message]
        others = api.get("/v1/callbacks/messages", headers={"Authorization": f"Bearer {secret}"})
        assert others.json() == {"items": [], "next": None}
