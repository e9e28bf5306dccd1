"""The robustness gate: does what was forgotten come back once somebody tries?

4-bit rounding alone brought 83 % of what was forgotten in full precision back where 21 % had been left (arXiv
2410.16454). Any challenge also moves people never seen, whom nobody can remember: only what it brings back beyond
that is recovery.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy import stats

from unlearn.guards.base import Finding, Outcome
from unlearn.measurement import Group, Measurement

FEWEST_PEOPLE = 5
"""Below so many forgotten people the worst of them counts, above it the upper end of their mean's 90 % interval."""

LEAST_FORGOTTEN_NATS = 0.1
"""A person whose NLL rose by less has forgotten too little for a share of it to mean anything; this counts instead."""


@dataclass(frozen=True)
class RobustnessGate:
    """Of each person's forgetting (the rise of the NLL), at most `share` may be undone by any challenge."""

    share: float
    exact: bool = False

    def __call__(self, before: Measurement, after: Measurement) -> Finding:
        """Judge the largest recovery over the challenges that were tried."""
        found = recoveries(before, after)
        bounds = (None, self.share)
        if self.exact:
            return Finding("robustness", "pass", None, None, bounds, "An exact fit has nothing to bring back.")
        left = f" Left out for want of budget: {', '.join(after.skipped)}." if after.skipped else ""
        if not found:
            return Finding("robustness", "pass", None, None, bounds, f"The policy asks for no challenge.{left}")
        name, worst = max(found.items(), key=lambda item: item[1])
        beyond = [one for one, share in found.items() if share > self.share]
        sentence = (
            f"Under '{name}' {worst:.0%} of a person's forgetting comes back, more than with people never seen; "
            f"{self.share:.0%} may"
            + (f" ({len(beyond)} of {len(found)} challenges bring more)." if beyond else f" (worst of {len(found)}).")
            if worst >= 0.005
            else f"None of {len(found)} challenges brings anything back beyond what it does to people never seen."
        )
        outcome: Outcome = "fail" if beyond else "pass"
        return Finding("robustness", outcome, worst, None, bounds, sentence + left)


def recoveries(before: Measurement, after: Measurement) -> dict[str, float]:
    """The recovery of each challenge that was tried on both sides, by its name."""
    return {
        name: recovery(before.forget, after, nlls)
        for name, nlls in after.challenges.items()
        if any(r in nlls for r in after.forget.nlls) and any(r in nlls for r in after.holdout.nlls)
    }


def recovery(before: Group, after: Measurement, nlls: Mapping[str, float]) -> float:
    """Share of the forgetting that a challenge undoes, in excess of what it does to the never seen.

    The worst person's, or with five people and more the upper end of the 90 % interval of their mean.

    Args:
        before: the forget records before the erasing.
        after: the measurement afterwards.
        nlls: NLLs under the challenge, nats per token, of some forget and some holdout records, by record id.
    """
    never = fmean(after.holdout.nlls[r] - nll for r, nll in nlls.items() if r in after.holdout.nlls)
    tried = [record for record in after.forget.nlls if record in nlls]

    def people(of: Mapping[str, float]) -> dict[str, float]:
        return Group({record: of[record] for record in tried}, after.forget.person).person_means()

    earlier, later, challenged = people(before.nlls), people(after.forget.nlls), people(nlls)
    shares = [
        (later[person] - challenged[person] - never) / max(LEAST_FORGOTTEN_NATS, later[person] - earlier[person])
        for person in sorted(later)
    ]
    if len(shares) < FEWEST_PEOPLE:
        return max(shares)
    half = float(stats.t.ppf(0.95, len(shares) - 1)) * stdev(shares) / math.sqrt(len(shares))
    return fmean(shares) + half
