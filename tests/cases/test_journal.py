"""The journal: it goes on, forgets as the ledger does, and a restore notices what it lacks."""

from __future__ import annotations

import shutil

import pytest
from drill import forget, journal_of, salted

from unlearn.cases.backups import Archive, Asked, BackupBroken, restore
from unlearn.cases.desk import Desk
from unlearn.cases.rights import HERE, Actor
from unlearn.cases.store import ledger
from unlearn.errors import BadInput, Conflict, NotAllowed, Unavailable
from unlearn.evidence.checkpoint import Checkpoint

pytestmark = pytest.mark.usefixtures("ticking")


def test_a_journal_with_a_gap_an_edit_or_another_origin_is_refused(
    desk, adapter, people, safe, elsewhere, tmp_path, clock
):
    forget(desk, people[0])
    path = desk.backup(safe).path
    forget(desk, people[1])
    asked = journal_of(desk, tmp_path)
    lines = asked.journal.read_text().splitlines(keepends=True)
    size = Archive(path, desk.settings.identity_hash_key).manifest.ledger_size

    def refused(kind, match, *given):
        asked.journal.write_text("".join(given))
        with pytest.raises(kind, match=match):
            restore(elsewhere, path, asked, clock())
        assert not (elsewhere.home / "unlearn.db").exists()
        assert not any(elsewhere.home.glob(".restore-*"))

    refused(Conflict, "1 are missing before entry", *lines[:size], *lines[size + 1 :])
    refused(Conflict, f"ends with entry {size - 1}", *lines[: size - 1])
    refused(
        Exception,
        f"entry {size + 1} was edited",
        *lines[:size],
        lines[size].replace('"by": "operator"', '"by": "nobody"'),
    )
    refused(BadInput, f"line {size + 1} ", *lines[:size], lines[size][1:])
    refused(BackupBroken, "another service's", lines[0].replace('"hash": "', '"hash": "0'), *lines[1:])
    asked.journal.write_text("".join(lines) + '{"seq":')  # a line that was being written
    assert restore(elsewhere, path, asked, clock()).source == "journal"


def test_a_checkpoint_shows_what_is_missing(desk, adapter, people, safe, elsewhere, tmp_path, clock):
    path = desk.backup(safe).path
    asked = journal_of(desk, tmp_path)
    forget(desk, people[0])
    with desk.store.reading() as session:
        size = ledger.size(session)
        root = ledger.root(session, size)
    known = sum(1 for _ in asked.journal.open())
    note = tmp_path / "checkpoint"
    note.write_text(Checkpoint("ledger.example", size, root).text + "\n— ledger.example AAAAAAAA\n")
    with pytest.raises(Conflict, match=f"{size - known} are missing"):
        restore(elsewhere, path, Asked(journal=asked.journal, checkpoint=note), clock())
    asked = journal_of(desk, tmp_path)
    note.write_text(Checkpoint("ledger.example", size, bytes(32)).text + "\n— ledger.example AAAAAAAA\n")
    with pytest.raises(Exception, match="fork"):
        restore(elsewhere, path, Asked(journal=asked.journal, checkpoint=note), clock())
    note.write_text(Checkpoint("ledger.example", size, root).text + "\n— ledger.example AAAAAAAA\n")
    restore(elsewhere, path, Asked(journal=asked.journal, checkpoint=note), clock())


def test_the_journal_goes_on_where_it_ended(desk, adapter, people):
    file = desk.settings.effective_journal
    assert desk.keep_journal() == 1
    forget(desk, people[0])
    assert desk.keep_journal() == 7
    assert desk.keep_journal() == 0
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])  # a crash in the middle of a line
    assert desk.keep_journal() == 1
    assert file.read_bytes() == whole
    assert file.stat().st_mode & 0o077 == 0
    file.write_text(whole.decode().replace('"hash": "', '"hash": "f'))  # of another ledger
    assert desk.keep_journal() == 8
    assert file.read_bytes() == whole
    assert file.with_name(f"{file.name}.1").exists()


def test_the_journal_forgets_whom_the_ledger_forgot(desk, adapter, people, safe, elsewhere, tmp_path, clock):
    request = forget(desk, people[0])
    path = desk.backup(safe).path
    desk.keep_journal()
    assert request.subject_hash in desk.settings.effective_journal.read_text()
    desk.shred("ctl_default", request.subject_hash)
    asked = journal_of(desk, tmp_path)
    assert request.subject_hash not in asked.journal.read_text()
    restore(elsewhere, path, asked, clock())
    again = Desk(elsewhere, clock)
    assert salted(again, request) is None
    again.close()


def test_a_database_that_went_back_in_time_is_noticed_and_the_journal_believed(
    desk, adapter, people, safe, clock, settings, tmp_path
):
    if settings.database_url is not None:
        pytest.skip("files are put back")
    path = desk.backup(safe).path
    desk.store.close()
    shutil.copy(settings.home / "unlearn.db", tmp_path / "then.db")
    request = forget(desk, people[0])
    desk.keep_journal()
    desk.close()
    for file in settings.home.glob("unlearn.db*"):
        file.unlink()
    shutil.copy(tmp_path / "then.db", settings.home / "unlearn.db")
    back = Desk(settings, clock)
    with pytest.raises(Unavailable, match="went back in time"):
        back.keep_journal()
    back.close()
    found = restore(settings, path, Asked(), clock(), replace=True)
    assert (found.source, found.replayed.withheld) == ("journal", ("bot",))
    again = Desk(settings, clock)
    assert again.adapter("bot").awaits == (request.id,)
    submitter = Actor("key:x", HERE, frozenset({"requests:write", "requests:read"}))
    with pytest.raises(NotAllowed):
        again.cancel(request.id, submitter)
    again.close()


def test_journals_that_were_set_aside_forget_as_well_whenever_the_process_is_killed(desk, adapter, people, monkeypatch):
    request = forget(desk, people[0])
    desk.keep_journal()
    file = desk.settings.effective_journal
    shutil.copy(file, file.with_name(f"{file.name}.1"))
    desk.shred("ctl_default", request.subject_hash)
    with monkeypatch.context() as patch:
        patch.setattr("unlearn.cases.journal._write", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            desk.keep_journal()
    desk.keep_journal()
    for kept in file.parent.glob(f"{file.name}*"):
        assert request.subject_hash not in kept.read_text()
