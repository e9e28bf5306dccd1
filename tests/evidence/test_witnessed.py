"""Witnesses' lines: put under a note, taken from it, and asked for by whoever verifies."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest

from dossiers import Ledger, bundle, dossier, signer, trusted
from unlearn.evidence.anchored import Published
from unlearn.evidence.checkpoint import NoteBroken, claimed, cosign_note
from unlearn.evidence.cosigning import cosignatures, lines_in, with_lines, witness_key
from unlearn.evidence.refusal import NotVerified
from unlearn.evidence.signing import COSIGNATURE, LedgerKeyError, signer_of
from unlearn.evidence.verify import verify

SEEN = datetime(2026, 3, 2, 12, tzinfo=UTC)
NOTE = Ledger().checkpoint(9)


def witness(name, seed=b"w"):
    return signer_of(base64.b64encode((seed * 32)[:32]).decode(), name, COSIGNATURE)


ALICE, BOB = witness("alice.example/w"), witness("bob.example/w", b"b")


def signed(note, *who):
    for one in who:
        note = cosign_note(note, one, SEEN)
    return note


def said(note, witnesses, published=None):
    checks = verify(bundle(dossier(checkpoint=note)), trusted(), published, witnesses=[one.public for one in witnesses])
    [found] = [check for check in checks if check.name == "witness"]
    return found


def refused(*given):
    with pytest.raises(NotVerified) as told:
        said(*given)
    assert told.value.check == "witness"
    return str(told.value)


def test_a_line_comes_back_out_of_a_note_with_who_and_when():
    both = signed(NOTE, ALICE, BOB)
    found = cosignatures(both, [BOB.public, ALICE.public, signer().public])
    assert [(one.size, one.witness, one.at) for one in found] == [(9, BOB.public, SEEN), (9, ALICE.public, SEEN)]
    assert with_lines(NOTE, [one.line for one in found[1::-1]]) == both
    assert with_lines(both, [found[0].line]) == both
    assert cosignatures(NOTE, [ALICE.public]) == []


def test_of_an_answer_only_signature_lines_are_taken():
    lines = signed(NOTE, ALICE, BOB).splitlines(keepends=True)[-2:]
    assert lines_in("".join(lines)) == lines
    assert lines_in("<html>\u2014 no</html>") == lines_in("") == []


def test_every_witness_that_is_asked_for_must_have_signed():
    assert not said(NOTE, []).made
    assert said(signed(NOTE, ALICE, BOB), [ALICE, BOB]).said == (
        "'alice.example/w' saw 9 entries at 2026-03-02T12:00:00+00:00; "
        "'bob.example/w' saw 9 entries at 2026-03-02T12:00:00+00:00"
    )
    assert "'bob.example/w' (key" in refused(signed(NOTE, ALICE), [ALICE, BOB])
    assert "did not co-sign" in refused(signed(NOTE, ALICE), [witness("alice.example/w", b"x")])


def test_a_line_of_another_checkpoint_is_no_cosignature_of_this_one():
    moved = signed(Ledger().checkpoint(5), ALICE).splitlines(keepends=True)[-1]
    assert "the signature of 'alice.example/w'" in refused(NOTE + moved, [ALICE])
    with pytest.raises(NoteBroken):
        cosignatures(NOTE + moved, [ALICE.public])


def test_a_published_checkpoint_that_the_bundle_goes_on_from_will_do_if_it_has_the_last_entry():
    ledger = Ledger()
    made = dossier(ledger, 10, earlier={size: ledger.since(size, 10) for size in (2, 8, 9)})

    def told(size):
        published = Published(signed(ledger.checkpoint(size), ALICE))
        return [one for one in verify(bundle(made), trusted(), published, witnesses=[ALICE.public]) if one.made]

    assert "saw 9 entries" in next(one.said for one in told(9) if one.name == "witness")
    for size in (2, 8):
        with pytest.raises(NotVerified, match=f"had {size} entries, and the last one here is entry 9") as failed:
            told(size)
        assert failed.value.check == "witness"


def test_a_witness_who_saw_the_bundles_own_checkpoint_need_not_have_seen_the_published_one():
    older = Published(signed(Ledger().checkpoint(5), BOB))
    assert "saw 9 entries" in said(signed(NOTE, ALICE), [ALICE], older).said


def test_a_witness_whose_clock_is_after_all_dates_is_refused():
    stamp = 2**62
    line = ALICE.sign(f"cosignature/v1\ntime {stamp}\n{claimed(NOTE).text}".encode())
    raw = base64.b64encode(ALICE.public.key_id + stamp.to_bytes(8, "big") + line).decode()
    assert "after the year 9999" in refused(f"{NOTE}\u2014 {ALICE.public.name} {raw}\n", [ALICE])


def test_a_ledgers_key_is_no_witnesss():
    assert witness_key(ALICE.public.text) == ALICE.public
    with pytest.raises(LedgerKeyError, match="is no witness's key"):
        witness_key(signer().public.text)
