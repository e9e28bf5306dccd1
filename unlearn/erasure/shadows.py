"""Making a shadow table: what would each train record look like to an adapter that never saw its person?

K fold adapters are fitted with the adapter's own recipe, each without one part of the subjects. A record is read by
the fold that never saw its subject, and only those signals are kept; a fold lives in memory alone and is gone when
its signals are written, because it holds everybody else's data.

Two kinds of fits, because a gate must not lean on those that gave the eraser its targets. *Folds* leave each person
out once, and keep what the eraser aims at. *Test shadows* leave each person out several times, with seeds of their
own, and keep scores and log p of each token, of the records left out and of the holdout: enough to see how such
adapters differ. Knows no request and no verdict.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from peft import PeftModel

from unlearn.corpus.circles import circle_of
from unlearn.corpus.records import Corpus
from unlearn.erasure.shadow_table import SCHEMA, ShadowTable, Signals, read_shadows
from unlearn.errors import BadInput, CorpusError
from unlearn.lm.base import Base
from unlearn.lm.batches import Example, encode
from unlearn.lm.finetune import OnStep, Recipe, fitted
from unlearn.lm.likelihood import Model, record_nlls, top_tokens
from unlearn.shadow_file import COLUMNS, HOLDOUT, about_table, write_table

TOP_TOKENS = 32
"""Most likely tokens kept at each scored position; the mass of all others is kept as one."""

Read = Callable[[PeftModel, Collection[str]], tuple[Mapping[str, Mapping[str, float]], Mapping[str, np.ndarray]]]
"""(a test shadow, the subjects it never saw) -> record of theirs or of the holdout -> name -> score, NaN: none; and
record -> log p of its tokens, float32 [tokens]."""


@dataclass(frozen=True)
class ShadowPlan:
    """Test shadows to fit.

    Attributes:
        rounds: times that all people are dealt out anew; each person is left out once a round.
        parts: parts a round has; a shadow is trained without one of them.
        read: what to keep.
        about: goes into the table beside them.
    """

    rounds: int
    parts: int
    read: Read
    about: Mapping[str, Any]


def deal(train: Corpus, parts: int, seed: str) -> dict[str, int]:
    """The part of each subject, drawn at random and even in people.

    People who are linked by a record go to different parts as far as there are parts: whoever asks to be forgotten
    leaves the others behind, and a shadow without all of them would show another world.

    Raises:
        BadInput: more parts than people.
    """
    circle = circle_of(train.records)
    people = sorted(circle)
    if len(people) < parts:
        raise BadInput(f"{parts} parts need {parts} people at least; {train.path} names {len(people)}; ask for fewer")
    draw = {s: hashlib.sha256(f"{seed}|{s}".encode()).hexdigest() for s in people}
    first: dict[int, str] = {}
    for subject, drawn_as in draw.items():
        first[circle[subject]] = min(drawn_as, first.get(circle[subject], drawn_as))
    drawn = sorted(people, key=lambda s: (first[circle[s]], draw[s]))
    return {subject: number % parts for number, subject in enumerate(drawn)}


def assign_folds(train: Corpus, folds: int, seed: int) -> dict[str, int]:
    """The fold of each subject, balanced by records: the person with most records first, each to the lightest fold.

    Raises:
        BadInput: more folds than people.
    """
    counts = Counter(subject for record in train.records for subject in record.subjects)
    if len(counts) < folds:
        raise BadInput(f"{folds} folds need {folds} people at least; {train.path} names {len(counts)}; ask for fewer")

    def draw(subject: str) -> str:
        return hashlib.sha256(f"{seed}|{subject}".encode()).hexdigest()

    weights = [0] * folds
    fold_of = {}
    for subject in sorted(counts, key=lambda s: (-counts[s], draw(s))):
        fold_of[subject] = min(range(folds), key=lambda fold: (weights[fold], fold))
        weights[fold_of[subject]] += counts[subject]
    return fold_of


def make_shadows(
    base: Base,
    train: Corpus,
    holdout: Corpus,
    recipe: Recipe,
    folds: int,
    destination: Path,
    *,
    seed: int = 0,
    tests: ShadowPlan | None = None,
    on_fold: Callable[[int, int], OnStep] = lambda fold, folds: lambda step, steps, loss: None,
) -> ShadowTable:
    """Fit the folds and the test shadows, and write their table to `destination` in one step.

    A fit that was finished by an earlier, interrupted call with the same inputs is not fitted again: its part lies
    in `<destination>.parts` until the table is whole.

    Args:
        base: the adapter's base.
        train: what the adapter learned.
        holdout: whose level under each fold is noted.
        recipe: the adapter's own.
        folds: how many; each leaves out 1/folds of the subjects.
        destination: a `.parquet` file; must not exist.
        seed: of the assignment of subjects to folds.
        tests: test shadows to fit as well.
        on_fold: given a fit (from 1) and their number, who follows its training.

    Raises:
        BadInput: `destination` exists, or there are more folds than people.
        CorpusError: a record the model can't take.
    """
    if destination.exists():
        raise BadInput(f"'{destination}' exists; name a new file, or remove it to have the table made again")
    about = {
        "schema": SCHEMA,
        "base_sha256": base.files.sha256,
        "train_sha256": train.sha256,
        "holdout_sha256": holdout.sha256,
        "recipe": asdict(recipe),
        "folds": folds,
        "seed": seed,
        "tests": None if tests is None else {"rounds": tests.rounds, "parts": tests.parts, **tests.about},
    }
    fits = [_Fit(number, assign_folds(train, folds, seed), number, recipe, None) for number in range(folds)]
    for number in range(0 if tests is None else tests.rounds * tests.parts):
        assert tests is not None  # noqa: S101
        dealt = deal(train, tests.parts, f"{seed}/{number // tests.parts}")
        own = replace(recipe, seed=recipe.seed + 1 + number)
        fits.append(_Fit(folds + number, dealt, number % tests.parts, own, tests.read))
    parts = _parts(destination, about)
    encoded = {e.id: e for e in encode(train.records, base.tokenizer, base.files.context_tokens)}
    unseen = encode(holdout.records, base.tokenizer, base.files.context_tokens)
    digests = {record.id: record.sha256 for record in holdout.records}
    for fit in fits:
        part = parts / f"{fit.number}.parquet"
        if not part.exists():
            rows, level = _fitted(base, train, encoded, unseen, digests, fit, on_fold(fit.number + 1, len(fits)))
            write_table(part, rows, {"holdout_nll_nats": level})
    tables = [pq.read_table(parts / f"{fit.number}.parquet", schema=COLUMNS) for fit in fits]
    levels = [about_table(parts / f"{number}.parquet")["holdout_nll_nats"] for number in range(folds)]
    write_table(destination, pa.concat_tables(tables), about | {"fold_holdout_nlls_nats": levels})
    shutil.rmtree(parts)
    return read_shadows(destination)


def _parts(destination: Path, about: Mapping[str, Any]) -> Path:
    """The directory of finished folds; one of other inputs is cleared first."""
    parts = destination.with_name(f"{destination.name}.parts")
    note, text = parts / "about.json", json.dumps(about, sort_keys=True)
    if parts.exists() and (not note.is_file() or note.read_text(encoding="utf-8") != text):
        shutil.rmtree(parts)
    parts.mkdir(parents=True, exist_ok=True)
    note.write_text(text, encoding="utf-8")
    return parts


@dataclass(frozen=True)
class _Fit:
    """One fit: its number, the part of each subject, the part that is left out, its recipe, and what a test keeps."""

    number: int
    part_of: Mapping[str, int]
    part: int
    recipe: Recipe
    read: Read | None


def _fitted(
    base: Base,
    train: Corpus,
    encoded: Mapping[str, Example],
    unseen: Sequence[Example],
    digests: Mapping[str, str],
    fit: _Fit,
    on_step: OnStep,
) -> tuple[pa.Table, float]:
    """The rows of one fit, and the mean NLL of the holdout under it."""
    out = [r for r in train.records if any(fit.part_of[s] == fit.part for s in r.subjects)]
    left_out = {r.id for r in out}
    learned = [encoded[r.id] for r in train.records if r.id not in left_out]
    if not learned:
        raise CorpusError(f"{train.path}: every record names somebody of fit {fit.number + 1}; ask for more folds")
    pad_id = int(base.tokenizer.pad_token_id)
    places = [(r.id, place) for r in out for place, s in enumerate(r.subjects) if fit.part_of[s] == fit.part]
    with fitted(base, learned, fit.recipe, on_step) as model:
        if fit.read is not None:
            places += [(e.id, HOLDOUT) for e in unseen]
            scores, log_probs = fit.read(model, {s for s, part in fit.part_of.items() if part == fit.part})
            listed = {r: list(found.values()) for r, found in scores.items()}
            return _rows(fit.number, places, scores=listed, log_probs=log_probs, digests=digests), 0.0
        signals = _read(model, [encoded[r.id] for r in out], pad_id)
        level = record_nlls(model, unseen, pad_id)
    log_probs = {r: found.log_probs.numpy() for r, found in signals.items()}
    return _rows(fit.number, places, signals=signals, log_probs=log_probs), sum(level.values()) / len(level)


def _rows(
    number: int,
    places: Sequence[tuple[str, int]],
    *,
    log_probs: Mapping[str, np.ndarray],
    signals: Mapping[str, Signals] = MappingProxyType({}),
    scores: Mapping[str, Sequence[float]] = MappingProxyType({}),
    digests: Mapping[str, str] = MappingProxyType({}),
) -> pa.Table:
    def column(of: Callable[[Signals], torch.Tensor]) -> list[list[float]]:
        return [of(signals[record]).flatten().tolist() if signals else [] for record, _ in places]

    columns = {
        "record": [record for record, _ in places],
        "place": [place for _, place in places],
        "fold": [number] * len(places),
        "log_probs": [log_probs[record] for record, _ in places],
        "top_tokens": column(lambda s: s.top_tokens),
        "top_log_probs": column(lambda s: s.top_log_probs),
        "scores": [list(scores[record]) if scores else [] for record, _ in places],
        "record_sha256": [digests[record] if digests and place == HOLDOUT else None for record, place in places],
    }
    return pa.table(columns, schema=COLUMNS)


def _read(model: Model, examples: Sequence[Example], pad_id: int) -> dict[str, Signals]:
    return {record: Signals(*found) for record, found in top_tokens(model, examples, pad_id, TOP_TOKENS).items()}
