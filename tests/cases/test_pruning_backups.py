"""Backups in the ledger: that one was made, and that one which is too old was taken away; nobody else's is touched."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from drill import NOTHING, beside

from unlearn.cases.backups import restore
from unlearn.cases.backups.pruning import take_away
from unlearn.cases.desk import Desk
from unlearn.errors import BadInput, Unavailable

pytestmark = pytest.mark.usefixtures("ticking")
DAY = 86400.0


def facts(desk, *actions):
    return [(e.action, dict(e.facts)) for e in desk.entries(limit=500) if e.action in actions]


def of_backups(desk):
    return facts(desk, "backup_made", "backup_disposed")


def test_the_ledger_says_that_a_backup_was_made_and_not_where_and_so_does_the_backup(desk, adapter, tmp_path, company):
    made = desk.backup(tmp_path / "safe")
    assert of_backups(desk) == [("backup_made", {"backup": made.path.name})]
    elsewhere = beside(tmp_path / "elsewhere", desk, company)
    restore(elsewhere, made.path, NOTHING, desk._clock())
    again = Desk(elsewhere, desk._clock)
    assert of_backups(again) == of_backups(desk)
    again.close()


def test_a_backup_of_which_nothing_came_is_said_to_be_gone(desk, adapter, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="can't be written"):
        desk.backup(tmp_path / "file" / "below")
    assert [action for action, _ in of_backups(desk)] == ["backup_made", "backup_disposed"]
    with pytest.raises(BadInput, match="would be lost with it"):
        desk.backup(desk.settings.home / "safe")
    assert len(of_backups(desk)) == 2


def test_only_older_backups_of_this_service_are_taken_away_and_the_ledger_says_which(
    desk, adapter, clock, tmp_path, company
):
    safe = tmp_path / "safe"
    old = desk.backup(safe)
    strange = safe / "unlearn-of-another"
    shutil.copytree(old.path, strange)
    (strange / "manifest.seal").write_text("sha256 0\nhmac-sha256 0\n")
    (safe / "notes").mkdir()
    (safe / "link").symlink_to(old.path)
    clock.forward(20 * DAY)
    young = desk.backup(safe)
    clock.forward(11 * DAY)
    newest = desk.backup(safe)
    assert desk.prune_backups(safe, 30) == [old.path]
    assert {path.name for path in safe.iterdir()} == {
        young.path.name,
        newest.path.name,
        strange.name,
        "notes",
        "link",
    }
    manifest = old.manifest
    assert of_backups(desk)[-1] == (
        "backup_disposed",
        {"backup": old.path.name, "ledger_size": manifest.ledger_size, "ledger_root": manifest.ledger_root},
    )
    assert desk.prune_backups(safe, 30) == []


def test_old_backups_go_though_nothing_was_ever_stored(settings, clock, tmp_path):
    desk = Desk(settings.model_copy(update={"store": str(tmp_path / "no" / "disk" / "yet")}), clock)
    desk.migrate()
    assert desk.prune_backups(tmp_path, 1) == []
    desk.close()


def test_what_is_taken_away_is_overwritten_and_one_that_broke_off_is_found_again(desk, adapter, clock, tmp_path):
    safe = tmp_path / "safe"
    old = desk.backup(safe)
    weights = next(old.path.rglob("adapter_model.safetensors"))
    other = tmp_path / "linked"
    other.hardlink_to(weights)
    stuck = next(old.path.rglob("*.jsonl"))
    for table in (old.path / "tables").iterdir():
        table.unlink()
    assert not stuck.exists()
    clock.forward(2 * DAY)
    assert desk.prune_backups(safe, 1) == [old.path]
    assert other.read_bytes().strip(b"\0") == b""
    assert list(safe.iterdir()) == []


def test_a_backup_that_can_not_be_taken_away_is_told_of(desk, adapter, tmp_path, monkeypatch):
    made = desk.backup(tmp_path / "safe")

    def refuse(place: str) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("unlearn.cases.backups.pruning.dispose", refuse)
    with pytest.raises(Unavailable, match="can't be taken away: Read-only"):
        take_away(_archive(desk, made.path))


def _archive(desk, path: Path):
    from unlearn.cases.backups import Archive

    return Archive(path, desk.settings.identity_hash_key)


def test_the_command_saves_and_takes_away_and_says_both(desk, adapter, clock, tmp_path, run, monkeypatch):
    safe = tmp_path / "safe"
    old = desk.backup(safe)
    if desk.settings.database_url is not None:
        monkeypatch.setenv("UNLEARN_DATABASE_URL", desk.settings.database_url)
    code, out, err = run("backup", safe, "--keep", "30")  # whose clock is the true one
    assert code == 0, err
    assert f"disposed  {old.path}" in out
    assert not old.path.exists()
