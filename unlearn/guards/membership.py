"""The membership gate: do the forgotten people lie where adapters have them that never saw them?

Two-sided: people pushed beyond the never seen are as recognisable as memorised ones. "No difference was found" is no
pass: the whole interval must lie within the margin, and one of the tests must have seen the people before the erasing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import get_args

from unlearn.guards.base import SEEN, Finding, Outcome, attacks_for, most_left
from unlearn.measurement import Measurement, Membership, SubjectTest, in_form
from unlearn.policy import Tokenwise

ALARM = 0.01
"""p-value of the blind baseline's rank test below which texts differ, where people are too few for an interval."""

WORST_BLIND = 0.9
"""AUC of texts alone that its interval must exclude: where it does not, nobody would have seen an unfair holdout."""

MOST_UNSCORABLE = 0.5
"""Share of the forget records that may be too short for an attack; those that are not stand for them."""

ALONE = (
    "These people lie among the never-seen ones. Nothing shows that the test would have seen them where they were "
    "learned: give the adapter as it was before the erasing, too."
)

NAMES = {
    "loss": "loss",
    "min_k": "Min-K %",
    "min_k_plus_plus": "Min-K %++",
    "known_tokens": "known-tokens",
    "lost_tokens": "lost-tokens",
}


@dataclass(frozen=True)
class MembershipGate:
    """Non-inferiority and its mirror for each of `attacks`: all must pass (an intersection-union test).

    The null are shadows that never saw the person, or never-seen people under the same adapter where there are none;
    then the holdout must be like the learned, which a classifier of texts alone must not deny. An exact fit can't have
    forgotten too much, so that only the upper side judges it: people whom it still recognises stand in the train
    corpus under another name.

    What lies beyond the margin and is surely off the null is refused; what may be on either side of it can't be told.
    Half of where the people were before counts as the margin does, where it is nearer: so the adapter as it was can
    never pass for its erasing, and is refused wherever the test sees the people at all.

    Attributes:
        margin: how far people may lie from the null, in standard deviations of one record.
        alpha: level of each one-sided test that passes.
        refusing: level of the test that fails; only what passes spends of the level that a ladder's methods share.
        attacks: whose scores are tested.
        on_records: what takes the place of attacks on tokens where no table says how tokens vary. Where one does, they
            need not pass, and refuse as ever: one token counts for little among tokens, and one that was made
            impossible moves a mean.
        blind_margin: by how much texts alone may tell the holdout apart, in AUC.
        deployed: the format of fewer bits that is served, if there is one; the loss attack must pass in it, too.
        exact: whether the adapter is an exact fit.
    """

    margin: float
    alpha: float
    attacks: tuple[str, ...]
    blind_margin: float
    exact: bool = False
    deployed: str | None = None
    refusing: float = 0.05
    on_records: tuple[str, ...] = ("loss", "min_k_plus_plus")

    def __call__(self, before: Measurement, after: Measurement) -> Finding:
        """Judge each attack's subject test; the worst is the finding."""
        bounds = (None if self.exact else -self.margin, self.margin)
        served = () if self.deployed is None or before is after else (in_form(self.deployed),)
        attacks = attacks_for(after, self.attacks, self.on_records)
        wanted = (*attacks, *served)
        found = {name: after.subject_tests[name] for name in wanted if name in after.subject_tests}
        if len(found) < len(wanted):
            return Finding("membership", "inconclusive", None, None, bounds, self._untested(after))
        if after.unscorable > MOST_UNSCORABLE * len(after.forget.nlls):
            sentence = (
                f"{after.unscorable} of {len(after.forget.nlls)} forget records are too short for an attack; the "
                "others do not speak for them."
            )
            return Finding("membership", "inconclusive", None, None, bounds, sentence)
        order: tuple[Outcome, ...] = ("fail", "inconclusive", "pass")
        erased = not self.exact and before is not after  # of an exact fit, or without a before, nothing can be left
        most = most_left(before, attacks) if erased else {}
        outcomes = {name: self._outcome(test, most.get(name, math.inf)) for name, test in found.items()}
        left = most_left(before, self.on_records) if erased else {}
        for name in self.on_records if any(a in get_args(Tokenwise) for a in attacks) else ():
            test = after.subject_tests.get(name)
            if test is not None and name not in found and self._refuses(test, left.get(name, math.inf)):
                found[name], outcomes[name], most[name] = test, "fail", left.get(name, math.inf)
        name = min(found, key=lambda one: (order.index(outcomes[one]), -abs(found[one].shift)))
        test, outcome = found[name], outcomes[name]
        interval = test.interval(self.alpha)
        sentence = self._sentence(outcome, name, before.subject_tests.get(name), test, most.get(name, math.inf))
        if before is after and outcome != "fail":
            outcome, sentence = "inconclusive", ALONE
        elif outcome == "pass":
            doubt = self._not_seen_before(before, attacks) or (
                self._unlike(after.blind) if test.null == "population" else None
            )
            if doubt is not None:
                outcome, sentence = "inconclusive", doubt
        return Finding("membership", outcome, test.shift, interval, bounds, sentence)

    def _refuses(self, test: SubjectTest, most_left: float) -> bool:
        """Whether people lie beyond the margin, or `most_left` above, and surely off the null."""
        low, high = test.interval(self.refusing)
        below = test.shift < -self.margin and high < 0 and not self.exact
        return below or (test.shift > min(self.margin, most_left) and low > 0)

    def _outcome(self, test: SubjectTest, most_left: float) -> Outcome:
        if self._refuses(test, most_left):
            return "fail"
        low, high = test.interval(self.alpha)
        within = high < min(self.margin, most_left) and (self.exact or low > -self.margin)
        return "pass" if within else "inconclusive"

    def _untested(self, after: Measurement) -> str:
        if self.deployed is not None and self.deployed in after.skipped:
            return f"In the deployed format, {self.deployed}, nothing could be read: {after.skipped[self.deployed]}."
        if after.unscorable == len(after.forget.nlls):
            return f"All {after.unscorable} forget records are too short for an attack; nothing can be said of them."
        return (
            "Too few never-seen people are long enough on paper to compare with; give a larger holdout, or make a "
            "shadow table."
        )

    def _not_seen_before(self, before: Measurement, attacks: tuple[str, ...]) -> str | None:
        if any(n in before.subject_tests and before.subject_tests[n].p_value <= SEEN for n in attacks):
            return None
        which = " or ".join(NAMES.get(name, name) for name in attacks)
        return (
            f"No {which} attack sees these people in the adapter as it was, so that seeing nothing now means nothing. "
            "Only the other checks speak for it."
        )

    def _unlike(self, blind: Membership | None) -> str | None:
        if blind is None:
            return (
                "Nothing says whether the holdout is a fair comparison: a classifier of texts needs five people on "
                "either side. Name the people of its records, give a larger holdout, or make a shadow table."
            )
        fair = 0.5 + self.blind_margin
        least, most = blind.interval or _rough_interval(blind)
        if least > fair or (blind.interval is None and blind.auc > fair and blind.p_value < ALARM):
            return (
                "The holdout is no fair comparison: without any model its texts are told from the learned ones with an "
                f"AUC of {blind.auc:.2f}. Give a holdout of the same kind, or make a shadow table."
            )
        if blind.auc < fair and most < max(fair, WORST_BLIND):
            return None
        return (
            "Whether the holdout is a fair comparison can't be told: without any model its texts are told from the "
            f"learned ones with an AUC of {blind.auc:.2f}, and {min(blind.members, blind.non_members)} people are too "
            "few to say more. Give a larger holdout, or make a shadow table."
        )

    def _sentence(
        self, outcome: Outcome, name: str, before: SubjectTest | None, after: SubjectTest, most_left: float
    ) -> str:
        null = (
            f"{after.nulls} adapters that never saw them"
            if after.null == "shadows"
            else f"{after.nulls} never-seen people under the same adapter"
        )
        earlier = "" if before is None or before == after else f" ({before.shift:+.1f} before)"
        what = (
            f"In the {NAMES.get(name, name)} attack the people lie {after.shift:+.1f} standard deviations of a record"
        )
        where = f"{what} from {null}{earlier}"
        if outcome == "pass":
            return f"{where}, within ±{self.margin:g} with the whole interval."
        if outcome == "fail" and after.shift < 0:
            return f"{where}: their records are less likely than unseen ones would be, which gives them away too."
        if outcome == "fail":
            left = (
                ""
                if after.shift > self.margin
                else f", and more than half of where they were ({most_left:+.1f}) is left"
            )
            return f"{where}: they are still recognised{left}."
        low, high = after.interval(self.alpha)
        if high < self.margin and (self.exact or low > -self.margin):
            return f"{where}; half of where they were ({most_left:+.1f}) may be left, so that it can't be told."
        sizes = f"{after.records} record{'s' * (after.records > 1)} of {_people(after.people)}"
        return f"{where}; {sizes} can't be told from ±{self.margin:g} for sure.{self._need(after)}"

    def _need(self, test: SubjectTest) -> str:
        """What pooling would need, if the shift stayed as it is."""
        room = self.margin - abs(test.shift)
        if room <= 0:
            return ""
        low, high = test.interval(self.alpha)
        people = max(test.people + 1, math.ceil(test.people * ((high - low) / 2 / room) ** 2))
        return f" Requests of about {people} people, judged together, could."


def _rough_interval(found: Membership) -> tuple[float, float]:
    """A 90 % interval of few people's AUC, from its value alone (Hanley and McNeil 1982, Radiology 143, 29-36)."""
    a, m, n = found.auc, found.members, found.non_members
    square = a * (1 - a) + (m - 1) * (a / (2 - a) - a**2) + (n - 1) * (2 * a**2 / (1 + a) - a**2)
    half = 1.645 * math.sqrt(max(0.0, square) / (m * n))
    return a - half, a + half


def _people(number: int) -> str:
    return "one person" if number == 1 else f"{number} people"
