"""Each gate: one case in which it fires, one in which it does not, one in which it can't tell."""

import math
from dataclasses import replace

import pytest

from unlearn.attacks.statistics import compare
from unlearn.guards import GATES, MembershipGate, RetainDriftGate, SequenceDriftGate, verdict
from unlearn.guards.base import Finding
from unlearn.measurement import Group, Measurement
from unlearn.policy import Policy


def group(nlls, people=None):
    return Group(
        {f"r-{i}": v for i, v in enumerate(nlls)}, {f"r-{i}": f"p-{i}" for i in range(len(nlls))} | (people or {})
    )


def measured(forget, holdout, retain=(1.0, 1.1, 0.9)):
    found = compare([-v for v in forget], [-v for v in holdout])
    return Measurement(group(forget), group(retain), group(holdout), {"loss": found})


def ladder(n, start=0.0):
    return [start + i / n for i in range(n)]


MEMORISED = measured(ladder(40), ladder(200, start=5))


def judge(after):
    return MembershipGate(margin=0.2)(MEMORISED, after)


def test_membership_refuses_records_that_are_still_recognised():
    finding = judge(measured(ladder(40), ladder(200, start=5)))
    assert finding.outcome == "fail"
    assert "still recognised" in finding.sentence


def test_membership_refuses_records_pushed_beyond_the_never_seen():
    finding = judge(measured(ladder(40, start=9), ladder(200, start=5)))
    assert finding.outcome == "fail"
    assert "gives them away" in finding.sentence


def test_membership_passes_records_that_lie_among_the_never_seen():
    finding = judge(measured(ladder(60), ladder(200)))
    assert finding.outcome == "pass"
    assert finding.interval is not None
    assert 0.3 <= finding.interval[0] <= 0.5 <= finding.interval[1] <= 0.7


def test_membership_never_passes_on_too_few_records():
    assert judge(measured(ladder(10), ladder(200))).outcome == "inconclusive"


def test_membership_refuses_few_records_when_the_rank_test_is_sure():
    assert judge(measured(ladder(8), ladder(200, start=5))).outcome == "fail"


def test_membership_is_inconclusive_when_the_interval_crosses_the_margin():
    finding = judge(measured(ladder(22, start=0.25), ladder(200)))
    assert finding.outcome == "inconclusive"
    assert "too few" in finding.sentence


def expecting(after, auc, *, exact=False):
    return MembershipGate(margin=0.2, exact=exact)(MEMORISED, replace(after, expected_auc=auc))


def test_membership_is_judged_around_what_adapters_that_never_saw_the_person_show():
    rare = measured(ladder(60, start=0.4), ladder(200))  # rarer than most: AUC 0.18
    assert judge(rare).outcome == "fail"
    finding = expecting(rare, 0.18)
    assert finding.outcome == "pass"
    assert "0.18 is expected" in finding.sentence
    assert finding.threshold == (0.0, pytest.approx(0.38))
    like_everybody = measured(ladder(60), ladder(200))
    assert expecting(like_everybody, 0.18).outcome != "pass"
    assert "still recognised" in expecting(like_everybody, 0.05).sentence


def test_an_exact_fit_can_not_have_forgotten_too_much_but_may_still_recognise():
    rare = measured(ladder(60, start=0.9), ladder(200))
    assert MembershipGate(0.2, exact=True)(MEMORISED, rare).outcome == "pass"
    assert MembershipGate(0.2, exact=True)(MEMORISED, rare).threshold[0] is None
    assert MembershipGate(0.2, exact=True)(MEMORISED, MEMORISED).outcome == "fail"


def drift(before, after, share=0.05, floor=0.01):
    gate = RetainDriftGate(share, floor)
    return gate(measured([1], [1], before), measured([1], [1], after))


def test_retain_drift_passes_within_the_budget_and_when_the_nll_falls():
    assert drift([1.0, 2.0, 3.0], [1.01, 2.01, 3.01]).outcome == "pass"
    assert drift([1.0, 2.0, 3.0], [0.5, 1.5, 2.5]).outcome == "pass"


def test_retain_drift_refuses_a_rise_beyond_the_budget():
    finding = drift([1.0, 2.0, 3.0], [1.5, 2.51, 3.49])
    assert finding.outcome == "fail"
    assert finding.figure == pytest.approx(0.5)


def test_retain_drift_can_not_tell_from_one_person_or_from_a_wide_spread():
    assert drift([1.0], [1.0]).outcome == "inconclusive"
    assert drift([1.0, 1.0], [0.0, 2.1]).outcome == "inconclusive"


def test_retain_drift_counts_people_not_records():
    people = {"r-0": "a", "r-1": "a", "r-2": "a", "r-3": "b"}
    before = Measurement(group([1]), group([1, 1, 1, 1], people), group([1]), {})
    after = Measurement(group([1]), group([1, 1, 1, 2], people), group([1]), {})
    assert RetainDriftGate(0.05, 0.01)(before, after).figure == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        (["pass", "pass"], "released"),
        (["pass", "fail"], "refused"),
        (["inconclusive", "fail"], "refused"),
        (["pass", "inconclusive"], "inconclusive"),
        ([], "inconclusive"),
    ],
)
def test_one_failure_refuses_and_only_all_passes_release(outcomes, expected):
    findings = [Finding("g", outcome, math.nan, None, (None, 0.0), "") for outcome in outcomes]
    assert verdict(findings) == expected


def test_the_menu_makes_every_gate_from_the_policy():
    for make in GATES.values():
        assert make(Policy(), ())(MEMORISED, MEMORISED).gate in GATES


def erasure(nll, rise):
    return {"method": "calibrated", "retain_nll_nats": nll, "retain_rise_nats": rise}


@pytest.mark.parametrize(
    ("rises", "outcome"),
    [([], "pass"), ([0.5], "pass"), ([0.01, 0.04], "pass"), ([0.01, 0.051], "fail"), ([0.1, -0.05, 0.005], "pass")],
)
def test_the_sequence_gate_adds_up_what_the_erasures_cost(rises, outcome):
    lineage = [erasure(2.0, rise) for rise in rises]
    found = SequenceDriftGate(0.03, lineage)(MEMORISED, MEMORISED)
    assert found.outcome == outcome
    assert found.figure == pytest.approx(sum(rises))
    assert found.threshold[1] == pytest.approx(0.03 * (2.0 if rises else MEMORISED.retain.mean))
