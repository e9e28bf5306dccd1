"""How far a job is, put beside the versions in an object store: a worker of another machine goes on from there.

What an attempt keeps on its own machine (`jobs/<id>/state`) is put up now and then from a thread, whole or not at all:

    <store>/jobs/<id>/f<fence>.<number>/      files as they lie in the state, and a manifest (`vault.py`)

The next attempt takes the newest that is whole, unless what lies on its own machine is as new. Each has places of its
own, by its fence: one that is late, because its lease ran out, overwrites nothing. Where versions are in a directory
of one machine, nothing travels. Knows nothing of what is in a state, and no database.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from unlearn.durable import write_whole
from unlearn.errors import UnlearnError
from unlearn.rhythm import Rhythm
from unlearn.storage import objects
from unlearn.storage.loans import Loan
from unlearn.storage.vault import Vault

log = logging.getLogger(__name__)

JOBS = "jobs"
EVERY_SECONDS = 60.0
"""Shortest pause between two looks at a state."""

PAUSES = 9.0
"""Pauses are so many times longer than what was put up last took: a tenth of the time at most goes into it."""

MARK = ".fence"
"""In a state on a machine: the attempt that worked on it there last. What begins with a dot does not travel."""

_PLACE = re.compile(r"f([0-9]+)\.([0-9]+)")

Files = dict[str, tuple[int, int, int]]
"""Name below a state -> inode, time of writing, size: what is written whole has another inode."""


class Handover(Rhythm):
    """A context manager around one attempt: takes up what an earlier one left, puts up what this one keeps.

    Leaving it waits for nothing: a worker that is told to stop has seconds, and what it was about to put up does not
    count then.

    Args:
        vault: where states go; nowhere if it is a directory.
        state: the job's directory of state on this machine; need not exist.
        job_id: whose.
        fence: of this attempt.
    """

    def __init__(self, vault: Vault, state: Path, job_id: str, fence: int) -> None:
        super().__init__(f"states of job {job_id}", EVERY_SECONDS)
        self._vault, self._state, self._job_id, self._fence = vault, state, job_id, fence
        self._number = 0
        self._there: Files = {}  # what the store has of this attempt, or what this attempt has of the store

    def __enter__(self) -> Self:
        if not self._vault.is_local:
            try:
                self._take_up()
            except UnlearnError as error:
                log.warning("job %s: what an earlier attempt kept elsewhere is not to be had: %s", self._job_id, error)
            write_whole(self._state / MARK, str(self._fence).encode())
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()

    def remove(self) -> None:
        """Remove the state, here and in the store: the job has ended, and its lease was held until then."""
        if self.is_running:
            self.stop()
        shutil.rmtree(self._state, ignore_errors=True)
        if not self._vault.is_local:
            self._vault.discard(state_of(self._vault, self._job_id))

    def turn(self) -> None:
        """Put up the state if it changed, and remove what this and earlier attempts put up before."""
        files = self._files()
        if not files or files == self._there:
            return
        self._number += 1
        place, began = self._place(self._fence, self._number), time.monotonic()
        with Loan(self._vault.settings) as loan:
            pinned = loan.room(place)
            if not self._pin(files, pinned):
                return
            self._vault.put(pinned, place)
        self._there = files
        if self.is_stopping:
            return  # whoever goes on may be reading the one before
        for older in self._places():
            if older < (self._fence, self._number):
                self._vault.discard(self._place(*older))
        self._seconds = max(EVERY_SECONDS, PAUSES * (time.monotonic() - began))

    def _take_up(self) -> None:
        """Have the newest state of an earlier attempt here; one that is damaged or not whole is as good as none."""
        for fence, number in reversed(self._places()):
            if fence <= self._here():
                return
            place = self._place(fence, number)
            if fence >= self._fence or not self._vault.exists(place):
                continue
            try:
                with Loan(self._vault.settings) as loan:
                    found = self._vault.get(place, loan.room(place))
                    shutil.rmtree(self._state, ignore_errors=True)
                    self._state.parent.mkdir(parents=True, exist_ok=True)
                    found.rename(self._state)
                    self._state.chmod(0o700)
            except UnlearnError as error:
                log.warning("job %s: what attempt %d kept can't be used: %s", self._job_id, fence, error)
                continue
            self._there = self._files()
            log.info("job %s: going on from what fence %d kept", self._job_id, fence)
            return

    def _here(self) -> int:
        """The attempt that worked on the state on this machine last; -1 if none did."""
        try:
            return int((self._state / MARK).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return -1

    def _places(self) -> list[tuple[int, int]]:
        """Fence and number of everything that attempts of the job put up or began to, the newest last."""
        names = objects.prefixes(state_of(self._vault, self._job_id))
        return sorted((int(match[1]), int(match[2])) for name in names if (match := _PLACE.fullmatch(name)))

    def _place(self, fence: int, number: int) -> str:
        return f"{state_of(self._vault, self._job_id)}/f{fence}.{number}"

    def _files(self) -> Files:
        found: Files = {}
        for directory, below, names in os.walk(self._state):
            below[:] = [name for name in below if not name.startswith(".")]
            for file in [Path(directory, name) for name in names if not name.startswith(".")]:
                with contextlib.suppress(FileNotFoundError):
                    seen = file.stat()
                    found[file.relative_to(self._state).as_posix()] = (seen.st_ino, seen.st_mtime_ns, seen.st_size)
        return found

    def _pin(self, files: Files, place: Path) -> bool:
        """Hold on to these files as they are, beside the job that goes on; False if it wrote to one just now."""
        try:
            for name in files:
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                os.link(self._state / name, place / name)
            return self._files() == files
        except FileNotFoundError:
            return False


def state_of(vault: Vault, job_id: str) -> str:
    """Where in the store attempts of a job put up how far they are."""
    return vault.place(JOBS, job_id)


def jobs_with_state(vault: Vault) -> list[str]:
    """Ids of the jobs of which the store has something.

    Raises:
        Unavailable: the object store can't be used.
    """
    return [] if vault.is_local else objects.prefixes(vault.place(JOBS))
