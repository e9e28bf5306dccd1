"""Statistics of membership scores: AUC with interval and rank test, alarms, and the tests of whole people.

Non-inferiority both ways: is a person further than a margin from where adapters have her that never saw her? Pure
functions of scores; larger means member. Knows no model and no verdict.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np
from scipy import optimize, special, stats

from unlearn.measurement import Membership, SubjectTest

MIN_FOR_INTERVAL = 20
"""Records on a side below which coverage is not trustworthy: 0.90 to 0.92 for a nominal 0.95 at 5 to 10 records."""

TAIL = 0.05
"""Chance that an AUC lies beyond one end of its interval."""

DRAWS = 9999
"""Of the rank test where scores tie or pairs are too many."""

MOST_PAIRS = 10_000
"""Of records on the two sides up to which the rank test is exact: the time that takes grows faster than they do."""

POWER = 0.9
"""AUC that an attack must exceed before the erasing for its silence afterwards to say something."""

FPRS = (0.1, 0.01, 0.001)
"""False-positive rates at which the true-positive rate is told, where there are non-members enough."""


def has_power(before: Membership) -> bool:
    """Whether an attack sees what an adapter did learn; one that does not can say nothing of what is left."""
    return before.auc > POWER


def compare(members: Sequence[float], non_members: Sequence[float]) -> Membership:
    """Compare attack scores of presumed members with those of non-members; larger means member.

    The 90 % interval is DeLong's variance on the logit scale (DeLong, DeLong and Clarke-Pearson 1988), and one-sided
    binomial when the two separate wholly, where that variance is zero. It counts records as independent.

    Raises:
        ValueError: a side is empty.
    """
    if not len(members) or not len(non_members):
        raise ValueError(f"{len(members)} members and {len(non_members)} non-members can't be compared")
    auc, variance = _delong(np.asarray(members, float), np.asarray(non_members, float))
    fewest = min(len(members), len(non_members))
    interval = _interval(auc, variance, fewest) if fewest >= MIN_FOR_INTERVAL else None
    p_value = _rank_test(np.asarray(members, float), np.asarray(non_members, float))
    rates = {f"{fpr:g}": tpr_at(members, non_members, fpr) for fpr in FPRS}
    known = {fpr: rate for fpr, rate in rates.items() if rate is not None}
    return Membership(auc, interval, p_value, len(members), len(non_members), known)


def _rank_test(x: np.ndarray, y: np.ndarray) -> float:
    """Two-sided p-value of Mann and Whitney: the normal one where both sides are many, else exact without ties.

    With ties, or too many pairs for the exact one: how many draws of the smaller side from all, seeded, are as far out.
    """
    few, many = sorted((x, y), key=len)
    ranks = stats.rankdata(np.concatenate([few, many])) - (len(few) + len(many) + 1) / 2  # midranks about their mean
    tied = len(np.unique(ranks)) < len(ranks)
    if len(few) >= MIN_FOR_INTERVAL or not (tied or len(few) * len(many) > MOST_PAIRS):
        method = "asymptotic" if len(few) >= MIN_FOR_INTERVAL else "exact"
        return float(stats.mannwhitneyu(x, y, alternative="two-sided", method=method).pvalue)
    drawn = ranks[_distinct(len(ranks), len(few))].sum(1)
    return float((1 + (abs(drawn) >= abs(ranks[: len(few)].sum()) - 1e-9).sum()) / (DRAWS + 1))


def _distinct(among: int, size: int) -> np.ndarray:
    """DRAWS draws of `size` different numbers below `among` (Floyd's algorithm): int64 [DRAWS, size]."""
    random, chosen = np.random.default_rng(0), np.empty((DRAWS, size), np.int64)
    for place, last in enumerate(range(among - size, among)):
        drawn = random.integers(0, last + 1, DRAWS)
        taken = (chosen[:, :place] == drawn[:, None]).any(1)
        chosen[:, place] = np.where(taken, last, drawn)
    return chosen


def _delong(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """AUC = P(x > y) + P(x = y)/2, and its variance from the two structural components."""
    wins = (x[:, None] > y[None, :]) + 0.5 * (x[:, None] == y[None, :])  # [members, non-members]
    auc = float(wins.mean())
    if min(wins.shape) < 2:
        return auc, math.nan
    return auc, float(wins.mean(1).var(ddof=1) / len(x) + wins.mean(0).var(ddof=1) / len(y))


def _interval(auc: float, variance: float, fewest: int) -> tuple[float, float]:
    if variance == 0.0 or auc in (0.0, 1.0):
        reach = 1 - TAIL ** (1 / fewest)
        return max(0.0, auc - reach), min(1.0, auc + reach)
    logit = math.log(auc / (1 - auc))
    half = float(stats.norm.ppf(1 - TAIL)) * math.sqrt(variance) / (auc * (1 - auc))
    return 1 / (1 + math.exp(half - logit)), 1 / (1 + math.exp(-half - logit))


FEWEST_SHADOWS = 6
"""Shadows that never saw a person below which their spread is not known well enough."""

FEWEST_PEOPLE = 5
"""Never-seen people below which theirs is not."""

ALARM = 0.01
"""Chance that an adapter which never saw any of the records alarms at one of them."""


@dataclass(frozen=True)
class Prior:
    """What variances are like in a table: a scaled inverse chi-square distribution (Smyth 2004,
    Statistical Applications in Genetics and Molecular Biology 3, 1, article 3).

    Attributes:
        variance: its scale.
        freedom: its degrees of freedom; few where variances differ much, so that little is borrowed from others.
    """

    variance: float
    freedom: float

    def with_own(self, variance: float, shadows: int) -> float:
        """The moderated variance of one whose own, over so many shadows, is `variance`."""
        return (self.freedom * self.variance + (shadows - 1) * variance) / (self.freedom + shadows - 1)


@dataclass(frozen=True)
class Spread:
    """How shadows differ about people whom none of them saw.

    Attributes:
        record: of one record's score.
        person: of the mean of a person's standardised scores, beside what its number of records lets expect.
        correlation: of one person's records within a shadow, in [0, 1].
        tail: degrees of freedom of the Student's t whose upper percentile is that of single records.
    """

    record: Prior
    person: Prior
    correlation: float
    tail: float = math.inf

    def expected(self, records: int) -> float:
        """Variance of the mean of so many standardised scores of one person."""
        return (1 + (records - 1) * self.correlation) / records


MOST_BORROWED = 30.0
"""Degrees of freedom that are borrowed at most, however alike the variances seem."""

Scores = Mapping[str, float]
PerShadow = Mapping[str, Mapping[int, float]]
"""Record id -> shadow -> score, centred by the holdout's mean under that shadow."""


def prior_of(variances: Sequence[float], freedoms: Sequence[int]) -> Prior:
    """Fit a prior to sample variances by the moments of their logarithms (Smyth 2004)."""
    pairs = [(v, d) for v, d in zip(variances, freedoms, strict=True) if v > 1e-12 and d > 0]
    if not pairs:
        return Prior(1e-12, MOST_BORROWED)
    half = np.array([d / 2 for _, d in pairs])
    logs = np.log([v for v, _ in pairs]) - special.digamma(half) + np.log(half)
    beyond = float(logs.var(ddof=1) - special.polygamma(1, half).mean()) if len(pairs) > 1 else 0.0
    freedom = MOST_BORROWED
    if beyond > special.polygamma(1, MOST_BORROWED / 2):
        freedom = 2 * float(optimize.brentq(lambda x: special.polygamma(1, x) - beyond, 1e-3, 1e3))
    centre = float(logs.mean() + special.digamma(freedom / 2) - math.log(freedom / 2))
    return Prior(math.exp(centre), freedom)


def spread_of(shadowed: PerShadow, person: Mapping[str, str]) -> Spread:
    """The spread over a whole table: of records, then of people's standardised means.

    A mean of n records varies by (1 + (n - 1) rho) / n; rho is the median over people of how their records go together.
    """
    own = {r: float(np.var(list(of.values()), ddof=1)) for r, of in shadowed.items() if len(of) > 1}
    record = prior_of(list(own.values()), [len(shadowed[r]) - 1 for r in own])
    found: list[tuple[int, int, float]] = []
    correlations = []
    single: list[np.ndarray] = []
    for records in by_person(own, person).values():
        shadows, n = shared(shadowed, records), len(records)
        if len(shadows) > 1:
            residuals = _left_out(np.array([[shadowed[r][k] for k in shadows] for r in records]), record)
            mean, each = float((residuals.mean(0) ** 2).mean()), float((residuals**2).mean())
            found.append((n, len(shadows), mean * (len(shadows) - 1) / len(shadows)))
            single.append(residuals.ravel() * math.sqrt((len(shadows) - 1) / len(shadows)))
            if n > 1 and each > 0:
                correlations.append((n * mean / each - 1) / (n - 1))
    correlation = min(1.0, max(0.0, median(correlations))) if correlations else 1.0
    ratios = [mean * n / (1 + (n - 1) * correlation) for n, _, mean in found]
    return Spread(record, prior_of(ratios, [k - 1 for _, k, _ in found]), correlation, _tail(single))


def _tail(single: Sequence[np.ndarray]) -> float:
    """Degrees of freedom of the Student's t whose upper percentile is that of all these; one at least."""
    percentile = float(np.quantile(np.concatenate(single), 1 - ALARM)) if single else 0.0
    if percentile <= stats.norm.ppf(1 - ALARM):
        return math.inf
    if percentile >= stats.t.ppf(1 - ALARM, 1):
        return 1.0
    return float(optimize.brentq(lambda freedom: stats.t.ppf(1 - ALARM, freedom) - percentile, 1.0, 1e6))


def judge_by_shadows(
    found: Scores,
    shadowed: PerShadow,
    person: Mapping[str, str],
    spread: Spread,
    fewest_shadows: int = FEWEST_SHADOWS,
) -> SubjectTest | None:
    """Where people lie among the shadows that never saw them: a moderated t-test; the person is the unit.

    A record weighs by what it varies among its shadows. A person's error is that of each shadow judged by the others,
    weights included. Each variance is moderated by those of the whole table. Several people count as independent unless
    the shadows say that they move together.

    Args:
        found: scores under the adapter in question, centred by the holdout's mean under it.
        shadowed: the same records under the shadows that never saw their person.
        person: of each record.
        spread: of the whole table.
        fewest_shadows: that a person needs.

    Returns:
        None if a record is missing there, or somebody has too few shadows.
    """
    shifts, errors, freedoms, fewest = [], [], [], []
    together: dict[int, list[float]] = {}
    for records in by_person(found, person).values():
        shadows = shared(shadowed, records)
        n, k = len(records), len(shadows)
        if k < max(2, fewest_shadows):
            return None
        scores = np.array([[shadowed[r][shadow] for shadow in shadows] for r in records])
        weights = _weights(scores, spread.record)
        shifts.append(float((weights * (np.array([found[r] for r in records]) - scores.mean(1))).mean()))
        residuals = _left_out(scores, spread.record).mean(0)
        own = float((residuals**2).mean()) * (k - 1) / k
        expected = spread.expected(n)
        variance = expected * spread.person.with_own(own / expected, k)
        errors.append(variance * (1 + 1 / k))
        freedoms.append(spread.person.freedom + k - 1)
        fewest.append(k)
        for shadow, residual in zip(shadows, residuals * math.sqrt((k - 1) / k), strict=True):
            together.setdefault(shadow, []).append(float(residual))
    if not shifts:
        return None
    people = len(shifts)
    square = sum(errors) / people**2
    freedom = sum(errors) ** 2 / sum(e**2 / f for e, f in zip(errors, freedoms, strict=True))
    jointly = fmean(fmean(one) ** 2 for one in together.values()) * (1 + 1 / len(together))
    if people > 1 and jointly > square:
        square, freedom = jointly, len(together) - 1.0
    return SubjectTest(fmean(shifts), math.sqrt(square), freedom, "shadows", min(fewest), people, len(found))


def _weights(scores: np.ndarray, prior: Prior) -> np.ndarray:
    """One over the moderated deviation of each row of `scores` [records, shadows]."""
    shadows = scores.shape[1]
    return np.array([prior.with_own(float(v), shadows) for v in scores.var(1, ddof=1)]) ** -0.5


def _left_out(scores: np.ndarray, prior: Prior) -> np.ndarray:
    """Each shadow's scores less the others' mean, in the others' moderated deviations: [records, shadows]."""
    shadows = scores.shape[1]
    residuals = np.empty_like(scores)
    for one in range(shadows):
        others = np.delete(scores, one, axis=1)
        if shadows > 2:
            residuals[:, one] = _weights(others, prior) * (scores[:, one] - others.mean(1))
        else:
            residuals[:, one] = (scores[:, one] - others.mean(1)) / math.sqrt(prior.variance)
    return residuals


def judge_by_population(
    found: Scores, unseen: Scores, known: Mapping[str, Sequence[float]], person: Mapping[str, str]
) -> SubjectTest | None:
    """Where people lie among never-seen people under the same adapter, beyond what is known of their records.

    A line through the never-seen records takes out what makes a record hard for anybody; what is left is put in its
    standard deviations. The person is the unit; how much one person's records go together is seen on the never seen,
    and widens the line's own error as well, which grows the further the forget records are from the never-seen ones.

    Args:
        found, unseen: scores of the forget and of the holdout records.
        known: numbers that say how hard a record is without the adapter, of all of them.
        person: of each record.

    Returns:
        None with fewer than five never-seen people, or when they all score alike.
    """
    groups = by_person(unseen, person)
    width = 1 + max((len(row) for row in known.values()), default=0)
    if not found or len(groups) < FEWEST_PEOPLE or len(unseen) <= 2 * width:
        return None
    ids = list(unseen)
    design = np.array([[1.0, *known[r]] for r in ids])
    values = np.array([unseen[r] for r in ids])
    line, *_ = np.linalg.lstsq(design, values, rcond=None)
    rest = values - design @ line
    deviation = float(np.sqrt(rest @ rest / (len(ids) - width)))
    if deviation < 1e-9 * max(1.0, float(np.abs(values).max())):
        return None
    standard = dict(zip(ids, rest / deviation, strict=True))
    sizes = [len(records) for records in groups.values()]
    means = [fmean(standard[r] for r in records) for records in groups.values()]
    pairs = sum(n - 1 for n in sizes)
    beyond = sum(n * mean**2 - 1.0 for n, mean in zip(sizes, means, strict=True))
    correlation = min(1.0, max(0.0, beyond / pairs)) if pairs else 0.0
    forgotten = by_person(found, person)
    shifts = [
        fmean((found[r] - float(np.array([1.0, *known[r]]) @ line)) / deviation for r in records)
        for records in forgotten.values()
    ]
    variances = [(1 + (len(records) - 1) * correlation) / len(records) for records in forgotten.values()]
    middle = np.mean([np.mean([[1.0, *known[r]] for r in records], axis=0) for records in forgotten.values()], axis=0)
    pull = dict(zip(ids, np.linalg.pinv(design).T @ middle, strict=True))  # of each never-seen record on the line there
    alone = sum(one**2 for one in pull.values())
    together = sum(sum(pull[r] for r in records) ** 2 for records in groups.values())
    level = float((1 - correlation) * alone + correlation * together)
    error = math.sqrt(sum(variances) / len(shifts) ** 2 + level)
    freedom = float(max(1, len(groups) - width))
    return SubjectTest(fmean(shifts), error, freedom, "population", len(groups), len(shifts), len(found))


def alarms(found: Scores, unseen: Scores, level: float = ALARM) -> tuple[str, ...] | None:
    """Records that stand out of the never seen on the members' side: conformal p-values under Holm's rule.

    p = (1 + number of never-seen scores at or above it) / (never seen + 1); exact if the records are exchangeable.

    Returns:
        Their ids, most striking first; None where so few never-seen records could not raise a single alarm.
    """
    null = np.sort(list(unseen.values()))
    if not found or (1 / (len(null) + 1)) * len(found) > level:
        return None
    p = {r: (1 + len(null) - int(np.searchsorted(null, score, "left"))) / (len(null) + 1) for r, score in found.items()}
    return _holm(p, level)


def alarms_by_shadows(
    found: Scores, shadowed: PerShadow, spread: Spread, level: float = ALARM
) -> tuple[str, ...] | None:
    """The same of records with shadows of their own: moderated t-tests on the members' side under Holm's rule.

    A few shadows say little of how far out one record may lie: the t has the table's own tail where it is heavier.

    Args:
        found: scores under the adapter in question, centred by the holdout's mean under it.
        shadowed: the same records under the shadows that never saw their person.
        spread: of the whole table.
        level: chance that an adapter which never saw any of them alarms.

    Returns:
        Ids of those that stand out, most striking first; None where a record has too few shadows.
    """
    p = {}
    for record, score in found.items():
        own = np.array(list(shadowed.get(record, {}).values()))
        if (k := len(own)) < FEWEST_SHADOWS:
            return None
        error = math.sqrt(spread.record.with_own(float(own.var(ddof=1)), k) * (1 + 1 / k))
        freedom = min(spread.record.freedom + k - 1, spread.tail)
        p[record] = float(stats.t.sf((score - own.mean()) / error, freedom))
    return _holm(p, level) if p else None


def _holm(p: Mapping[str, float], level: float) -> tuple[str, ...]:
    """Whose hypotheses fall at `level` for all, by Holm's rule; the surest first."""
    raised: list[str] = []
    for record in sorted(p, key=lambda r: (p[r], r)):
        if p[record] * (len(p) - len(raised)) > level:
            break
        raised.append(record)
    return tuple(raised)


def tpr_at(members: Sequence[float], non_members: Sequence[float], fpr: float) -> float | None:
    """True-positive rate at the threshold that lets at most `fpr` of the non-members through.

    None where fewer than ten non-members would pass: the rate would be that of one or two people.
    """
    if fpr * len(non_members) < 10:
        return None
    allowed = int(fpr * len(non_members))
    threshold = np.sort(np.asarray(non_members, float))[::-1][allowed]
    return float((np.asarray(members, float) > threshold).mean())


def by_person(records: Iterable[str], person: Mapping[str, str]) -> dict[str, list[str]]:
    """The records of each person."""
    people: dict[str, list[str]] = {}
    for record in records:
        people.setdefault(person[record], []).append(record)
    return people


def shared(shadowed: PerShadow, records: Sequence[str]) -> list[int]:
    """The shadows that read every one of `records`."""
    return sorted(set.intersection(*(set(shadowed.get(record, {})) for record in records)))
