"""What a challenge does in adapters that never saw a person: as sure as it says, and surer where the line helps."""

from statistics import fmean

import numpy as np
import pytest
from scipy import stats

from unlearn.attacks.falls import REACH, Falls, falls_of, line_of

SHADOWS = 8


def world(random, people, records, *, slope, correlation=0.3, heavy=False):
    """Falls and plain scores of people under 16 shadows, each left out of 8, and under one more adapter."""

    def noise():
        drawn = random.standard_t(5, (2, 2 * SHADOWS + 1)) if heavy else random.standard_normal((2, 2 * SHADOWS + 1))
        return drawn / (np.sqrt(5 / 3) if heavy else 1.0)

    falls, plain, fall_now, plain_now, person = {}, {}, {}, {}, {}
    for who in range(people):
        out, common = random.permutation(2 * SHADOWS)[:SHADOWS], noise()
        for number in range(records):
            own = np.sqrt(1 - correlation) * noise() + np.sqrt(correlation) * common
            at = random.normal(0, 2) + 0.2 * own[0]
            fall = random.normal(1, 0.3) + slope * (at - at.mean()) + 0.05 * own[1]
            record = f"{who}-{number}"
            person[record] = str(who)
            falls[record], plain[record] = ({int(k): float(of[k]) for k in out} for of in (fall, at))
            fall_now[record], plain_now[record] = float(fall[-1]), float(at[-1])
    return falls, plain, fall_now, plain_now, person


def flat(of):
    return {record: dict.fromkeys(under, 0.0) for record, under in of.items()}


@pytest.mark.parametrize("slope", [0.0, -0.7])
@pytest.mark.parametrize(("correlation", "heavy"), [(0.0, False), (0.4, False), (0.1, True)])
def test_one_more_adapter_lies_where_the_shadows_expect_it_as_often_as_they_say(slope, correlation, heavy):
    random = np.random.default_rng(3)
    falls, plain, _, _, person = world(random, 60, 8, slope=slope, correlation=correlation, heavy=heavy)
    about = falls_of(falls, plain, person)
    outside, tries = 0, 600
    for _ in range(tries):
        falls, plain, fall_now, plain_now, _ = world(random, 1, 8, slope=slope, correlation=correlation, heavy=heavy)
        expected = Falls(*about, falls, plain).expected(list(falls), plain_now)
        reach = float(stats.t.ppf(0.95, expected.freedom)) * expected.error
        outside += abs(fmean(fall_now.values()) - expected.mean) > reach
    assert 0.06 <= outside / tries <= 0.15  # 10 %; which people vary most differs from table to table


def test_who_stands_higher_falls_further_and_that_is_known_surely():
    falls, plain, _, plain_now, person = world(np.random.default_rng(0), 60, 8, slope=-0.7)
    mine = [record for record in falls if person[record] == "0"]
    line, spread = falls_of(falls, plain, person)
    assert line.slope == pytest.approx(-0.7, abs=0.05)
    along = Falls(line, spread, falls, plain).expected(mine, plain_now)
    without = Falls(*falls_of(falls, flat(plain), person), falls, flat(plain)).expected(mine, {})
    assert along.error < 0.6 * without.error
    above, below = (
        Falls(line, spread, falls, plain).expected(mine, {r: fmean(plain[r].values()) + off for r in mine}).mean
        for off in (-0.1, 0.1)
    )
    assert above - below == pytest.approx(0.2 * -line.slope)


def test_the_line_is_not_followed_beyond_where_shadows_were_seen():
    """An adapter that pushed a person far out has no allowance for what it brings back from there."""
    falls, plain, _, _, person = world(np.random.default_rng(0), 60, 8, slope=-0.7)
    mine = [record for record in falls if person[record] == "0"]
    line, spread = falls_of(falls, plain, person)
    known = Falls(line, spread, falls, plain)
    far, further = (known.expected(mine, {r: fmean(plain[r].values()) - off for r in mine}).mean for off in (9.0, 90.0))
    assert far == further
    assert far - known.expected(mine, {}).mean == pytest.approx(-line.slope * line.reach)
    assert line.reach < REACH * 0.2


def test_a_slope_that_chance_could_have_made_is_not_followed():
    random = np.random.default_rng(1)
    slopes = []
    for _ in range(40):
        falls, plain, _, _, person = world(random, 6, 4, slope=0.0)
        slopes.append(line_of(falls, plain, person).slope)
    assert sum(slope == 0.0 for slope in slopes) > 20


def test_where_nothing_is_known_without_the_challenge_falls_stand_as_they_are():
    falls, plain, _, plain_now, person = world(np.random.default_rng(2), 60, 8, slope=-0.7)
    mine = [record for record in falls if person[record] == "0"]
    line, spread = falls_of(falls, {}, person)
    assert line.slope == 0.0
    found = Falls(line, spread, falls, {}).expected(mine, plain_now)
    assert found.mean == pytest.approx(fmean(fmean(falls[record].values()) for record in mine))
    assert Falls(line, spread, falls, plain).expected(mine, plain_now).mean == pytest.approx(found.mean)


def test_fewer_than_six_shadows_expect_nothing():
    falls, plain, _, plain_now, person = world(np.random.default_rng(4), 12, 4, slope=-0.5)
    about = falls_of(falls, plain, person)
    few = {record: dict(list(of.items())[:5]) for record, of in falls.items()}
    mine = [record for record in falls if person[record] == "0"]
    assert Falls(*about, few, plain).expected(mine, plain_now) is None
    assert Falls(*about, falls, plain).expected(mine, plain_now) is not None
