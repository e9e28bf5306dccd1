"""Finished rungs of a job on this machine's disk, for its next attempt to take up rather than run again.

    <state>/rung-1.tried      what its `Tried` says        <state>/rung-1/      the candidate
    <state>/rung-2.walk       where the loop of the one under way is

All of it belongs to one case: what the outcomes hang on is in a digest, and what was kept under another one is as good
as none. Names of people stay in their corpora: what is written here has a number in the place of each.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter

from unlearn import __version__
from unlearn.attempt import Case, Tried
from unlearn.errors import ModelError
from unlearn.lm.checkpoint import Checkpoint
from unlearn.weights import copy_adapter, read_adapter, read_base

TRIED = TypeAdapter(Tried)


@dataclass(frozen=True)
class Rungs:
    """The rungs of one case.

    Attributes:
        state: the case's directory; without one nothing is kept.
        inputs: digest of all that the outcomes hang on.
        numbers: of the people whom the case's corpora name, as they are written in their places.
    """

    state: Path | None
    inputs: str
    numbers: Mapping[str, str]

    def walk(self, number: int) -> Checkpoint | None:
        """Where rung `number` keeps its loop while it is under way."""
        return self._checkpoint(number, "walk")

    def keep(self, number: int, tried: Tried) -> None:
        """Keep what rung `number` made, the candidate's files first."""
        done, walk = self._checkpoint(number, "tried"), self.walk(number)
        if done is None or walk is None:
            return
        if tried.adapter is not None:
            place = done.file.with_suffix("")
            shutil.rmtree(place, ignore_errors=True)
            tried = replace(tried, adapter=copy_adapter(tried.adapter, place))
        done.keep({"tried": _respelled(TRIED.dump_python(tried, warnings=False), self.numbers)})
        walk.clear()

    def finished(self, number: int) -> Tried | None:
        """What rung `number` made in an earlier attempt; None if there is none, or not all of it."""
        done = self._checkpoint(number, "tried")
        kept = None if done is None else done.kept()
        if done is None or kept is None:
            return None
        names = {written: name for name, written in self.numbers.items()}
        try:
            tried = TRIED.validate_python(_respelled(kept[0]["tried"], names))
            if tried.adapter is None:
                return tried
            found = read_adapter(done.file.with_suffix(""))
        except (ModelError, ValueError):
            return None
        return replace(tried, adapter=found) if found == replace(tried.adapter, path=found.path) else None

    def _checkpoint(self, number: int, kind: str) -> Checkpoint | None:
        if self.state is None:
            return None
        return Checkpoint(self.state / f"rung-{number}.{kind}", f"{self.inputs}/{number}/{kind}")


def rungs_of(case: Case) -> Rungs:
    """The rungs of `case`, kept in its directory of state."""
    records = (*case.train.records, *case.holdout.records)
    people = sorted({subject for record in records for subject in record.subjects})
    inputs = [
        *(__version__, torch.__version__, case.device, read_base(case.base).sha256),
        *(case.adapter.sha256, case.adapter.config, case.adapter.recipe, case.adapter.lineage),
        *(case.train.sha256, case.holdout.sha256, None if case.shadows is None else dict(case.shadows.about)),
        [(bool(case.is_forgotten(one)), bool(case.already_erased(one))) for one in people],
        case.policy.model_dump(mode="json"),
    ]
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
    return Rungs(case.state, digest, {name: f"\0{number}" for number, name in enumerate(people)})


def _respelled(value: Any, words: Mapping[str, str]) -> Any:
    """`value` as JSON types, each string that is among `words`, key or not, replaced by its other spelling."""
    if isinstance(value, Mapping):
        return {words.get(key, key): _respelled(one, words) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_respelled(one, words) for one in value]
    if isinstance(value, str | Path):
        return words.get(str(value), str(value))
    return value.item() if hasattr(value, "item") else value
