"""Several people in one audit: each alone is what an audit of her alone would say, and nobody hides behind the others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from unlearn.attacks.audit import audit
from unlearn.attacks.panel import panel
from unlearn.attempt import judge
from unlearn.guards import GATES, Finding, among_others, own_verdict
from unlearn.lm.base import attached
from unlearn.measurement import Group, Measurement, SubjectTest
from unlearn.policy import AuditPolicy, Policy
from unlearn.weights import read_adapter

NOTHING = Measurement(*[Group({}, {})] * 3, membership={})
POLICY = Policy.model_validate({"audit": {"preset": "quick"}})


@pytest.fixture(scope="module")
def measured(company):
    """The company's most memorised person and three who were never seen, as if all four were to be forgotten."""
    from unlearn.lm.base import load_base

    train, holdout = list(company.train.records), list(company.holdout.records)
    strangers = sorted({r.subjects[0] for r in holdout})[:3]
    people = [company.subject, *strangers]
    forget = [r for r in [*train, *holdout] if r.subjects[0] in people]
    never = [r for r in holdout if r.subjects[0] not in people]
    base = load_base(company.base)
    whole = panel(base, forget, train[-20:], never, is_forgotten=people.__contains__)
    pad_id = int(base.tokenizer.pad_token_id)
    with attached(base, read_adapter(company.adapter)) as model:
        found = audit(model, whole, pad_id, AuditPolicy(preset="quick"))
        alone = {
            one.person[one.forget[0].id]: audit(model, one, pad_id, AuditPolicy(preset="quick"))
            for one in whole.one_by_one()
        }
    return company.subject, found, alone


def test_each_person_has_the_figures_of_an_audit_of_her_alone(measured):
    _, found, alone = measured
    assert set(found.people) == set(alone)
    for person, one in alone.items():
        mine = found.people[person]
        assert dict(mine.forget.nlls) == pytest.approx(dict(one.forget.nlls))
        assert dict(mine.queries) == pytest.approx(dict(one.queries))
        assert mine.alarms == one.alarms
        assert {n: t.shift for n, t in mine.subject_tests.items()} == pytest.approx(
            {n: t.shift for n, t in one.subject_tests.items()}, abs=1e-4
        )
        assert mine.membership.keys() == one.membership.keys()
        assert mine.people == {}


def test_a_person_who_is_still_known_does_not_hide_among_those_who_are_not(measured):
    known, found, _ = measured
    gate = GATES["membership"](POLICY, [{}], 0)
    assert gate(found, found).outcome != "fail"
    stands = among_others(found.people, POLICY.gates.record_attacks, {})
    assert {who for who, finding in stands.items() if finding.outcome == "inconclusive"} == {known}
    assert own_verdict([stands[known]], "released") == "inconclusive"
    assert all(own_verdict([stands[who]], "released") == "released" for who in stands if who != known)


def test_in_clean_erasings_nobody_stands_out_too_often():
    """Holm's rule holds whatever the number of people, and though a person's attacks agree with one another."""
    random = np.random.default_rng(2)
    for people in (2, 10, 40):
        raised = 0
        for _ in range(1000):
            shifts = {str(who): random.standard_t(12) for who in range(people)}
            tests = {who: SubjectTest(shift, 1.0, 12.0, "shadows", 16, 1, 10) for who, shift in shifts.items()}
            found = {who: replace(NOTHING, subject_tests={"loss": one, "min_k": one}) for who, one in tests.items()}
            raised += any(f.outcome != "pass" for f in among_others(found, ("loss", "min_k"), {}).values())
        assert raised <= 65


def test_one_of_forty_who_is_still_known_is_found():
    random = np.random.default_rng(3)
    found = {
        str(who): replace(NOTHING, subject_tests={"loss": SubjectTest(s, 0.7, 12.0, "shadows", 16, 1, 10)})
        for who, s in enumerate([6.0, *random.normal(0, 0.7, 39)])
    }
    assert [who for who, f in among_others(found, ("loss",), {}).items() if f.outcome != "pass"] == ["0"]


def test_what_the_others_show_does_not_speak_for_one_of_whom_no_test_can_say_anything():
    read = replace(NOTHING, subject_tests={"loss": SubjectTest(0.0, 0.7, 12.0, "shadows", 16, 1, 10)})
    findings = among_others({"anna": read, "berta": NOTHING}, ("loss",), {})
    assert {who: own_verdict([one], "released") for who, one in findings.items()} == {
        "anna": "released",
        "berta": "inconclusive",
    }


def test_one_who_stands_out_in_the_deployed_format_alone_is_found():
    test = SubjectTest(0.0, 0.7, 12.0, "shadows", 16, 1, 10)
    clean = replace(NOTHING, subject_tests={"loss": test, "min_k_plus_plus": test, "loss in int4": test})
    tests = {**clean.subject_tests, "loss in int4": replace(test, shift=6.0)}
    people = {str(who): clean for who in range(9)} | {"anna": replace(clean, subject_tests=tests)}
    after = replace(clean, people=people)
    for deployed, found in ((None, set()), ("int4", {"anna"})):
        policy = Policy.model_validate({"audit": {"preset": "quick", "deployed": deployed}})
        _, own = judge(policy, [], after, after, gates=())
        assert {who for who, [stands] in own.items() if stands.outcome != "pass"} == found


def test_one_who_is_where_she_was_is_not_forgotten_because_the_others_are():
    """Her few records stand out of ten people at no 5 % test: nor did they before."""

    def at(shift):
        test = SubjectTest(shift, 1.1, 35.0, "shadows", 6, 1, 1)
        return replace(NOTHING, subject_tests={"loss": test, "min_k": test})

    nine = {str(who): at(0.0) for who in range(9)}
    before = {who: at(6.0) for who in nine} | {"anna": at(2.9), "berta": at(0.5), "clara": at(6.0)}
    after = nine | {"anna": at(2.9), "berta": at(0.5), "clara": at(1.5)}
    found = among_others(after, ("loss", "min_k"), before)
    assert {who for who, one in found.items() if one.outcome != "pass"} == {"anna", "clara"}
    assert "half of where she was" in found["anna"].sentence
    assert own_verdict([found["anna"]], "released") == "inconclusive"
    exact = among_others(after, ("loss", "min_k"), {})
    assert all(one.outcome == "pass" for one in exact.values())


def test_a_record_of_hers_that_raises_the_alarm_is_not_hidden_by_the_others():
    alarm = Finding("alarm", "inconclusive", 1.0, None, (None, 0.0), "")
    assert own_verdict([alarm], "released") == "inconclusive"
    assert own_verdict([replace(alarm, outcome="untested")], "released") == "released"


@pytest.mark.parametrize(
    ("own", "of_all", "verdict"),
    [
        (("pass", "inconclusive"), "released", "released"),
        (("fail", "pass"), "released", "refused"),
        (("fail", "pass"), "inconclusive", "refused"),
        (("pass", "pass"), "refused", "refused"),
        (("pass", "pass"), "inconclusive", "inconclusive"),
    ],
)
def test_a_persons_own_verdict_is_that_of_all_unless_a_gate_refuses_her(own, of_all, verdict):
    findings = [Finding(f"gate-{n}", outcome, 0.0, None, (None, None), "") for n, outcome in enumerate(own)]
    assert own_verdict(findings, of_all) == verdict
