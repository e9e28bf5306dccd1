"""`unlearn ledger`, as a person types it: publish, witness, find what was changed, follow one key with another."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from errands import run_errands
from tampering import let_rows_change
from unlearn.cases.desk import Desk
from unlearn.cases.store import ledger
from unlearn.cli.app import app
from unlearn.errands import Courier
from unlearn.errors import BadInput
from unlearn.evidence.checkpoint import NoteBroken, claimed, cosigned_at, open_note, split_notes
from unlearn.evidence.ledger import LedgerBroken
from unlearn.evidence.signing import PublicKey
from unlearn.settings import Settings
from witnesses import ALICE, SEEN, Witness, answering


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("UNLEARN_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def desk(home):
    desk = Desk(Settings())
    desk.migrate()
    yield desk
    desk.close()


def fill(desk, count):
    with desk.store.writing() as session:
        for place in range(count):
            ledger.append(session, datetime(2026, 3, 1, tzinfo=UTC), "request_held", {"request": f"req_{place}"})


def run(*words):
    done = CliRunner().invoke(app, ["ledger", *map(str, words)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_check_compares_what_was_published_and_names_what_was_changed(desk, home):
    fill(desk, 5)
    assert json.loads(run("publish", "--to", home / "published.txt", "--json"))["size"] == 6
    fill(desk, 3)
    assert "published" in run("publish", "--to", home / "published.txt")
    told = json.loads(run("check", "--checkpoint", home / "published.txt", "--json"))
    assert (told["holds"], told["entries"], told["checkpoints"]) == (True, 9, 4)
    assert "the ledger holds: 9 entries" in run("check")
    with desk.store.writing() as session:
        let_rows_change(session)
        session.execute(text("""UPDATE ledger SET facts = '{"request":"req_x"}' WHERE seq = 4"""))
    with pytest.raises(LedgerBroken, match="entry 4 was edited"):
        run("check")
    found = CliRunner().invoke(app, ["ledger", "check", "--json"])
    assert found.exit_code == 1
    assert json.loads(found.stdout) == {
        "holds": False,
        "fault": "edited",
        "entry": 4,
        "detail": "entry 4 was edited: its content does not have its hash",
    }


def test_a_published_checkpoint_of_somebody_else_is_told_apart(desk, home):
    fill(desk, 5)
    run("publish", "--to", home / "published.txt")
    other = PublicKey(desk.ledger_keys()[0].public.name, bytes(32)).text
    with pytest.raises(NoteBroken, match=r"published\.txt: the note is signed by"):
        run("check", "--checkpoint", home / "published.txt", "--key", other)
    with pytest.raises(BadInput, match="can't be read"):
        run("check", "--checkpoint", home / "nothing.txt")
    with pytest.raises(BadInput, match="nowhere to publish"):
        run("publish")


def test_a_witness_follows_the_ledger_and_refuses_a_fork(desk, home):
    key = run("key", "show").strip()
    (home / "ledger.pub").write_text(key)
    words = ["witness", "--key", "w.pem", "--state", "seen.txt", "--log-key", "ledger.pub", "--checkpoint", "given.txt"]

    def hand(since):
        (home / "given.txt").write_text(run("checkpoint", "--since", since))

    fill(desk, 5)
    hand(0)
    first = json.loads(run(*words, "--name", "alice.example", "--json"))
    fill(desk, 6)
    hand(6)
    note = run(*words, "--name", "alice.example")
    signed = open_note(note, [PublicKey.from_text(key), PublicKey.from_text(first["witness"])])[1]
    assert signed == [PublicKey.from_text(key).name, "alice.example"]
    assert claimed(note).size == 12
    assert (home / "seen.txt").read_text() == note
    (home / "co-signed.txt").write_text(note)
    assert json.loads(run("check", "--checkpoint", "co-signed.txt", "--key", first["witness"], "--json"))["holds"]
    with desk.store.writing() as session:  # the keeper goes back and tells it another way
        let_rows_change(session)
        for table in ("ledger_nodes", "checkpoints", "ledger"):
            session.execute(text(f"DELETE FROM {table} WHERE {'seq > 1' if table == 'ledger' else '1 = 1'}"))  # noqa: S608
    fill(desk, 20)
    hand(12)
    with pytest.raises(LedgerBroken, match="does not go on from the 12 that were seen"):
        run(*words, "--name", "alice.example")
    assert (home / "seen.txt").read_text() == note
    with pytest.raises(LedgerBroken, match="first 12 entries do not have the root"):
        run("check", "--checkpoint", "co-signed.txt")


def test_a_witness_has_what_it_signed_on_the_disk_before_it_says_so(desk, home, monkeypatch):
    """Its name in the directory too: a witness that forgot what it signed could sign another past."""
    (home / "ledger.pub").write_text(run("key", "show"))
    fill(desk, 2)
    (home / "given.txt").write_text(run("checkpoint", "--since", 0))
    synced, flush = [], os.fsync

    def watched(descriptor):
        synced.append((os.fstat(descriptor).st_ino, (home / "seen.txt").exists()))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    run("witness", "--key", "w.pem", "--state", "seen.txt", "--log-key", "ledger.pub", "--checkpoint", "given.txt")
    assert synced[-1] == (home.stat().st_ino, True)


def test_keys_follow_each_other(desk):
    first = run("key", "show").strip()
    new = run("key", "rotate").strip()
    assert run("key", "show").strip() == new
    assert "BEGIN PUBLIC KEY" in run("key", "show", "--pem")
    run("key", "retire", PublicKey.from_text(first).key_id.hex())
    told = json.loads(run("key", "list", "--json"))
    assert [(one["key"], bool(one["retired"])) for one in told] == [(first, True), (new, False)]


def test_a_checkpoint_is_published_when_its_time_has_come_and_once(desk, home):
    settings = Settings(ledger_publish=[f"{home}/anchor.txt", "memory://cli-anchor"])
    own = Desk(settings)
    fill(own, 3)
    assert own.plan_publication() == 2
    assert own.plan_publication() == 0
    assert run_errands(own, settings) == 2
    assert [one.state for one in own.messages()] == ["done", "done"]
    assert [claimed(note).size for note in split_notes((home / "anchor.txt").read_text())] == [4]
    fill(own, 1)
    courier = Courier(own, settings, 0.01)
    courier._keep_checkpoints()
    courier._keep_checkpoints()
    assert run_errands(own, settings) == 2
    assert len(split_notes((home / "anchor.txt").read_text())) == 2
    own.close()


def test_a_target_that_fails_waits_and_says_why(desk, home):
    settings = Settings(ledger_publish=[f"{home}/home/unlearn.db/below"])
    own = Desk(settings)
    own.plan_publication()
    run_errands(own, settings)
    (message,) = own.messages()
    assert message.state == "waiting"
    assert "does not take checkpoints" in message.last_error
    own.close()


def test_what_a_witness_signed_is_kept_and_in_what_is_exported_from_then_on(desk, home):
    (home / "ledger.pub").write_text(run("key", "show"))
    fill(desk, 3)
    (home / "given.txt").write_text(run("checkpoint"))
    words = ["witness", "--key", "w.pem", "--state", "seen.txt", "--log-key", "ledger.pub", "--checkpoint", "given.txt"]
    witness = json.loads(run(*words, "--json"))["witness"]
    (home / "witness.pub").write_text(witness)
    with pytest.raises(BadInput, match="no witness is trusted here"):
        run("cosigned", "seen.txt")
    assert run("cosigned", "seen.txt", "--witness", "witness.pub").startswith("4 entries: co-signed by witness at ")
    [told] = json.loads(run("cosigned", "seen.txt", "--witness", witness, "--json"))
    assert (told["size"], told["witness"]) == (4, witness)
    assert desk.covering_checkpoint(4) == (home / "seen.txt").read_text()
    (home / "nothing.txt").write_text("\n")
    with pytest.raises(BadInput, match="holds no checkpoint"):
        run("cosigned", "nothing.txt", "--witness", witness)


def test_a_witness_behind_an_address_is_asked_at_every_checkpoint_and_its_answer_kept(desk, home, monkeypatch):
    desk.checkpoint()
    witness = Witness([one.public for one in desk.ledger_keys()])
    with answering(lambda _path, _kind, body: witness(body)) as url:
        target = f"{url}/add-checkpoint"
        given = {"ledger_publish": [target], "ledger_witnesses": [ALICE.public.text], "callbacks_allow_private": True}
        own = Desk(Settings(**given))
        for size in (4, 7):
            fill(own, 3)
            assert own.plan_publication() == 1
            assert run_errands(own, own.settings) == 1
            assert [one.last_error for one in own.messages()] == [None] * len(own.messages())
            assert cosigned_at(own.covering_checkpoint(size), ALICE.public) == SEEN
        own.close()
        monkeypatch.setenv("UNLEARN_CALLBACKS_ALLOW_PRIVATE", "1")
        monkeypatch.setenv("UNLEARN_LEDGER_WITNESSES", json.dumps([ALICE.public.text]))
        fill(desk, 1)
        assert "8 entries" in (told := run("publish", "--to", target))
        assert "co-signed by alice.example/w" in told
        assert json.loads(run("publish", "--to", target, "--json"))["cosigned"] == ["alice.example/w"]
