"""One among several: does a person of a shared erasing still stand out, or stay where she was, whom the others hide?

What several people show together is surer than what one of them shows, and hides her. Knows each person's figures
alone; decides nothing of the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from unlearn.guards.base import WORSE, Finding, Verdict, most_left
from unlearn.measurement import Measurement, SubjectTest

ALPHA = 0.05
"""How often one person or more of a clean erasing may be said to stand out, whatever their number."""

NAME = "among_others"

TOGETHER = Finding(
    "shared_records",
    "inconclusive",
    None,
    None,
    (None, None),
    "This person shares a record with another of the same job whom the gates did not release; both wait together.",
)


def among_others(
    people: Mapping[str, Measurement], attacks: Sequence[str], before: Mapping[str, Measurement]
) -> dict[str, Finding]:
    """Who is surely nearer to members than the never seen are: p-values of the subject tests under Holm's rule.

    A person's p-value is the smallest of her attacks', times their number (Bonferroni). And who may be where she was:
    of one whom an attack did see before, less than half of that must be left with the whole interval.

    Args:
        people: each person's figures after the erasing.
        attacks: whose subject tests count.
        before: each person's figures before; empty of an exact fit, of which nothing can be left.

    Returns:
        A finding a person: pass, or inconclusive for those who stand out, since so little may be within the margin,
        for those of whom half may be left, and for those of whom no test could say anything: what the others show does
        not speak for them.
    """
    smallest = {who: _smallest(found, attacks) for who, found in people.items()}
    p = {who: one[0] for who, one in smallest.items()}
    found: dict[str, Finding] = {}
    still = True
    for place, who in enumerate(sorted(p, key=lambda one: (p[one], one))):
        still = still and p[who] * (len(p) - place) <= ALPHA
        found[who] = _finding(p[who], smallest[who][1], len(p), stands_out=still)
        most = most_left(before[who], attacks) if who in before else {}
        for name, bound in most.items():
            test = people[who].subject_tests.get(name)
            if found[who].outcome == "pass" and test is not None and test.interval(ALPHA)[1] >= bound:
                found[who] = _may_be_left(p[who], bound, test, len(p))
    return found


def own_verdict(findings: Iterable[Finding], of_all: Verdict) -> Verdict:
    """The verdict for one person of a shared erasing: that of all, unless her own findings say otherwise.

    Refused if a gate refuses her alone; inconclusive if she stands out of those who were released together, may be half
    where she was, no test could read her, or one record of hers raises the alarm. That her few records alone show too
    little for the margin is no reason: what all show together speaks for her.
    """
    outcomes = {finding.gate: finding.outcome for finding in findings}
    if "fail" in outcomes.values():
        return "refused"
    doubted = "inconclusive" in (outcomes.get(NAME), outcomes.get("alarm"))
    return "inconclusive" if of_all == "released" and doubted else of_all


def alone(
    findings: Mapping[str, Sequence[Finding]], of_all: Verdict, together: Iterable[Iterable[str]]
) -> dict[str, tuple[Verdict, tuple[Finding, ...]]]:
    """Each person's own verdict and findings, by name; nobody's where one person alone was to be forgotten.

    Whoever shares a record with somebody has her verdict if it is worse: were she erased, the record would be taken
    from the corpora, and the other's next attempt could neither erase nor test it.

    Args:
        findings: of each person alone.
        of_all: the verdict for all together.
        together: whom each record of the corpus names.
    """
    verdicts = {who: own_verdict(found, of_all) for who, found in findings.items()}
    found = {who: list(one) for who, one in findings.items()}
    shared = [named for names in together if len(named := [who for who in names if who in verdicts]) > 1]
    moved = True
    while moved:
        moved = False
        for names in shared:
            worst = max((verdicts[who] for who in names), key=WORSE.__getitem__)
            for who in names:
                if verdicts[who] != worst:
                    verdicts[who], moved = worst, True
                    found[who].append(TOGETHER)
    return {who: (verdicts[who], tuple(one)) for who, one in found.items()}


def _smallest(found: Measurement, attacks: Sequence[str]) -> tuple[float, float | None]:
    """The person's p-value and the shift behind it, in standard deviations of a record."""
    tests = [found.subject_tests[name] for name in attacks if name in found.subject_tests]
    if not tests:
        return 1.0, None
    test = min(tests, key=lambda one: one.p_value)
    return min(1.0, test.p_value * len(tests)), test.shift


def _finding(p_value: float, shift: float | None, people: int, *, stands_out: bool) -> Finding:
    if shift is None:
        sentence = (
            f"No test could say anything of this person, one of {people}: her records are too short, or the never-seen "
            "too few. What the others show does not speak for her."
        )
    elif stands_out:
        sentence = (
            f"Of {people} people this one surely lies nearer to members than the never seen, by {shift:+.1f} standard "
            "deviations of a record, which the others' figures hide; somebody should look."
        )
    else:
        sentence = f"Of {people} people this one does not stand out ({shift:+.1f} standard deviations of a record)."
    told = shift is not None and not stands_out
    return Finding(NAME, "pass" if told else "inconclusive", p_value, None, (ALPHA, None), sentence)


def _may_be_left(p_value: float, bound: float, test: SubjectTest, people: int) -> Finding:
    sentence = (
        f"Of {people} people this one may lie up to {test.interval(ALPHA)[1]:+.1f} standard deviations of a record "
        f"nearer to members than the never seen, and half of where she was is {bound:+.1f}. What the others show does "
        "not speak for her."
    )
    return Finding(NAME, "inconclusive", p_value, None, (ALPHA, None), sentence)
