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
    """The AUC's 90 % interval must lie within centre ± margin: two one-sided tests at 5 %.

    The centre is what the attack would find were every forget record where the folds of a shadow table saw it, which
    never saw the person; 0.5 without a table. People differ, and one whose records are rarer than most has an AUC
    below 0.5 in every adapter that never learned from them. An exact fit can't have forgotten too much, so that only
    the upper side judges it: records that it still recognises stand in the train corpus under another name.

    Without a table the holdout stands for what unseen records look like. If a classifier of texts alone, which never
    met the people, tells learned from unseen beyond the same margin, it does not, and a pass would mean nothing.

    Records too short for an attack say nothing: without one that is long enough the gate can't tell.

    With fewer than 20 records on a side there is no interval: the gate can refuse, by an AUC outside the margin that
    the exact rank test supports, but never pass.
    """

    margin: float
    exact: bool = False
    attack: str = "loss"

    def __call__(self, before: Measurement, after: Measurement) -> Finding:
        """Judge the attack's AUC after the erasing; `before` is named in the sentence."""
        centre = 0.5 if after.expected_auc is None else after.expected_auc
        low, high = None if self.exact else max(0.0, centre - self.margin), min(1.0, centre + self.margin)
        if self.attack not in after.membership:
            short = f"{after.unscorable} of {len(after.forget.nlls)} forget records are too short"
            sentence = f"The {self.attack} attack needs records that are long enough on both sides; {short}."
            return Finding("membership", "inconclusive", None, None, (low, high), sentence)
        found = after.membership[self.attack]
        outcome = _outcome(found, low or 0.0, high)
        if outcome == "pass" and after.expected_auc is None and self._unlike(after.blind):
            assert after.blind is not None  # noqa: S101
            sentence = (
                "The holdout is no fair comparison: without any model its texts are told from the learned ones with an "
                f"AUC of {after.blind.auc:.2f}. Give a holdout of the same kind, or make a shadow table."
            )
            return Finding("membership", "inconclusive", found.auc, found.interval, (low, high), sentence)
        sentence = self._sentence(outcome, before.membership[self.attack], found, after.expected_auc)
        return Finding("membership", outcome, found.auc, found.interval, (low, high), sentence)

    def _unlike(self, blind: Membership | None) -> bool:
        if blind is None:
            return False
        if blind.interval is None:
            return blind.auc > 0.5 + self.margin and blind.p_value < ALARM
        return blind.interval[0] > 0.5 + self.margin

    def _sentence(self, outcome: Outcome, before: Membership, after: Membership, expected: float | None) -> str:
        goal = "0.50 is chance" if expected is None else f"{expected:.2f} is expected of an adapter that never saw them"
        change = f"The {self.attack} attack's AUC went from {before.auc:.2f} to {after.auc:.2f} ({goal})"
        if outcome == "pass":
            return f"{change}, within the margin of {self.margin:.2f} with its whole interval."
        if outcome == "fail" and after.auc < (0.5 if expected is None else expected):
            return f"{change}: the records are now less likely than unseen ones would be, which gives them away too."
        if outcome == "fail":
            return f"{change}: the records are still recognised."
        sizes = f"{after.members} records against {after.non_members}"
        return f"{change}; {sizes} are too few to tell within {self.margin:.2f}."


def _outcome(found: Membership, low: float, high: float) -> Outcome:
    if found.interval is None:
        outside = not low <= found.auc <= high
        return "fail" if outside and found.p_value < ALARM else "inconclusive"
    if low <= found.interval[0] and found.interval[1] <= high:
        return "pass"
    return "fail" if found.interval[1] < low or found.interval[0] > high else "inconclusive"
