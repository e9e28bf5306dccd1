"""Making a backup: the tables as they are at one moment, and the versions that they speak of.

No key and no token goes in: of API keys the digests of their secrets, of callbacks secrets that are sealed with the
identity key, which is not there. Reads; changes nothing but the directory that it writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from unlearn.cases import keyring
from unlearn.cases.backups.archive import Draft, Manifest, Watch, blocks_of, drafted, json_lines
from unlearn.cases.store import checkpoints, dump, ledger, places
from unlearn.cases.store.engine import Store
from unlearn.cases.store.places import Place
from unlearn.errors import BadInput, ModelError
from unlearn.settings import Settings
from unlearn.storage import Loan, Vault

FILES, TABLES, KEYS = "files", "tables", "ledger.pub"


@dataclass(frozen=True)
class Made:
    """A backup that was made."""

    path: Path
    manifest: Manifest


def name_of(now: datetime) -> str:
    """What a backup of this moment is called."""
    return f"unlearn-{now:%Y%m%dT%H%M%SZ}"


def check_outside(settings: Settings, into: Path) -> Path:
    """The directory, absolute; BadInput if it lies where the service's own files do."""
    into = into.expanduser().resolve()
    if into.is_relative_to(settings.home):
        raise BadInput(f"'{into}' lies under '{settings.home}', and would be lost with it; name a place elsewhere")
    return into


def make_backup(store: Store, settings: Settings, into: Path, now: datetime, watch: Watch = lambda count: None) -> Made:
    """Write a backup into a new directory under `into`; the service may run meanwhile.

    Files that the database knows and the disk lost don't keep the rest from being saved: the manifest names them.

    Raises:
        BadInput: `into` lies where the service's own files do.
        LedgerBroken: the ledger does not hold.
        Unavailable: database or directory can't be reached.
    """
    into = check_outside(settings, into)
    vault, name = Vault(settings), name_of(now)
    with drafted(into, name) as draft, store.reading() as session:
        connection = session.connection()
        inspected = ledger.inspected(session)
        for table in dump.tables(connection):
            draft.write(f"{TABLES}/{table.name}.jsonl", json_lines(dump.rows(connection, table)))
        missing = [fault for place in places.known(session) for fault in _add(draft, vault, place, watch)]
        keys = keyring.keys_of(ledger.entries_of_keys(session))
        draft.write(KEYS, (f"{key.public.text}\n".encode() for key in keys))
        newest = checkpoints.newest(session)
        manifest = draft.seal(
            settings.identity_hash_key,
            made_at=now.isoformat(),
            revision=dump.revision(connection),
            ledger_size=inspected.entries,
            ledger_root=inspected.root.hex(),
            checkpoint=None if newest is None else newest.note,
            missing=tuple(missing),
            journal_sealed=True,
        )
    return Made(into / name, manifest)


def _add(draft: Draft, vault: Vault, place: Place, watch: Watch) -> Iterator[str]:
    """Copy what is at a place; what is wrong with it, in words."""
    with Loan(vault.settings) as loan:
        try:
            lent = vault.lend(place.place, loan) if place.sha256 is None else vault.version(place.place, loan)
        except ModelError as error:
            yield f"{place.what}: {error}"
            return
        if lent is None:
            if place.what is not None:
                yield f"{place.what}: nothing is at '{place.place}'"
            return
        if not isinstance(lent, Path) and lent.sha256 != place.sha256:
            yield f"{place.what}: '{place.place}' is not what was put there"
            return
        files = [(place.name, lent)] if isinstance(lent, Path) else _files(place.name, lent.path)
        for name, file in files:
            watch(draft.write(f"{FILES}/{name}", blocks_of(file)).bytes)


def _files(name: str, directory: Path) -> list[tuple[str, Path]]:
    """The version's files, each with its name in the backup; links are nobody's weights."""
    there = [one for one in sorted(directory.iterdir()) if one.is_file() and not one.is_symlink()]
    return [(f"{name}/{one.name}", one) for one in there]
