"""What happened between a backup and a loss: by the database of then, its journal, or somebody who answers for it.

Checks that it is the same ledger that goes on, without a gap, up to whatever checkpoint is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from unlearn.cases import journal
from unlearn.cases.backups.archive import BackupBroken, Manifest
from unlearn.cases.store import fingerprints, ledger
from unlearn.cases.store import journal as stored
from unlearn.cases.store.engine import Store
from unlearn.cases.store.fingerprints import Print
from unlearn.cases.store.journal import Line
from unlearn.errors import BadInput, Conflict
from unlearn.evidence.checkpoint import Checkpoint, claimed, split_notes
from unlearn.evidence.inspection import KnownRoot

Source = Literal["database", "journal", "nothing"]
LONGEST_REASON = 500

DATABASE = "the database that is replaced"
"""How a message names it."""


@dataclass(frozen=True)
class Asked:
    """Where whoever restores says that it is known from; at most one of the first three.

    Attributes:
        database: URL of the database that is to be replaced.
        journal: file.
        nothing: somebody answers for it that nothing happened since, for this reason.
        checkpoint: file of published checkpoints, one or many.
    """

    database: str | None = None
    journal: Path | None = None
    nothing: str | None = None
    checkpoint: Path | None = None

    def __post_init__(self) -> None:
        if sum(given is not None for given in (self.database, self.journal, self.nothing)) > 1:
            raise BadInput("say one thing: --from-database, --journal or --nothing-since")
        if self.nothing is not None and not (
            1 <= len(self.nothing.strip()) <= LONGEST_REASON and self.nothing.isprintable()
        ):
            raise BadInput(f"--reason: write 1 to {LONGEST_REASON} printable characters; they stay in the ledger")


@dataclass(frozen=True)
class Since:
    """What happened since.

    Attributes:
        source: where it is known from.
        lines: of the journal, or of the database as if it had written one.
        prints: keyed fingerprints of what was erased, before the backup and since, each with its job if that is known.
        roots: that the ledger must have, with these.
        checkpoint: the newest that was given.
        reason: why nothing happened since, if somebody says so.
    """

    source: Source
    lines: tuple[Line, ...]
    prints: tuple[tuple[Print, str | None], ...]
    roots: tuple[KnownRoot, ...]
    checkpoint: Checkpoint | None
    reason: str | None = None


@dataclass(frozen=True)
class Journal:
    """How the service's journal is read.

    Attributes:
        own: where the service would have written it.
        key: the identity key, under which it is sealed.
        sealed: whether one without seals is refused.
    """

    own: Path
    key: bytes
    sealed: bool

    def read(self, path: Path) -> Iterator[Line]:
        """The lines of the one at `path`; BadInput if it is not what was written."""
        return journal.read(path, self.key, sealed=self.sealed)


def find(
    asked: Asked, manifest: Manifest, own: Iterable[stored.Line], replaced: Store | None, journals: Journal
) -> Since:
    """What happened since the backup.

    Args:
        asked: where it is known from; else the database that is replaced, else the service's own journal.
        manifest: of the backup.
        own: the ledger in the backup, as lines.
        replaced: the database in the place where the backup goes, if one can be read there.
        journals: how one is read.

    Raises:
        Conflict: nobody says, entries are missing, or the journal knows more than nothing.
        BackupBroken: it is another ledger.
    """
    published = [] if asked.checkpoint is None else _checkpoints(asked.checkpoint)
    checkpoint = published[-1] if published else None
    source, lines = _from(asked, manifest, replaced, journals)
    prints: list[tuple[Print, str | None]] = []
    lines = _collecting(lines, prints)
    tail = _behind(lines, own, manifest) if source == "journal" else tuple(lines)
    size = manifest.ledger_size + len(tail)
    if checkpoint is not None and checkpoint.size > size:
        raise Conflict(
            f"the checkpoint is of {checkpoint.size} entries, and {size} are known: {checkpoint.size - size} are "
            "missing, deletions perhaps among them; find a newer journal, or the database"
        )
    roots = [KnownRoot(manifest.ledger_size, bytes.fromhex(manifest.ledger_root), "the backup's manifest")]
    roots += [KnownRoot(one.size, one.root, f"'{asked.checkpoint}'") for one in published]
    return Since(source, tail, tuple(prints), tuple(roots), checkpoint, asked.nothing)


def _collecting(lines: Iterable[Line], prints: list[tuple[Print, str | None]]) -> Iterator[Line]:
    for line in lines:
        prints += [(one, line.job) for one in line.prints]
        yield line


def _from(asked: Asked, manifest: Manifest, replaced: Store | None, journals: Journal) -> tuple[Source, Iterable[Line]]:
    if asked.nothing is not None:
        known, where = _known(replaced, journals.own)
        if known > manifest.ledger_size:
            raise Conflict(
                f"{where} has {known} entries and the backup {manifest.ledger_size}: something did happen since; leave "
                "--nothing-since out, or move it away if it is another service's"
            )
        return "nothing", ()
    if asked.database is not None:
        return "database", _of_database(asked.database, manifest)
    if asked.journal is not None:
        return "journal", journals.read(asked.journal)
    _, where = _known(replaced, journals.own)
    if where is not None:  # the one that knows more: a database may have gone back in time
        if replaced is not None and where == DATABASE:
            return "database", _lines(replaced, manifest)
        return "journal", journals.read(journals.own)
    raise Conflict(
        "nobody knows what was deleted since the backup: give the journal (--journal) or the database of then "
        "(--from-database), or answer for it that nothing was (--nothing-since --reason …)"
    )


def _known(replaced: Store | None, own_journal: Path) -> tuple[int, str | None]:
    """How many entries the database that is replaced has, or the journal if it has more; and which that is."""
    found: list[tuple[int, str | None]] = [(0, None)]
    if own_journal.exists():
        found.append((journal.count(own_journal), f"the journal '{own_journal}'"))
    if replaced is not None:
        with replaced.reading() as session:
            found.append((ledger.size(session), DATABASE))
    return max(found, key=lambda one: (one[0], one[1] == DATABASE, one[1] is not None))


def _of_database(url: str, manifest: Manifest) -> list[Line]:
    store = Store(url)
    try:
        return _lines(store, manifest)
    finally:
        store.close()


def _lines(store: Store, manifest: Manifest) -> list[Line]:
    size = manifest.ledger_size
    with store.reading() as session:
        if ledger.size(session) < size or ledger.root(session, size).hex() != manifest.ledger_root:
            raise BackupBroken(
                f"the first {size} entries of that database's ledger are not those of the backup: it is another "
                "service's, or one of the two was changed"
            )
        found = stored.lines(session, size, ledger.size(session))
        if size and found:
            found[0] = replace(found[0], prints=(*found[0].prints, *fingerprints.of_no_job(session)))
        return found


def _behind(lines: Iterable[Line], own: Iterable[Line], manifest: Manifest) -> tuple[Line, ...]:
    """The lines behind the backup's last entry, once those before were found to be its own."""
    before, tail, last = iter(own), [], 0
    for line in lines:
        seq = line.entry.seq
        if seq != last + 1:
            raise Conflict(f"the journal has no entry {last + 1}: {seq - last - 1} are missing before entry {seq}")
        last = seq
        if seq > manifest.ledger_size:
            tail.append(line)
        elif next(before).entry.hash != line.entry.hash:
            raise BackupBroken(f"entry {seq} of the journal is not the backup's: it is another service's journal")
    if last < manifest.ledger_size:
        raise Conflict(
            f"the journal ends with entry {last} and the backup with {manifest.ledger_size}: it is older, and "
            "does not say what happened since"
        )
    return tuple(tail)


def _checkpoints(path: Path) -> list[Checkpoint]:
    """What the checkpoints in a file say, the newest last; those of a ledger of another name are no part of it.

    Their signatures are not looked at: one that is wrong can only keep us from restoring.
    """
    try:
        found = [claimed(note) for note in split_notes(path.read_text(encoding="utf-8"))]
    except (OSError, UnicodeDecodeError):
        raise BadInput(f"--checkpoint '{path}' can't be read as text") from None
    return sorted((one for one in found if one.origin == found[-1].origin), key=lambda one: one.size)
