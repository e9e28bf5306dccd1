"""What belongs to nothing: left on this machine by attempts that were killed, by registrations broken off; left in
the store of how far jobs were; and left in shadow tables of people who were erased.

What names an attempt goes as soon as that attempt is over; what names none, after a day, since it may be in the making.
Nothing goes that a row names, and nothing that the database does not know at all: it may be the wrong database.

The files are listed first and the database is asked afterwards: whoever made one had claimed its job before, so that
whatever the database then says of the job is newer than the file. Imports no torch.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path

from unlearn.cases.corpora import KINDS
from unlearn.cases.desk import UNFINISHED, Desk
from unlearn.cases.store.places import SHADOWS
from unlearn.cases.views import AdapterView, Trace
from unlearn.disposal import dispose
from unlearn.errors import Unavailable
from unlearn.locations import name_of
from unlearn.settings import Settings
from unlearn.storage import Loan
from unlearn.storage.handover import jobs_with_state, state_of

log = logging.getLogger(__name__)

OLD_SECONDS = 86400.0
"""What names no attempt is left alone this long."""
ATTEMPT = re.compile(r"f([0-9]+)")
"""An attempt's directory in the workshop of its job."""
WEIGHTS = re.compile(r"\.?v[0-9]+\.(job_[0-9a-f]+)\.f([0-9]+)(\..*)?")
"""A version on an adapter's shelf that an attempt copied there; with a dot in front while it was copying."""
STANDING = frozenset({"corpora", "current", SHADOWS})
"""What may be on any shelf, whether a row names it or not."""


@dataclass(frozen=True)
class Left:
    """What one attempt made."""

    path: Path
    job_id: str
    fence: int


def clear(desk: Desk, settings: Settings) -> list[Path]:
    """Remove what belongs to nothing; what was removed. A database that is away is no error: everything stays."""
    workshops = _directories(settings.home / "jobs")
    shelves = _directories(Path(desk.vault.root)) if desk.vault.is_local else []
    try:
        gone = list(dict.fromkeys([*_of_attempts(desk, workshops, shelves), *_of_nothing(desk, shelves)]))
    except Unavailable as error:
        log.warning("what belongs to nothing stays for now: %s", error)
        return []
    for path in gone:
        log.info("removing '%s', which belongs to nothing", path)
        try:
            dispose(str(path))
        except OSError as error:
            log.warning("'%s' could not be removed whole: %s", path, error.strerror)
    return gone


def clear_store(desk: Desk) -> None:
    """Remove from an object store how far jobs were that have ended; what can't be removed now stays for the next."""
    try:
        kept = jobs_with_state(desk.vault)
        traces = desk.traces(kept)
    except Unavailable as error:
        log.warning("states of ended jobs stay in the store for now: %s", error)
        return
    for job_id in kept:
        if job_id in traces and traces[job_id].ended:
            log.info("removing the state of job %s, which has ended", job_id)
            desk.vault.discard(state_of(desk.vault, job_id))


def clear_shadows(desk: Desk, clean: dict[str, Hashable]) -> None:
    """Take out of adapters' shadow tables whoever is in their corpora no more, and what folds say of her elsewhere.

    A worker does so when its job ends; this is for those whom a person released, and for workers that ended before.

    Args:
        desk: the case wing.
        clean: table and corpora of each adapter as they were found with nobody to take out, which are not read again.
    """
    for adapter in desk.forgetful():
        place = desk.vault.place(adapter.id, SHADOWS)
        try:
            seen = _as_they_are(desk, adapter, place)
            if seen is None or clean.get(adapter.id) == seen:
                continue
            with Loan(desk.settings) as loan:
                table = desk.vault.lend(place, loan)
                if table is not None and _drop_strangers(desk, adapter, table):
                    desk.vault.replace(table, place)
                    seen = _as_they_are(desk, adapter, place)
            clean[adapter.id] = seen
        except Exception as error:  # one that fails must not keep the others
            log.exception("the shadow table of adapter %s stays as it is (%s)", adapter.id, type(error).__name__)


def _as_they_are(desk: Desk, adapter: AdapterView, place: str) -> Hashable | None:
    """What changes with the shadow table or the corpora; None without a table."""
    mark = desk.vault.mark(place)
    return None if mark is None else (mark, adapter.current.number, adapter.current.corpora)


def _drop_strangers(desk: Desk, adapter: AdapterView, table: Path) -> int:
    """Take out of the table what no corpus of the adapter has; how many rows went."""
    from unlearn.shadow_file import drop_rows, records_in  # pyarrow takes memory: only who has a table pays

    stay = {record.id for kind in KINDS for record in desk.corpus(adapter, kind).records}
    gone = records_in(table) - stay
    if gone:
        log.info("%d records that left go out of the shadow table of adapter %s", len(gone), adapter.id)
    return drop_rows(table, gone) if gone else 0


def _of_attempts(desk: Desk, workshops: list[Path], shelves: list[Path]) -> Iterator[Path]:
    """Workshops of jobs that ended; what attempts left in others, and weights of theirs that no row names."""
    in_workshops = [
        Left(path, shop.name, int(match[1]))
        for shop in workshops
        for path in _entries(shop)
        if (match := ATTEMPT.fullmatch(path.name))
    ]
    on_shelves = [
        Left(path, match[1], int(match[2]))
        for shelf in shelves
        for path in _entries(shelf)
        if (match := WEIGHTS.fullmatch(path.name))
    ]
    traces = desk.traces({*(shop.name for shop in workshops), *(left.job_id for left in on_shelves)})
    yield from (shop for shop in workshops if shop.name in traces and traces[shop.name].ended)
    for left in (*in_workshops, *on_shelves):
        trace = traces.get(left.job_id)
        if trace is not None and _over(trace, left.fence) and left.path.name not in _names(trace.places):
            yield left.path


def _of_nothing(desk: Desk, shelves: list[Path]) -> Iterator[Path]:
    """Shelves of registrations that broke off; what lies on those of adapters that no job works on."""
    before = time.time() - OLD_SECONDS
    found = [(shelf, entry) for shelf in shelves for entry in (*_entries(shelf), *_entries(shelf / "corpora"))]
    used = desk.in_use()
    names = STANDING | _names(used.places)
    for shelf in shelves:
        if shelf.name not in used.adapters and _older(shelf / UNFINISHED, before):
            yield shelf
    for shelf, entry in found:
        if shelf.name in used.adapters - used.busy and entry.name not in names and _older(entry, before):
            yield entry


def _over(trace: Trace, fence: int) -> bool:
    return trace.state != "running" or fence < trace.fence


def _names(places: frozenset[str]) -> frozenset[str]:
    """Their last parts, which no two have alike: a home that was moved is spelled differently in the rows."""
    return frozenset(map(name_of, places))


def _entries(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _directories(directory: Path) -> list[Path]:
    return [path for path in _entries(directory) if path.is_dir() and not path.is_symlink()]


def _older(path: Path, moment: float) -> bool:
    try:
        return path.lstat().st_mtime < moment
    except FileNotFoundError:
        return False
