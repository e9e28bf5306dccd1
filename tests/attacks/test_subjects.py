"""The tests of whole people have the error rates they state: clustered records, few shadows, heavy tails, shifts."""

import numpy as np
import pytest

from unlearn.attacks.statistics import (
    MOST_BORROWED,
    Prior,
    Spread,
    alarms,
    alarms_by_shadows,
    judge_by_population,
    judge_by_shadows,
    prior_of,
    spread_of,
    tpr_at,
)
from unlearn.policy import Policy

MARGIN, ALPHA = Policy().gates.membership_margin_sd, Policy().gates.membership_alpha
SHADOWS = 8
LIKE = Spread(Prior(1.0, 8.0), Prior(1.0, 8.0), 0.1)


def case(random, people, records, *, correlation, effect=0.0, heavy=False):
    """Scores of people under 16 shadows, each left out of 8, and under a target `effect` deviations nearer to members.

    Records differ in difficulty and in how much they vary; those of one person move together.
    """

    def noise(*shape):
        return random.standard_t(5, shape) / np.sqrt(5 / 3) if heavy else random.standard_normal(shape)

    found, shadowed, person = {}, {}, {}
    for who in range(people):
        out = random.permutation(2 * SHADOWS)[:SHADOWS]
        common = noise(2 * SHADOWS + 1) * np.sqrt(correlation)
        for number in range(records):
            deviation = np.exp(random.normal(0, 0.3))
            level = random.normal(0, 2)
            scores = level + deviation * (noise(2 * SHADOWS + 1) * np.sqrt(1 - correlation) + common)
            record = f"{who}-{number}"
            person[record] = str(who)
            shadowed[record] = {int(k): float(scores[k]) for k in out}
            found[record] = float(scores[-1] + effect * deviation)
    return found, shadowed, person


def rates(repetitions, people, records, correlation, effect, heavy=False, margin=MARGIN):
    """Shares of repetitions in which the test sees the people, and in which it lies within the margin; mean shift."""
    random = np.random.default_rng(1)
    spread = spread_of(*case(random, 60, records, correlation=correlation, heavy=heavy)[1:])
    seen = within = 0
    shifts = []
    for _ in range(repetitions):
        test = judge_by_shadows(
            *case(random, people, records, correlation=correlation, effect=effect, heavy=heavy), spread
        )
        low, high = test.interval(ALPHA)
        seen += test.p_value <= ALPHA
        within += -margin < low and high < margin
        shifts.append(test.shift)
    return seen / repetitions, within / repetitions, float(np.mean(shifts))


@pytest.mark.parametrize("correlation", [0.1, 0.3])
@pytest.mark.parametrize(("people", "records"), [(1, 5), (1, 20), (4, 5)])
@pytest.mark.parametrize("heavy", [False, True])
def test_nobody_is_seen_who_is_not_there(people, records, correlation, heavy):
    seen, _, _ = rates(500, people, records, correlation, 0.0, heavy)
    assert seen <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 500)


@pytest.mark.parametrize(("people", "records"), [(1, 1), (1, 5), (1, 20), (4, 5)])
def test_at_the_margin_six_in_a_hundred_are_released_at_most(people, records):
    _, _, mean = rates(300, people, records, 0.1, MARGIN)
    _, within, at = rates(
        900, people, records, 0.1, MARGIN * MARGIN / mean
    )  # weights are estimated: put it right there
    assert at == pytest.approx(MARGIN, abs=0.05)
    assert within <= 0.06 + 2 * np.sqrt(0.06 * 0.94 / 900)
    assert rates(300, people, records, 0.1, 1.5 * MARGIN)[1] <= 0.01


def test_from_five_records_on_nine_in_ten_are_released_who_should_be():
    assert rates(400, 1, 5, 0.1, 0.0)[1] >= 0.90
    assert rates(200, 1, 20, 0.1, 0.0)[1] >= 0.98


def test_one_record_can_not_be_certified_at_a_tight_margin():
    assert rates(300, 1, 1, 0.1, 0.0, margin=1.0)[1] == 0.0
    assert rates(300, 1, 20, 0.1, 0.0, margin=1.0)[1] > 0.4


def test_a_member_is_seen():
    assert rates(100, 1, 5, 0.1, 6.0)[0] == 1.0


def test_people_who_move_together_widen_the_error():
    random = np.random.default_rng(0)
    found, shadowed, person = case(random, 6, 5, correlation=0.1)
    apart = judge_by_shadows(found, shadowed, person, LIKE)
    wave = random.normal(0, 3, 2 * SHADOWS)
    moved = {r: {k: v + wave[k] for k, v in of.items()} for r, of in shadowed.items()}
    assert judge_by_shadows(found, moved, person, LIKE).error > 2 * apart.error


def test_too_few_shadows_or_a_missing_record_give_no_test():
    found, shadowed, person = case(np.random.default_rng(0), 1, 5, correlation=0.1)
    few = {r: dict(list(of.items())[:5]) for r, of in shadowed.items()}
    assert judge_by_shadows(found, few, person, LIKE) is None
    assert judge_by_shadows(found, {}, person, LIKE) is None


def test_the_spread_of_a_table_is_found():
    _, shadowed, person = case(np.random.default_rng(0), 150, 6, correlation=0.3)
    spread = spread_of(shadowed, person)
    assert spread.record.variance == pytest.approx(0.85, rel=0.15)
    assert 5 < spread.record.freedom < 20  # log-normal with a deviation of 0.6 in the variance
    assert spread.person.variance == pytest.approx(1.2, rel=0.15)  # weights are estimated, too
    assert spread.person.freedom == MOST_BORROWED
    assert spread.correlation == pytest.approx(0.3, abs=0.1)


def test_little_is_borrowed_from_people_who_differ():
    random = np.random.default_rng(0)
    alike, unlike = (random.chisquare(7, 400) / 7 * scale for scale in (1.0, np.exp(random.normal(0, 1.5, 400))))
    assert prior_of(list(alike), [7] * 400).freedom > 20
    assert prior_of(list(unlike), [7] * 400).freedom < 2
    assert prior_of([], []).variance > 0


def population(random, people, records, effect=0.0, correlation=0.3, harder=0.0):
    """One forgotten person of `records` records among `people` never seen; half of a score is the record's difficulty.

    Her records are `harder` than theirs, in standard deviations of that.
    """
    scores, known, person = {}, {}, {}
    for who in range(people + 1):
        common = random.normal() * np.sqrt(correlation)
        for number in range(records):
            record, hard = f"{who}-{number}", random.normal(3 + (harder if who == 0 else 0.0), 1)
            known[record], person[record] = [hard], str(who)
            own = random.normal() * np.sqrt(1 - correlation) + common + (effect if who == 0 else 0.0)
            scores[record] = -2.0 * hard + own
    found = {r: s for r, s in scores.items() if person[r] == "0"}
    return found, {r: s for r, s in scores.items() if r not in found}, known, person


@pytest.mark.parametrize("people", [6, 40])
def test_without_shadows_the_never_seen_people_are_the_null(people):
    random = np.random.default_rng(2)
    tests = [judge_by_population(*population(random, people, 8)) for _ in range(400)]
    seen = np.mean([test.p_value <= ALPHA for test in tests])
    assert seen <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)
    assert np.mean([abs(test.shift) for test in tests]) < 1.0  # difficulty is taken out
    assert judge_by_population(*population(random, people, 8, effect=5.0)).p_value < 0.01
    at_margin = [judge_by_population(*population(random, people, 8, MARGIN)).interval(ALPHA)[1] for _ in range(400)]
    assert np.mean([high < MARGIN for high in at_margin]) <= 0.06 + 2 * np.sqrt(0.06 * 0.94 / 400)


@pytest.mark.parametrize("harder", [3.0, 6.0])
def test_records_that_are_harder_than_any_never_seen_one_are_not_taken_for_known(harder):
    random = np.random.default_rng(5)
    tests = [judge_by_population(*population(random, 30, 8, harder=harder)) for _ in range(400)]
    assert np.mean([test.p_value <= ALPHA for test in tests]) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)


def test_few_never_seen_people_or_identical_scores_give_no_test():
    random = np.random.default_rng(2)
    assert judge_by_population(*population(random, 4, 8)) is None
    found, unseen, known, person = population(random, 40, 8)
    assert judge_by_population(dict.fromkeys(found, 1.0), dict.fromkeys(unseen, 1.0), known, person) is None


def test_an_alarm_is_raised_once_in_a_hundred_times_and_by_what_stands_out():
    random = np.random.default_rng(3)
    raised = 0
    for _ in range(1000):
        null = dict(enumerate(random.normal(0, 1, 2500)))
        raised += bool(alarms({f"r{i}": s for i, s in enumerate(random.normal(0, 1, 10))}, null))
    assert raised / 1000 <= 0.01 + 3 * np.sqrt(0.01 * 0.99 / 1000)
    assert alarms({"a": 9.0, "b": 0.0, "c": 8.0}, null) == ("a", "c")


def test_too_few_never_seen_records_can_raise_no_alarm():
    assert alarms({f"r{i}": 9.0 for i in range(10)}, dict(enumerate(range(500)))) is None
    assert alarms({}, {"x": 1.0}) is None


@pytest.mark.parametrize("heavy", [False, True])
def test_by_shadows_an_alarm_is_raised_once_in_a_hundred_times(heavy):
    random = np.random.default_rng(3)
    spread = spread_of(*case(random, 60, 10, correlation=0.3, heavy=heavy)[1:])
    found, shadowed, person = case(random, 600, 10, correlation=0.3, heavy=heavy)
    hers = [{r: s for r, s in found.items() if person[r] == str(who)} for who in range(600)]
    raised = np.mean([bool(alarms_by_shadows(one, shadowed, spread)) for one in hers])
    assert raised <= 0.01 + 3 * np.sqrt(0.01 * 0.99 / 600)


def test_one_record_known_by_heart_is_seen_behind_nine_that_were_pushed_too_far():
    found, shadowed, person = case(np.random.default_rng(0), 60, 10, correlation=0.1, effect=-1.2)
    spread = spread_of(shadowed, person)
    hers = {r: s for r, s in found.items() if person[r] == "0"} | {"0-0": np.mean(list(shadowed["0-0"].values())) + 12}
    test = judge_by_shadows(hers, shadowed, person, spread)
    assert test.interval(ALPHA)[1] < MARGIN  # she passes on the mean
    assert alarms_by_shadows(hers, shadowed, spread) == ("0-0",)
    assert alarms_by_shadows(hers, {r: {0: 1.0} for r in hers}, spread) is None


def test_a_rate_that_would_be_that_of_a_few_people_is_not_given():
    random = np.random.default_rng(4)
    null = random.normal(0, 1, 2000)
    assert tpr_at(random.normal(3, 1, 500), null, 0.001) is None
    assert tpr_at(random.normal(3, 1, 500), null, 0.01) == pytest.approx(0.75, abs=0.06)
    assert tpr_at([0.0] * 5, [0.0] * 2000, 0.01) == 0.0
