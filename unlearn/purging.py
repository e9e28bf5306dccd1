"""Running purges: deletes what the desk says is due, and has cleared away what belongs to nothing.

Mark first, then delete, then note that it is gone: a purge that broke off in the middle is resumed by the next sweep,
and two that run at once do no harm. What can't be deleted now is left for the next sweep. Decides nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable

from unlearn.cases.desk import Desk
from unlearn.cases.views import Purge
from unlearn.clearing import clear, clear_shadows, clear_store
from unlearn.deploy import Registry, Vllm, parse_hooks
from unlearn.disposal import dispose
from unlearn.errors import BadInput
from unlearn.locations import is_url, is_within, name_of
from unlearn.rhythm import Rhythm
from unlearn.settings import Settings

log = logging.getLogger(__name__)

WEIGHTS = "adapter"
"""Where in its run a job's weights were logged."""


def sweep(desk: Desk, settings: Settings, clean: dict[str, Hashable] | None = None) -> list[Purge]:
    """Purge everything that is due, and shred the salts of people past retention; what was purged.

    `clean` is `clear_shadows`'s, for whoever sweeps again and again.
    """
    done = []
    for purge in desk.due_purges():
        try:
            if run_purge(desk, settings, purge):
                done.append(purge)
        except Exception as error:  # one that fails must not keep the others
            log.exception("purging %s failed (%s); the next sweep tries again", named(purge), type(error).__name__)
    clear(desk, settings)
    clear_store(desk)
    clear_shadows(desk, {} if clean is None else clean)
    for controller, subject_hash in desk.past_retention():
        desk.shred(controller, subject_hash)
    desk.settle()
    return done


def run_purge(desk: Desk, settings: Settings, purge: Purge) -> bool:
    """Carry out one purge; False if it is not due any more.

    Raises:
        BadInput: a place that is none of the service's; nothing is deleted there.
        Exception: whatever kept something from being deleted.
    """
    for place in purge.places:
        _check_own(desk, settings, place)
    if not desk.begin_purge(purge):
        return False
    for place in purge.places:
        dispose(place)
    ours = purge.run_id is None or _dispose_artifacts(settings, settings.effective_mlflow_uri, purge.run_id)
    ours &= _dispose_copies(settings, purge)
    desk.purged(purge, by_mlflow_alone=not ours)
    log.info("purged %s", named(purge))
    return True


def named(purge: Purge) -> str:
    """What is purged, in words."""
    if purge.number is None:
        return f"what job {purge.job_id} left behind"
    if purge.edition is not None:
        return f"corpora of version {purge.number} of adapter {purge.adapter_id}, in the edition {purge.edition}"
    return f"version {purge.number} of adapter {purge.adapter_id} and its corpora"


def _check_own(desk: Desk, settings: Settings, place: str) -> None:
    """A place of the database's is deleted in the store and among the workshops alone, whoever wrote it there."""
    roots = (desk.vault.root, str(settings.home / "jobs"))
    if ".." in place.split("/") or not any(is_within(place, root) and place != root for root in roots):
        raise BadInput(f"'{place}' is none of the service's; nothing was deleted there, look at it yourself")


def _dispose_copies(settings: Settings, purge: Purge) -> bool:
    """Take away what hooks put elsewhere of a version; False where MLflow alone could."""
    ours, place = True, purge.places[0]
    if purge.number is None or purge.edition is not None:
        return ours
    for hook in parse_hooks(settings.hooks):
        if isinstance(hook, Vllm) and hook.directory is not None and is_url(place):
            shelf = hook.directory / purge.adapter_id
            for copy in (shelf / name_of(place), *shelf.glob(f".{name_of(place)}.*")):
                dispose(str(copy))
        if isinstance(hook, Registry):
            for run_id in hook.copies(purge.adapter_id, purge.number):
                ours &= _dispose_artifacts(settings, hook.uri, run_id, hook.artifacts)
            hook.forget(purge.adapter_id, purge.number)
    return ours


def _dispose_artifacts(settings: Settings, uri: str, run_id: str, served_from: str | None = None) -> bool:
    """Take away the weights that a run logged; False where MLflow alone could."""
    from unlearn.tracking.runs import delete_artifacts  # mlflow takes seconds and memory: only who needs it pays

    if served_from is None and uri == settings.effective_mlflow_uri:
        served_from = settings.mlflow_artifacts
    return delete_artifacts(uri, run_id, WEIGHTS, served_from)


class Sweeper(Rhythm):
    """Purges in a thread of its own; a purge that it does not end is resumed by whoever sweeps next.

    Args:
        desk: says what is due.
        settings: where things are.
        seconds: between two sweeps; the first is after one such pause.
    """

    def __init__(self, desk: Desk, settings: Settings, seconds: float) -> None:
        super().__init__("purges", seconds)
        self._desk, self._settings = desk, settings
        self._clean: dict[str, Hashable] = {}

    def turn(self) -> None:
        """One sweep."""
        sweep(self._desk, self._settings, self._clean)
