"""The quantisation gate: does what was forgotten come back once the adapter is deployed in fewer bits?

4-bit rounding brought 83 % of what was forgotten in full precision back where 21 % had been left (arXiv 2410.16454).
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
class QuantizationGate:
    """Of each person's forgetting (the rise of the NLL), at most `share` may be undone by a format.

    In excess of people never seen: rounding moves their NLL, too, and only what it takes back beyond that is recovery.
    """

    share: float
    exact: bool = False

    def __call__(self, before: Measurement, after: Measurement) -> Finding:
        """Judge the largest recovery over the formats that were measured."""
        found = {form: recovery(before.forget, after, nlls) for form, nlls in after.formats.items()}
        if not found or self.exact:
            why = "An exact fit has nothing to bring back" if self.exact else "No format of fewer bits is named"
            return Finding("quantization", "pass", None, None, (None, self.share), f"{why}.")
        form, worst = max(found.items(), key=lambda item: item[1])
        forms = " or ".join(sorted(found))
        sentence = (
            f"In {form} {worst:.0%} of a person's forgetting comes back, beyond what rounding does to people "
            f"never seen; {self.share:.0%} may."
            if worst >= 0.005
            else f"Nothing that was forgotten comes back in {forms}, beyond what rounding does to people never seen."
        )
        outcome: Outcome = "pass" if worst <= self.share else "fail"
        return Finding("quantization", outcome, worst, None, (None, self.share), sentence)


def recovery(before: Group, after: Measurement, nlls: Mapping[str, float]) -> float:
    """Share of the forgetting that a format undoes, in excess of what it does to the holdout; the worst or upper end.

    Args:
        before: the forget records before the erasing.
        after: the measurement afterwards, in full precision.
        nlls: NLLs of the forget and the holdout records in the format, nats per token, by record id.
    """
    never = fmean(nlls[record] - nll for record, nll in after.holdout.nlls.items())
    earlier, later = before.person_means(), after.forget.person_means()
    rounded = Group({record: nlls[record] for record in after.forget.nlls}, after.forget.person).person_means()
    shares = [
        (never - (rounded[person] - later[person])) / max(LEAST_FORGOTTEN_NATS, later[person] - earlier[person])
        for person in sorted(later)
    ]
    if len(shares) < FEWEST_PEOPLE:
        return max(shares)
    half = float(stats.t.ppf(0.95, len(shares) - 1)) * stdev(shares) / math.sqrt(len(shares))
    return fmean(shares) + half
