"""Figures of a run. Knows measurements and matplotlib; draws no text of any record."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from unlearn.measurement import Group, Measurement

BEFORE, AFTER, HOLDOUT, RETAIN = "#c0392b", "#2166ac", "#555555", "#1b7837"


def before_after(before: Measurement, after: Measurement, control: Group | None = None) -> Figure:
    """Where the forget records lie among people never seen, before and after; and what the others paid.

    Left: cumulative distributions of record NLLs; forgotten well means that blue lies on grey. Right: each retained
    record's NLL before and after; on the diagonal nothing was lost.
    """
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    _steps(left, before.forget, BEFORE, "forget, before")
    _steps(left, after.forget, AFTER, "forget, after")
    _steps(left, after.holdout, HOLDOUT, "never seen (audit half)", linestyle="--")
    if control is not None:
        _steps(left, control, "#e08214", "forget, retrained without", linestyle=":")
    aucs = [f"{m.membership['loss'].auc:.2f}" for m in (before, after) if "loss" in m.membership]
    title = f"Loss attack AUC {' → '.join(aucs)}" if aucs else "Records too short for an attack"
    left.set(xlabel="NLL of a record (nats per token)", ylabel="share of records", title=title)
    figure.legend(*left.get_legend_handles_labels(), frameon=False, loc="outside lower left", ncols=4, fontsize=8)
    _pairs(right, before.retain, after.retain)
    change = after.retain.mean / before.retain.mean - 1
    right.set(
        xlabel="before (nats per token)",
        ylabel="after (nats per token)",
        title=f"People who stay: NLL {change:+.1%}",
    )
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _steps(axes: Axes, group: Group, colour: str, label: str, linestyle: str = "-") -> None:
    values = np.sort(list(group.nlls.values()))
    heights = np.arange(len(values) + 1) / len(values)
    steps = np.concatenate([values[:1], values])
    axes.step(steps, heights, where="post", color=colour, label=f"{label} (n = {len(values)})", linestyle=linestyle)


def _pairs(axes: Axes, before: Group, after: Group) -> None:
    x = [before.nlls[record] for record in before.nlls]
    y = [after.nlls[record] for record in before.nlls]
    axes.scatter(x, y, s=9, color=RETAIN, alpha=0.6, linewidths=0)
    low, high = min(x + y), max(x + y)
    axes.plot([low, high], [low, high], color="#999999", linewidth=0.8)
