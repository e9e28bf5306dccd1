"""The page of the forgetting benchmark: figures in, Markdown out. Computes no figure of its own but medians and ratios."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from statistics import median
from typing import Any

import torch

Figures = dict[str, Any]

COLUMNS = (
    "forget NLL",
    "retain NLL",
    "holdout NLL",
    "loss AUC",
    "Min-K++ AUC",
    "forget quality",
    "KS p",
    "correlation",
    "gap",
    "retain",
    "utility",
    "relearned",
    "int4",
    "steps",
    "seconds",
    "of retraining",
)

LEGEND = """- **forget, retain, holdout NLL**: nats per token, means over the forget records, 256 retained records that no loop saw,
  and the audit half of the holdout.
- **loss AUC, Min-K++ AUC**: membership attacks, forget records against the audit half; a control's value is the goal,
  which need not be 0.5: two people are not everybody.
- **forget quality**: TOFU's, p of the two-sample Kolmogorov-Smirnov test between truth ratios and a control's.
- **KS p, correlation, gap**: the same test, Pearson's correlation and the mean absolute difference in nats between the
  records' NLLs and a control's. Medians over the three controls.
- **retain, utility**: change of the retain NLL and of TOFU's probability score (mean of e^-NLL) on the retained records,
  against the adapter before.
- **relearned**: five Adam steps at 1e-3 on half of a person's records, then the NLL of the other half.
- **int4**: forget NLL with the adapter merged and every adapted matrix rounded to 4 bits (groups of 32, symmetric).
- **steps, seconds, of retraining**: optimiser steps; wall seconds of the erasing alone; their share of one control's
  training. A request of two people; medians of three seeds in every row."""


def middle(figures: Sequence[Figures]) -> Figures:
    """The median of each column over the seeds."""
    numbers = {}
    for column in figures[0]:
        values = [f[column] for f in figures if isinstance(f[column], (int, float)) and not math.isnan(f[column])]
        numbers[column] = median(values) if values else math.nan
    return numbers


def page(found: Mapping[str, Any], growth: Sequence[tuple[int, float, int]]) -> str:
    """The whole page."""
    parts = [
        "# Forgetting, against adapters retrained without the data",
        f"Made by `python bench/forgetting.py` on {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} CPU cores "
        f"({platform.machine()}), torch {torch.__version__}. The first row of each table is the noise floor: the "
        "retrained controls against each other, which nothing needs to beat. `calibrated` runs as it ships. The public "
        "methods run as published, without governors, all with the same retain KL, steps and batch; the step size in "
        "brackets is the best of three, chosen on the first world's first seed by its gap to the controls, which "
        "nobody who deploys the method could know.",
        LEGEND,
    ]
    for name, (world, rows, sequence) in found.items():
        parts += _world(name, world, rows)
        if sequence is not None:
            parts += _sequence(sequence)
    parts += ["## What grows with the corpus", _growth(growth)]
    return "\n\n".join(parts) + "\n"


def _world(name: str, world: Any, rows: Mapping[str, list[Figures]]) -> list[str]:
    about = {
        "people": "Synthetic people: 60 learned, 60 held out, another 150 in the base; two with many records, who share none, ask.",
        "tofu": "TOFU (Maini et al. 2024, arXiv 2401.06121): authors 000-049 and 180-189 learned, 050-149 in the base, "
        "150-179 held out; 180 and 181 ask.",
    }[name]
    control, before = middle(rows["control against control"]), middle(rows["before"])
    retraining = median(world.seconds(c) for c in world.controls)
    lines = ["| | " + " | ".join(COLUMNS) + " |", "|---|" + "---:|" * len(COLUMNS)]
    for row, figures in rows.items():
        lines.append(_line(row, middle(figures), before, retraining, row == "control against control"))
    parts = [f"## {name}", about, "\n".join(lines)]
    if "calibrated" in rows:
        parts += ["### The bounds", _bounds(rows, control, retraining), _table_cost(world, rows, retraining)]
    return parts


def _line(name: str, f: Figures, before: Figures, retraining: float, is_control: bool) -> str:
    def number(value: float | None, form: str = ".3f") -> str:
        return "" if value is None or math.isnan(value) else f"{value:{form}}"

    cells = [number(f[key]) for key in ("forget", "retain", "holdout", "auc", "min_k")]
    cells += [number(f["quality"], ".2g"), number(f["ks"], ".2g"), number(f["correlation"], ".2f"), number(f["gap"])]
    same = name == "before"
    cells += ["" if same else number(f[key] / before[key] - 1.0, "+.1%") for key in ("retain", "utility")]
    cells += [number(f["relearned"], ".2f"), number(f["four_bit"], ".2f")]
    cells.append(number(f["steps"], ".0f"))
    seconds = retraining if is_control else f["seconds"]
    cells += [number(seconds, ".1f"), "" if seconds is None or math.isnan(seconds) else f"{seconds / retraining:.0%}"]
    return f"| {name} | " + " | ".join(cells) + " |"


def _bounds(rows: Mapping[str, list[Figures]], control: Figures, retraining: float) -> str:
    """Each bound, what was found, and whether it holds; where the controls themselves are worse, they are the bound."""
    runs, ours = rows["calibrated"], middle(rows["calibrated"])
    floors = rows["control against control"]

    def spread(key: str) -> float:
        return max(f[key] for f in floors) - min(f[key] for f in floors)

    def share(key: str) -> float:
        return spread(key) / control[key]

    checks: list[tuple[str, float, float, bool, str]] = []

    def within(what: str, value: float, bound: float, form: str) -> None:
        checks.append((what, value, bound, abs(value) <= bound, form))

    def at_least(what: str, value: float, bound: float, form: str) -> None:
        checks.append((what, value, bound, value >= bound, form))

    within("loss AUC, difference to the control's", ours["auc"] - control["auc"], max(0.05, spread("auc")), "+.3f")
    within("Min-K++ AUC, difference", ours["min_k"] - control["min_k"], max(0.10, spread("min_k")), "+.3f")
    at_least("KS p of NLLs, median", ours["ks"], min(0.5, control["ks"]), ".2f")
    at_least("KS p of NLLs, lowest seed", min(f["ks"] for f in runs), min(0.1, control["ks"]), ".2f")
    allowed = max(0.01, 0.01 / control["retain"], share("retain"))
    rise = ours["retain"] / control["retain"] - 1.0
    checks.append(("retain NLL, over the control's", rise, allowed, rise <= allowed, "+.1%"))
    within("holdout NLL, difference", ours["holdout"] / control["holdout"] - 1, max(0.02, share("holdout")), "+.1%")
    if not math.isnan(control["quality"]):
        at_least("forget quality (truth ratio)", ours["quality"], min(0.5, control["quality"]), ".2f")
    for key, what in (("relearned", "NLL after relearning"), ("four_bit", "int4 forget NLL")):
        within(f"{what}, difference", ours[key] / control[key] - 1.0, max(0.05, share(key)), "+.1%")
    gap = ours["gap"] / control["gap"]
    checks.append(("gap, as a multiple of the controls' own", gap, 1.3, gap <= 1.3, ".2f"))
    at_least("correlation", ours["correlation"], min(0.9, control["correlation"]), ".2f")
    cost = ours["seconds"] / retraining
    checks.append(("cost, share of retraining", cost, 0.1, cost <= 0.1, ".0%"))
    lines = ["| `calibrated` against the controls | found | bound | |", "|---|---:|---:|---|"]
    lines += [
        f"| {what} | {value:{form}} | {bound:{form.lstrip('+')}} | {'holds' if holds else '**fails**'} |"
        for what, value, bound, holds, form in checks
    ]
    return "\n".join(lines)


def _table_cost(world: Any, rows: Mapping[str, list[Figures]], retraining: float) -> str:
    making, request = world.seconds("table"), middle(rows["calibrated"])["seconds"]
    saved = retraining - request
    return (
        f"Retraining takes {retraining:.0f} s. The shadow table takes {making:.0f} s once, an erasing {request:.1f} s: "
        f"against retraining at every request it has paid for itself after {math.ceil(making / saved)} requests."
    )


def _sequence(found: Mapping[str, Any]) -> list[str]:
    control = middle(found["control"])
    lines = [
        "| after request | forget NLL | loss AUC | Min-K++ AUC | KS p | correlation | gap | relearned | int4 | retain NLL |",
        "|---|" + "---:|" * 9,
    ]

    def line(name: str, f: Figures) -> str:
        cells = [f"{f[k]:.3f}" for k in ("forget", "auc", "min_k")] + [f"{f['ks']:.2g}", f"{f['correlation']:.2f}"]
        cells += [f"{f['gap']:.3f}", f"{f['relearned']:.2f}", f"{f['four_bit']:.2f}"]
        rise = f["retain"] / found["retain_before"] - 1.0
        return f"| {name} | " + " | ".join(cells) + f" | {f['retain']:.3f} ({rise:+.1%}) |"

    lines.append(line("control against control", control))
    lines += [line(str(number), f) for number, f in enumerate(found["rows"], 1)]
    return [
        "### Ten requests, one after another",
        "The first subject, after its own erasing and after each of nine more; each starts from the adapter the last one "
        "left, without the texts of those erased before. Retained people are those who never ask.",
        "\n".join(lines),
    ]


def _growth(growth: Sequence[tuple[int, float, int]]) -> str:
    lines = ["| train records | split, one text pass (s) | retain pool |", "|---:|---:|---:|"]
    lines += [f"| {records:,} | {seconds:.2f} | {pool} |" for records, seconds, pool in growth]
    return (
        "\n".join(lines)
        + "\n\nSteps, records a step and the pool are the policy's, whatever the corpus holds; finding the forget set's "
        "neighbours is the one thing that reads it whole."
    )
