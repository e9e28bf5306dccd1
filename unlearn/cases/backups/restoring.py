"""Restoring a backup: everything into a draft beside its place, checked and brought up to date there, then moved in.

What is in the way is set aside, never deleted, and only if somebody says so. Until the last step nothing is changed;
a crash in the middle leaves a draft that nobody looks at.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from unlearn import overwriting
from unlearn.cases import keyring
from unlearn.cases.backups import since as sources
from unlearn.cases.backups.archive import Archive, BackupBroken, Watch
from unlearn.cases.backups.making import FILES, TABLES
from unlearn.cases.backups.placing import DATABASE, draft_of, move_in, present
from unlearn.cases.backups.replay import Replayed, replay
from unlearn.cases.backups.since import Asked, Since
from unlearn.cases.store import dump, ledger, places
from unlearn.cases.store.engine import Store
from unlearn.cases.store.journal import Line
from unlearn.cases.telling import hook_names
from unlearn.errors import BadInput, Unavailable
from unlearn.evidence.ledger import Entry
from unlearn.locks import hold
from unlearn.settings import Settings

LOCK_SECONDS = 1.0
PLACES = {"adapter_versions": "path", "jobs": "candidate", "corpora": "path"}
"""Columns that hold places in the store of versions."""


@dataclass(frozen=True)
class Restored:
    """What a restore did.

    Attributes:
        made_at: when the backup was made.
        entries: of the ledger in it.
        since: how many more entries are known, and `source` where from.
        source: database, journal or nothing.
        aside: where that lies which was in the way.
        missing: what the backup does not have, in words.
        replayed: what was done again.
    """

    made_at: str
    entries: int
    since: int
    source: str
    aside: tuple[Path, ...]
    missing: tuple[str, ...]
    replayed: Replayed


def restore(
    settings: Settings,
    backup: Path,
    asked: Asked,
    now: datetime,
    *,
    replace: bool = False,
    only_check: bool = False,
    watch: Watch = lambda count: None,
) -> Restored:
    """Restore a backup into an empty home and database, with every deletion since then planned anew.

    Args:
        settings: of the service to be.
        backup: its directory.
        asked: where it is known from what happened since.
        now: the moment.
        replace: whether to set aside what is there.
        only_check: whether to stop before the first change.
        watch: hears of bytes read, of which there are twice as many as the backup has.

    Raises:
        BadInput: no backup, or not of this identity key.
        BackupBroken, LedgerBroken: it is not what was written.
        Conflict: something is in the way, or nobody knows what happened since.
        Unavailable: the service runs, or something can't be written.
    """
    archive = Archive(backup, _identity_key(settings))
    settings.home.mkdir(parents=True, exist_ok=True)
    try:
        with _alone(settings):
            found = _restore(settings, archive, asked, now, replace, only_check, watch)
    except OSError as error:
        raise Unavailable(f"the backup can't be restored: {error.strerror or error}; nothing was changed") from None
    return found


def _restore(
    settings: Settings,
    archive: Archive,
    asked: Asked,
    now: datetime,
    replace: bool,
    only_check: bool,
    watch: Watch,
) -> Restored:
    archive.verify(watch)
    with ExitStack() as stack:
        there = stack.enter_context(present(settings, replace=replace, only_check=only_check))
        own = (Line(Entry(**row)) for row in archive.lines(f"{TABLES}/ledger.jsonl"))
        journal = sources.Journal(settings.effective_journal, _identity_key(settings), archive.manifest.journal_sealed)
        since = sources.find(asked, archive.manifest, own, there.store, journal)
        draft = stack.enter_context(_draft(settings))
        replayed = _rebuild(draft, settings, archive, since, now)
        archive.extract(FILES, draft / FILES, watch)
        there.close()
        aside = () if only_check else move_in(settings, draft, there, now)
    manifest = archive.manifest
    return Restored(
        manifest.made_at,
        manifest.ledger_size,
        len(since.lines),
        since.source,
        aside,
        manifest.missing,
        replayed,
    )


def _rebuild(draft: Path, settings: Settings, archive: Archive, since: Since, now: datetime) -> Replayed:
    """The database, as an SQLite file in the draft: at the backup's revision, then at today's, then brought up to date.

    Whatever database it goes to, this is where it is made, so that it gets there finished or not at all.
    """
    manifest = archive.manifest
    store = Store(f"sqlite:///{draft / DATABASE}")
    try:
        store.migrate(manifest.revision)
        with store.writing() as session:
            names = [Path(name).stem for name in manifest.files if name.startswith(f"{TABLES}/")]
            dump.load(session.connection(), names, lambda name: _rehomed(archive, name, settings.effective_store))
        store.migrate()
        with store.writing() as session:
            first = since.roots[0]
            if ledger.inspected(session, [first]).entries != first.size:
                raise BackupBroken("the backup's ledger has more entries than its manifest says")
            replayed = replay(session, since, settings.identity_hash_key, hook_names(settings), now)
            ledger.append(session, now, "restored", _fact(since, manifest.made_at, first.size))
            if since.source == "nothing":
                _rename(session, now)
            ledger.inspected(session, since.roots)
    finally:
        store.close()
    return replayed


def _rename(session: Session, now: datetime) -> None:
    """Retire the ledger's keys, so that it goes on under another name.

    Entries that nobody knows any more may have been published: under the same name, what follows would be a fork.
    """
    for key in keyring.keys_of(ledger.entries_of_keys(session)):
        if key.retired_at is None:
            ledger.append(session, now, "ledger_key_retired", {"ledger_key": key.public.text, "by": "operator"})


def _fact(since: Since, made_at: str, size: int) -> dict[str, Any]:
    told = {"backup_made_at": made_at, "backup_size": size, "backup_root": since.roots[0].root.hex(), "by": "operator"}
    told |= {"since": since.source, "entries_since": len(since.lines)}
    if since.checkpoint is not None:
        told["checkpoint"] = {"size": since.checkpoint.size, "root": since.checkpoint.root.hex()}
    return told if since.reason is None else told | {"reason": since.reason}


def _rehomed(archive: Archive, table: str, root: str) -> Iterator[dict[str, Any]]:
    """The table's rows, with places in the store of now."""
    column = PLACES.get(table)
    for row in archive.lines(f"{TABLES}/{table}.jsonl"):
        if column is not None and row[column] is not None:
            row[column] = f"{root}/{places.below(row[column], row['adapter_id'])}"
        yield row


@contextmanager
def _draft(settings: Settings) -> Iterator[Path]:
    """A directory that is overwritten and gone at the end, on the disk of the versions."""
    draft = Path(f"{draft_of(settings)}{secrets.token_hex(8)}")
    draft.mkdir(parents=True, mode=0o700)
    try:
        yield draft
    finally:
        overwriting.clear(draft)


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    held = hold(
        settings.home / "house.lock", LOCK_SECONDS, f"the service runs in '{settings.home}'; stop it before restoring"
    )
    try:
        yield
    finally:
        os.close(held)


def _identity_key(settings: Settings) -> bytes:
    """The identity key, which no backup holds; one made now would be another."""
    file = settings.home / "keys" / "identity.key"
    if settings.identity_key is None and not file.exists():
        raise BadInput(
            f"the identity key is not in the backup: put it into UNLEARN_IDENTITY_KEY or '{file}' (mode 0600) first; "
            "without it nobody can be found again"
        )
    return settings.identity_hash_key
