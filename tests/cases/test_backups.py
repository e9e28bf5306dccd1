"""Backups: what went in comes out, on any database and store, and damage is found."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
from drill import NOTHING, beside, content, forget, gapless, small_files, tree

from errands import run_errands
from postgres import SERVER, empty_schema
from s3 import _s3_environment, _s3_server, plain_bucket  # noqa: F401
from unlearn.cases.backups import Archive, BackupBroken, make_backup, restore
from unlearn.cases.desk import Desk
from unlearn.errors import BadInput, Unavailable
from unlearn.evidence.checkpoint import cosign_note
from unlearn.evidence.signing import COSIGNATURE, signer_of
from unlearn.settings import Settings

pytestmark = pytest.mark.usefixtures("ticking")


@pytest.fixture
def far():
    """An empty schema of a PostgreSQL."""
    if SERVER is None:
        pytest.skip("UNLEARN_TEST_DATABASE_URL names no PostgreSQL")
    with empty_schema(SERVER) as url:
        yield url


@pytest.mark.parametrize("to", ["sqlite", "postgresql"])
def test_what_was_saved_comes_back_row_by_row_and_byte_by_byte(
    to, desk, adapter, people, safe, elsewhere, clock, request
):
    forget(desk, people[0])
    desk.create_key("k", ["audit"])
    desk.add_endpoint("https://example.com/hook")
    witness = signer_of("ab" * 32, "witness.example/w", COSIGNATURE)
    desk.keep_cosignatures(cosign_note(desk.checkpoint(), witness, clock()), [witness.public])
    made = desk.backup(safe)
    before, files = content(desk), tree(desk.settings.home / "adapters")
    assert made.manifest.missing == ()
    if to == "postgresql":
        elsewhere = Settings(**elsewhere.model_dump() | {"database_url": request.getfixturevalue("far")})
    found = restore(elsewhere, made.path, NOTHING, clock())
    assert (found.replayed.withheld, found.replayed.lost, found.since) == ((), (), 0)
    again = Desk(elsewhere, clock)
    after = content(again)
    said = after["ledger"][len(before["ledger"]) :]
    assert [entry["action"] for entry in said] == ["restored", "ledger_key_retired"]
    moved = str(elsewhere.home)
    for name in before.keys() - {"ledger", "ledger_nodes", "errands"}:
        assert json.dumps(after[name]).replace(moved, str(desk.settings.home)) == json.dumps(before[name]), name
    assert after["ledger"][: len(before["ledger"])] == before["ledger"]
    assert tree(elsewhere.home / "adapters") == files
    assert again.inspect_ledger().entries == len(after["ledger"])
    run_errands(again, elsewhere)
    assert (elsewhere.home / "adapters" / adapter.id / "current").resolve().is_relative_to(elsewhere.home)
    for kind in ("train", "holdout"):
        stored = [one.corpus(one.adapter("bot"), kind).records for one in (desk, again)]
        assert stored[0] == stored[1]
    forget(again, people[1])  # numbers go on where they were
    assert gapless(again) > 1
    again.close()


def test_every_damage_is_found(desk, adapter, people, safe):
    forget(desk, people[0])
    path = desk.backup(safe).path
    key = desk.settings.identity_hash_key
    Archive(path, key).verify()
    files = [place for place in sorted(path.rglob("*")) if place.is_file()]
    chance = random.Random(7)
    weights = [1 + place.stat().st_size ** 0.5 for place in files]
    for _ in range(100):
        place = chance.choices(files, weights)[0]
        good = place.read_bytes()
        at = chance.randrange(len(good) + 1)
        bad = {
            "flip": good[:at] + bytes([good[at] ^ 1 << chance.randrange(8)]) + good[at + 1 :]
            if at < len(good)
            else good + b"\n",
            "cut": good[:at],
            "more": good[:at] + b"0" + good[at:],
        }[chance.choice(["flip", "cut", "more"])]
        if bad == good:
            continue
        place.write_bytes(bad)
        with pytest.raises((BackupBroken, BadInput)):
            Archive(path, key).verify()
        place.write_bytes(good)
    for place in files:
        place.rename(place.with_name("away"))
        with pytest.raises((BackupBroken, BadInput)):
            Archive(path, key).verify()
        place.with_name("away").rename(place)
    (path / "tables" / "more.jsonl").touch()
    with pytest.raises(BackupBroken, match=r"more\.jsonl"):
        Archive(path, key).verify()


@pytest.mark.parametrize("size", [0, 3000, 40_000])
def test_a_backup_that_breaks_off_leaves_nothing(size, desk, adapter, safe, clock):
    with pytest.raises(Unavailable, match="can't be written"), small_files(size):
        make_backup(desk.store, desk.settings, safe, clock())
    assert list(safe.iterdir()) == []


def test_a_backup_holds_no_secret(desk, adapter, people, safe):
    _, token = desk.create_key("k", ["audit"])
    desk.keep_local_key()
    _, secret = desk.add_endpoint("https://example.com/hook")
    desk.checkpoint()
    private = (desk.settings.home / "keys" / "ledger.pem").read_bytes().splitlines()[1]
    forget(desk, people[0])
    path = desk.backup(safe).path
    tokens = [token.encode(), desk.settings.local_key_file.read_bytes().strip()]
    hidden = [*(one.split(b"_", 2)[2] for one in tokens), secret.encode(), b"PRIVATE KEY", private]
    hidden += [key := desk.settings.identity_hash_key, bytes.fromhex(key.decode())]
    hidden += [people[0].encode(), people[0].partition(":")[2].encode()]
    for name, body in tree(path).items():
        assert not [one for one in hidden if one in body], name
    assert (path / "ledger.pub").read_text().split() == [key.public.text for key in desk.ledger_keys()]


def test_versions_go_to_an_object_store_and_come_back_from_one(
    desk,
    adapter,
    people,
    safe,
    tmp_path,
    company,
    clock,
    plain_bucket,  # noqa: F811
):
    forget(desk, people[0])
    far = beside(tmp_path / "far", desk, company, store=plain_bucket.url)
    restore(far, desk.backup(safe).path, NOTHING, clock())
    there = Desk(far, clock)
    assert there.adapter("bot").current.path.startswith(f"{plain_bucket.url}/{adapter.id}/v2.")
    clock.forward(1)
    made = there.backup(safe)
    assert made.manifest.missing == ()
    there.close()
    keys = plain_bucket.keys()
    shutil.rmtree(far.home)
    far = beside(tmp_path / "far", desk, company, store=plain_bucket.url)
    restore(far, made.path, NOTHING, clock())  # the database was lost, and the store was not
    assert plain_bucket.keys() == keys
    near = beside(tmp_path / "near", desk, company)
    restore(near, made.path, NOTHING, clock())
    assert tree(near.home / "adapters") == tree(desk.settings.home / "adapters")


def test_only_the_identity_key_of_then_opens_it(desk, adapter, safe, elsewhere, clock):
    path = desk.backup(safe).path
    (elsewhere.home / "keys" / "identity.key").unlink()
    with pytest.raises(BadInput, match=r"identity\.key"):
        restore(elsewhere, path, NOTHING, clock())
    assert not (elsewhere.home / "keys" / "identity.key").exists()
    (elsewhere.home / "keys" / "identity.key").write_text("0" * 64)
    with pytest.raises(BackupBroken, match="another identity key"):
        restore(Settings(**elsewhere.model_dump()), path, NOTHING, clock())


def test_what_the_disk_lost_is_named_and_the_rest_saved(desk, adapter, people, safe, elsewhere, clock):
    forget(desk, people[0])
    first = Path(adapter.current.path)
    (first / "adapter_model.safetensors").write_bytes(b"worn out")
    made = desk.backup(safe)
    assert [one.split(":")[0] for one in made.manifest.missing] == [f"version 1 of adapter {adapter.id}"]
    assert restore(elsewhere, made.path, NOTHING, clock()).missing == made.manifest.missing
    assert (elsewhere.home / "adapters" / adapter.id).is_dir()
    with pytest.raises(BadInput, match="lies under"):
        desk.backup(desk.settings.home / "backups")


def test_from_the_command_line(desk, adapter, people, safe, elsewhere, tmp_path, run, monkeypatch, settings):
    monkeypatch.setenv("UNLEARN_HOME", str(desk.settings.home))
    if settings.database_url is not None:
        monkeypatch.setenv("UNLEARN_DATABASE_URL", settings.database_url)
    code, out, _ = run("backup", safe, "--json")
    told = json.loads(out)
    assert (code, told["missing"], told["ledger_size"]) == (0, [], 3)
    forget(desk, people[0])
    desk.keep_journal()
    monkeypatch.delenv("UNLEARN_DATABASE_URL", raising=False)
    monkeypatch.setenv("UNLEARN_HOME", str(elsewhere.home))
    code, _, err = run("restore", told["path"], "--nothing-since")
    assert (code, "--reason" in err) == (2, True)
    journal = desk.settings.effective_journal
    code, out, _ = run("restore", told["path"], "--journal", journal, "--check", "--json")
    assert (code, json.loads(out)["replayed"]["withheld"]) == (0, ["bot"])
    assert not (elsewhere.home / "unlearn.db").exists()
    code, out, _ = run("restore", told["path"], "--journal", journal)
    assert code == 0
    assert "withheld  bot: 1 deletions" in out
