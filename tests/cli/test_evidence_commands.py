"""`unlearn verify` and `unlearn export`: every check in a line, exit codes, and what is wrong with what was given."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dossiers import REGISTER, Ledger, bundle, dossier, sealed_register, signer
from unlearn.evidence.checkpoint import cosign_note
from unlearn.evidence.container import pack, unpack
from unlearn.evidence.signing import COSIGNATURE, signer_of


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("b.zip").write_bytes(bundle())
    Path("ledger.pub").write_text(f"# ours\n{signer().public.text}\n")
    Path("ledger.pem").write_text(signer().public.pem)
    return tmp_path


@pytest.mark.parametrize("key", ["ledger.pub", "ledger.pem"])
def test_a_bundle_that_holds_has_a_line_for_each_check_and_ends_with_0(run, place, key):
    code, out, _ = run("verify", "b.zip", "--key", key)
    lines = out.splitlines()
    assert code == 0
    assert [line[0] for line in lines[:-1]] == list("✓✓✓✓✓✓✓✓✓··✓✓··")
    assert lines[-1] == "b.zip: verified"


def test_the_first_check_that_fails_is_the_last_line_and_ends_with_1(run, place):
    Path("b.zip").write_bytes(pack(unpack(bundle()) | {"request.json": b"{}"}))
    code, out, _ = run("verify", "b.zip", "--key", "ledger.pub")
    assert code == 1
    assert [line[0] for line in out.splitlines()] == ["✓", "✓", "✗", "b"]
    assert "'request.json' was changed" in out
    code, out, _ = run("verify", "b.zip", "--key", "ledger.pub", "--json")
    told = json.loads(out)
    assert (code, told["verified"], told["checks"][-1]["check"]) == (1, False, "files")
    assert [one["result"] for one in told["checks"]] == ["passed", "passed", "failed"]


def test_a_published_checkpoint_goes_with_a_proof(run, place):
    ledger = Ledger()
    Path("published.txt").write_text(ledger.checkpoint(10))
    code, out, _ = run("verify", "b.zip", "--key", "ledger.pub", "--checkpoint", "published.txt")
    assert (code, "give it with --proof" in out) == (1, True)
    proof = {"old": 9, "new": 10, "path": [one.hex() for one in ledger.since(9, 10)]}
    Path("proof.json").write_text(json.dumps(proof))
    whole = ("verify", "b.zip", "--key", "ledger.pub", "--checkpoint", "published.txt", "--proof", "proof.json")
    assert run(*whole)[0] == 0


def test_of_several_keys_one_will_do_and_one_out_of_use_will_not(run, place):
    Path("other.pub").write_text(signer(b"o").public.text)
    assert run("verify", "b.zip", "--key", "other.pub", "--key", "ledger.pub")[0] == 0
    assert run("verify", "b.zip", "--key", "other.pub")[0] == 1
    Path("ledger.pub").write_text(f"{signer().public.text} until 2026-03-01T10:00:00Z\n{signer(b'o').public.text}\n")
    code, out, _ = run("verify", "b.zip", "--key", "ledger.pub")
    assert (code, "was retired at" in out) == (1, True)


def test_a_witness_must_have_signed_the_bundles_checkpoint_or_the_published_one(run, place):
    alice = signer_of(base64.b64encode(b"w" * 32).decode(), "alice.example/w", COSIGNATURE)
    Path("alice.pub").write_text(f"# a witness\n{alice.public.text}\n")
    asked = ("verify", "b.zip", "--key", "ledger.pub", "--witness", "alice.pub")
    code, out, _ = run(*asked)
    assert (code, "'alice.example/w'" in out, "did not co-sign the checkpoint" in out) == (1, True, True)
    note = cosign_note(Ledger().checkpoint(9), alice, datetime(2026, 3, 2, tzinfo=UTC))
    Path("published.txt").write_text(note)
    code, out, _ = run(*asked, "--checkpoint", "published.txt")
    assert (code, "'alice.example/w' saw 9 entries at 2026-03-02T00:00:00+00:00" in out) == (0, True)
    Path("b.zip").write_bytes(bundle(dossier(checkpoint=note)))
    assert run(*asked)[0] == 0
    code, out, _ = run("verify", "b.zip", "--key", "ledger.pub")
    assert (code, "has a line in the name of 'alice.example/w'" in out) == (0, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing.zip", "--key", "ledger.pub"], "the bundle 'nothing.zip' can't be read"),
        (["b.zip", "--key", "nothing.pub"], "--key 'nothing.pub' can't be read"),
        (["b.zip", "--key", "b.zip"], "public key"),
        (["b.zip", "--key", "empty"], "holds no key"),
        (["b.zip", "--key", "private.pem"], "is a private key"),
        (["b.zip", "--key", "dated"], "is no date"),
        (["b.zip", "--key", "ledger.pub", "--checkpoint", "nothing"], "--checkpoint 'nothing' can't be read"),
        (["b.zip", "--key", "ledger.pub", "--proof", "p"], "goes with --checkpoint"),
        (["b.zip", "--key", "ledger.pub", "--checkpoint", "empty", "--proof", "empty"], "signed note"),
        (["b.zip"], "--key"),
        (["b.zip", "--key", "ledger.pub", "--witness", "nothing"], "--witness 'nothing' can't be read"),
        (["b.zip", "--key", "ledger.pub", "--witness", "empty"], "--witness 'empty' holds no key"),
        (["b.zip", "--key", "ledger.pub", "--witness", "ledger.pub"], "is no witness's key"),
        (["b.zip", "--key", "ledger.pub", "--witness", "private.pem"], "is a private key"),
    ],
)
def test_what_can_not_be_read_ends_with_2(run, place, words, said):
    Path("empty").write_text("\n")
    Path("private.pem").write_text("-----BEGIN PRIVATE KEY-----\n")
    Path("dated").write_text(f"{signer().public.text} until tomorrow")
    code, out, told = run("verify", *words)
    assert (code, out) == (2, "")
    assert said in told


def test_a_register_verifies_with_the_statement_beside_it(run, place):
    Path("register.csv").write_bytes(REGISTER)
    asked = ("verify", "register.csv", "--key", "ledger.pub")
    code, out, told = run(*asked)
    assert (code, out, "register.csv.dsse.json' can't be read" in told) == (2, "", True)
    Path("register.csv.dsse.json").write_bytes(sealed_register())
    code, out, _ = run(*asked)
    lines = out.splitlines()
    assert (code, lines[-1]) == (0, "register.csv: verified")
    assert [line[0] for line in lines[:-1]] == list("✓✓✓✓✓✓··✓·")
    assert run(*asked[:-1], "ledger.pem")[0] == 0
    code, out, _ = run(*asked, "--json")
    assert (code, json.loads(out)["verified"]) == (0, True)
    Path("register.csv").write_bytes(REGISTER + b"req_3,eeee\n")
    code, out, _ = run(*asked)
    assert (code, out.splitlines()[-2][:10]) == (1, "✗ register")
    assert "--adapter is for a request's bundle" in run(*asked, "--adapter", "x")[2]
    Path("register.csv").unlink()
    code, out, told = run(*asked)
    assert (code, out, "register 'register.csv' can't be read" in told) == (2, "", True)


def test_a_bundle_that_is_no_zip_or_leads_elsewhere_ends_with_1(run, place):
    Path("b.zip").write_bytes(b"PK")
    assert run("verify", "b.zip", "--key", "ledger.pub")[0] == 1
    Path("b.zip").write_bytes(b"")
    code, out, _ = run("verify", "b.zip", "--key", "ledger.pub")
    assert (code, "✗ container" in out) == (1, True)


def test_the_serving_adapter_may_be_given(run, place):
    weights = place / "adapter" / "adapter_model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"")
    code, out, _ = run("verify", "b.zip", "--key", "ledger.pub", "--adapter", "adapter")
    assert (code, "none of the versions" in out) == (1, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "name a request, or a period"),
        (["req_1", "--from", "2026-01-01"], "name a request, or a period"),
        (["req_1", "--adapter", "bot"], "--adapter is for a period"),
        (["--from", "2026-01-01", "--out", "register.xlsx"], "a register is .csv or .jsonl"),
        (["--from", "yesterday"], "yesterday"),
        (["req_1", "--out", "b.zip"], "exists"),
        (["req_1", "--out", "no/where.zip"], "there is no directory"),
    ],
)
def test_an_export_that_can_not_be_says_why(run, place, words, said):
    code, _, told = run("export", *words)
    assert code == 2
    assert said in told


def test_without_a_service_nothing_stays_of_an_export(run, place):
    code, _, told = run("export", "req_1", "--url", "http://127.0.0.1:9")
    assert (code, "no service answers" in told) == (1, True)
    assert not list(place.glob("*req_1*"))
