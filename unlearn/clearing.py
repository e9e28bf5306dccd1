"""What killed attempts left on disk: workshops and weights that no row of the database names. Imports no torch.

The files are listed first and the database is asked afterwards: whoever made one had claimed its job before, so that
whatever the database then says of the job is newer than the file. What it does not know, stays.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

from unlearn.cases.desk import Desk
from unlearn.cases.views import Trace
from unlearn.disposal import dispose
from unlearn.errors import Unavailable
from unlearn.locations import name_of
from unlearn.settings import Settings

log = logging.getLogger(__name__)

ATTEMPT = re.compile(r"f([0-9]+)")
"""An attempt's directory in the workshop of its job."""
WEIGHTS = re.compile(r"\.?v[0-9]+\.(job_[0-9a-f]+)\.f([0-9]+)(\..*)?")
"""A version on an adapter's shelf that an attempt copied there; with a dot in front while it was copying."""


def clear(desk: Desk, settings: Settings) -> list[Path]:
    """Remove what no attempt and no row needs any more; what was removed. A database that is away is no error."""
    workshops = {path.name: _attempts(path) for path in _within(settings.home / "jobs")}
    shelves = _within(Path(desk.vault.root)) if desk.vault.is_local else []
    weights = [
        (path, match[1], int(match[2]))
        for shelf in shelves
        for path in _within(shelf)
        if (match := WEIGHTS.fullmatch(path.name))
    ]
    try:
        traces = desk.traces({*workshops, *(job_id for _, job_id, _ in weights)})
    except Unavailable as error:
        log.warning("what earlier attempts left stays for now: %s", error)
        return []
    gone = [settings.home / "jobs" / job_id for job_id in workshops if job_id in traces and traces[job_id].ended]
    gone += [path for job_id, tries in workshops.items() for fence, path in tries if _over(traces.get(job_id), fence)]
    for path, job_id, fence in weights:
        trace = traces.get(job_id)
        # by its name, which no other has: a home that was moved is spelled differently in the rows
        if trace is not None and _over(trace, fence) and path.name not in {name_of(place) for place in trace.places}:
            gone.append(path)
    for path in gone:
        log.info("removing '%s', which a broken-off attempt left", path)
        try:
            dispose(str(path))
        except OSError as error:
            log.warning("'%s' could not be removed whole: %s", path, error)
    return gone


def _over(trace: Trace | None, fence: int) -> bool:
    return trace is not None and not (trace.state == "running" and fence >= trace.fence)


def _attempts(workshop: Path) -> list[tuple[int, Path]]:
    return [(int(match[1]), path) for path in _within(workshop) if (match := ATTEMPT.fullmatch(path.name))]


def _within(directory: Path) -> list[Path]:
    try:
        return [path for path in directory.iterdir() if path.is_dir() and not path.is_symlink()]
    except (FileNotFoundError, NotADirectoryError):
        return []
