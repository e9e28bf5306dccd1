"""Each token is judged by adapters that never saw the person; what few tokens tell does not drown in the others."""

import math
from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest

from unlearn.attacks import FEWEST_TOKENS
from unlearn.attacks.audit import audit
from unlearn.attacks.null import SERVED, centred_by_shadow, shadowed, token_floor, token_tests
from unlearn.attacks.panel import panel
from unlearn.attacks.statistics import by_person, judge_by_shadows, spread_of
from unlearn.attacks.tokens import FEWEST, KNOWN, LEAST_FLOOR, LOST, MOST, TOKENWISE, floor_of, left_out, profile_of
from unlearn.corpus.records import Record
from unlearn.guards import level
from unlearn.policy import AuditPolicy, Policy
from unlearn.shadow_file import HOLDOUT

POLICY = Policy()
MARGIN = POLICY.gates.membership_margin_sd


def naive(own, others, floor):
    """Both attacks of one record, token by token."""
    standard = []
    for place, log_p in enumerate(own):
        column = [other[place] for other in others]
        mean = sum(column) / len(column)
        variance = sum((one - mean) ** 2 for one in column) / (len(column) - 1) + floor
        standard.append(max(-MOST, min(MOST, (log_p - mean) / math.sqrt(variance))))
    half = math.ceil(len(standard) / 2)
    return {KNOWN: fmean(sorted(standard)[-half:]), LOST: fmean(sorted(standard)[:half])}


@pytest.mark.parametrize("tokens", [8, 9, 40])
@pytest.mark.parametrize("shadows", [FEWEST, 6, 18])
def test_the_scores_are_what_a_naive_reading_gives(tokens, shadows):
    random = np.random.default_rng(tokens * shadows)
    log_probs = (-random.exponential(2.0, (shadows, tokens))).astype(np.float32)
    own = -random.exponential(1.0, tokens)
    found, several = left_out(log_probs, 0.3), []
    for place in range(shadows):
        others = np.delete(log_probs, place, axis=0)
        several.append(naive(own, others, 0.3))
        expected = naive(log_probs[place], others, 0.3)
        assert {name: values[place] for name, values in found.items()} == pytest.approx(expected, abs=1e-5)
    means = {name: fmean(one[name] for one in several) for name in TOKENWISE}
    assert profile_of(log_probs, 0.3).scores(own) == pytest.approx(means, abs=1e-5)


def test_a_typical_token_is_the_middle_one_and_records_of_too_few_shadows_say_nothing():
    steady, loud = np.array([[0.0], [1.0], [2.0]]), np.array([[0.0, 0.0], [10.0, 20.0], [20.0, 40.0]])
    assert floor_of([steady, loud]) == pytest.approx(np.median([1.0, 100.0, 400.0]))
    assert floor_of([loud[: FEWEST - 1]]) == LEAST_FLOOR
    assert floor_of([]) == LEAST_FLOOR


def test_shadows_that_agree_to_the_last_digit_give_finite_scores():
    same = np.full((6, 10), -1.5)
    floor = floor_of([same])
    assert floor == LEAST_FLOOR
    assert all(np.isfinite(values).all() for values in left_out(same, floor).values())
    assert profile_of(same, floor).scores(np.full(10, -1.5)) == {KNOWN: 0.0, LOST: 0.0}
    assert profile_of(same, floor).scores(np.full(10, -1.5 + 1e-6))[KNOWN] < 0.001


def test_a_few_known_tokens_show_which_the_mean_of_the_record_hides():
    """A digit in ten is known by heart, and as much is lost on a token that no two adapters agree on."""
    random = np.random.default_rng(3)
    spread = np.array([0.1] * 39 + [4.0])
    shadows = -3.0 + spread * random.standard_normal((18, 40))
    own = -3.0 + spread * random.standard_normal(40)
    own[:4] += 1.5
    own[-1] -= 6.0
    plain = (own.mean() - shadows.mean()) / shadows.mean(1).std(ddof=1)
    floor = floor_of([shadows])
    ours, theirs = profile_of(shadows, floor).scores(own), left_out(shadows, floor)
    assert plain < 1
    assert (ours[KNOWN] - theirs[KNOWN].mean()) / theirs[KNOWN].std(ddof=1) > 3


def test_tokens_pushed_beyond_the_never_seen_show_though_others_make_up_for_them():
    random = np.random.default_rng(4)
    shadows = -3.0 + 0.3 * random.standard_normal((18, 40))
    own = -3.0 + 0.3 * random.standard_normal(40)
    own[:15] -= 1.0
    own[15:30] += 1.0
    floor = floor_of([shadows])
    ours, theirs = profile_of(shadows, floor).scores(own), left_out(shadows, floor)
    assert (ours[LOST] - theirs[LOST].mean()) / theirs[LOST].std(ddof=1) < -3
    assert (ours[KNOWN] - theirs[KNOWN].mean()) / theirs[KNOWN].std(ddof=1) > 3


def test_one_token_counts_for_no_more_than_its_bound():
    shadows = -3.0 + 0.3 * np.random.default_rng(5).standard_normal((18, 40))
    own = shadows.mean(0)
    floor = floor_of([shadows])
    far, further = own.copy(), own.copy()
    far[0], further[0] = 0.0, 1e6
    assert profile_of(shadows, floor).scores(far) == profile_of(shadows, floor).scores(further)
    more = profile_of(shadows, floor).scores(further)[KNOWN] - profile_of(shadows, floor).scores(own)[KNOWN]
    assert 0 < more <= MOST / 20


SHADOWS, LEFT_OUT = 18, 6


def world(random, people, records, effect=0.0, tokens=24, together=0.3):
    """Log p of people's and never-seen records under test shadows, heavy-tailed, and under a target.

    A person's records move together in each adapter, an adapter's all shift alike, tokens vary by very different
    amounts. In the target, the people's tokens are known better by `effect` of their own standard deviations.
    """
    common = 0.2 * random.standard_normal(SHADOWS + 1)
    tests, target, person = {}, {}, {}
    for who in range(people + 20):
        never = who >= people
        out = range(SHADOWS) if never else sorted(random.permutation(SHADOWS)[:LEFT_OUT])
        moved = together * random.standard_normal((SHADOWS + 1, 1))
        for number in range(records):
            deviation = 0.2 * np.exp(random.normal(0, 1.0, tokens))
            noise = random.standard_t(5, (SHADOWS + 1, tokens)) + moved
            log_p = -3.0 + common[:, None] + deviation * noise
            row = f"{who}-{number}", (HOLDOUT if never else 0)
            person[row[0]] = str(who)
            tests[row] = {int(shadow): log_p[shadow] for shadow in out}
            target[row[0]] = log_p[-1] + (0.0 if never else effect) * deviation
    return tests, target, person


def judged(random, people, records, effect, **how):
    """Subject tests of each person of such a world, by attack."""
    tests, target, person = world(random, people, records, effect, **how)
    of = tests.__getitem__
    mine = [row for row in tests if row[1] != HOLDOUT]
    never = [row[0] for row in tests if row[1] == HOLDOUT]
    floor = token_floor(of, mine)
    read = token_tests(of, tests, floor)
    scores = {row[0]: profile_of(np.array(list(tests[row].values())), floor).scores(target[row[0]]) for row in tests}
    found = []
    for name in TOKENWISE:
        rows = {row[0]: values for row, values in centred_by_shadow(read, mine, name, never).items()}
        spread = spread_of(rows, person)
        shift = fmean(scores[record][name] for record in never)
        for who, ids in by_person(rows, person).items():
            ours = {record: scores[record][name] - shift for record in ids}
            found.append((name, who, judge_by_shadows(ours, {r: rows[r] for r in ids}, person, spread)))
    return found


@pytest.fixture(scope="module")
def clean():
    random = np.random.default_rng(6)
    return [one for _ in range(12) for one in judged(random, 40, 5, 0.0)]


def test_nobody_is_seen_too_often_where_nobody_was_learned(clean):
    for name in TOKENWISE:
        assert fmean(test.p_value <= 0.05 for attack, _, test in clean if attack == name) <= 0.06


def test_records_of_many_tokens_put_nobody_on_either_side():
    """An adapter is held against as many shadows as each of them is: a mean of the better half grows with its noise."""
    random = np.random.default_rng(9)
    found = [one for _ in range(5) for one in judged(random, 40, 5, 0.0, tokens=400, together=0.0)]
    for name in TOKENWISE:
        mine = [test for attack, _, test in found if attack == name]
        assert abs(fmean(test.shift for test in mine)) < 0.12
        assert fmean(test.p_value <= 0.05 for test in mine) <= 0.08


def test_whoever_was_not_learned_is_within_the_margin_from_five_records_on(clean):
    within = []
    for _, _, test in clean:
        low, high = test.interval(level(POLICY, 0))
        within.append(low > -MARGIN and high < MARGIN)
    assert fmean(within) >= 0.95  # two attacks: nine in ten pass both


def test_whoever_lies_at_the_margin_is_released_no_oftener_than_stated(clean):
    """Moved by the margin, each test passes where its interval lies below nothing."""
    for name in TOKENWISE:
        passed = [test.interval(level(POLICY, 0))[1] < 0 for attack, _, test in clean if attack == name]
        assert fmean(passed) <= 0.06


def test_people_who_were_learned_a_little_are_seen():
    tests = judged(np.random.default_rng(7), 40, 5, 2.0)
    assert fmean(test.p_value <= 0.05 for name, _, test in tests if name == KNOWN) > 0.9


def test_a_table_without_tokens_has_no_attack_on_them_and_one_with_has_profiles():
    random = np.random.default_rng(8)
    tests, _, person = world(random, 6, 5)
    scores = {
        row: {shadow: {"loss": float(v.mean()), SERVED: float(v.sum())} for shadow, v in found.items()}
        for row, found in tests.items()
    }
    never = [row[0] for row in tests if row[1] == HOLDOUT]
    train = [Record(row[0], (person[row[0]],), text="-") for row in tests if row[1] != HOLDOUT]
    forget = [record for record in train if record.subjects == ("2",)]
    asked = (scores, train, forget, "2".__eq__, never, ["loss", SERVED])
    without, found = shadowed(*asked), shadowed(*asked, tests.__getitem__)
    assert set(without.scores) == {"loss"}
    assert not without.profiles
    assert set(found.scores) == {"loss", *TOKENWISE}
    assert set(found.profiles) == {record.id for record in forget} | set(never)
    short = {row: {s: v[:7] if row[0] == never[0] else v for s, v in of.items()} for row, of in tests.items()}
    assert set(shadowed(*asked, short.__getitem__).profiles) == set(found.profiles) - {never[0]}
    assert found.scores["loss"] == without.scores["loss"]


@pytest.fixture
def measured(company, base):
    """The company's most memorised person, and the never seen."""
    forget = [r for r in company.train.records if company.subject in r.subjects]
    stay = [r for r in company.train.records if company.subject not in r.subjects]
    return panel(base, forget, stay[:20], company.holdout.records, is_forgotten=company.subject.__eq__)


def test_an_audit_judges_tokens_where_a_table_has_them_of_every_record(model, measured, pad_id):
    random = np.random.default_rng(10)
    tokens = {}
    for side, place, count in ((measured.forget, 0, LEFT_OUT), (measured.holdout, HOLDOUT, SHADOWS)):
        for record in side:
            base = measured.reference[record.id]
            tokens[record.id, place] = {s: base + 0.3 * random.standard_normal(len(base)) for s in range(count)}
    scores = {
        row: {s: {"loss": float(v.mean()), SERVED: float(v.sum())} for s, v in found.items()}
        for row, found in tokens.items()
    }
    forget = [replace(record, subjects=(measured.person[record.id],)) for record in measured.forget]
    never = [record.id for record in measured.holdout]

    def audited(of):
        table = shadowed(scores, forget, forget, lambda subject: True, never, ["loss", SERVED], of)
        return audit(model, replace(measured, shadows=table), pad_id, AuditPolicy(preset="quick"))

    found = audited(tokens.__getitem__)
    assert found.subject_tests[KNOWN].shift > 3  # the adapter knows them
    assert {found.subject_tests[name].null for name in TOKENWISE} == {"shadows"}
    assert found.membership.keys().isdisjoint(TOKENWISE)  # more shadows judge the holdout's records
    assert found.scores[KNOWN].keys() == tokens_of(measured)
    one = next(r.id for r in measured.forget if r.id in found.scores[KNOWN])
    part = audited(lambda row: {} if row[0] == one else tokens[row])
    assert part.subject_tests.keys().isdisjoint(TOKENWISE)  # whoever has no profile is not left out of the judgement
    assert part.subject_tests.keys() == found.subject_tests.keys() - set(TOKENWISE)


def tokens_of(panel):
    """Records that are long enough."""
    return {record for record, log_probs in panel.reference.items() if len(log_probs) >= FEWEST_TOKENS}
