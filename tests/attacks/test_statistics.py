"""AUC, interval and rank test against slow and obvious oracles."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from unlearn.attacks.statistics import compare

scores = st.lists(st.integers(-5, 5), min_size=1, max_size=30)


@given(scores, scores)
def test_auc_counts_pairs_won_with_ties_as_half(members, non_members):
    won = sum((m > n) + 0.5 * (m == n) for m in members for n in non_members)
    assert compare(members, non_members).auc == pytest.approx(won / (len(members) * len(non_members)))


@given(scores, scores)
def test_swapping_the_sides_mirrors_the_auc(members, non_members):
    assert compare(members, non_members).auc == pytest.approx(1 - compare(non_members, members).auc)


def test_fewer_than_20_records_on_a_side_give_no_interval():
    assert compare(list(range(19)), list(range(100))).interval is None
    assert compare(list(range(100)), list(range(19))).interval is None
    assert compare(list(range(20)), list(range(20))).interval is not None


def test_the_interval_covers_the_true_auc_about_nine_times_in_ten():
    # Normal scores one standard deviation apart: AUC = Phi(1 / sqrt 2) = 0.7602.
    random = np.random.default_rng(5)
    truth = 0.5 * (1 + math.erf(0.5))
    hits = 0
    for _ in range(400):
        low, high = compare(random.normal(1, 1, 30), random.normal(0, 1, 60)).interval
        hits += low <= truth <= high
    assert 0.86 <= hits / 400 <= 0.94


def test_complete_separation_still_has_an_honest_interval():
    low, high = compare(list(range(100, 120)), list(range(20))).interval
    assert high == 1.0
    assert low == pytest.approx(0.05 ** (1 / 20))  # binomial: 20 of 20, lower end of a 90 % interval
    low, high = compare(list(range(20)), list(range(100, 120))).interval
    assert low == 0.0
    assert high < 0.2


def test_the_rank_test_sees_a_separation_of_five_and_not_of_equals():
    assert compare([9.5, 10, 11, 12, 13], list(range(9))).p_value == pytest.approx(2 / math.comb(14, 5))
    assert compare([1, 2, 3], [1, 2, 3]).p_value == pytest.approx(1.0)


def dealt_anew(x, y):
    """How often scores of both sides, dealt anew, have midranks on one side that are as far from the middle."""
    ranks = stats.rankdata([*x, *y])
    sums = np.array([sum(one) for one in combinations(ranks, len(x))])
    return float((abs(sums - sums.mean()) >= abs(ranks[: len(x)].sum() - sums.mean()) - 1e-9).mean())


def test_the_rank_test_is_exact_while_one_side_is_below_twenty_and_no_two_scores_tie():
    x, y = [*range(13, 21), 3.5], list(range(9))  # SciPy by itself takes the normal one from nine on
    assert compare(x, y).p_value == pytest.approx(dealt_anew(x, y))
    assert compare(x, y).p_value != pytest.approx(stats.mannwhitneyu(x, y, method="asymptotic").pvalue, rel=0.1)


def test_with_ties_the_rank_test_is_what_dealing_the_same_scores_anew_says():
    x, y = [2, 2, 3, 5, 5], [0, 1, 1, 2, 2, 2, 3, 4]
    exact = dealt_anew(x, y)
    assert compare(x, y).p_value == pytest.approx(exact, abs=0.02)
    assert compare(x, y).p_value == compare(x, y).p_value
    assert compare([1.0] * 5, [1.0] * 9).p_value == 1.0


def test_an_empty_side_is_an_error():
    with pytest.raises(ValueError, match="0 members"):
        compare([], [1.0])
