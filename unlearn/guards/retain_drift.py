"""The retain gate: did the people who stay lose anything? Measured on records the loop never trained on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy import stats

from unlearn.guards.base import Finding, Outcome
from unlearn.measurement import Measurement

CONFIDENCE = 0.90


@dataclass(frozen=True)
class RetainDriftGate:
    """The rise of the retain NLL, paired by person, must stay within the budget with its whole 90 % t-interval.

    The budget is `share` of the NLL before, and `floor_nats` at least. Only the upper end counts.
    """

    share: float
    floor_nats: float

    def __call__(self, before: Measurement, after: Measurement) -> Finding:
        """Judge mean(after - before) over people, nats per token."""
        earlier, later = before.retain.person_means(), after.retain.person_means()
        rises = [later[person] - earlier[person] for person in sorted(earlier)]
        rise, interval = fmean(rises), _t_interval(rises)
        budget = max(self.share * before.retain.mean, self.floor_nats)
        outcome: Outcome = "inconclusive"
        if interval is not None and interval[1] <= budget:
            outcome = "pass"
        elif interval is not None and interval[0] > budget:
            outcome = "fail"
        sentence = (
            f"The NLL of {len(rises)} people who stay moved by {rise:+.3f} nats per token "
            f"({rise / before.retain.mean:+.1%}); the budget is {budget:.3f}."
        )
        return Finding("retain_drift", outcome, rise, interval, (None, budget), sentence)


def _t_interval(values: list[float]) -> tuple[float, float] | None:
    """Student's interval of the mean; None for fewer than two values."""
    if len(values) < 2:
        return None
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return fmean(values) - half, fmean(values) + half
