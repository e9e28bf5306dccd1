"""By how much a challenge lowers a person's NLL in adapters that never saw her, and how surely that is known.

A few steps of training bring every adapter to about the same place, so that whoever stands higher falls further: at a
given place of hers the fall is known several times better than without (an analysis of covariance). Pure functions of
a table's numbers; knows no model and no verdict.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median

import numpy as np

from unlearn.attacks.statistics import (
    FEWEST_SHADOWS,
    MOST_BORROWED,
    PerShadow,
    Prior,
    Scores,
    by_person,
    prior_of,
    shared,
)
from unlearn.measurement import Expected

REACH = 3.0
"""Standard deviations of a person's own place among her shadows up to which a higher fall is allowed for."""


@dataclass(frozen=True)
class Line:
    """How a person's mean fall goes with where she stands without the challenge, over a whole table.

    Attributes:
        slope: nats of fall for a nat of plain score; drawn to zero as far as chance could have made it.
        error: standard deviation of one person's slope about it: its own error, and how people's slopes differ.
        place: of the variance of a person's mean plain score among her shadows, nats squared.
    """

    slope: float
    error: float
    place: Prior


@dataclass(frozen=True)
class MeanSpread:
    """How shadows differ about the plain means of people's records.

    Attributes:
        record: variance of one record, pooled.
        person: of the variance of a person's mean, in what her number of records lets expect.
        correlation: of one person's records within a shadow, in [0, 1].
    """

    record: float
    person: Prior
    correlation: float

    def expected(self, records: int) -> float:
        """Variance of the mean of so many records of one person."""
        return self.record * (1 + (records - 1) * self.correlation) / records


@dataclass(frozen=True)
class Falls:
    """What a table says of one challenge.

    Attributes:
        line: over the whole table.
        spread: about that line, over the whole table.
        falls: of some records under their shadows, nats per token.
        plain: scores of the loss attack of the same records without the challenge; none of those it can't score.
    """

    line: Line
    spread: MeanSpread
    falls: PerShadow
    plain: PerShadow

    def expected(self, records: Sequence[str], plain: Scores, fewest_shadows: int = FEWEST_SHADOWS) -> Expected | None:
        """The mean fall of one person's `records` in an adapter that never saw her and has them at `plain`.

        The person's own variance, over few shadows, is moderated by those of the whole table.

        A higher fall is allowed for no further than three standard deviations of where shadows have her: who was
        pushed far out has no more. A lower one is always asked for: who is still known falls less.

        Args:
            records: ids.
            plain: scores of the loss attack without the challenge, centred as the table's are.
            fewest_shadows: that she needs.

        Returns:
            None if fewer than `fewest_shadows` read all of them.
        """
        shadows, n = shared(self.falls, records), len(records)
        if (k := len(shadows)) < max(2, fewest_shadows):
            return None
        known = [r for r in records if r in plain and all(shadow in self.plain.get(r, {}) for shadow in shadows)]
        at = np.array([sum(self.plain[r][shadow] for r in known) / n for shadow in shadows])
        means = np.array([fmean(self.falls[r][shadow] for r in records) for shadow in shadows])
        away = sum(plain[r] for r in known) / n - float(at.mean())
        usual = self.spread.expected(n)
        own = float((means - self.line.slope * at).var(ddof=1))
        variance = usual * self.spread.person.with_own(own / usual, k)
        reach = REACH * math.sqrt(self.line.place.with_own(float(at.var(ddof=1)), k))
        if self.line.slope * away > abs(self.line.slope) * reach:
            away = math.copysign(reach, away)
        error = math.sqrt(variance * (1 + 1 / k) + (away * self.line.error) ** 2)
        return Expected(float(means.mean()) + self.line.slope * away, error, self.spread.person.freedom + k - 1)


def falls_of(whole: PerShadow, plain: PerShadow, person: Mapping[str, str]) -> tuple[Line, MeanSpread]:
    """The line and the spread about it of a whole table.

    Args:
        whole: falls of records under the shadows that never saw their person.
        plain: their scores of the loss attack there.
        person: of each record.
    """
    line = line_of(whole, plain, person)
    return line, mean_spread_of(straightened(whole, plain, line.slope), person)


def line_of(whole: PerShadow, plain: PerShadow, person: Mapping[str, str]) -> Line:
    """The mean of people's own slopes, each of her mean fall on her mean plain score among her shadows.

    People's slopes differ by more than chance: a random-effects mean (DerSimonian and Laird 1986, Controlled Clinical
    Trials 7, 177-188).
    """
    slopes, along, rest, freedom, places = [], [], 0.0, 0, []
    for records in by_person(whole, person).values():
        known = [r for r in records if r in plain]
        shadows = sorted(set(shared(whole, records)) & set(shared(plain, known))) if known else []
        if len(shadows) < 3:
            continue
        y = np.array([[whole[r][k] for k in shadows] for r in records]).mean(0)
        x = np.array([[plain[r][k] for k in shadows] for r in known]).sum(0) / len(records)
        y, x = y - y.mean(), x - x.mean()
        if (square := float(x @ x)) > 0.0:
            slopes.append(float(x @ y) / square)
            along.append(square)
            rest += max(0.0, float(y @ y) - square * slopes[-1] ** 2)
            freedom += len(shadows) - 2
            places.append((square / (len(shadows) - 1), len(shadows) - 1))
    place = prior_of([v for v, _ in places], [d for _, d in places])
    if len(slopes) < 2 or rest <= 0.0:
        return Line(fmean(slopes), 0.0, place) if len(slopes) > 1 else Line(0.0, 0.0, place)
    own = np.array(along) / (rest / freedom)  # one over the variance of each slope
    found = np.array(slopes)
    beyond = float(own @ (found - own @ found / own.sum()) ** 2) - (len(found) - 1)
    between = max(0.0, beyond / float(own.sum() - own @ own / own.sum()))
    weights = 1 / (1 / own + between)
    slope, square = float(weights @ found / weights.sum()), 1 / float(weights.sum())
    sure = max(0.0, 1 - square / slope**2) if slope else 0.0
    return Line(slope * sure, math.sqrt(square + between) if sure else 0.0, place)


def straightened(falls: PerShadow, plain: PerShadow, slope: float) -> dict[str, dict[int, float]]:
    """Each record's falls as if it had stood at its own mean under every shadow."""
    found = {}
    for record, of in falls.items():
        at = plain.get(record, {})
        middle = fmean(at[k] for k in of if k in at) if any(k in at for k in of) else 0.0
        found[record] = {k: fall - slope * (at[k] - middle if k in at else 0.0) for k, fall in of.items()}
    return found


def mean_spread_of(shadowed: PerShadow, person: Mapping[str, str]) -> MeanSpread:
    """The spread of plain means over a whole table; rho is the median over people of how their records go together."""
    found: list[tuple[int, int, float]] = []
    variances, correlations = [], []
    for records in by_person(shadowed, person).values():
        shadows, n = shared(shadowed, records), len(records)
        if len(shadows) < 2:
            continue
        scores = np.array([[shadowed[r][k] for k in shadows] for r in records])
        each, mean = float(scores.var(1, ddof=1).mean()), float(scores.mean(0).var(ddof=1))
        variances.append(each)
        found.append((n, len(shadows), mean))
        if n > 1 and each > 0:
            correlations.append((n * mean / each - 1) / (n - 1))
    record = max(1e-12, fmean(variances)) if variances else 1e-12
    rough = MeanSpread(record, Prior(1.0, MOST_BORROWED), min(1.0, max(0.0, median(correlations or [1.0]))))
    prior = prior_of([mean / rough.expected(n) for n, _, mean in found], [k - 1 for _, k, _ in found])
    return replace(rough, person=prior)
