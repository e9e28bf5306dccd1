"""The report as one page of HTML that needs nothing else: verdict, checks, figures, tables, limits, provenance.

Knows a report and its figures. Shows no text of any record, no record's id and nobody's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup
from matplotlib.figure import Figure

from unlearn.tracking.figures import svg

MEANING = {
    "released": "Every check that was made passed at its threshold. The new version may be served.",
    "refused": "At least one check failed. The new version must not be served; the old one serves on.",
    "inconclusive": "No check failed, and at least one can't tell with these data. A person has to decide.",
}
MARK = {"pass": "✓", "fail": "✗", "inconclusive": "?", "untested": "–"}
CAPTIONS = {
    "before_after": "Left: the forgotten records' NLLs among those of people never seen. Forgotten well means that "
    "the line of "
    "afterwards lies on the dashed one. Right: what the people who stay have paid; on the diagonal nothing.",
    "roc": "Each attack before and after, on logarithmic axes. A line on the dotted diagonal recognises nobody; one "
    "above it "
    "recognises some, one below it is known by being too unlikely.",
    "histograms": "The same records as densities. Beyond the never-seen ones lies over-forgetting.",
    "slopes": "Every forgotten record on its own way; the never-seen ones at the right are where they should arrive.",
    "trajectory": "The erasing loop, step by step: the forgotten records' NLL and what holds the others. Vertical "
    "lines are "
    "interventions of a governor.",
    "robustness": "What each challenge brings back of the forgotten people, beside what it does to people never seen.",
}


def report_page(report: Mapping[str, Any], figures: Mapping[str, Figure]) -> str:
    """The page.

    Args:
        report: of an erasing or an audit, as JSON types.
        figures: by name, in the order they are shown.
    """
    verdict = report["verdict"]
    drawn = [
        {"svg": Markup(svg(figure)), "caption": CAPTIONS.get(name, "")}  # noqa: S704 matplotlib's own
        for name, figure in figures.items()
    ]
    return _template().render(
        verdict=verdict,
        meaning=_meaning(report),
        about=_about(report),
        findings=[_finding(finding) for finding in report["findings"]],
        figures=drawn,
        tables=list(_tables(report)),
        limits=list(_limits(report)),
        provenance=list(_provenance(report)),
    )


@cache
def _template() -> Template:
    loader = PackageLoader("unlearn.tracking", ".")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template("report.html.jinja")


def _meaning(report: Mapping[str, Any]) -> str:
    """What the verdict means, and what it does not rest on."""
    untested = [one["gate"].replace("_", " ") for one in report["findings"] if one["outcome"] == "untested"]
    return MEANING[report["verdict"]] + (f" Not tested: {', '.join(untested)}." if untested else "")


def _about(report: Mapping[str, Any]) -> str:
    records = report["after"]["records"]
    parts = [
        f"Method {report['method']}",
        f"{report['records_forgotten']} records to forget",
        f"{records['retain']} retained and {records['holdout']} never-seen ones to compare with",
    ]
    if "targets" in report:
        parts.append(f"targets {report['targets']['sentence']}")
    return "; ".join(parts) + "."


def _finding(finding: Mapping[str, Any]) -> dict[str, str]:
    low, high = finding["threshold"]
    allowed = "" if low is None and high is None else f"{_number(low) or '…'} to {_number(high) or '…'}"
    return {
        "mark": MARK[finding["outcome"]],
        "outcome": finding["outcome"],
        "gate": finding["gate"].replace("_", " "),
        "sentence": finding["sentence"],
        "figure": _number(finding["figure"]),
        "interval": _interval(finding["interval"]),
        "allowed": allowed,
    }


Tables = Iterable[dict[str, Any]]


def _tables(report: Mapping[str, Any]) -> Tables:
    for part in (_likelihood, _others, _attacks, _subjects, _challenges, _extras, _ladder, _control):
        yield from part(report)


def _likelihood(report: Mapping[str, Any]) -> Tables:
    """How likely each part of the records is."""
    before, after = report["before"], report["after"]
    yield {
        "title": "Likelihood",
        "note": "Mean NLL in nats per token; higher means less expected.",
        "head": ["records", "before", "after", "change"],
        "rows": [
            [name, _number(before.get(key)), _number(after.get(key)), _change(before.get(key), after.get(key))]
            for name, key in (
                ("to forget", "forget_nll_nats"),
                ("retained", "retain_nll_nats"),
                ("retained, nearest to them", "neighbours_nll_nats"),
                ("never seen", "holdout_nll_nats"),
                ("plain sentences", "general_nll_nats"),
            )
            if after.get(key) is not None
        ],
    }


def _attacks(report: Mapping[str, Any]) -> Tables:
    """Membership attacks, and what they see of whom."""
    before, after = report["before"], report["after"]
    if after["membership"]:
        yield {
            "title": "Membership attacks",
            "note": "AUC of telling forget records from never-seen ones; 0.5 is chance, and a person may lie "
            "elsewhere without "
            "ever having been seen. The interval counts records as independent.",
            "head": ["attack", "before", "after", "90 % interval"],
            "rows": [
                [
                    _said(name),
                    _number(before["membership"].get(name, {}).get("auc")),
                    _number(found["auc"]),
                    _interval(found["interval_90"]),
                ]
                for name, found in after["membership"].items()
            ],
        }


def _subjects(report: Mapping[str, Any]) -> Tables:
    """Where the forgotten people lie."""
    before, after = report["before"], report["after"]
    if after.get("subject_tests"):
        yield {
            "title": "Where the people lie",
            "note": "In standard deviations of one record among adapters, or people, that were never involved; 0 is "
            "where they "
            "belong, above it they are still known.",
            "head": ["attack", "before", "after", "90 % interval", "compared with"],
            "rows": [
                [
                    _said(name),
                    _number(before.get("subject_tests", {}).get(name, {}).get("shift"), signed=True),
                    _number(found["shift"], signed=True),
                    _interval(found["interval_90"], signed=True),
                    f"{found['nulls']} {'shadows' if found['null'] == 'shadows' else 'never-seen people'}",
                ]
                for name, found in after["subject_tests"].items()
            ],
        }


def _challenges(report: Mapping[str, Any]) -> Tables:
    """What might bring records back."""
    after = report["after"]
    if after.get("challenges"):
        brought = report.get("recoveries", {})
        yield {
            "title": "Challenges",
            "note": "NLL under each, and the share of the forgetting that it undoes beyond what it does where nobody "
            "learned of the person: in shadows of a table, or to people never seen.",
            "head": ["challenge", "to forget", "never seen", "comes back"],
            "rows": [
                [
                    _said(name),
                    _number(found["forget_nll_nats"]),
                    _number(found["holdout_nll_nats"]),
                    f"{brought[name]:+.1%}" if name in brought else "",
                ]
                for name, found in after["challenges"].items()
            ],
        }


def _extras(report: Mapping[str, Any]) -> Tables:
    """What was asked for beside the gates."""
    before, after = report["before"], report["after"]
    extras = [
        (name, figure, value) for name, found in after.get("extras", {}).items() for figure, value in found.items()
    ]
    if extras:
        yield {
            "title": "On request",
            "note": "Reported without a threshold.",
            "head": ["what", "figure", "before", "after"],
            "rows": [
                [_said(n), _said(f), _number(before.get("extras", {}).get(n, {}).get(f)), _number(value)]
                for n, f, value in extras
            ],
        }


def _ladder(report: Mapping[str, Any]) -> Tables:
    """The methods that were tried."""
    if report.get("attempts"):
        yield {
            "title": "The ladder",
            "note": "Every method that was tried. Each for the same people is tested at three quarters of what those "
            "before it left of the policy's level, so that all together keep within it; an exact fit at the whole.",
            "head": ["method", "verdict", "steps", "seconds", "why it ended"],
            "rows": [
                [
                    one["method"],
                    one["verdict"],
                    str(one.get("steps", "")),
                    f"{one['seconds']:.1f}",
                    one["reason"] or str(one.get("end", "")),
                ]
                for one in report["attempts"]
            ],
        }


def _control(report: Mapping[str, Any]) -> Tables:
    """Against an adapter retrained without the people."""
    if "control" in report:
        qualities = ("ks_p_value_truth_ratio", "ks_p_value", "ks_p_value_min_k_plus_plus")
        names = ("mean_gap_nats", "correlation", "agreement", *qualities, "priv_leak")
        yield {
            "title": "Against the control",
            "note": "An adapter retrained without these people; record by record.",
            "head": ["figure", "value"],
            "rows": [[_said(n), _number(report["control"][n])] for n in names if n in report["control"]],
        }


def _others(report: Mapping[str, Any]) -> Tables:
    """What the people who stay paid."""
    before, after = report["before"], report["after"]
    rows = [
        [f"record number {n} of the worst hit, rise (nats)", "", _number(rise, signed=True)]
        for n, rise in enumerate(report.get("worst_hit", {}).values(), 1)
    ]
    if after.get("retain_kl_nats") is not None:
        rows.insert(0, ["mean KL from the version before (nats per token)", "", _number(after["retain_kl_nats"])])
    if after.get("retained") and before.get("retained"):
        shifts = [_number(one["retained"]["shift"], signed=True) for one in (before, after)]
        rows.append(["how much they stand out of the never seen (sd)", *shifts])
    if rows:
        yield {"title": "The people who stay", "note": "", "head": ["", "before", "after"], "rows": rows}


def _limits(report: Mapping[str, Any]) -> Iterable[str]:
    yield (
        "The checks passed or failed at these thresholds, on these records. They do not prove that the data's "
        "influence is gone, "
        "and this page does not say that anything is anonymous. What was not tried is not excluded."
    )
    silent = report.get("attacks_without_power") or []
    if silent:
        names = ", ".join(_said(name) for name in silent)
        yield f"Attacks that did not see the records before, so that their silence afterwards means nothing: {names}."
    if report["after"].get("unscorable"):
        yield f"{report['after']['unscorable']} records are too short for any attack and were scored by none."
    for name in report["after"].get("attacks_unscored") or []:
        yield (
            f"The attack '{_said(name)}' was left out: with what it adds to the records, none of one side fits the "
            "model's context."
        )
    for name, why in (report["after"].get("challenges_skipped") or {}).items():
        yield f"The challenge '{_said(name)}' was left out: it {why}."
    tests = report["after"].get("subject_tests") or {}
    if any(found["null"] == "population" for found in tests.values()):
        yield (
            "No shadow table was there: people were compared with never-seen people under the same adapter, which is "
            "wider and "
            "leans on a holdout of the same kind."
        )
    yield from report.get("warnings", [])
    yield "Whoever holds the old version holds the data: old versions have to be locked away and purged."


def _provenance(report: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    yield "seed", str(report["seed"])
    for part in ("base", "adapter", "corpora"):
        for key, value in report.get(part, {}).items():
            yield f"{part} {key.replace('_', ' ')}", str(value)
    yield "versions", ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    yield "report", str(report["schema"])


def _said(name: str) -> str:
    known = {"min_k": "Min-K %", "min_k_plus_plus": "Min-K %++", "said": "greedy answers"}
    known |= {"priv_leak": "PrivLeak (Min-40 %)"}
    return known.get(name, name.replace("_", " "))


def _number(value: float | None, *, signed: bool = False) -> str:
    if value is None:
        return ""
    return f"{value:+.3g}" if signed else f"{value:.4g}"


def _interval(ends: Sequence[float] | None, *, signed: bool = False) -> str:
    return "" if ends is None else " to ".join(_number(end, signed=signed) for end in ends)


def _change(before: float | None, after: float | None) -> str:
    return f"{after / before - 1:+.1%}" if before and after is not None else ""
