"""The page of the verification benchmark, from its results. Knows Markdown; measures nothing.

What somebody wrote by hand beneath a heading, as a quotation ("> "), is kept when the page is made anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

Figures = dict[str, Any]

HEAD = """# What a verdict is worth

Made by `python bench/verification.py --data DIR --out docs/benchmarks/verification.md` (synthetic people of this project; the
fictitious authors of TOFU, arXiv 2401.06121). The gates and their margins are those of the default policy, a ladder of one
method: a shadow table of {shadows}, two one-sided tests at {erasing:.2%} of a first erasing, one at
{exact:.0%} of an exact fit, margin {margin:g} standard deviations of a record. Quotations were written by hand.

"""

RATED = {
    "fresh": "sixty synthetic people whom nobody looked at before",
    "tofu": "TOFU's sixty authors, twenty records each",
}
"""The worlds whose shadows say how often the gates err."""

SHADOWED = ("known_tokens", "lost_tokens", "loss", "min_k_plus_plus")
WANTED = {
    "original": "refused",
    "control": "released",
    "calibrated": "",
    "ascent past its target": "refused",
    "first token steered": "refused",
    "returns under int4": "refused",
}


def page(
    results: Mapping[str, Figures],
    shadows: str,
    margin: float,
    recovery: float,
    erasing: float,
    exact: float,
    old: str = "",
) -> str:
    """The whole page; a part whose results are missing is left out.

    Args:
        results: of each part, by its name.
        shadows: what a table has.
        margin: of the membership gate, standard deviations of a record.
        recovery: of the robustness gate, share of the forgetting.
        erasing, exact: level of the membership gate's one-sided tests, of a first erasing and of an exact fit.
        old: the page as it was, whose quotations are kept.
    """
    text = HEAD.format(shadows=shadows, margin=margin, erasing=erasing, exact=exact)
    requests = [found for name, found in results.items() if name.startswith("request/")]
    if requests:
        text += _requests(requests)
    for world, whose in RATED.items():
        if f"rates/{world}/joint" in results:
            text += f"## How often the gates err: {whose}\n\n"
            text += _joint_rates(results[f"rates/{world}/joint"]["rows"], erasing)
            text += _rates(results[f"rates/{world}/membership"], margin, erasing)
            text += _challenge_rates(results[f"rates/{world}/challenges"], recovery, erasing)
    for world in ("people", "tofu"):
        found = {name.removeprefix(f"{world}/"): f for name, f in results.items() if name.startswith(f"{world}/")}
        if found:
            text += _table(world, found)
            if missing := [
                n.removeprefix("people/") for n in results if n.startswith("people/") and n[7:] not in found
            ]:
                text += f"\nNot run: {', '.join(missing)}.\n"
    strict = {n.removeprefix("strict/tofu/"): f for n, f in results.items() if n.startswith("strict/tofu/")}
    if strict:
        text += _strict(strict)
    searched = {n.removeprefix("searches/"): f for n, f in results.items() if n.startswith("searches/")}
    if searched:
        text += _searches(searched)
    asked = {n.removeprefix("extras/"): f for n, f in results.items() if n.startswith("extras/")}
    if asked:
        text += _on_request(asked)
    return _with_remarks(text, _remarks(old))


def _remarks(page: str) -> dict[str, str]:
    """Heading -> the quotation right beneath it."""
    found: dict[str, str] = {}
    heading = None
    for line in page.splitlines():
        if line.startswith("#"):
            heading = line
        elif heading is not None and line.startswith(">"):
            found[heading] = found.get(heading, "") + line + "\n"
        elif line:
            heading = None
    return found


def _with_remarks(page: str, remarks: Mapping[str, str]) -> str:
    """The page with each heading's quotation, of headings that it still has."""
    for heading, remark in remarks.items():
        page = page.replace(f"{heading}\n", f"{heading}\n\n{remark}", 1)
    return page


def _strict(found: Mapping[str, Figures]) -> str:
    challenges = sorted({name for one in found.values() for name in one["recoveries"]})
    rows = [["verdict", *(one["verdict"] for one in found.values())]]
    rows += [
        [name, *(f"{one['recoveries'][name]:+.0%}" if name in one["recoveries"] else "-" for one in found.values())]
        for name in challenges
    ]
    return (
        "\n## TOFU: the impostors and a control, preset `strict`\n\n"
        "The shadow table is that of `standard`: its challenges are held against adapters that never saw these people, all others "
        "against people never seen, less surely. Share of the forgetting that comes back:\n\n"
        + _grid(["", *found], rows)
    )


def _searches(found: Mapping[str, Figures]) -> str:
    rows = [
        [name.replace("/", ", "), *(f"{one['recoveries'][search]:+.0%}" for search in ("suffix", "suffix-50"))]
        for name, one in found.items()
    ]
    return (
        "\n## A longer search for a suffix\n\n"
        "`suffix` takes 8 steps of 32 candidates for 8 tokens, `suffix-50` 50 steps of 64 for 16: twelve times the "
        "passes, four records a side. Share of the forgetting that comes back beyond what the search does to people "
        "never seen; the controls show by how much four records a side err.\n\n"
        + _grid(["", "suffix", "suffix-50"], rows)
    )


def _requests(requests: Sequence[Figures]) -> str:
    sizes = sorted(found["records"] for found in requests)
    lines = [
        f"## {len(requests)} requests of one person\n",
        f"{sizes[0]} to {sizes[-1]} records each (median {median(sizes):g}), on sixty synthetic people. A control is "
        "retrained without the person, each with a seed of its own, and judged as an exact fit; an original is handed in as "
        "if it were its own erasing. Neither met a challenge (`quick`); `standard` judges the erasings, `strict` the impostors "
        "(`bench/impostors.py`).\n",
        "Margins and attacks were not chosen on these people: the margins were on others, the attacks on tokens and the line through "
        "what challenges do on yet others and on TOFU's (decisions [9](../decisions/0009-the-person-is-the-unit.md) and "
        "[10](../decisions/0010-challenges-against-the-never-seen.md)).\n",
    ]
    rows = []
    for name, wanted in WANTED.items():
        tried = [found for found in requests if name in found]
        if not tried:
            continue
        verdicts = Counter(found[name]["verdict"] for found in tried)
        gates = Counter(
            gate for found in tried for gate, f in found[name]["findings"].items() if f["outcome"] == "fail"
        )
        open_ = Counter(
            gate
            for found in tried
            for gate, f in found[name]["findings"].items()
            if f["outcome"] == "inconclusive" and found[name]["verdict"] == "inconclusive"
        )
        shift = median(found[name]["shift"].get("known_tokens", float("nan")) for found in tried)
        rows.append(
            [
                name,
                str(len(tried)),
                wanted or "-",
                *(str(verdicts[v]) for v in ("released", "refused", "inconclusive")),
                f"{shift:+.1f}",
                ", ".join(f"{gate} {n}" for gate, n in gates.most_common()) or "-",
                ", ".join(f"{gate} {n}" for gate, n in open_.most_common()) or "-",
            ]
        )
    head = [
        "",
        "requests",
        "should be",
        "released",
        "refused",
        "inconclusive",
        "known tokens (sd)",
        "refused by",
        "left open by",
    ]
    return "\n".join(lines) + "\n" + _grid(head, rows) + "\n"


def _joint_rates(found: Sequence[Figures], level: float) -> str:
    rows = [
        [
            one["records"],
            str(one["tests"]),
            f"{one['original_refused']:.1%} of {one['people']}",
            f"{one['exact']:.1%}",
            f"{one['membership']:.1%}",
            f"{one['robustness']:.1%}",
            f"{one['released']:.1%}",
            f"{one['released_at_margin']:.1%} ({one['interval_at_margin'][0]:.1%} to {one['interval_at_margin'][1]:.1%})",
        ]
        for one in found
    ]
    head = [
        "records",
        "tests",
        "the unerased adapter is refused",
        "an exact fit passes",
        "an erasing passes: membership",
        "robustness",
        "both",
        "membership, moved to the margin",
    ]
    return (
        "Each test shadow stands for an adapter in question and is judged by the others, person by person: nobody is there to "
        "be seen, and nothing to come back. An exact fit (retrained without the person, as the controls above) is judged by both "
        f"attacks of the membership gate from above alone, at 5 %. A first erasing is judged at {level:.2%}: it must lie within "
        "the margin from either side and surely have less than half left, and pass all eight challenges of `standard`. The unerased "
        "adapter is judged as if it were such an erasing, person by person. The goals are 90 % of what is clean released, from "
        "five records on, and 6 % at the margin. What a first erasing leaves open goes to the ladder's next method and at last to the "
        "exact fit.\n\n" + _grid(head, rows) + "\n"
    )


def _rates(found: Figures, margin: float, level: float) -> str:
    rows = [
        [
            f"**{name}**" if one["judging"] else name,
            str(one["tests"]),
            f"{one['seen']:.1%}",
            f"{one['released']:.1%}",
            f"{one['released_at_margin']:.1%}",
            f"{one['half_width']:.2f}",
        ]
        for name, one in found.items()
    ]
    head = [
        "attack",
        "tests",
        "seen (5 %)",
        "within the margin",
        f"within, moved to it ({level:.2%})",
        "half-width (sd)",
    ]
    return (
        f"The tests one by one, in bold those that the membership gate leans on; the others are its tests where no table has tokens. "
        f"The margin is {margin:g} standard deviations of a record. The others' scores are made without the shadow under test; how "
        "much records and people differ is taken from the whole table.\n\n" + _grid(head, rows) + "\n"
    )


def _challenge_rates(found: Figures, recovery: float, level: float) -> str:
    rows = [
        [name, f"{seen:.1%}", f"{found['released_at_margin'][name]:.1%}", f"{found['half_width'][name]:.0%}"]
        for name, seen in found["seen"].items()
    ]
    head = ["challenge", "surely above nothing (5 %)", f"passed at the margin ({level:.2%})", "half-width"]
    return (
        f"The robustness gate's; the margin is {recovery:.2f} of the forgetting. All challenges together pass "
        f"{found['released']:.0%} of {found['tests']} shadows, refuse {found['refused']:.1%} and leave the rest open.\n\n"
        + _grid(head, rows)
        + "\n"
    )


def _on_request(found: Mapping[str, Figures]) -> str:
    worlds = {name.partition("/")[0]: {} for name in found}  # type: dict[str, dict[str, Figures]]
    for name, one in found.items():
        world, _, row = name.partition("/")
        worlds[world][row] = one
    text = (
        "\n## What is measured on request\n\n"
        "No gate judges these. Old and new adapter together get back what the old one knew, whatever was done to the new "
        "one: old versions have to be purged.\n"
    )
    for world, of in worlds.items():
        figures = sorted({(n, f) for one in of.values() for n, fs in one["extras"].items() for f in fs})
        rows = [
            [f"{a}: AUC", *(f"{one['auc'][a]:.2f}" if a in one["auc"] else "-" for one in of.values())]
            for a in ("lowercase", "recall", "gradient_norm")
        ]
        rows += [
            [
                f"{n}: {f}",
                *(f"{one['extras'][n][f]:.3g}" if f in one["extras"].get(n, {}) else "-" for one in of.values()),
            ]
            for n, f in figures
        ]
        rates = [one["tpr"].get("loss", {}) for one in of.values()]
        for fpr in sorted({fpr for one in rates for fpr in one}, key=float):
            true = f"loss: true positives at {float(fpr):.1%} false ones"
            rows.append([true, *(f"{one[fpr]:.0%}" if fpr in one else "-" for one in rates)])
        text += "\n" + _grid([world, *of], rows)
    return text


def _table(world: str, found: Mapping[str, Figures]) -> str:
    any_row = next(iter(found.values()))
    attacks = list(any_row["auc"])
    challenges = sorted({name for one in found.values() for name in one["recoveries"]})
    title, preset = {"people": ("Synthetic people", "strict"), "tofu": ("TOFU", "standard")}[world]
    text = f"## {title}: two people, forty records, preset `{preset}`\n\n"
    text += "AUC of each attack (0.5 is chance; a control shows where these people lie), and the subject test with its 90 % interval.\n\n"
    text += _grid(
        ["", "verdict", *attacks, *(f"{name} (sd)" for name in SHADOWED), "10^n tries", "refused by"],
        [
            [
                name,
                one["verdict"],
                *(f"{one['auc'][a]:.2f}" if a in one["auc"] else "-" for a in attacks),
                *(_shift(one, a) for a in SHADOWED),
                f"{one['queries']:.1f}",
                ", ".join(gate for gate, f in one["findings"].items() if f["outcome"] == "fail") or "-",
            ]
            for name, one in found.items()
        ],
    )
    text += "\nShare of the forgetting that each challenge brings back, beyond what it does to the same people in adapters that "
    text += "never saw them (`suffix`: beyond what it does to people never seen). A control has nothing to bring back: its rows show by how much that comparison errs with these people.\n\n"
    text += _grid(
        ["", *challenges],
        [
            [name, *(f"{one['recoveries'][c]:+.0%}" if c in one["recoveries"] else "-" for c in challenges)]
            for name, one in found.items()
            if name != "original"
        ],
    )
    held = [one for name, one in found.items() if name == "calibrated"]
    if held:
        text += f"\nThe worst challenge of `calibrated`: {max(held[0]['recoveries'].values()):+.1%} "
        text += (
            "(refused is what surely brings back more than 10 %, released what surely brings back less than 40 %).\n"
        )
    return text + "\n"


def _shift(one: Figures, attack: str) -> str:
    if attack not in one["shift"]:
        return "-"
    low, high = one["interval"][attack]
    return f"{one['shift'][attack]:+.1f} [{low:+.1f}, {high:+.1f}]"


def _grid(head: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    head = list(head)
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"
