"""Where a restored service goes: what is in the way there, setting it aside, and moving the draft in.

In one step for each of database and versions, the database last; if anything fails, all of it is taken back. Knows
nothing of what is in a backup but that the draft has a database and files.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.engine import make_url

from unlearn.cases.backups.making import FILES
from unlearn.cases.store import dump
from unlearn.cases.store.engine import Store, hold_alone
from unlearn.durable import sync
from unlearn.errors import Conflict
from unlearn.locations import is_url
from unlearn.settings import Settings
from unlearn.storage import Loan, Vault

DATABASE = "unlearn.db"
SQLITE = ("", "-wal", "-shm")
ASIDE, STAMP = ".replaced-", "%Y%m%dT%H%M%SZ"
MOMENT = r"\d{8}T\d{6}Z"
"""How what was in the way is called, and since when it lies there."""


@dataclass
class Present:
    """What is in the place where the backup goes.

    Attributes:
        store: its database, if that can be read and has anything in it.
        file: of an SQLite database.
        shelf: directory of versions, if anything is in it; in an object store they don't meet.
    """

    store: Store | None
    file: Path | None
    shelf: Path | None

    def close(self) -> None:
        """Let go of the database."""
        if self.store is not None:
            self.store.close()


@contextmanager
def present(settings: Settings, *, replace: bool, only_check: bool) -> Iterator[Present]:
    """What is there.

    Raises:
        Conflict: it may not be, or can't be set aside.
        Unavailable: the server of the database does not answer.
    """
    url = make_url(settings.effective_database_url)
    file = Path(str(url.database)) if url.get_backend_name() == "sqlite" else None
    store = None if file is not None and not file.exists() else Store(settings.effective_database_url)
    state: dump.State = "empty" if store is None else dump.state(store)
    if store is not None and state != "full":
        store.close()
        store = None
    shelf = shelf_of(settings)
    there = Present(store, file, shelf if shelf and _holds_any(shelf) else None)
    try:
        if file is None and replace and state == "full":
            raise Conflict(
                "a database that a server keeps is not set aside: name a new, empty one in UNLEARN_DATABASE_URL, and "
                "the present one with --from-database"
            )
        if not replace and not only_check and (state != "empty" or there.shelf is not None):
            what = f"'{there.shelf}' is not empty" if state == "empty" else "the database holds a service"
            raise Conflict(f"{what}; restore into an empty home and database, or set it aside with --replace")
        yield there
    finally:
        if store is not None:
            store.close()


def shelf_of(settings: Settings) -> Path | None:
    """The directory of versions, where they are in one; no link to it, which alone would be set aside."""
    return None if is_url(settings.effective_store) else Path(settings.effective_store).resolve()


def _holds_any(directory: Path) -> bool:
    return directory.is_dir() and any(directory.iterdir())


def draft_of(settings: Settings) -> Path:
    """Where a restore makes everything, on the disk of the versions, up to a random end of its name."""
    shelf = shelf_of(settings)
    return settings.home / ".restore-" if shelf is None else shelf.with_name(f".{shelf.name}.restore-")


def left_behind(settings: Settings, before: datetime) -> list[Path]:
    """What restores set aside before a moment, and the drafts of those that were killed; nobody else's files."""
    url, shelf = make_url(settings.effective_database_url), shelf_of(settings)
    file = Path(str(url.database)) if url.get_backend_name() == "sqlite" else None
    draft = draft_of(settings)
    places = [(draft.parent, re.escape(draft.name) + "[0-9a-f]{16}")]
    if shelf is not None:
        places.append((shelf.parent, re.escape(f"{shelf.name}{ASIDE}") + MOMENT))
    if file is not None:
        name = re.escape(f"{file.name}{ASIDE}") + MOMENT
        places.append((file.parent, rf"{name}(-wal|-shm)?|\.{name}\.lock|{re.escape(f'.{file.name}.draft')}"))
    there = [(place, name) for place, name in places if place.is_dir()]  # a store may not be made yet
    found = {path for place, name in there for path in place.iterdir() if re.fullmatch(name, path.name)}
    return sorted(path for path in found if _since(path) < before)


def _since(path: Path) -> datetime:
    """Since when it lies there: as its name says, or as old as it is."""
    with contextlib.suppress(ValueError):
        [stamp] = re.findall(MOMENT, path.name)
        return datetime.strptime(stamp, STAMP).replace(tzinfo=UTC)
    return datetime.fromtimestamp(path.lstat().st_mtime, UTC)


def move_in(settings: Settings, draft: Path, there: Present, now: datetime) -> tuple[Path, ...]:
    """Put the draft in its place; if that fails, everything is where it was.

    Returns:
        Where that is now which was in the way.

    Raises:
        Unavailable: somebody has the database open that is in the way.
    """
    end, made = f"{ASIDE}{now:{STAMP}}", draft / FILES
    aside: list[tuple[Path, Path]] = []
    if there.file is not None:
        there_now = [path for one in SQLITE if (path := Path(f"{there.file}{one}")).exists()]
        aside += [(one, one.with_name(one.name.replace(there.file.name, there.file.name + end))) for one in there_now]
    if there.shelf is not None:
        aside.append((there.shelf, there.shelf.with_name(there.shelf.name + end)))
    shelf = shelf_of(settings)
    moves = [*aside, (made, shelf)] if shelf is not None and made.exists() else aside
    with _nobody_else(there.file), _moved(moves), _uploaded(Vault(settings), made):
        if there.file is not None:
            _place(draft / DATABASE, there.file)
        else:
            _fill(settings.effective_database_url, draft)
    return tuple(after for _, after in aside)


@contextmanager
def _nobody_else(file: Path | None) -> Iterator[None]:
    held = None if file is None else hold_alone(file)
    try:
        yield
    finally:
        if held is not None:
            os.close(held)


@contextmanager
def _uploaded(vault: Vault, made: Path) -> Iterator[None]:
    """Put versions into an object store, unless they are there; none of them if the block raises."""
    done: list[str] = []
    try:
        for entry in [] if vault.is_local else sorted([*made.glob("*/*"), *made.glob("*/corpora/*")]):
            place = vault.place(*entry.relative_to(made).parts)
            if entry.name != "corpora" and not _is_there(vault, entry, place):
                done.append(place)
                (vault.put if entry.is_dir() else vault.replace)(entry, place)
        yield
    except BaseException:
        for place in done:
            vault.discard(place)
        raise


def _is_there(vault: Vault, entry: Path, place: str) -> bool:
    if entry.is_dir():
        return vault.exists(place)
    with Loan(vault.settings) as loan:
        return vault.lend(place, loan) is not None


def _place(made: Path, file: Path) -> None:
    """Copy a database to its place, which may be on another disk, in one step."""
    draft = file.with_name(f".{file.name}.draft")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(made, draft)
        with draft.open("rb+") as written:
            os.fsync(written.fileno())
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)
    sync(file.parent)


def _fill(url: str, draft: Path) -> None:
    """Fill an empty database from the draft's, in one transaction."""
    made, target = Store(f"sqlite:///{draft / DATABASE}"), Store(url)
    try:
        target.migrate()
        with made.reading() as session, target.writing() as to:
            source = session.connection()
            tables = {table.name: table for table in dump.tables(source)}
            dump.load(to.connection(), tables, lambda name: dump.rows(source, tables[name]))
    finally:
        made.close()
        target.close()


@contextmanager
def _moved(moves: list[tuple[Path, Path]]) -> Iterator[None]:
    """Move each to its place, and all of them back if the block raises."""
    done: list[tuple[Path, Path]] = []
    try:
        for before, after in moves:
            after.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            before.rename(after)
            done.append((before, after))
            sync(after.parent)
        yield
    except BaseException:
        for before, after in reversed(done):
            after.rename(before)
        raise
