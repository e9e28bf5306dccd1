"""The membership gate: can the loss attack still tell the forget records from people never seen?

Two-sided: records pushed far above the holdout are as recognisable as memorised ones.
"""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.guards.base import Finding, Outcome
from unlearn.measurement import Measurement, Membership

ALARM = 0.01
"""p-value of the rank test below which a request too small for an interval is refused rather than unclear."""


@dataclass(frozen=True)
class MembershipGate:
    """The AUC's 90 % interval must lie within 0.5 ± margin: two one-sided tests at 5 %.

    With fewer than 20 records on a side there is no interval: it can refuse, by an AUC outside the margin that the
    exact rank test supports, but never pass.
    """

    margin: float
    attack: str = "loss"

    def __call__(self, before: Measurement, after: Measurement) -> Finding:
        """Judge the attack's AUC after the erasing; `before` is named in the sentence."""
        found = after.membership[self.attack]
        outcome = self._outcome(found)
        return Finding(
            gate="membership",
            outcome=outcome,
            figure=found.auc,
            interval=found.interval,
            threshold=(0.5 - self.margin, 0.5 + self.margin),
            sentence=self._sentence(outcome, before.membership[self.attack], found),
        )

    def _outcome(self, found: Membership) -> Outcome:
        low, high = 0.5 - self.margin, 0.5 + self.margin
        if found.interval is None:
            outside = not low <= found.auc <= high
            return "fail" if outside and found.p_value < ALARM else "inconclusive"
        if low <= found.interval[0] and found.interval[1] <= high:
            return "pass"
        return "fail" if found.interval[1] < low or found.interval[0] > high else "inconclusive"

    def _sentence(self, outcome: Outcome, before: Membership, after: Membership) -> str:
        change = f"The {self.attack} attack's AUC went from {before.auc:.2f} to {after.auc:.2f} (0.50 is chance)"
        if outcome == "pass":
            return f"{change}, within the margin of {self.margin:.2f} with its whole interval."
        if outcome == "fail" and after.auc < 0.5:
            return f"{change}: the records are now less likely than people never seen, which gives them away too."
        if outcome == "fail":
            return f"{change}: the records are still recognised."
        sizes = f"{after.members} records against {after.non_members}"
        return f"{change}; {sizes} are too few to tell within {self.margin:.2f}."
