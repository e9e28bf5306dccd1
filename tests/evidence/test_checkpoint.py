"""Signed notes and checkpoints: the published example, and everything that is wrong with one by its name."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearn.evidence.checkpoint import (
    Checkpoint,
    NoteBroken,
    cosign_note,
    cosigned_at,
    open_note,
    read_checkpoint,
    sign_note,
    signature_line,
)
from unlearn.evidence.signing import COSIGNATURE, PublicKey, signer_of

LOG = signer_of(base64.b64encode(b"l" * 32).decode(), "ledger.example/1")
NEXT = signer_of(base64.b64encode(b"n" * 32).decode(), "ledger.example/1")
WITNESS = signer_of(base64.b64encode(b"w" * 32).decode(), "witness.example/w", COSIGNATURE)
SEEN = datetime(2026, 3, 1, 12, 0, 5, tzinfo=UTC)
POINT = Checkpoint("ledger.example/1", 7, b"\x01" * 32)
NOTE = sign_note(POINT.text, [LOG])
# golang.org/x/mod/sumdb/note, the example of its documentation: message, key and signature by PeterNeumann.
NEUMANN = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
SAID = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


def test_the_published_example_of_a_signed_note_opens():
    text, names = open_note(SAID, [PublicKey.from_text(NEUMANN)])
    assert names == ["PeterNeumann"]
    assert text.startswith("If you think")
    assert text.endswith("problem is.\n")


def test_a_checkpoint_is_its_lines():
    assert POINT.text == f"ledger.example/1\n7\n{'AQEB' * 10}AQE=\n"
    assert read_checkpoint(POINT.text) == POINT
    assert open_note(NOTE, [LOG.public]) == (POINT.text, ["ledger.example/1"])
    more = Checkpoint("a.example", 0, b"\x00" * 32, ("one", "two"))
    assert read_checkpoint(more.text) == more


def test_two_keys_sign_while_they_overlap_and_either_is_enough():
    note = sign_note(POINT.text, [LOG, NEXT])
    assert open_note(note, [LOG.public]) == open_note(note, [NEXT.public])
    assert open_note(note, [NEXT.public, LOG.public])[1] == ["ledger.example/1"] * 2


def test_two_keys_of_one_name_and_id_are_told_apart_by_what_they_signed():
    # The first two seeds, counted up, whose keys of this name share the 4 bytes of their id: found by trying 42,291.
    one, other = (
        signer_of(base64.b64encode(seed.to_bytes(32, "big")).decode(), "ledger.example/1") for seed in (972, 42290)
    )
    assert one.public.key_id == other.public.key_id == bytes.fromhex("b33a5d66")
    for signers in ([one], [other], [one, other]):
        for keys in ([one.public, other.public], [other.public, one.public]):
            assert open_note(sign_note(POINT.text, signers), keys)[1] == ["ledger.example/1"] * len(signers)
    both = sign_note(POINT.text, [one, other])
    assert [signature_line(both, key.public) for key in (one, other)] == both.splitlines(keepends=True)[-2:]
    for key in (one, other):
        assert open_note(both, [key.public]) == (POINT.text, ["ledger.example/1"])
    alone = sign_note(POINT.text, [one])
    for changed in (
        both.replace("\n7\n", "\n8\n"),
        alone + sign_note("other\n", [other]).splitlines(keepends=True)[-1],
    ):
        with pytest.raises(NoteBroken, match="is wrong"):
            open_note(changed, [one.public, other.public])


def test_a_witness_signs_the_time_too():
    note = cosign_note(NOTE, WITNESS, SEEN)
    assert open_note(note, [LOG.public, WITNESS.public])[1] == ["ledger.example/1", "witness.example/w"]
    assert cosigned_at(note, WITNESS.public) == SEEN
    assert cosigned_at(NOTE, WITNESS.public) is None
    # tlog-cosignature: what is signed, by hand
    raw = base64.b64decode(note.splitlines()[-1].split(" ")[2])
    assert raw[:4] == WITNESS.public.key_id
    assert WITNESS.public.verify(f"cosignature/v1\ntime {int(SEEN.timestamp())}\n{POINT.text}".encode(), raw[12:])
    later = raw[:11] + bytes([raw[11] ^ 1]) + raw[12:]
    with pytest.raises(NoteBroken, match=r"signature of 'witness.example/w'.*wrong"):
        open_note(
            note.replace(base64.b64encode(raw).decode(), base64.b64encode(later).decode()), [LOG.public, WITNESS.public]
        )


def cosigned_as_of(stamp):
    """A cosignature at this second, by hand."""
    signature = WITNESS.sign(f"cosignature/v1\ntime {stamp}\n{POINT.text}".encode())
    raw = WITNESS.public.key_id + stamp.to_bytes(8, "big") + signature
    return f"{NOTE}\u2014 {WITNESS.public.name} {base64.b64encode(raw).decode()}\n"


def test_the_times_of_cosignatures_end_with_the_year_9999():
    last = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert cosigned_at(cosigned_as_of(int(last.timestamp())), WITNESS.public) == last
    assert cosigned_at(cosigned_as_of(0), WITNESS.public) == datetime(1970, 1, 1, tzinfo=UTC)
    for stamp in (int(last.timestamp()) + 1, 2**62, 2**64 - 1):
        note = cosigned_as_of(stamp)
        assert open_note(note, [WITNESS.public])
        with pytest.raises(NoteBroken, match=f"as of {stamp} seconds, which is after the year 9999"):
            cosigned_at(note, WITNESS.public)


def test_nobody_known_is_another_fault_than_a_wrong_signature():
    other = signer_of(base64.b64encode(b"o" * 32).decode(), "ledger.example/1")
    with pytest.raises(NoteBroken, match=r"signed by 'ledger.example/1' \(key .*to be trusted was"):
        open_note(NOTE, [other.public])
    with pytest.raises(NoteBroken, match="no key"):
        open_note(NOTE, [])
    with pytest.raises(NoteBroken, match="is wrong"):
        open_note(NOTE.replace("\n7\n", "\n8\n"), [LOG.public])
    forged = sign_note(POINT.text, [LOG, WITNESS]).replace("AQEB", "AQEC")
    with pytest.raises(NoteBroken, match="is wrong"):
        open_note(forged, [LOG.public])


@given(st.integers(0, len(NOTE) - 1), st.integers(0, 127))
def test_no_change_of_one_character_goes_unnoticed(place, code):
    changed = NOTE[:place] + chr(code) + NOTE[place + 1 :]
    if changed != NOTE:
        with pytest.raises(NoteBroken):
            open_note(changed, [LOG.public])


@given(st.integers(0, len(NOTE) - 1))
def test_a_note_that_was_cut_off_does_not_open(length):
    with pytest.raises(NoteBroken):
        open_note(NOTE[:length], [LOG.public])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a\n1\n", "origin, size and root"),
        ("a\n01\n" + "AQEB" * 10 + "AQE=\n", "tree's size, not '01'"),
        ("a\n-1\n" + "AQEB" * 10 + "AQE=\n", "tree's size"),
        ("a\n1\n" + "AQEB" * 10 + "AQF=\n", "base64 of a root"),
        ("a\n1\nAQEB\n", "base64 of a root of 32 bytes"),
        ("a\n1\n" + "AQEB" * 10 + "AQE=\n\n", "extension line"),
        ("a\n1\n" + "AQEB" * 10 + "AQE=", "each with its end"),
        ("a\t\n1\n" + "AQEB" * 10 + "AQE=\n", "control characters"),
    ],
)
def test_a_text_that_is_no_checkpoint_says_why(text, why):
    with pytest.raises(NoteBroken, match=why):
        read_checkpoint(text)


@pytest.mark.parametrize("note", ["", "text\n", "text\n\n", NOTE[:-1], NOTE + "x\n", NOTE.replace("\u2014", "-")])
def test_what_is_no_note_says_so(note):
    with pytest.raises(NoteBroken, match=r"signed note|signature line"):
        open_note(note, [LOG.public])


def test_a_note_of_too_many_signatures_is_not_read():
    with pytest.raises(NoteBroken, match="101 signatures"):
        open_note(NOTE + NOTE.splitlines(keepends=True)[-1] * 100, [LOG.public])
    with pytest.raises(NoteBroken, match="characters"):
        open_note("x" * 1_000_001, [LOG.public])
