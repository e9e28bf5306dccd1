"""A witness co-signs what goes on from what he saw, and nothing else."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest

from unlearn.evidence.checkpoint import Checkpoint, NoteBroken, cosigned_at, open_note, sign_note
from unlearn.evidence.ledger import LedgerBroken
from unlearn.evidence.merkle import ProofBroken, consistency_path, leaf_hash, root
from unlearn.evidence.signing import COSIGNATURE, signer_of
from unlearn.evidence.witness import Submission, cosign, read_submission, seen_size

LOG = signer_of(base64.b64encode(b"l" * 32).decode(), "ledger.example/1")
ALICE = signer_of(base64.b64encode(b"w" * 32).decode(), "witness.example/w", COSIGNATURE)
LEAVES = [leaf_hash(str(place).encode()) for place in range(20)]
SECOND = signer_of(base64.b64encode(b"s" * 32).decode(), "ledger.example/2")
FORKED = [*LEAVES[:3], leaf_hash(b"forged"), *LEAVES[4:]]
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def handed(old, new, leaves=LEAVES, name="ledger.example/1", who=LOG):
    path = consistency_path(old, new, lambda level, index: root(leaves[index << level : (index + 1) << level]))
    return Submission(old, tuple(path), sign_note(Checkpoint(name, new, root(leaves[:new])).text, [who]))


def seen(size, leaves=LEAVES):
    return cosign(handed(0, size, leaves), [LOG.public], ALICE, None, NOW)


@pytest.mark.parametrize(("old", "new"), [(0, 7), (7, 7), (7, 8), (8, 20), (1, 2)])
def test_what_goes_on_is_co_signed_with_the_time(old, new):
    note = cosign(handed(old, new), [LOG.public], ALICE, seen(old) if old else None, NOW)
    assert open_note(note, [ALICE.public, LOG.public])[1] == ["ledger.example/1", "witness.example/w"]
    assert cosigned_at(note, ALICE.public) == NOW
    assert seen_size(note, ALICE.public) == new


def test_what_he_is_handed_reads_back():
    given = handed(7, 20)
    assert read_submission(given.text) == given
    assert read_submission(given.note) == Submission(0, (), given.note)
    with pytest.raises(NoteBroken, match="not base64"):
        read_submission("old 7\n!!!\n\nx\n")
    with pytest.raises(NoteBroken, match="no checkpoint behind"):
        read_submission("old 7\nAAAA\n")


def fault(given, memory):
    with pytest.raises(LedgerBroken) as broken:
        cosign(given, [LOG.public], ALICE, memory, NOW)
    return broken.value.fault


def test_a_fork_is_refused_at_the_same_size_and_at_every_later_one():
    assert fault(handed(0, 7, FORKED), seen(7)) == "forked"
    for new in range(8, 21):
        assert fault(handed(7, new, FORKED), seen(7)) == "forked"


def test_a_ledger_that_became_shorter_is_refused():
    assert fault(handed(0, 6), seen(7)) == "cut off"


def test_a_proof_from_elsewhere_is_no_fork():
    with pytest.raises(ProofBroken, match="from 6 entries, and 7 were seen"):
        cosign(handed(6, 9), [LOG.public], ALICE, seen(7), NOW)


@pytest.mark.parametrize("memory", [None, 7])
def test_a_key_that_signs_under_another_ledgers_name_gets_no_cosignature(memory):
    given = handed(memory or 0, 9, name="somebody.else/ledger")
    with pytest.raises(NoteBroken, match=r"of 'somebody\.else/ledger', and signed in the name of 'ledger\.example/1'"):
        cosign(given, [LOG.public], ALICE, seen(memory) if memory else None, NOW)


def test_another_ledger_another_signer_and_a_changed_memory_are_refused():
    with pytest.raises(NoteBroken, match=r"of 'ledger\.example/2', and the witness follows"):
        cosign(handed(7, 9, name="ledger.example/2", who=SECOND), [LOG.public, SECOND.public], ALICE, seen(7), NOW)
    with pytest.raises(NoteBroken, match="to be trusted"):
        cosign(handed(0, 7), [ALICE.public], ALICE, None, NOW)
    with pytest.raises(NoteBroken, match="memory does not hold"):
        cosign(handed(7, 9), [LOG.public], ALICE, seen(7).replace("\n7\n", "\n6\n"), NOW)
    with pytest.raises(NoteBroken, match="memory does not hold"):
        cosign(handed(7, 9), [LOG.public], ALICE, handed(0, 7).note, NOW)
