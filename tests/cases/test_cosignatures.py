"""Witnesses' cosignatures: kept if they are what they say, never changed, and in every export from then on."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from by_hand import fill, names, released
from sqlalchemy import text

from tampering import let_rows_change
from unlearn.cases.desk import Desk
from unlearn.cases.rights import HERE, Actor
from unlearn.errors import BadInput, NotAllowed
from unlearn.evidence.checkpoint import Checkpoint, NoteBroken, claimed, cosign_note, open_note, sign_note
from unlearn.evidence.container import unpack
from unlearn.evidence.ledger import LedgerBroken
from unlearn.evidence.refusal import NotVerified
from unlearn.evidence.signing import COSIGNATURE, LedgerKeyError, signer_of
from unlearn.settings import Settings

ALICE, BOB = (
    signer_of(base64.b64encode(seed * 32).decode(), f"{name}.example/w", COSIGNATURE)
    for seed, name in ((b"a", "alice"), (b"b", "bob"))
)
SEEN = datetime(2026, 3, 1, 13, tzinfo=UTC)


def seen(note, *witnesses):
    for witness in witnesses or (ALICE,):
        note = cosign_note(note, witness, SEEN)
    return note


def note_of(data):
    return unpack(data)["ledger/checkpoint.txt"].decode()


def test_a_cosignature_is_kept_once_and_is_in_exports_from_then_on(desk, adapter, company):
    request, _ = released(desk, company)
    before = desk.export(request.id)
    note = note_of(before)
    with pytest.raises(NotVerified, match="did not co-sign") as told:
        names(before, desk, witnesses=[ALICE.public])
    assert told.value.check == "witness"
    for _ in range(2):
        [kept] = desk.keep_cosignatures(seen(note), [ALICE.public, BOB.public])
        assert (kept.size, kept.witness, kept.at) == (claimed(note).size, ALICE.public, SEEN)
    after = desk.export(request.id)
    assert note_of(after) == seen(note)
    assert "witness" in names(after, desk, witnesses=[ALICE.public])
    assert desk.export(request.id) == after
    desk.keep_cosignatures(seen(note, BOB), [BOB.public])
    both = note_of(desk.export(request.id))
    assert open_note(both, [BOB.public, ALICE.public])[1] == ["alice.example/w", "bob.example/w"]
    assert desk.inspect_ledger().entries


def test_the_first_that_a_witness_signed_stays(desk):
    note = desk.checkpoint()
    later = cosign_note(note, ALICE, datetime(2027, 1, 1, tzinfo=UTC))
    desk.keep_cosignatures(seen(note), [ALICE.public])
    desk.keep_cosignatures(later, [ALICE.public])
    assert desk.covering_checkpoint(1) == seen(note)


def test_a_checkpoint_that_a_witness_saw_goes_before_an_older_one_that_nobody_did(desk):
    fill(desk, 2)
    first = desk.checkpoint()
    fill(desk, 2)
    second = desk.checkpoint()
    assert desk.covering_checkpoint(2) == first
    desk.keep_cosignatures(seen(second), [ALICE.public])
    assert desk.covering_checkpoint(2) == seen(second)
    fill(desk, 2)
    assert claimed(desk.covering_checkpoint(6)).size == 7


def test_what_is_no_cosignature_of_ours_is_refused_by_its_own_words(desk, settings, clock):
    fill(desk, 2)
    note = desk.checkpoint()
    point = claimed(note)

    def told(given, witnesses=(ALICE.public,), kind=NoteBroken):
        with pytest.raises(kind) as error:
            desk.keep_cosignatures(given, witnesses)
        return str(error.value)

    other = Checkpoint("elsewhere.example/ledger", point.size, point.root)
    forked = Checkpoint(point.origin, point.size, bytes(32))
    assert "no witness is trusted here" in told(seen(note), (), BadInput)
    assert "is of ledger 'elsewhere.example/ledger', and this one is" in told(
        seen(sign_note(other.text, [BOB])), kind=BadInput
    )
    unknown = sign_note(Checkpoint(point.origin, 99, point.root).text, [BOB])
    assert "no checkpoint of 99 entries was issued here" in told(seen(unknown), kind=BadInput)
    assert "its text was altered" in told(seen(sign_note(forked.text, [BOB])))
    assert "trusted are 'bob.example/w'" in told(seen(note), (BOB.public,))
    assert "trusted are 'alice.example/w'" in told(note)
    moved = note + seen(sign_note(forked.text, [BOB])).splitlines(keepends=True)[-1]
    assert "the signature of 'alice.example/w'" in told(moved)
    assert "a signed note is" in told("nothing")
    with pytest.raises(NotAllowed):
        desk.keep_cosignatures(seen(note), [ALICE.public], Actor("key:x", HERE, frozenset({"review"})))
    wrong = Desk(settings.model_copy(update={"ledger_witnesses": [desk.ledger_keys()[0].public.text]}), clock)
    with pytest.raises(LedgerKeyError, match="is no witness's key"):
        wrong.keep_cosignatures(seen(note))
    wrong.close()
    assert desk.covering_checkpoint(2) == note


def test_of_an_answer_the_lines_of_trusted_witnesses_are_kept(desk, settings, clock):
    note = desk.checkpoint()
    own = Desk(settings.model_copy(update={"ledger_witnesses": [ALICE.public.text]}), clock)
    lines = [seen(note, one).splitlines(keepends=True)[-1] for one in (BOB, ALICE)]
    assert own.keep_answer(note, "thank you\n") == own.keep_answer(note, lines[0]) == []
    assert [one.witness for one in own.keep_answer(note, "".join(lines))] == [ALICE.public]
    assert own.covering_checkpoint(1) == seen(note)
    with pytest.raises(NoteBroken, match="is wrong"):
        own.keep_answer(note, seen(note.replace("\n1\n", "\n2\n")).splitlines(keepends=True)[-1])
    own.close()


@pytest.mark.parametrize("change", ["UPDATE cosignatures SET line = 'x'", "DELETE FROM cosignatures"])
def test_no_cosignature_changes_or_goes(desk, change):
    note = desk.checkpoint()
    desk.keep_cosignatures(seen(note), [ALICE.public])
    with pytest.raises(Exception, match="append-only"), desk.store.writing() as session:
        session.execute(text(change))
    assert desk.covering_checkpoint(1) == seen(note)


def test_an_inspection_finds_a_cosignature_that_was_changed(desk):
    note = desk.checkpoint()
    desk.keep_cosignatures(seen(note), [ALICE.public])
    assert desk.inspect_ledger().entries == 1
    forged = seen(note, signer_of(base64.b64encode(b"x" * 32).decode(), "alice.example/w", COSIGNATURE))
    with desk.store.writing() as session:
        let_rows_change(session)
        session.execute(text("UPDATE cosignatures SET line = :line"), {"line": forged.splitlines(keepends=True)[-1]})
    with pytest.raises(LedgerBroken, match="stored cosignature of 1 entries was changed") as found:
        desk.inspect_ledger()
    assert found.value.fault == "checkpoint"


def test_a_setting_names_witnesses(monkeypatch):
    monkeypatch.setenv("UNLEARN_LEDGER_WITNESSES", f'["{ALICE.public.text}"]')
    assert Settings().ledger_witnesses == [ALICE.public.text]
