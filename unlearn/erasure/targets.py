"""Counterfactual targets: where each forget record would be, had the adapter never learned it.

In this order of preference: the shadow table, read by a fold that never saw the person; a fit on the calibration
half, whose records are non-members, of the adapter's NLL on what is known without training; with few of them, their
mean shift from the base model; with none, the base model alone. Knows no policy and no verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from peft import PeftModel

from unlearn.corpus.neighbours import similarities
from unlearn.corpus.records import Record
from unlearn.erasure.shadow_table import ShadowTable, Signals
from unlearn.erasure.task import Targets
from unlearn.lm.batches import Example
from unlearn.lm.likelihood import record_nlls

FEWEST_FOR_FIT = 20
"""Calibration records below which a line through them says less than their mean."""

RIDGE = 1.0
"""Penalty on the standardised slopes, in records: the weight of that many that lie on the mean."""


def targets_from_shadows(
    table: ShadowTable,
    forget: Sequence[Record],
    examples: Mapping[str, Example],
    is_forgotten: Callable[[str], bool],
) -> Targets | None:
    """The targets that `table` keeps for `forget`; None if it misses a record, whose rows may have gone.

    Args:
        table: made for the same base and train corpus.
        forget: the forget set.
        examples: the encoded records, by id.
        is_forgotten: whose rows to read: those of the fold without this subject.
    """
    found: dict[str, Signals] = {}
    for record in forget:
        signals = table.of(record, is_forgotten)
        if signals is None or len(signals.log_probs) != sum(examples[record.id].scored):
            return None
        found[record.id] = signals
    whole = all(signals.top_tokens.numel() for signals in found.values())
    return Targets(
        nlls={record: -float(signals.log_probs.mean()) for record, signals in found.items()},
        source="shadows",
        top_tokens={record: signals.top_tokens for record, signals in found.items() if whole},
        top_log_probs={record: signals.top_log_probs for record, signals in found.items() if whole},
        sentence=f"read by {table.about['folds']} fold adapters, each trained without the person",
    )


@dataclass(frozen=True)
class Known:
    """What a record is known to be like, without any model.

    Attributes:
        person: whose it is, of a forget record the one to forget; people differ more than one person's records do.
        likeness: largest similarity to a record of those who stay, in [0, 1]: what an adapter learned from them helps
            with what reads like theirs.
    """

    person: str
    likeness: float


def known_of(
    forget: Sequence[Record],
    calibration: Sequence[Record],
    retained: Sequence[Record],
    is_forgotten: Callable[[str], bool] = lambda subject: True,
) -> dict[str, Known]:
    """What is known of every record of `forget` and `calibration`, by id; one text pass over all three.

    Args:
        forget: the forget set.
        calibration: records of the calibration half.
        retained: the train records of those who stay.
        is_forgotten: which of a forget record's subjects is to be forgotten.
    """
    records = [*forget, *calibration]
    people = [next((s for s in r.subjects if is_forgotten(s)), r.id) for r in forget]
    people += [r.subjects[0] if r.subjects else r.id for r in calibration]
    found = similarities(records, retained).tolist()
    return {r.id: Known(who, like) for r, who, like in zip(records, people, found, strict=True)}


def targets_from_calibration(
    model: PeftModel,
    forget: Sequence[Example],
    calibration: Sequence[Example],
    pad_id: int,
    known: Mapping[str, Known],
) -> Targets:
    """The targets that non-members say: NLL under the adapter as a function of what is known without training.

    That is: NLL under the base (a person's mean, and each record's distance to it), likeness to those who stay (the
    same two), and length. On people held out from such a fit the two levels nearly halve the squared error of one.

    Args:
        model: the adapter as it was given.
        forget: the forget set.
        calibration: records of the calibration half, never trained on.
        pad_id: token that pads.
        known: of every record, by id.
    """
    with model.disable_adapter():
        anchor = record_nlls(model, [*forget, *calibration], pad_id)
    ids = [example.id for example in forget]
    if not calibration:
        sentence = "no holdout: the base model's own NLL, which knows nothing of what the adapter learned in general"
        return Targets({i: anchor[i] for i in ids}, "base", sentence=sentence)
    level = record_nlls(model, calibration, pad_id)
    if len(calibration) < FEWEST_FOR_FIT:
        shift = float(np.mean([level[e.id] - anchor[e.id] for e in calibration]))
        sentence = f"the base model's NLL {shift:+.3f} nats, the mean shift of {len(calibration)} holdout records"
        return Targets({i: anchor[i] + shift for i in ids}, "mean shift", sentence=sentence)
    predicted, explained = _ridge(
        _covariates(calibration, anchor, known),
        np.array([level[e.id] for e in calibration]),
        _covariates(forget, anchor, known),
    )
    sentence = f"a fit on {len(calibration)} holdout records, which explains {explained:.0%} of their variance"
    return Targets(dict(zip(ids, predicted.tolist(), strict=True)), "calibration fit", sentence=sentence)


def _covariates(examples: Sequence[Example], anchor: Mapping[str, float], known: Mapping[str, Known]) -> np.ndarray:
    """One row a record: float64 [records, 6]."""
    people = [known[e.id].person for e in examples]
    columns = []
    for values in ([anchor[e.id] for e in examples], [known[e.id].likeness for e in examples]):
        of_person: dict[str, list[float]] = {}
        for person, value in zip(people, values, strict=True):
            of_person.setdefault(person, []).append(value)
        means = np.array([np.mean(of_person[person]) for person in people])
        columns += [means, np.array(values) - means]
    scored = np.array([sum(e.scored) for e in examples])
    return np.column_stack([*columns, np.log(scored), np.log1p([len(e.tokens) for e in examples] - scored)])


def _ridge(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, float]:
    """Ridge regression of y [n] on x [n, k] (standardised), predicted at `at` [m, k]; and the share of variance."""
    centre, scale = x.mean(0), x.std(0)
    scale[scale < 1e-9] = 1.0
    z = (x - centre) / scale
    slope = np.linalg.solve(z.T @ z + RIDGE * np.eye(z.shape[1]), z.T @ (y - y.mean()))
    residual = y - y.mean() - z @ slope
    total = float(((y - y.mean()) ** 2).sum())
    explained = 1.0 - float((residual**2).sum()) / total if total > 0 else 0.0
    return y.mean() + (at - centre) / scale @ slope, explained
