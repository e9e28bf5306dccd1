"""The shadow table in memory: what adapters that never saw a record's people say of the record.

A row is found by record id and the place of the subject among the record's, and none names a subject. The columns stay
flat, as in the file (`unlearn.shadow_file`): a record's signals and scores are looked up there, so that the table of a
hundred thousand records opens in seconds. Knows no adapter, no request and no verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from unlearn.corpus.records import Corpus, Record
from unlearn.errors import BadInput
from unlearn.lm.finetune import Recipe
from unlearn.shadow_file import read_table

SCHEMA = "unlearn/shadows/v2"

NOTED: Mapping[str, type | UnionType] = MappingProxyType(
    {
        "base_sha256": str,
        "train_sha256": str,
        "holdout_sha256": str,
        "recipe": dict,
        "folds": int,
        "seed": int,
        "tests": dict | None,
    }
)
"""What is noted beside the rows of every table."""

Key = tuple[str, int]
"""A record's id, and the place of the subject among the record's."""


@dataclass(frozen=True)
class Signals:
    """What a fold that never saw the subject says of one record.

    Attributes:
        log_probs: float32 [scored tokens], log p of each scored token, nats.
        top_tokens: int64 [scored tokens, k], the most likely tokens at each scored position; k is 0 once somebody whom
            the fold had learned from was erased.
        top_log_probs: float32 [scored tokens, k], their log p, nats.
    """

    log_probs: torch.Tensor
    top_tokens: torch.Tensor
    top_log_probs: torch.Tensor


class Lists:
    """A column of lists, flat: row n is `values[starts[n]:starts[n + 1]]`."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        lists = column.combine_chunks()
        self.starts: np.ndarray = lists.offsets.to_numpy()
        self.values: np.ndarray = lists.values.to_numpy()

    def __getitem__(self, row: int) -> np.ndarray:
        return self.values[self.starts[row] : self.starts[row + 1]]


@dataclass(frozen=True, slots=True, eq=False)
class Scores(Mapping[str, float]):
    """What one test shadow says of one record: `place` among its scores, float64 [rows, names], `row` of the file."""

    names: Mapping[str, int]
    scores: np.ndarray
    place: int
    row: int

    def __getitem__(self, name: str) -> float:
        return float(self.scores[self.place, self.names[name]])

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class ShadowTable:
    """A table in memory.

    Attributes:
        path: its file.
        about: what it was made from and how: schema, digests of base and train corpus, recipe, folds, seed, the mean
            NLL of the holdout under each fold (nats per token), and the test shadows' rounds, parts and score names.
        rows: signals.
        tests: scores under each test shadow that never saw the subject, by shadow; records of the holdout at place -1.
        log_probs: log p of each scored token, row by row, nats.
        holdout: digest of what each record of the holdout said that the test shadows read, by id; empty in a table from
            before these were kept.
    """

    path: Path
    about: Mapping[str, Any]
    rows: Mapping[Key, Signals]
    tests: Mapping[Key, Mapping[int, Scores]]
    log_probs: Lists
    holdout: Mapping[str, str] = field(default_factory=dict)

    def of(self, record: Record, is_forgotten: Callable[[str], bool]) -> Signals | None:
        """The signals of `record` under the fold without its (first) subject to forget; None if the row is gone."""
        for place, subject in enumerate(record.subjects):
            if is_forgotten(subject) and (record.id, place) in self.rows:
                return self.rows[record.id, place]
        return None

    def tokens(self, key: Key) -> dict[int, np.ndarray]:
        """log p of the record's tokens under each test shadow: float32 [tokens], nats; of none in an older table.

        A shadow that has no number for one of them has none for the record.

        Raises:
            BadInput: two shadows read the record as of different length.
        """
        found = {shadow: self.log_probs[scores.row] for shadow, scores in self.tests.get(key, {}).items()}
        found = {shadow: log_probs for shadow, log_probs in found.items() if len(log_probs)}
        if len({len(log_probs) for log_probs in found.values()}) > 1:
            raise BadInput(
                f"shadow table '{self.path}' has record '{key[0]}' with tokens of several lengths; make it again with "
                "`unlearn shadows`"
            )
        return {shadow: log_probs for shadow, log_probs in found.items() if np.isfinite(log_probs).all()}


def read_shadows(path: Path) -> ShadowTable:
    """The shadow table in the file at `path`.

    Raises:
        BadInput: it can't be read, is no shadow table, or does not say what it was made from.
    """
    try:
        table, about = read_table(path)
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise BadInput(f"shadow table '{path}' can't be read: {str(error).splitlines()[0]}") from None
    if about.get("schema") != SCHEMA:
        raise BadInput(f"'{path}' is no shadow table of this program ({SCHEMA}); make one with `unlearn shadows`")
    if missing := [key for key, kind in NOTED.items() if key not in about or not isinstance(about[key], kind)]:
        raise BadInput(
            f"shadow table '{path}' does not say its {', '.join(map(repr, missing))}; make it again with "
            "`unlearn shadows`"
        )
    try:
        lists = {name: Lists(table[name]) for name in ("log_probs", "top_tokens", "top_log_probs", "scores")}
        return ShadowTable(path, about, *_opened(table, about, lists), lists["log_probs"], _digests(table))
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"shadow table '{path}' can't be read: {error}; make it again with `unlearn shadows`") from None


def check_shadows(table: ShadowTable, base_sha256: str, train: Corpus, holdout: Corpus, recipe: Recipe | None) -> None:
    """Check that `table` was made for this base and corpora, and with the adapter's recipe, where one is recorded.

    The holdout may have lost records since; each that is left must say what the test shadows read, since the mean of
    their scores is what an adapter's scores are centred by.

    Raises:
        BadInput: names what differs.
    """
    if recipe is not None:
        made, own = table.about["recipe"], asdict(recipe)
        differ = [name for name in own if name != "seed" and made.get(name) != own[name]]
        if differ:
            what = ", ".join(f"{name.replace('_', ' ')} {made.get(name)} (not {own[name]})" for name in differ)
            raise BadInput(
                f"shadow table '{table.path}' shows adapters of another recipe: {what}; make one with "
                "`unlearn shadows --adapter`"
            )
    for name, there, here in (
        ("base", table.about["base_sha256"], base_sha256),
        ("train corpus", table.about["train_sha256"], train.sha256),
    ):
        if there != here:
            raise BadInput(
                f"shadow table '{table.path}' was made for another {name} (sha256 {there[:12]}…, not {here[:12]}…); "
                "make one for this with `unlearn shadows`"
            )
    if not table.tests or holdout.sha256 == table.about["holdout_sha256"]:
        return
    if not table.holdout:
        raise BadInput(
            f"shadow table '{table.path}' was made for another holdout (sha256 {table.about['holdout_sha256'][:12]}…, "
            f"not {holdout.sha256[:12]}…), and is from before tables knew each of its records; make one for this with "
            "`unlearn shadows`"
        )
    differ = [record.id for record in holdout.records if table.holdout.get(record.id) != record.sha256]
    if differ:
        raise BadInput(
            f"{holdout.path}: {len(differ)} records are not what the test shadows of '{table.path}' read under their "
            f"ids: {', '.join(map(repr, differ[:5]))}{', ...' if len(differ) > 5 else ''}; give the holdout that the "
            "table was made with (records may have left it), or make one for this with `unlearn shadows`"
        )


@dataclass(frozen=True, eq=False)
class _Rows(Mapping[Key, Signals]):
    """The folds' rows, each made into tensors when it is asked for."""

    places: Mapping[Key, int]
    log_probs: Lists
    top_tokens: Lists
    top_log_probs: Lists

    def __getitem__(self, key: Key) -> Signals:
        row = self.places[key]
        probs = torch.tensor(self.log_probs[row], dtype=torch.float32)
        tokens = torch.tensor(self.top_tokens[row], dtype=torch.int64).reshape(len(probs), -1 if len(probs) else 0)
        return Signals(probs, tokens, torch.tensor(self.top_log_probs[row], dtype=torch.float32).reshape(tokens.shape))

    def __iter__(self) -> Iterator[Key]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)


def _opened(
    table: pa.Table, about: Mapping[str, Any], lists: Mapping[str, Lists]
) -> tuple[_Rows, dict[Key, dict[int, Scores]]]:
    """The rows of the folds, and those of the test shadows.

    Raises:
        ValueError: rows with more scores or fewer than there are names.
    """
    counts = np.diff(lists["scores"].starts)
    scored = np.flatnonzero(counts)
    names = {name: place for place, name in enumerate(about["tests"]["scores"])} if len(scored) else {}
    if not (counts[scored] == len(names)).all():
        raise ValueError(f"a row has not the {len(names)} scores that the table names")
    scores = lists["scores"].values.reshape(len(scored), -1 if len(scored) else 0)
    keys = list(zip(table["record"].to_pylist(), table["place"].to_pylist(), strict=True))
    folds = table["fold"].to_pylist()
    tests: dict[Key, dict[int, Scores]] = {}
    for number, row in enumerate(scored.tolist()):
        tests.setdefault(keys[row], {})[folds[row]] = Scores(names, scores, number, row)
    places = {keys[row]: row for row in np.flatnonzero(counts == 0).tolist()}
    return _Rows(places, lists["log_probs"], lists["top_tokens"], lists["top_log_probs"]), tests


def _digests(table: pa.Table) -> dict[str, str]:
    """The digest of each record of the holdout that test shadows read, by id."""
    kept = table.select(["record", "record_sha256"]).filter(pc.is_valid(table["record_sha256"]))
    return dict(zip(*(column.to_pylist() for column in kept.columns), strict=True))
