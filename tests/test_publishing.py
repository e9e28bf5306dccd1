"""Publishing: a file that grows, an object a checkpoint, a POST; doing it again changes nothing."""

from __future__ import annotations

import base64

import fsspec
import pytest

from s3 import _s3_environment, _s3_server, bucket  # noqa: F401
from unlearn.errors import BadInput, Conflict, Unavailable
from unlearn.evidence.checkpoint import Checkpoint, sign_note, split_notes
from unlearn.evidence.cosigning import cosignatures, lines_in, with_lines
from unlearn.evidence.merkle import consistency_path, leaf_hash, root
from unlearn.evidence.signing import signer_of
from unlearn.outbound import CallbackFailed, CallbackRefused
from unlearn.publishing import publish as publish_with
from witnesses import ALICE, Witness, answering

LOG = signer_of(base64.b64encode(b"l" * 32).decode(), "ledger.example/1")
LEAVES = [leaf_hash(str(place).encode()) for place in range(20)]


def publish(note, target, **more):
    return publish_with(note, target, proof, **more)


def proof(old, new):
    return consistency_path(old, new, lambda level, index: root(LEAVES[index << level : (index + 1) << level]))


def note(size, byte=b"\x01"):
    return sign_note(Checkpoint("ledger.example/1", size, byte * 32).text, [LOG])


def test_a_file_grows_and_has_each_note_once(tmp_path):
    file = tmp_path / "anchor" / "ledger.txt"
    publish(note(1), str(file))
    publish(note(2), f"file://{file}")
    publish(note(1), str(file))
    assert split_notes(file.read_text()) == [note(1), note(2)]
    with pytest.raises(BadInput, match="absolute"):
        publish(note(1), "ledger.txt")
    with pytest.raises(Unavailable, match="does not take"):
        publish(note(1), str(file / "below"))


def test_an_object_store_gets_an_object_a_checkpoint_and_none_is_written_over():
    files = fsspec.filesystem("memory")
    publish(note(7), "memory://anchor/ledger/")
    publish(note(7), "memory://anchor/ledger")
    publish(note(12), "memory://anchor/ledger")
    assert [path.rpartition("/")[2] for path in sorted(files.ls("/anchor/ledger", detail=False))] == [
        "00000000000000000007.txt",
        "00000000000000000012.txt",
    ]
    assert files.cat_file("/anchor/ledger/00000000000000000007.txt") == note(7).encode()
    with pytest.raises(Conflict, match="another checkpoint of 7 entries"):
        publish(note(7, b"\x02"), "memory://anchor/ledger")
    with pytest.raises(BadInput, match="can't be published"):
        publish(note(7), "nothing-known://x/y")


def test_an_s3_bucket_gets_each_checkpoint_once(bucket):  # noqa: F811
    place = f"s3://{bucket.name}/anchor"
    for _ in range(2):
        publish(note(7), place)
        publish(note(12), f"{place}/")
    keys = ["anchor/00000000000000000007.txt", "anchor/00000000000000000012.txt"]
    assert bucket.keys() == bucket.versions() == keys
    assert bucket.get(keys[1]) == note(12).encode()
    with pytest.raises(Conflict, match="another checkpoint of 7 entries"):
        publish(note(7, b"\x02"), place)
    with pytest.raises(Unavailable, match="does not take checkpoints"):
        publish(note(7), "s3://no-such-bucket-here/anchor")


ANSWERS = {"/broken": (500, ""), "/signs": (200, "\u2014 somebody AAAAAAAA\n")}


@pytest.fixture
def receiver():
    got, witness = [], Witness([LOG.public])

    def answer(path, kind, body):
        got.append((kind, body))
        return witness(body) if path == "/add-checkpoint" else ANSWERS.get(path, (200, ""))

    with answering(answer) as url:
        yield url, got


def test_an_address_gets_the_note_as_text(receiver):
    url, got = receiver
    publish(note(3), f"{url}/anchor", allow_private=True)
    assert got == [("text/plain; charset=utf-8", note(3))]
    with pytest.raises(CallbackFailed, match="answered 500"):
        publish(note(3), f"{url}/broken", allow_private=True)
    with pytest.raises(CallbackRefused):
        publish(note(3), url)


def test_what_an_address_answers_is_handed_on(receiver):
    url, _ = receiver
    assert publish(note(3), f"{url}/signs", allow_private=True) == "\u2014 somebody AAAAAAAA\n"
    assert publish(note(3), f"{url}/anchor", allow_private=True) == ""


def true(size, leaves=LEAVES):
    return sign_note(Checkpoint("ledger.example/1", size, root(leaves[:size])).text, [LOG])


def test_a_witness_is_given_the_proof_from_what_it_saw_and_signs(receiver):
    url, got = receiver
    for size, asked in ((3, 1), (7, 2), (7, 2), (20, 2)):
        before = len(got)
        answer = publish(true(size), f"{url}/add-checkpoint", allow_private=True)
        assert len(got) - before == asked
        assert [one.size for one in cosignatures(with_lines(true(size), lines_in(answer)), [ALICE.public])] == [size]
    before = len(got)
    assert publish(true(7), f"{url}/add-checkpoint", allow_private=True) == ""  # it has seen 20
    assert len(got) - before == 1


def test_a_witness_who_saw_another_ledger_is_heard(receiver):
    url, _ = receiver
    publish(true(7), f"{url}/add-checkpoint", allow_private=True)
    forked = [*LEAVES[:3], leaf_hash(b"forged"), *LEAVES[4:]]
    with pytest.raises(Conflict, match="saw another ledger"):
        publish(true(7, forked), f"{url}/add-checkpoint", allow_private=True)
    with pytest.raises(CallbackFailed, match="answered 422"):
        publish(true(9, forked), f"{url}/add-checkpoint", allow_private=True)
