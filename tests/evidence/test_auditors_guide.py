"""The auditor's guide: exactly its commands, on a bundle, with nothing of the program in reach."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

import unlearn
from dossiers import ABOUT, FACTS, REGISTER, Ledger, bundle, dossier, edited, resigned, sealed_register, signer
from unlearn.evidence.checkpoint import claimed, cosign_note, sign_note
from unlearn.evidence.container import pack, unpack
from unlearn.evidence.layout import ENTRIES, STATEMENT
from witnesses import ALICE, SEEN

ROOT = Path(unlearn.__file__).parents[1]
GUIDE = (ROOT / "docs" / "guide" / "auditor.md").read_text(encoding="utf-8")
WHOLE = bundle()


OF_A_BUNDLE, _, OF_A_PERIOD = GUIDE.partition("## A period")
ALONE = {"PATH": os.environ["PATH"], "PYTHONNOUSERSITE": "1", "PYTHONSAFEPATH": "1"}


def blocks(language: str, text: str = OF_A_BUNDLE) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def followed(folder: Path, data: bytes, pem: str | None = None) -> subprocess.CompletedProcess[str]:
    """What an auditor does: the bundle, the key and the script in a folder, then the guide's commands, each to succeed."""
    folder.mkdir(exist_ok=True)
    (folder / "bundle.zip").write_bytes(data)
    (folder / "ledger.pem").write_text(pem or signer().public.pem)
    [script] = blocks("python")
    (folder / "verify.py").write_text(script)
    commands = "set -e\n" + "".join(blocks("sh"))
    return subprocess.run(["bash", "-c", commands], cwd=folder, env=ALONE, capture_output=True, text=True)


def test_the_guides_commands_verify_a_bundle(tmp_path):
    done = followed(tmp_path, WHOLE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Signature Verified Successfully") == 2
    told = re.findall(r"^entry +(\d+) \S+ (\w+)$", done.stdout, flags=re.MULTILINE)
    assert [action for _, action in told] == [
        "ledger_key_added",
        "request_accepted",
        "job_planned",
        "attempt_started",
        "verdict",
        "version_released",
        "request_completed",
    ]


def test_the_commands_in_the_bundles_readme_do_the_same(tmp_path):
    (tmp_path / "req_1.zip").write_bytes(WHOLE)
    (tmp_path / "KEY.pem").write_text(signer().public.pem)
    files = unpack(WHOLE)
    (tmp_path / "verify.py").write_bytes(files["verify.py"])
    alone = files["README.txt"].decode().partition("With nothing of it")[2]
    commands = "".join(re.findall(r"^    (.*\n)", alone, flags=re.MULTILINE))
    done = subprocess.run(["bash", "-c", "set -e\n" + commands], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout.count("Signature Verified Successfully")) == (0, 2), done.stderr


@pytest.mark.parametrize("key", [b"k", b"n"])
def test_while_a_key_follows_another_the_guides_commands_take_either(tmp_path, key):
    who = [signer(b"n"), signer()]
    facts = [*FACTS[:9], ("ledger_key_added", {"ledger_key": who[0].public.text})]
    made = dossier(Ledger(facts), 10, about=(*ABOUT, 10), keys=[one.public for one in who])
    data = bundle(replace(made, checkpoint=sign_note(claimed(made.checkpoint).text, who)), *who)
    done = followed(tmp_path, data, signer(key).public.pem)
    assert (done.returncode, done.stdout.count("Signature Verified Successfully")) == (0, 2), done.stderr
    assert followed(tmp_path / "other", data, signer(b"o").public.pem).returncode != 0


def test_the_script_is_the_one_in_the_bundle_imports_nothing_of_ours_and_is_short():
    [script] = blocks("python")
    assert unpack(WHOLE)["verify.py"].decode() == script
    assert set(re.findall(r"^(?:import|from) (\w+)", script, flags=re.MULTILINE)) <= {
        "base64",
        "hashlib",
        "json",
        "sys",
    }
    assert len(script.splitlines()) <= 30
    assert max(map(len, script.splitlines())) <= 120
    assert ";" not in script


def proven(change, data: bytes) -> bytes:
    """The lines of the ledger, each with another proof."""
    lines = [json.loads(line) for line in data.splitlines()]
    return "".join(json.dumps(one | {"path": change(one["path"])}) + "\n" for one in lines).encode()


def edits():
    files = unpack(WHOLE)
    yield "a changed file", pack(files | {"request.json": b"{}"})
    yield "a missing file", pack({name: data for name, data in files.items() if name != "README.txt"})
    yield "an added file", pack(files | {"new.txt": b""})
    yield "another manifest", pack(files | {"manifest.json": files["manifest.json"] + b" "})
    yield "another payload type", pack(edited(WHOLE, STATEMENT, lambda data: data.replace(b"vnd.in-toto+", b"")))
    yield "another key's statement", bundle(dossier(), signer(b"o"))
    yield (
        "a forged entry",
        resigned(edited(WHOLE, ENTRIES, lambda data: data.replace(b"calibrated", b"retrain"))),
    )
    yield "an entry left out, in the statement too", bundle(dossier(Ledger(), about=[one for one in ABOUT if one != 4]))
    yield "another entry in the place of one left out", bundle(dossier(Ledger(), about=[3, 5, *ABOUT[2:]]))
    for what, change in (
        ("a proof too long", lambda path: [*path, "0" * 64]),
        ("a proof too short", lambda path: path[:-1]),
    ):
        yield what, resigned(edited(WHOLE, ENTRIES, partial(proven, change)))
    yield (
        "a forged root",
        resigned(edited(WHOLE, "ledger/checkpoint.txt", lambda data: data.replace(b"\n9\n", b"\n8\n"))),
    )


@pytest.mark.parametrize(("what", "data"), list(edits()), ids=lambda value: value if isinstance(value, str) else "")
def test_the_guides_commands_find_what_was_changed(tmp_path, what, data):
    assert followed(tmp_path, data).returncode != 0


def test_the_guides_commands_verify_a_bundle_of_entries_from_before_they_were_numbered(tmp_path):
    assert followed(tmp_path, bundle(dossier(Ledger(about=()), about=ABOUT))).returncode == 0


def test_a_witnesss_line_is_laid_out_as_the_guide_says_and_openssl_verifies_it(tmp_path):
    whole = dossier()
    data = bundle(dossier(checkpoint=cosign_note(whole.checkpoint, ALICE, SEEN)))
    assert followed(tmp_path, data).returncode == 0
    line = (tmp_path / "bundle/ledger/checkpoint.txt").read_text().splitlines()[-1]
    name, raw = line.split(" ")[1], base64.b64decode(line.split(" ")[2])
    assert (name, raw[:4], len(raw)) == (ALICE.public.name, ALICE.public.key_id, 4 + 8 + 64)
    stamp = int.from_bytes(raw[4:12], "big")
    assert datetime.fromtimestamp(stamp, UTC) == SEEN
    text = (tmp_path / "pieces/checkpoint.message").read_bytes()
    (tmp_path / "message").write_bytes(f"cosignature/v1\ntime {stamp}\n".encode() + text)
    (tmp_path / "signature").write_bytes(raw[12:])
    (tmp_path / "witness.pem").write_text(ALICE.public.pem)
    command = "openssl pkeyutl -verify -pubin -inkey witness.pem -rawin -in message -sigfile signature"
    done = subprocess.run(command.split(), cwd=tmp_path, capture_output=True, text=True)
    assert "Signature Verified Successfully" in done.stdout


@pytest.mark.parametrize(
    ("register", "key", "code"),
    [(REGISTER, b"k", 0), (REGISTER + b"\n", b"k", 1), (b"", b"k", 1), (REGISTER, b"o", 1)],
)
def test_the_guides_commands_tell_whether_a_register_is_the_one_that_was_signed(tmp_path, register, key, code):
    (tmp_path / "register.csv").write_bytes(register)
    (tmp_path / "register.csv.dsse.json").write_bytes(sealed_register())
    (tmp_path / "ledger.pem").write_text(signer(key).public.pem)
    commands = "set -e\n" + "".join(blocks("sh", OF_A_PERIOD))
    assert subprocess.run(["bash", "-c", commands], cwd=tmp_path, env=ALONE, capture_output=True).returncode == code


def test_the_guides_commands_refuse_another_key(tmp_path):
    assert followed(tmp_path, WHOLE, signer(b"o").public.pem).returncode != 0
