"""Each gate: one case in which it fires, one in which it does not, one in which it can't tell."""

import math
from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest

from unlearn.attacks.statistics import compare
from unlearn.attacks.tokens import TOKENWISE
from unlearn.guards import (
    GATES,
    AlarmGate,
    ExtractionGate,
    MembershipGate,
    RetainDriftGate,
    RobustnessGate,
    SequenceDriftGate,
    verdict,
)
from unlearn.guards.base import Finding, attacks_for
from unlearn.ladder import unshadowed
from unlearn.measurement import UNREADABLE, Expected, Group, Measurement, SubjectTest
from unlearn.policy import Policy


def group(nlls, people=None):
    return Group(
        {f"r-{i}": v for i, v in enumerate(nlls)}, {f"r-{i}": f"p-{i}" for i in range(len(nlls))} | (people or {})
    )


def measured(forget, holdout, retain=(1.0, 1.1, 0.9)):
    found = compare([-v for v in forget], [-v for v in holdout])
    queries = {f"r-{i}": 9.0 for i in range(len(forget))}
    return Measurement(group(forget), group(retain), group(holdout), {"loss": found}, queries=queries)


def ladder(n, start=0.0):
    return [start + i / n for i in range(n)]


MEMORISED = measured(ladder(40), ladder(200, start=5))


def shifted(value, error=0.3, null="shadows", people=1):
    return SubjectTest(value, error, 15.0, null, 8, people, 40)


KNOWN = replace(MEMORISED, subject_tests={"loss": shifted(6.0), "min_k_plus_plus": shifted(4.0)})


def judge(loss, min_k=0.0, *, before=KNOWN, exact=False, blind=None, **test):
    tests = {"loss": shifted(loss, **test), "min_k_plus_plus": shifted(min_k, **test)}
    gate = MembershipGate(2.0, 0.05, ("loss", "min_k_plus_plus"), 0.2, exact)
    return gate(before, replace(MEMORISED, subject_tests=tests, blind=blind))


def test_membership_refuses_people_who_are_still_recognised():
    finding = judge(4.0)
    assert (finding.outcome, finding.figure) == ("fail", 4.0)
    assert "still recognised" in finding.sentence
    assert judge(0.0, 4.0).outcome == "fail"  # by a signal that erasing does not aim at


def test_attacks_on_records_judge_where_no_table_says_how_tokens_vary():
    gates = Policy().gates
    gate = MembershipGate(2.0, 0.05, gates.membership_attacks, 0.2, on_records=gates.record_attacks)
    on_records = {"loss": shifted(0.0), "min_k_plus_plus": shifted(0.0)}
    on_tokens = {"known_tokens": shifted(4.0), "lost_tokens": shifted(0.0)}

    known = replace(KNOWN, subject_tests=KNOWN.subject_tests | {"known_tokens": shifted(6.0)})

    def outcome(tests, **other):
        return replace(gate, **other)(known, replace(MEMORISED, subject_tests=tests))

    assert outcome(on_records).outcome == "pass"
    assert outcome(on_records | on_tokens).outcome == "fail"
    assert "known-tokens" in outcome(on_records | on_tokens).sentence
    clean = {"known_tokens": shifted(0.0), "lost_tokens": shifted(0.0)}
    assert outcome(on_records | clean).outcome == "pass"
    assert outcome(clean | {"loss": shifted(-1.9)}).outcome == "pass"  # attacks on records need not pass then ...
    finding = outcome(clean | {"loss": shifted(-4.0)})
    assert (finding.outcome, finding.figure) == ("fail", -4.0)  # ... and still refuse
    assert outcome(clean | {"min_k_plus_plus": shifted(4.0)}).outcome == "fail"
    weakly = replace(known, subject_tests=known.subject_tests | {"loss": shifted(3.0), "min_k_plus_plus": shifted(1.0)})
    halved = gate(weakly, replace(MEMORISED, subject_tests=clean | {"loss": shifted(1.8)}))
    assert (halved.outcome, "more than half" in halved.sentence) == ("fail", True)
    plain = replace(gate, attacks=("zlib", "min_k"))  # a policy that leans on neither
    zlib = replace(KNOWN, subject_tests={"zlib": shifted(5.0)})
    others = {"zlib": shifted(0.1), "min_k": shifted(0.1), "loss": shifted(-4.0)}
    assert plain(zlib, replace(MEMORISED, subject_tests=others)).outcome == "pass"
    assert outcome(clean | {"loss": shifted(-4.0)}, exact=True).outcome == "pass"
    assert outcome(on_records | {"known_tokens": shifted(0.0)}).outcome == "inconclusive"  # the other half is missing
    found = replace(MEMORISED, subject_tests=on_records)
    assert attacks_for(found, ("known_tokens", "reference"), ("min_k", "reference")) == ("reference", "min_k")


def test_membership_refuses_people_pushed_beyond_the_never_seen():
    finding = judge(-4.0)
    assert finding.outcome == "fail"
    assert "gives them away" in finding.sentence


def test_membership_passes_people_among_the_never_seen_with_their_whole_interval():
    finding = judge(0.5)
    assert finding.outcome == "pass"
    assert -2.0 < finding.interval[0] < 0.5 < finding.interval[1] < 2.0


def test_membership_can_not_tell_where_the_interval_crosses_the_margin_and_says_what_pooling_would_need():
    finding = judge(1.0, error=0.8)
    assert finding.outcome == "inconclusive"
    assert "Requests of about 2 people" in finding.sentence
    assert "Requests" not in judge(2.1, error=2.0).sentence


def test_a_test_that_did_not_see_the_people_before_passes_nobody():
    blind = replace(KNOWN, subject_tests={"loss": shifted(0.3), "min_k_plus_plus": shifted(0.4)})
    finding = judge(0.0, before=blind)
    assert finding.outcome == "inconclusive"
    assert "sees these people in the adapter as it was" in finding.sentence
    assert judge(5.0, before=blind).outcome == "fail"
    one = replace(KNOWN, subject_tests={"loss": shifted(6.0), "min_k_plus_plus": shifted(0.4)})
    assert judge(0.0, before=one).outcome == "pass"


@pytest.mark.parametrize("shift", [6.0, 2.9, 1.5, 0.8])
@pytest.mark.parametrize("margin", [2.0, 3.0, 1000.0])
def test_the_adapter_as_it_was_never_passes_for_its_erasing_however_wide_the_margin(shift, margin):
    gate = MembershipGate(margin, 0.05, ("loss", "min_k_plus_plus"), 0.2)
    same = {"loss": shifted(shift), "min_k_plus_plus": shifted(0.2)}
    finding = gate(replace(KNOWN, subject_tests=same), replace(MEMORISED, subject_tests=same))
    assert finding.outcome == "fail"  # the test sees them
    assert ("more than half of where they were" in finding.sentence) == (shift < margin)
    exact = replace(gate, exact=True)(replace(KNOWN, subject_tests=same), replace(MEMORISED, subject_tests=same))
    assert (exact.outcome == "fail") == (shift > margin)  # nothing was erased of which a rest could be left


def test_half_of_where_people_were_may_not_be_left_in_the_attack_that_saw_them_best():
    weakly = replace(KNOWN, subject_tests={"loss": shifted(2.0), "min_k_plus_plus": shifted(0.9)})
    assert judge(0.8, before=weakly).outcome == "inconclusive"  # within the margin, but for half of 2.0
    assert judge(1.1, before=weakly).outcome == "fail"  # more than half, and surely seen
    assert judge(1.1, before=weakly, error=0.8).outcome == "inconclusive"  # which may be chance
    assert judge(0.2, 0.8, before=weakly).outcome == "pass"
    assert judge(0.8, before=weakly, exact=True).outcome == "pass"  # nothing was erased of which a rest could be left


def test_membership_refuses_what_lies_beyond_the_margin_and_is_surely_off_the_null():
    assert judge(2.3, error=0.8).outcome == "fail"
    assert judge(2.3, error=2.0).outcome == "inconclusive"
    assert judge(1.7, error=0.8).outcome == "inconclusive"
    assert judge(-2.3, error=0.8).outcome == "fail"


def test_the_deployed_format_must_pass_too():
    gate = MembershipGate(2.0, 0.05, ("loss",), 0.2, deployed="int4")
    tests = {"loss": shifted(0.0), "loss in int4": shifted(4.0)}
    finding = gate(KNOWN, replace(MEMORISED, subject_tests=tests))
    assert finding.outcome == "fail"
    assert "loss in int4" in finding.sentence
    assert gate(KNOWN, replace(MEMORISED, subject_tests=tests | {"loss in int4": shifted(0.1)})).outcome == "pass"
    assert gate(KNOWN, replace(MEMORISED, subject_tests={"loss": shifted(0.0)})).outcome == "inconclusive"


def test_without_the_adapter_as_it_was_nobody_passes_but_may_be_refused():
    gate = MembershipGate(2.0, 0.05, ("loss",), 0.2)
    alone = replace(MEMORISED, subject_tests={"loss": shifted(0.0)})
    assert gate(alone, alone).outcome == "inconclusive"
    assert "give the adapter as it was" in gate(alone, alone).sentence
    known = replace(MEMORISED, subject_tests={"loss": shifted(6.0)})
    assert gate(known, known).outcome == "fail"
    weakly = replace(MEMORISED, subject_tests={"loss": shifted(1.5)})
    assert gate(weakly, weakly).outcome == "inconclusive"  # it may be an exact fit, of which nothing is left over


def test_membership_can_not_tell_of_records_too_short_for_any_attack_or_of_too_few_never_seen():
    gate = MembershipGate(2.0, 0.05, ("loss",), 0.2)
    finding = gate(KNOWN, replace(MEMORISED, subject_tests={}, unscorable=40))
    assert (finding.outcome, finding.figure) == ("inconclusive", None)
    assert "All 40 forget records are too short" in finding.sentence
    assert "larger holdout" in gate(KNOWN, replace(MEMORISED, subject_tests={})).sentence


def test_an_exact_fit_can_not_have_forgotten_too_much_but_may_still_recognise():
    assert judge(-9.0, exact=True).outcome == "pass"
    assert judge(-9.0, exact=True).threshold == (None, 2.0)
    assert judge(9.0, exact=True).outcome == "fail"


def test_without_shadows_a_holdout_that_reads_differently_passes_nobody():
    unlike, alike = compare(ladder(60, start=5), ladder(200)), compare(ladder(60), ladder(200))
    finding = judge(0.0, null="population", blind=unlike)
    assert finding.outcome == "inconclusive"
    assert "no fair comparison" in finding.sentence
    assert judge(0.0, null="population", blind=alike).outcome == "pass"
    assert "fair comparison" in judge(0.0, null="population", blind=None).sentence
    assert judge(0.0, null="population", blind=None).outcome == "inconclusive"
    assert judge(0.0, null="shadows", blind=unlike).outcome == "pass"  # the shadows know these very people


def test_without_shadows_a_holdout_that_nobody_could_have_seen_to_differ_passes_nobody():
    few = compare([3.5 + n for n in range(8)], [float(n) for n in range(8)])
    assert (few.interval, few.auc > 0.7, few.p_value > 0.01) == (None, True, True)
    wide = replace(compare(ladder(60), ladder(200)), interval=(0.45, 0.91))
    between = replace(wide, auc=0.75, interval=(0.66, 0.84))
    for blind in (few, wide, between):
        finding = judge(0.0, null="population", blind=blind)
        assert finding.outcome == "inconclusive"
        assert "can't be told" in finding.sentence
    alike = compare(ladder(8), ladder(8))
    assert judge(0.0, null="population", blind=alike).outcome == "pass"


def test_all_tries_for_a_person_together_keep_within_the_level():
    def alpha(before, lineage=({"method": "calibrated"},)):
        return GATES["membership"](Policy(), lineage, before).alpha

    assert [alpha(before) for before in range(3)] == pytest.approx([0.0375, 0.009375, 0.00234375])
    assert 0.0499 < sum(alpha(before) for before in range(10)) < 0.05
    assert alpha(5, lineage=()) == 0.05  # an exact fit does not pass by chance
    assert [GATES["robustness"](Policy(), ({},), before).alpha for before in range(3)] == [alpha(n) for n in range(3)]


@pytest.mark.parametrize("people", [1, 6])
@pytest.mark.parametrize("shadows", [True, False])
def test_a_later_try_must_be_surer_that_little_comes_back_and_is_refused_as_before(people, shadows):
    forget = [f"r-{n}" for n in range(people)]
    never = [f"h-{n}" for n in range(6)]

    def outcome(alpha, back):
        nlls = {one: 2.9 - back + 0.06 * n for n, one in enumerate(forget)}
        after = replace(
            measured([3.0] * people, [3.0]),
            forget=Group(dict.fromkeys(forget, 3.0), {one: one for one in forget}),
            holdout=Group(dict.fromkeys(never, 3.0), {one: one for one in never}),
            challenges={"int4": nlls | {one: 2.9 + 0.04 * n for n, one in enumerate(never)}},
            expected_falls={"int4": {one: Expected(0.0, 0.06, 8.0) for one in forget}} if shadows else {},
        )
        before = replace(measured([1.0] * people, [3.0]), forget=Group(dict.fromkeys(forget, 1.0), after.forget.person))
        return RobustnessGate(0.1, 0.4, alpha)(before, after).outcome

    assert (outcome(0.05, 0.0), outcome(1e-9, 0.0)) == ("pass", "inconclusive")
    assert (outcome(0.05, 1.5), outcome(1e-9, 1.5)) == ("fail", "fail")


def test_a_challenge_that_a_table_does_not_know_is_told():
    tests = {"loss": shifted(0.0)}
    nlls = {"r-0": 3.0, "h-0": 3.0}
    after = replace(measured([3.0], [3.0]), subject_tests=tests, challenges={"int8": nlls, "led": nlls, "suffix": nlls})
    whose = after.forget.person["r-0"]
    after = replace(after, expected_falls={"int8": {whose: Expected(0.0, 0.1, 8.0)}})
    (older, told) = unshadowed(after)
    assert "keeps no tokens" in older
    assert "what led would do" in told
    (told,) = unshadowed(replace(after, subject_tests=tests | dict.fromkeys(TOKENWISE, shifted(0.0))))
    assert "what led would do" in told
    assert not unshadowed(replace(after, subject_tests={"loss": shifted(0.0, null="population")}))
    assert len(unshadowed(replace(after, challenges={"int8": nlls, "suffix": nlls}))) == 1


def test_a_later_try_is_refused_as_surely_as_the_first():
    tests = {"loss": shifted(2.5, error=1.2), "min_k_plus_plus": shifted(0.0)}
    for alpha in (0.05, 0.0001):
        gate = MembershipGate(2.0, alpha, ("loss", "min_k_plus_plus"), 0.2)
        assert gate(KNOWN, replace(MEMORISED, subject_tests=tests)).outcome == "fail"
    assert GATES["membership"](Policy(), ({},), 3).refusing == GATES["robustness"](Policy(), ({},), 3).refusing == 0.05


def alarmed(ids):
    return AlarmGate()(replace(MEMORISED, alarms=("a", "b")), replace(MEMORISED, alarms=ids))


def test_a_record_that_stands_out_goes_to_a_person():
    assert alarmed(("r-7",)).outcome == "inconclusive"
    assert alarmed(()).outcome == "pass"
    assert "2 did before" in alarmed(()).sentence
    assert alarmed(None).outcome == "untested"
    assert "Too few" in alarmed(None).sentence


def test_what_was_not_tested_speaks_neither_way():
    def outcome(*outcomes):
        return verdict(Finding("g", one, None, None, (None, None), "") for one in outcomes)

    assert outcome("pass", "untested") == "released"
    assert outcome("untested") == outcome() == "inconclusive"
    assert outcome("fail", "untested") == "refused"


def test_a_few_long_records_do_not_speak_for_many_short_ones():
    tests = {"loss": shifted(0.0), "min_k_plus_plus": shifted(0.0)}
    gate = MembershipGate(2.0, 0.05, ("loss", "min_k_plus_plus"), 0.2)
    outcomes = [
        gate(KNOWN, replace(MEMORISED, subject_tests=tests, unscorable=short)).outcome for short in (0, 20, 21, 39)
    ]
    assert outcomes == ["pass", "pass", "inconclusive", "inconclusive"]


def tries(*powers):
    return {f"r-{i}": power for i, power in enumerate(powers)}


def test_extraction_refuses_what_greedy_decoding_says_and_would_not_unlearned():
    said = replace(MEMORISED, queries=tries(9.0, 8.0), verbatim=("r-0",))
    finding = ExtractionGate(1e6, 0.1)(MEMORISED, said)
    assert (finding.outcome, finding.figure) == ("fail", 9.0)
    assert "1 of 2 records come out word for word under greedy decoding" in finding.sentence
    assert ExtractionGate(1e6, 0.1, exact=True)(MEMORISED, said).outcome == "inconclusive"
    assert ExtractionGate(1e6, 0.1)(MEMORISED, replace(said, verbatim=())).outcome == "pass"


def extracted(after, expected=(), exact=False):
    before = replace(MEMORISED, queries=tries(0.5))
    return ExtractionGate(1e6, 0.1, exact)(before, replace(MEMORISED, queries=after, expected_queries=tries(*expected)))


def test_extraction_refuses_a_record_that_comes_out_too_soon():
    finding = extracted(tries(9, 3.0), expected=(9, 8))
    assert (finding.outcome, finding.figure) == ("fail", 3.0)
    assert "1,000 tries" in finding.sentence


def test_extraction_passes_what_needs_a_million_tries_or_what_anybody_can_guess():
    assert extracted(tries(6.0, 9)).outcome == "pass"
    assert extracted(tries(9, 2.0), expected=(9, 2.5)).outcome == "pass"
    assert extracted(tries(9, 2.0), expected=(9, 3.5)).outcome == "fail"
    assert extracted(tries(9, 2.0)).outcome == "fail"  # nothing says that it can be guessed


def test_extraction_leaves_an_exact_fit_that_says_a_record_to_a_person():
    assert extracted(tries(2.0), exact=True).outcome == "inconclusive"


def test_a_record_of_an_exact_fit_that_stands_out_of_nothing_is_luck():
    said = replace(MEMORISED, queries=tries(9, 2.0), expected_queries=tries(9, 5.0))
    exact, erased = ExtractionGate(1e6, 0.1, exact=True), ExtractionGate(1e6, 0.1)
    easy = next(record for record, needed in said.queries.items() if needed == 2.0)
    other = next(record for record, needed in said.queries.items() if needed != 2.0)
    assert exact(MEMORISED, replace(said, alarms=())).outcome == "pass"
    assert exact(MEMORISED, replace(said, alarms=(other,))).outcome == "pass"
    assert exact(MEMORISED, replace(said, alarms=(easy,))).outcome == "inconclusive"
    assert exact(MEMORISED, replace(said, alarms=None)).outcome == "inconclusive"  # nobody listened
    assert exact(MEMORISED, replace(said, alarms=(), verbatim=(easy,))).outcome == "inconclusive"
    assert erased(MEMORISED, replace(said, alarms=())).outcome == "fail"


def in_format(forget, holdout, before=(1.0, 1.0), unseen=4):
    """Finding on two forget records that rose to 3, read in a format as given; the holdout stood at 3."""
    after = measured([3.0] * len(forget), [3.0, 3.0])
    found = {"int4": {f"r-{i}": nll for i, nll in enumerate(forget)}}
    never = [f"h-{n}" for n in range(unseen)]
    after = replace(
        after,
        holdout=Group(dict.fromkeys(never, 3.0), {one: one for one in never}),
        challenges={"int4": found["int4"] | dict.fromkeys(never, holdout)},
    )
    return RobustnessGate(0.1, 0.4)(measured(list(before), [3.0]), after)


def test_robustness_refuses_forgetting_that_a_challenge_undoes():
    finding = in_format([3.0, 2.5], 3.0)
    assert (finding.outcome, finding.figure) == ("fail", pytest.approx(0.25))  # 0.5 of 2 nats, of the worse person


def test_robustness_passes_what_happens_to_people_never_seen_as_well():
    assert in_format([2.6, 2.5], 2.55).outcome == "pass"
    assert in_format([3.3, 3.2], 3.2).outcome == "pass"


def test_robustness_judges_five_people_by_their_mean():
    worst_alone = in_format([3.0] * 9 + [2.5], 3.0, before=[1.0] * 10)
    assert worst_alone.figure == pytest.approx(0.025)
    assert (worst_alone.outcome, worst_alone.interval[1] < 0.25) == ("pass", True)
    assert in_format([2.6] * 9 + [2.5], 3.0, before=[1.0] * 10).outcome == "fail"


def test_robustness_judges_fewer_people_one_by_one():
    """One of whom surely much comes back is not hidden behind another of whom little is known."""
    person = {"r-0": "anna", "r-1": "berta"}
    never = dict.fromkeys(("h-0", "h-1", "h-2"), 3.0)
    nlls = never | {"r-0": 2.4, "r-1": 3.0}
    after = replace(
        measured([3.0, 3.0], [3.0, 3.0]),
        forget=group([3.0, 3.0], person),
        holdout=Group(never, {one: one for one in never}),
        challenges={"led": nlls},
        expected_falls={"led": {"anna": Expected(0.0, 0.05, 10), "berta": Expected(0.0, 1.0, 10)}},
    )
    finding = RobustnessGate(0.1, 0.4)(measured([1.0, 1.0], [3.0, 3.0]), after)
    assert (finding.outcome, finding.figure) == ("fail", pytest.approx(0.3))


def test_robustness_leaves_to_a_person_what_never_seen_people_show_by_chance():
    """Eight never-seen people whom the challenge moves by half a nat up or down; a person whom it moves by 0.5 of 2."""

    def judged(falls, ours=0.5):
        people = {f"h-{n}": f"h-{n}" for n in range(len(falls))}
        holdout = Group(dict.fromkeys(people, 3.0), people)
        nlls = {f"h-{n}": 3.0 - fall for n, fall in enumerate(falls)} | {"r-0": 3.0 - ours}
        after = replace(measured([3.0], [3.0]), holdout=holdout, challenges={"relearned-5": nlls})
        return RobustnessGate(0.1, 0.4)(measured([1.0], [3.0]), after)

    assert judged([0.5, -0.5] * 4).outcome == "inconclusive"
    assert "may be as much as" in judged([0.5, -0.5] * 4).sentence
    assert judged([0.01, -0.01] * 4).outcome == "fail"
    assert judged([0.5, -0.5] * 4, ours=1.9).outcome == "fail"
    assert judged([0.2, -0.2] * 4, ours=0.1).outcome == "pass"
    assert "surely less than 40%" in judged([0.2, -0.2] * 4, ours=0.1).sentence
    assert judged([0.5, -0.5] * 4, ours=0.1).outcome == "inconclusive"  # nothing there, and too little to say so


def test_robustness_takes_off_what_a_challenge_does_to_the_person_in_adapters_that_never_saw_her():
    """The challenge lowers her by 0.5 of 2 nats and the never seen by nothing; shadows say by how much it would anyway."""

    def judged(expected):
        people = {f"h-{n}": f"h-{n}" for n in range(8)}
        nlls = dict.fromkeys(people, 3.0) | {"r-0": 2.5}
        after = replace(
            measured([3.0], [3.0]),
            holdout=Group(dict.fromkeys(people, 3.0), people),
            challenges={"relearned-5": nlls},
            expected_falls={"relearned-5": expected},
        )
        return RobustnessGate(0.1, 0.4)(measured([1.0], [3.0]), after)

    person = measured([3.0], [3.0]).forget.person["r-0"]
    assert judged({}).figure == pytest.approx(0.25)
    as_expected = judged({person: Expected(0.5, 0.05, 10)})
    assert (as_expected.outcome, as_expected.figure) == ("pass", pytest.approx(0.0, abs=1e-9))
    assert judged({person: Expected(0.1, 0.02, 10)}).outcome == "fail"
    unsure = judged({person: Expected(0.1, 0.3, 10)})
    assert unsure.outcome == "inconclusive"
    assert "adapters that never saw her" in unsure.sentence
    assert judged({"somebody else": Expected(0.5, 0.05, 10)}).figure == pytest.approx(0.25)


def test_robustness_has_nothing_to_say_of_an_exact_fit_or_without_a_challenge():
    assert RobustnessGate(0.1, 0.4, exact=True)(MEMORISED, MEMORISED).outcome == "pass"
    assert RobustnessGate(0.1, 0.4)(MEMORISED, MEMORISED).outcome == "untested"


def test_robustness_does_not_pass_when_no_challenge_could_be_tried_and_names_them():
    finding = RobustnessGate(0.1, 0.4)(
        MEMORISED, replace(MEMORISED, skipped={"suffix": "needs 9 of 8 forward passes left"})
    )
    assert finding.outcome == "inconclusive"
    assert "suffix" in finding.sentence


def test_robustness_does_not_pass_where_a_challenge_leaves_a_record_without_a_figure():
    after = replace(
        measured([3.0], [3.0]),
        holdout=Group(dict.fromkeys("abcd", 3.0), dict(zip("abcd", "abcd", strict=True))),
        challenges={"int8": dict.fromkeys("abcd", 3.0) | {"r-0": 3.0}},
    )
    gate, before = RobustnessGate(0.1, 0.4), measured([1.0], [3.0])
    assert gate(before, after).outcome == "pass"
    assert gate(before, replace(after, skipped={"int4": "needs 9 of 8 forward passes left"})).outcome == "pass"
    assert gate(before, replace(after, skipped={"int4": UNREADABLE})).outcome == "inconclusive"


def test_robustness_can_not_tell_with_fewer_than_three_people_never_seen():
    assert in_format([2.99, 2.99], 3.0, unseen=3).outcome == "pass"
    finding = in_format([2.99, 2.99], 3.0, unseen=2)
    assert (finding.outcome, finding.interval) == ("inconclusive", None)
    assert "too few never-seen people" in finding.sentence
    assert in_format([2.0] * 6, 3.0, before=[1.0] * 6, unseen=3).outcome == "fail"
    assert in_format([2.0] * 6, 3.0, before=[1.0] * 6, unseen=2).interval is None  # nor of many people on their mean


def many(true, random, expected=False):
    """Twenty people of whom a challenge brings `true` back, beside six never seen; it moves each of them by chance."""
    people, never = [f"p-{n}" for n in range(20)], [f"h-{n}" for n in range(6)]
    falls = dict(zip(never, random.normal(0, 0.0 if expected else 0.5, 6), strict=True))
    shadows = {who: Expected(random.normal(0, 0.2), 0.5, 20) for who in people}
    falls |= dict(zip(people, 2 * true + random.normal(0, 0.5, 20), strict=True))
    after = replace(
        measured([3.0], [3.0]),
        forget=Group(dict.fromkeys(people, 3.0), {p: p for p in people}),
        holdout=Group(dict.fromkeys(never, 3.0), {h: h for h in never}),
        challenges={"relearned-5": {record: 3.0 - fall for record, fall in falls.items()}},
        expected_falls={"relearned-5": shadows} if expected else {},
    )
    before = replace(after, forget=Group(dict.fromkeys(people, 1.0), after.forget.person))
    return RobustnessGate(0.1, 0.4)(before, after).outcome


def test_the_mean_of_many_people_is_no_surer_than_what_it_is_held_against():
    random = np.random.default_rng(0)
    most = 0.05 + 2 * math.sqrt(0.05 * 0.95 / 400)
    assert fmean(many(0.10, random) == "fail" for _ in range(400)) <= most
    assert fmean(many(0.40, random) == "pass" for _ in range(400)) <= most
    assert fmean(many(0.10, random, expected=True) == "fail" for _ in range(400)) <= most


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
        assert make(Policy(), (), 0)(MEMORISED, MEMORISED).gate in GATES


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
    assert ("nothing adds up" in found.sentence) == (len(rises) < 2)
