"""Figures of a run. Knows measurements, a report's numbers and matplotlib; draws no text, id or person of any record.

One house style in colours that the colour-blind tell apart (Okabe and Ito 2008): vermillion before, blue after, dashed
grey for people never seen, green for those who stay, purple for a control.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from statistics import fmean
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from unlearn.measurement import Group, Measurement

BEFORE, AFTER, HOLDOUT, RETAIN, CONTROL = "#D55E00", "#0072B2", "#555555", "#009E73", "#CC79A7"
FAINT = "#999999"

TITLE_SIZE, LABEL_SIZE, SMALL_SIZE = 9.5, 9.0, 8.0

MOST_PANELS = 8
"""Attacks that a figure has room for."""

MOST_BINS = 24
"""Bins of a histogram; with fewer than its square of records, the root of their number."""

ATTACKS: Mapping[str, str] = {
    "loss": "Loss",
    "zlib": "Loss / zlib",
    "min_k": "Min-K %",
    "min_k_plus_plus": "Min-K %++",
}
"""The field's own way of writing names; any other is its name with spaces."""

Floats = npt.NDArray[np.float64]


def before_after(before: Measurement, after: Measurement, control: Group | None = None) -> Figure:
    """Where the forget records lie among people never seen, before and after; and what the others paid.

    Left: cumulative distributions of record NLLs; forgotten well means that blue lies on grey. Right: each retained
    record's NLL before and after; on the diagonal nothing was lost.

    Args:
        before, after: of the same records.
        control: the forget records under an adapter retrained without them.
    """
    figure = _figure(9.0, 4.0)
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    for label, colour, found in _sides(before, after):
        _steps(left, found.forget, colour, f"forget, {label}")
    _steps(left, after.holdout, HOLDOUT, "never seen", linestyle="--")
    if control is not None:
        _steps(left, control, CONTROL, "forget, retrained without", linestyle="-.")
    aucs = [f"{m.membership['loss'].auc:.2f}" for _, _, m in _sides(before, after) if "loss" in m.membership]
    title = f"Loss attack AUC {' → '.join(aucs)}" if aucs else "Records too short for an attack"
    _dress(left, title, "NLL of a record (nats per token)", "share of records")
    left.set_ylim(0.0, 1.02)
    figure.legend(
        *left.get_legend_handles_labels(), frameon=False, loc="outside lower left", ncols=4, fontsize=SMALL_SIZE
    )
    _pairs(right, before.retain, after.retain)
    change = after.retain.mean / before.retain.mean - 1
    _dress(right, f"People who stay: NLL {change:+.1%}", "before (nats per token)", "after (nats per token)")
    return figure


def roc(before: Measurement, after: Measurement) -> Figure:
    """Receiver operating characteristics of the membership attacks, on logarithmic axes.

    Carlini et al. 2022 (arXiv 2112.03570, section IV): what counts is the true-positive rate at low false-positive
    rates. The axes begin at one false positive, below which so many never-seen records say nothing. A tie with a
    never-seen record is no find.
    """
    names = [name for name in before.scores if name in after.scores and name in after.membership]
    names = [name for name in names if all(all(map(len, _scores(m, name))) for m in (before, after))]
    if not names:
        return _said("No attack had records on both sides")
    drawn = names[:MOST_PANELS]
    columns = min(4, len(drawn))
    rows = -(-len(drawn) // columns)
    figure = _figure(max(4.0, 2.5 * columns), 2.75 * rows + 0.3)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in panels[len(drawn) :]:
        axes.set_axis_off()
    for name, axes in zip(drawn, panels, strict=False):
        lowest, least = 1.0, 1.0
        for label, colour, found in _sides(before, after):
            members, others = _scores(found, name)
            axes.step(
                *_curve(members, others), where="post", color=colour, label=f"{label}: {_auc(members, others):.2f}"
            )
            lowest, least = min(lowest, 1 / len(others)), min(least, 1 / len(members))
        axes.plot([lowest, 1.0], [lowest, 1.0], color=FAINT, linewidth=0.8, linestyle=":")
        axes.set(xscale="log", xlim=(lowest, 1.0), ylim=(0.8 * min(lowest, least), 1.15))
        axes.set_yscale("log", nonpositive="clip")
        _dress(axes, _attack(name), "false-positive rate", "true-positive rate" if axes in panels[::columns] else "")
        _legend(axes, loc="lower right", title="AUC")
    if len(names) > len(drawn):
        figure.suptitle(f"The first {len(drawn)} of {len(names)} attacks", fontsize=LABEL_SIZE)
    return figure


def histograms(before: Measurement, after: Measurement) -> Figure:
    """Densities of the records' NLLs: forget before and after, and people never seen; lines are means."""
    shown = [(f"forget, {label}", colour, found.forget) for label, colour, found in _sides(before, after)]
    shown.append(("never seen", HOLDOUT, after.holdout))
    values = np.concatenate([_values(group) for _, _, group in shown])
    fewest = min(len(group.nlls) for _, _, group in shown)
    bins = np.histogram_bin_edges(values, bins=int(np.clip(3 * np.sqrt(fewest), 6, MOST_BINS)))
    figure = _figure(6.5, 3.6)
    axes = figure.subplots()
    for place, (label, colour, group) in enumerate(shown):
        never = group is after.holdout
        style: dict[str, Any] = {"facecolor": (colour, 0.10 if never else 0.28), "edgecolor": colour, "linewidth": 1.2}
        named = f"{label} (n = {len(group.nlls)}, mean {group.mean:.2f})"
        axes.hist(
            _values(group),
            bins=list(bins),
            density=True,
            histtype="stepfilled",
            linestyle="--" if never else "-",
            label=named,
            **style,
        )
        axes.axvline(group.mean, color=colour, linewidth=1.4, linestyle="--" if never else "-", zorder=3)
        heights = np.full(len(group.nlls), -0.03 - 0.035 * place)
        axes.plot(
            _values(group),
            heights,
            "|",
            color=colour,
            markersize=4,
            markeredgewidth=0.7,
            alpha=0.6,
            transform=axes.get_xaxis_transform(),
            clip_on=False,
        )
    axes.tick_params(axis="x", pad=6 + 7 * len(shown))
    axes.tick_params(axis="x", length=0)
    axes.margins(y=0.12)
    _dress(axes, "", "NLL of a record (nats per token)", "density")
    figure.legend(
        *axes.get_legend_handles_labels(), frameon=False, loc="outside upper left", ncols=2, fontsize=SMALL_SIZE
    )
    return figure


def slopes(before: Measurement, after: Measurement) -> Figure:
    """Each forget record's way from before to after, beside where people never seen lie.

    The band holds the middle nine tenths of the never seen; the thick line joins the means.
    """
    if _same(before, after):
        return _said("One measurement: there is no way from before to after")
    pairs = np.array([[nll, after.forget.nlls[r]] for r, nll in before.forget.nlls.items() if r in after.forget.nlls])
    never = _values(after.holdout)
    figure = _figure(6.5, 4.0)
    axes = figure.subplots()
    low, high = np.quantile(never, [0.05, 0.95])
    axes.axhspan(low, high, color=HOLDOUT, alpha=0.10, linewidth=0)
    faint = float(np.clip(12 / len(pairs), 0.12, 0.5))
    axes.plot([0, 1], pairs.T, color=FAINT, linewidth=0.7, alpha=faint * 1.5, zorder=1)
    for place, colour in ((0, BEFORE), (1, AFTER)):
        axes.scatter(np.full(len(pairs), place), pairs[:, place], s=14, color=colour, alpha=0.6, linewidths=0, zorder=2)
    means = pairs.mean(axis=0)
    axes.plot([0, 1], means, color="#111111", linewidth=2.0, zorder=3)
    for place, (mean, side) in enumerate(zip(means, ("right", "left"), strict=True)):
        offset = -0.05 if place == 0 else 0.05
        axes.text(place + offset, mean, f"{mean:.2f}", ha=side, va="center", fontsize=LABEL_SIZE, fontweight="bold")
    spread = np.random.default_rng(0).uniform(-0.12, 0.12, len(never))
    axes.scatter(1.6 + spread, never, s=9, color=HOLDOUT, alpha=0.35, linewidths=0)
    box = axes.boxplot(
        [never], positions=[1.6], widths=0.34, showfliers=False, whis=(5, 95), manage_ticks=False, patch_artist=True
    )
    for part in (line for lines in box.values() for line in lines):
        part.set(color=HOLDOUT, linewidth=1.2)
    box["boxes"][0].set(facecolor="none")
    axes.set_xlim(-0.3, 2.0)
    axes.set_xticks([0, 1, 1.6], [f"before\n(n = {len(pairs)})", "after", f"never seen\n(n = {len(never)})"])
    _dress(axes, "", "", "NLL of a record (nats per token)")
    return figure


def trajectory(
    trace: Sequence[Mapping[str, Any]], interventions: Sequence[Mapping[str, Any]], target_nats: float | None
) -> Figure:
    """The erasing loop, step by step: the forget NLL towards its target, and what the others paid in KL.

    Args:
        trace: steps as the report has them: `step`, `forget_nll_nats`, `retain_kl_nats`.
        interventions: what governors did: `before_step`, `governor`, `action`.
        target_nats: mean of the forget records' targets; None without any.
    """
    if not trace:
        return _said("No loop: fitted anew")
    steps = [one["step"] for one in trace]
    figure = _figure(7.5, 4.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    mark = {"marker": "o", "markersize": 2.5} if len(steps) <= 60 else {}
    upper.plot(steps, [one["forget_nll_nats"] for one in trace], color=AFTER, linewidth=1.2, label="forget", **mark)
    if target_nats is not None:
        upper.axhline(target_nats, color=HOLDOUT, linestyle="--", linewidth=1.2, label="target (mean)")
    lower.plot(steps, [one["retain_kl_nats"] for one in trace], color=RETAIN, linewidth=1.2, label="retain", **mark)
    lower.set_ylim(bottom=min(0.0, lower.get_ylim()[0]))
    for step, said in _by_step(interventions):
        for axes in (upper, lower):
            axes.axvline(step, color=CONTROL, linewidth=1.1, linestyle=":")
        upper.annotate(
            said,
            (step, 1.0),
            xycoords=upper.get_xaxis_transform(),
            xytext=(-2, -3),
            textcoords="offset points",
            rotation=90,
            ha="right",
            va="top",
            fontsize=SMALL_SIZE - 1,
            color="#8E4A70",
            parse_math=False,
        )
    _dress(upper, "", "", "forget NLL\n(nats per token)")
    _dress(lower, "", "step", "retain KL\n(nats per token)")
    figure.align_ylabels()
    lower.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(
        *upper.get_legend_handles_labels(), frameon=False, loc="outside upper left", ncols=2, fontsize=SMALL_SIZE
    )
    return figure


def robustness(before: Measurement, after: Measurement, recoveries: Mapping[str, float] | None = None) -> Figure:
    """By how much each challenge lowers the NLL of forget records, and of people never seen.

    A challenge that moves both alike brings nothing back: it only makes any text likelier. What it moves most beyond
    the never seen stands on top.

    Args:
        before: says how much was forgotten at all, in the title.
        after: with the challenges' NLLs.
        recoveries: share of the forgetting that a challenge undoes, by its name; as text at the right.
    """
    falls = [
        (name, _fall(after.forget, nlls), _fall(after.holdout, nlls)) for name, nlls in after.challenges.items() if nlls
    ]
    rows = [(name, ours, theirs) for name, ours, theirs in falls if ours is not None or theirs is not None]
    if not rows:
        return _said("No challenge was tried")
    rows.sort(key=lambda row: (row[1] or 0.0) - (row[2] or 0.0))
    figure = _figure(7.5, 1.5 + 0.36 * len(rows))
    axes = figure.subplots()
    for place, (_, ours, theirs) in enumerate(rows):
        if ours is not None:
            axes.barh(place + 0.19, ours, height=0.36, color=AFTER, label="forgotten people" if place == 0 else None)
        if theirs is not None:
            style: dict[str, Any] = {"color": HOLDOUT, "alpha": 0.45}
            axes.barh(place - 0.19, theirs, height=0.36, label="people never seen" if place == 0 else None, **style)
    axes.axvline(0.0, color="#111111", linewidth=0.8)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows], parse_math=False)
    axes.tick_params(axis="y", length=0)
    if recoveries:
        at: dict[str, Any] = {
            "transform": axes.get_yaxis_transform(),
            "va": "center",
            "ha": "right",
            "fontsize": SMALL_SIZE,
        }
        for place, (name, _, _) in enumerate(rows):
            if name in recoveries:
                axes.text(1.13, place, _percent(recoveries[name]), **at)
        axes.text(1.13, len(rows) - 0.32, "comes back", **{**at, "va": "bottom"}, color=HOLDOUT)
    rise = after.forget.mean - before.forget.mean
    title = "" if _same(before, after) else f"Forgotten: {rise:+.2f} nats per token"
    _dress(axes, title, "fall of the NLL under the challenge (nats per token)", "")
    axes.title.set_horizontalalignment("left")
    axes.title.set_x(0.0)
    figure.legend(
        *axes.get_legend_handles_labels(), frameon=False, loc="outside lower left", ncols=2, fontsize=SMALL_SIZE
    )
    return figure


def all_figures(before: Measurement, after: Measurement, report: Mapping[str, Any]) -> dict[str, Figure]:
    """Every figure of a report, by its name, in the order in which to read them.

    Args:
        before, after: the report's measurements; the same one twice if there was no erasing.
        report: as the ladder made it, or an audit.
    """
    targets = (report.get("targets") or {}).get("nlls_nats") or {}
    return {
        "before_after": before_after(before, after),
        "slopes": slopes(before, after),
        "histograms": histograms(before, after),
        "roc": roc(before, after),
        "robustness": robustness(before, after, report.get("recoveries")),
        "trajectory": trajectory(
            report.get("trace") or [], _interventions(report), fmean(targets.values()) if targets else None
        ),
    }


def svg(figure: Figure) -> str:
    """The figure as SVG to put inside HTML: no prolog, no date, letters as paths; the same figure, the same text."""
    text = StringIO()
    nothing = {"Creator": None, "Date": None, "Format": None, "Type": None}
    with matplotlib.rc_context({"svg.hashsalt": "unlearn", "svg.fonttype": "path"}):
        figure.savefig(text, format="svg", metadata=nothing)
    drawn = text.getvalue()
    return re.sub(r"\s*<metadata>.*?</metadata>", "", drawn[drawn.index("<svg") :], flags=re.DOTALL)


def _interventions(report: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Those of the attempt that was kept; of a report that does not say which: the last with its verdict."""
    tried = report.get("attempts") or []
    alike = [one for one in tried if one.get("verdict") == report.get("verdict") and one.get("reason") is None]
    kept = [one for one in tried if one.get("kept")] or alike
    return (kept[-1].get("governors") or []) if kept else []


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained")


def _said(sentence: str) -> Figure:
    """A sentence where there is nothing to draw."""
    figure = _figure(6.5, 1.2)
    figure.text(0.5, 0.5, sentence, ha="center", va="center", fontsize=LABEL_SIZE + 1, color=HOLDOUT)
    return figure


def _dress(axes: Axes, title: str, x: str, y: str) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set(color="#444444", linewidth=0.8)
    axes.tick_params(labelsize=SMALL_SIZE, color="#444444", width=0.8)
    axes.tick_params(which="minor", color="#999999", width=0.5)
    if title:
        axes.set_title(title, fontsize=TITLE_SIZE, parse_math=False)
    axes.set_xlabel(x, fontsize=LABEL_SIZE)
    axes.set_ylabel(y, fontsize=LABEL_SIZE)


def _legend(axes: Axes, loc: Any, title: str) -> None:
    axes.legend(frameon=False, fontsize=SMALL_SIZE, loc=loc, title=title, title_fontsize=SMALL_SIZE, handlelength=1.2)


def _same(before: Measurement, after: Measurement) -> bool:
    return before is after or before == after


def _sides(before: Measurement, after: Measurement) -> list[tuple[str, str, Measurement]]:
    """Label, colour and measurement of both sides, or of the one there is."""
    return (
        [("as it is", AFTER, after)] if _same(before, after) else [("before", BEFORE, before), ("after", AFTER, after)]
    )


def _attack(name: str) -> str:
    return ATTACKS.get(name, name.replace("_", " ").capitalize())


def _percent(share: float) -> str:
    return f"{round(100 * share) + 0:d} %"


def _values(group: Group) -> Floats:
    return np.array(list(group.nlls.values()), float)


def _steps(axes: Axes, group: Group, colour: str, label: str, linestyle: str = "-") -> None:
    values = np.sort(_values(group))
    heights = np.arange(len(values) + 1) / len(values)
    steps = np.concatenate([values[:1], values])
    axes.step(steps, heights, where="post", color=colour, label=f"{label} (n = {len(values)})", linestyle=linestyle)


def _pairs(axes: Axes, before: Group, after: Group) -> None:
    x = [before.nlls[record] for record in before.nlls]
    y = [after.nlls[record] for record in before.nlls]
    low, high = min(x + y), max(x + y)
    axes.plot([low, high], [low, high], color=FAINT, linewidth=0.8)
    axes.scatter(x, y, s=9, color=RETAIN, alpha=0.6, linewidths=0)
    axes.set_aspect("equal", adjustable="datalim")


def _scores(found: Measurement, attack: str) -> tuple[Floats, Floats]:
    """An attack's scores of the forget records and of the never seen."""
    scores = found.scores[attack]
    return (
        np.array([scores[r] for r in found.forget.nlls if r in scores], float),
        np.array([scores[r] for r in found.holdout.nlls if r in scores], float),
    )


def _curve(members: Floats, others: Floats) -> tuple[Floats, Floats]:
    """True-positive rate where at most k of n never-seen records are taken for members, for k = 1 to n."""
    descending = np.sort(others)[::-1]
    ascending = np.sort(members)
    above = len(members) - np.searchsorted(ascending, descending[1:], side="right")
    return np.arange(1, len(others) + 1) / len(others), np.append(above / len(members), 1.0)


def _auc(members: Floats, others: Floats) -> float:
    wins = (members[:, None] > others[None, :]) + 0.5 * (members[:, None] == others[None, :])
    return float(wins.mean())


def _fall(group: Group, nlls: Mapping[str, float]) -> float | None:
    """Mean NLL as it is minus NLL under a challenge, over the records of the group that it took."""
    falls = [group.nlls[record] - nll for record, nll in nlls.items() if record in group.nlls]
    return fmean(falls) if falls else None


def _by_step(interventions: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, str]]:
    """What was done before each step, in one label."""
    said: dict[int, list[str]] = {}
    for one in interventions:
        said.setdefault(int(one["before_step"]), []).append(f"{one['governor']}: {one['action']}".replace("_", " "))
    for step in sorted(said):
        yield step, ", ".join(said[step])
