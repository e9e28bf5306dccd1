"""The robustness gate: does what was forgotten come back once somebody tries?

4-bit rounding alone brought 83 % of what was forgotten in full precision back where 21 % had been left (arXiv
2410.16454). Any challenge also moves people never seen, whom nobody can remember: only what it brings back beyond
that is recovery. And it moves one person more than another, whoever learned of her: where a shadow table shows what it
does to this person's records in adapters that never saw her, only what is beyond that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean, stdev
from types import MappingProxyType
from typing import Literal

from scipy import stats

from unlearn.guards.base import Finding, Outcome
from unlearn.measurement import UNREADABLE, Expected, Group, Measurement

FEWEST_PEOPLE = 5
"""Below so many forgotten people the worst of them counts, from it on their mean."""

FEWEST_NEVER_SEEN = 3
"""Never-seen people below which nothing says what is chance."""

LEAST_FORGOTTEN_NATS = 0.1
"""A person whose NLL rose by less has forgotten too little for a share of it to mean anything; this counts instead."""


@dataclass(frozen=True)
class Recovery:
    """What a challenge undoes of the forgetting, in excess of what it does to the never seen.

    Attributes:
        share: of a person's forgetting, or of everybody's on the mean with five people and more.
        interval: what two one-sided tests leave, each at its level: by how adapters differ that never saw the person,
            or never-seen people from one another, and forgotten people where their mean counts; None with fewer than
            three never-seen people.
        null: what it is beyond: "shadows", adapters that never saw the person; "population", never-seen people.
    """

    share: float
    interval: tuple[float, float] | None
    null: Literal["shadows", "population"]


@dataclass(frozen=True)
class RobustnessGate:
    """Of each person's forgetting (the rise of the NLL), any challenge may undo a `share` that is not surely too much.

    Fails where the whole interval lies above `share`; passes where it lies below `margin`. What is neither can't be
    told from chance with so few records, and is for a person to see. Only what passes spends of the level that a
    ladder's methods share.

    Attributes:
        share: of the forgetting, that must not surely come back.
        margin: of the forgetting, less than which must surely come back.
        alpha: level of the test that passes.
        refusing: level of the test that fails.
        exact: whether the adapter is an exact fit.
    """

    share: float
    margin: float
    alpha: float = 0.05
    refusing: float = 0.05
    exact: bool = False

    def __call__(self, before: Measurement, after: Measurement) -> Finding:
        """Judge every challenge that was tried; the worst is the finding."""
        bounds = (None, self.share)
        if self.exact:
            return Finding("robustness", "pass", None, None, bounds, "An exact fit has nothing to bring back.")
        found = [
            (name, one)
            for name, several in _recoveries(before, after, (self.refusing, self.alpha)).items()
            for one in several
        ]
        left = f" Left out: {', '.join(after.skipped)}." if after.skipped else ""
        unreadable = sorted(name for name, why in after.skipped.items() if why == UNREADABLE)
        if unreadable:
            sentence = (
                f"Under '{unreadable[0]}' some of the people's records have no likelihood: nothing can be said.{left}"
            )
            return Finding("robustness", "inconclusive", None, None, bounds, sentence)
        if not found and after.skipped:
            sentence = f"None of the challenges that the policy asks for could be tried.{left}"
            return Finding("robustness", "inconclusive", None, None, bounds, sentence)
        if not found:
            return Finding("robustness", "untested", None, None, bounds, "The policy asks for no challenge.")
        order: tuple[Outcome, ...] = ("fail", "inconclusive", "pass")
        name, worst = min(found, key=lambda one: (order.index(self._outcome(one[1])), -_highest(one[1])))
        outcome = self._outcome(worst)
        sentence = self._sentence(outcome, name, worst, len({name for name, _ in found}))
        return Finding("robustness", outcome, worst.share, worst.interval, bounds, sentence + left)

    def _outcome(self, found: Recovery) -> Outcome:
        if found.interval is None:
            return "inconclusive"
        low, high = found.interval
        if low > self.share:
            return "fail"
        return "pass" if high < self.margin else "inconclusive"

    def _sentence(self, outcome: Outcome, name: str, worst: Recovery, tried: int) -> str:
        if worst.interval is None:
            return f"Under '{name}' too few never-seen people were there to say what is chance (worst of {tried})."
        if worst.share < NOTHING:
            return f"None of {tried} challenges brings anything back beyond what it does where nobody was learned."
        never = "in adapters that never saw her" if worst.null == "shadows" else "with people never seen"
        what = f"Under '{name}' {worst.share:.0%} of a person's forgetting comes back, more than {never}"
        if outcome == "fail":
            return f"{what}: surely more than {self.share:.0%} (worst of {tried})."
        if outcome == "inconclusive":
            return f"{what}; with so few records it may be as much as {worst.interval[1]:.0%} (worst of {tried})."
        return (
            f"{what}: not surely more than {self.share:.0%}, and surely less than {self.margin:.0%} (worst of {tried})."
        )


def _highest(found: Recovery) -> float:
    return math.inf if found.interval is None else found.interval[1]


NOTHING = 0.005
"""A share below which nothing comes back worth a number."""


def recoveries(before: Measurement, after: Measurement) -> dict[str, float]:
    """The share that each challenge undoes, of those that were tried on both sides, by name."""
    return {
        name: max(one.share for one in several) for name, several in _recoveries(before, after, (0.05, 0.05)).items()
    }


def _recoveries(
    before: Measurement, after: Measurement, levels: tuple[float, float]
) -> dict[str, tuple[Recovery, ...]]:
    return {
        name: recovery(before.forget, after, nlls, levels, after.expected_falls.get(name, {}))
        for name, nlls in after.challenges.items()
        if any(r in nlls for r in after.forget.nlls) and any(r in nlls for r in after.holdout.nlls)
    }


def recovery(
    before: Group,
    after: Measurement,
    nlls: Mapping[str, float],
    levels: tuple[float, float],
    expected: Mapping[str, Expected] = MappingProxyType({}),
) -> tuple[Recovery, ...]:
    """Share of each person's forgetting that a challenge undoes; from five people on, of all on the mean.

    Args:
        before: the forget records before the erasing.
        after: the measurement afterwards.
        nlls: NLLs under the challenge, nats per token, of some forget and some holdout records, by record id.
        levels: of the one-sided tests whose interval it is: of its lower and of its upper end.
        expected: by how much it lowers each person's NLL beyond never-seen people's in adapters that never saw her.
    """
    falls = {r: after.holdout.nlls[r] - nll for r, nll in nlls.items() if r in after.holdout.nlls}
    never = fmean(falls.values())
    tried = [record for record in after.forget.nlls if record in nlls]

    def people(of: Mapping[str, float]) -> dict[str, float]:
        return Group({record: of[record] for record in tried}, after.forget.person).person_means()

    earlier, later, challenged = people(before.nlls), people(after.forget.nlls), people(nlls)
    rises = {person: max(LEAST_FORGOTTEN_NATS, later[person] - earlier[person]) for person in later}
    known = expected if all(person in expected for person in later) else {}
    null: Literal["shadows", "population"] = "shadows" if known else "population"
    usual = {person: never + (known[person].mean if known else 0.0) for person in later}
    shares = {person: (later[person] - challenged[person] - usual[person]) / rises[person] for person in sorted(later)}
    unseen = {after.holdout.person[r] for r in falls}

    def around(share: float, half: Callable[[float], float]) -> Recovery:
        low, high = map(half, levels)
        sure = len(unseen) >= FEWEST_NEVER_SEEN and math.isfinite(high)
        return Recovery(share, (share - low, share + high) if sure else None, null)

    if len(shares) >= FEWEST_PEOPLE:
        values, n = list(shares.values()), len(shares)
        if known:
            control = [(known[person].error / rises[person] / n, known[person].freedom) for person in shares]
        else:
            chance = _error(falls, after.holdout.person)
            control = [(chance * fmean(1 / rise for rise in rises.values()), max(1, len(unseen) - 1))]
        errors = ((stdev(values) / math.sqrt(n), n - 1), *control)
        return (around(fmean(values), lambda alpha: _half(alpha, *errors)),)

    def half_of(person: str) -> Callable[[float], float]:
        if known:
            return lambda alpha: _half(alpha, (known[person].error, known[person].freedom)) / rises[person]
        records = sum(after.forget.person[r] == person for r in tried)
        return lambda alpha: _reach(alpha, falls, after.holdout.person, records) / rises[person]

    return tuple(around(share, half_of(person)) for person, share in shares.items())


def _half(alpha: float, *errors: tuple[float, float]) -> float:
    """Half the interval of a sum of parts, each with a standard error and its degrees of freedom.

    Those of the sum are Satterthwaite's (1946, Biometrics Bulletin 2, 6).
    """
    square = sum(error**2 for error, _ in errors)
    if square == 0.0:
        return 0.0
    freedom = square**2 / sum(error**4 / own for error, own in errors)
    return float(stats.t.ppf(1 - alpha, freedom)) * math.sqrt(square)


def _error(falls: Mapping[str, float], person: Mapping[str, str]) -> float:
    """Standard error of the mean over never-seen records; their people are the unit."""
    middle = fmean(falls.values())
    people: dict[str, float] = {}
    for record, fall in falls.items():
        people[person[record]] = people.get(person[record], 0.0) + (fall - middle) / len(falls)
    n = len(people)
    return math.sqrt(sum(one**2 for one in people.values()) * n / max(1, n - 1))


def _reach(alpha: float, falls: Mapping[str, float], person: Mapping[str, str], records: int) -> float:
    """How far a never-seen person of so many records may lie from the mean of all on either side; nats per token.

    Without end where they are too few to say.
    """
    people: dict[str, list[float]] = {}
    for record, fall in falls.items():
        people.setdefault(person[record], []).append(fall)
    if len(people) < FEWEST_NEVER_SEEN:
        return math.inf
    means = [fmean(values) for values in people.values()]
    several = [values for values in people.values() if len(values) > 1]
    freedom = sum(len(values) - 1 for values in several)
    within = sum(stdev(values) ** 2 * (len(values) - 1) for values in several) / freedom if freedom else 0.0
    usual = fmean(1 / len(values) for values in people.values())
    between = max(0.0, stdev(means) ** 2 - within * usual)
    variance = between + within / records
    return float(stats.t.ppf(1 - alpha, len(people) - 1)) * math.sqrt(variance * (1 + 1 / len(people)))
