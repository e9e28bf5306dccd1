"""The journal: it goes on, forgets as the ledger does, and a restore notices what it lacks."""

from __future__ import annotations

import json
import shutil

import pytest
from drill import forget, journal_of, salted

from unlearn.cases import journal
from unlearn.cases.backups import Archive, Asked, BackupBroken, restore
from unlearn.cases.backups.archive import MANIFEST, SEAL, _seal
from unlearn.cases.desk import Desk
from unlearn.cases.identity import subject_hash
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
        assert not any(elsewhere.home.glob("*.restore-*"))

    edited = f"line {size + 1} of the journal .* does not fit its seal"
    refused(BadInput, edited, *lines[:size], *lines[size + 1 :])
    refused(BadInput, edited, *lines[:size], lines[size + 1], lines[size], *lines[size + 2 :])
    refused(BadInput, edited, *lines[:size], lines[size].replace('"by": "operator"', '"by": "nobody"'), *lines[size:])
    refused(BadInput, f"line {size + 1} .* no seal", *lines[:size], lines[size].partition("\t")[0] + "\n")
    refused(BadInput, "line 1 .* no seal", *bare(lines))
    refused(BadInput, "line 1 .* seal", *lines[1:])
    refused(Conflict, f"ends with entry {size - 1}", *lines[: size - 1])
    refused(BadInput, f"line {size + 1} ", *lines[:size], lines[size][1:])
    made_before_seals(path, desk.settings.identity_hash_key)
    refused(Conflict, "1 are missing before entry", *bare(lines[:size]), *bare(lines[size + 1 :]))
    refused(
        Exception,
        f"entry {size + 1} was edited",
        *bare(lines[:size]),
        *bare([lines[size].replace('"by": "operator"', '"by": "nobody"')]),
    )
    refused(BackupBroken, "another service's", *bare([lines[0].replace('"hash": "', '"hash": "0')]), *bare(lines[1:]))
    asked.journal.write_text("".join(lines) + '{"seq":')  # a line that was being written
    assert restore(elsewhere, path, asked, clock()).source == "journal"


def bare(lines):
    """Lines as they were before they were sealed."""
    return [line.partition("\t")[0] + "\n" for line in lines]


def made_before_seals(backup, key):
    """Let a backup be one of a service that did not seal its journal."""
    text = (backup / MANIFEST).read_text().replace('"journal_sealed": true', '"journal_sealed": false').encode()
    (backup / MANIFEST).write_bytes(text)
    (backup / SEAL).write_bytes(_seal(key, text))


def test_a_journal_of_before_lines_were_sealed_is_read_with_a_warning_and_sealed_by_the_service(
    desk, adapter, people, safe, elsewhere, tmp_path, clock, caplog
):
    path = desk.backup(safe).path
    made_before_seals(path, desk.settings.identity_hash_key)
    forget(desk, people[0])
    asked = journal_of(desk, tmp_path)
    whole = asked.journal.read_text()
    asked.journal.write_text("".join(bare(whole.splitlines())))
    found = restore(elsewhere, path, asked, clock())
    assert (found.replayed.withheld, "before lines were sealed" in caplog.text) == (("bot",), True)
    file = desk.settings.effective_journal
    file.write_text("".join(bare(whole.splitlines())))
    assert desk.keep_journal() == 0
    assert file.read_text() == whole


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("what", ["about", "person", "salt"])
def test_whom_a_line_is_about_can_not_be_changed(what, sealed, desk, adapter, people, safe, elsewhere, tmp_path, clock):
    path = desk.backup(safe).path
    if not sealed:
        made_before_seals(path, desk.settings.identity_hash_key)
    forget(desk, people[0])
    asked, out = journal_of(desk, tmp_path), []
    for line in asked.journal.read_text().splitlines():
        text, _, seal = line.partition("\t")
        given = json.loads(text)
        if what == "about":
            given["about"] = []
        elif "request" in given and what == "person":
            given["request"]["subject_hash"] = subject_hash(desk.settings.identity_hash_key, people[5])
        elif "request" in given:
            given["request"]["salt"] = "00" * 32
        out.append(json.dumps(given, sort_keys=True) + (f"\t{seal}\n" if sealed else "\n"))
    asked.journal.write_text("".join(out))
    if what == "about" and not sealed:  # the entries say it themselves
        assert restore(elsewhere, path, asked, clock()).replayed.withheld == ("bot",)
        return
    with pytest.raises(BadInput, match="seal" if sealed else "names another person than its entry"):
        restore(elsewhere, path, asked, clock())


def test_what_somebody_put_into_the_journal_gets_no_seal_when_the_service_writes_it_anew(desk, adapter, people):
    first, second = forget(desk, people[0]), forget(desk, people[1])
    desk.keep_journal()
    file = desk.settings.effective_journal
    edited = file.read_text().replace(second.subject_hash, "0" * 64)
    aside = file.with_name(f"{file.name}.1")
    for one in (file, aside):
        one.write_text(edited)
    desk.shred("ctl_default", first.subject_hash)
    desk.keep_journal()
    key = desk.settings.identity_hash_key
    assert sum(1 for _ in journal.read(file, key, sealed=True)) == desk.ledger_size()
    assert second.subject_hash in file.read_text()
    with pytest.raises(BadInput, match="no seal"):
        list(journal.read(aside, key, sealed=True))


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


def killed_at(file, write):
    def killed(path, *given):
        if path == file:
            raise KeyboardInterrupt
        return write(path, *given)

    return killed


def test_journals_that_were_set_aside_forget_as_well_whenever_the_process_is_killed(desk, adapter, people, monkeypatch):
    request = forget(desk, people[0])
    desk.keep_journal()
    file = desk.settings.effective_journal
    shutil.copy(file, file.with_name(f"{file.name}.1"))
    desk.shred("ctl_default", request.subject_hash)
    with monkeypatch.context() as patch:
        patch.setattr("unlearn.cases.journal._write", killed_at(file, journal._write))
        with pytest.raises(KeyboardInterrupt):
            desk.keep_journal()
    desk.keep_journal()
    for kept in file.parent.glob(f"{file.name}*"):
        assert request.subject_hash not in kept.read_text()
