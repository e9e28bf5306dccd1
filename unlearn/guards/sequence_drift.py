"""The sequence gate: what several erasings did to the people who stay, added up since the last exact fit.

A small loss a request is no loss to a gate that looks at one request; ten of them are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from unlearn.guards.base import Finding, Outcome
from unlearn.measurement import Measurement


@dataclass(frozen=True)
class SequenceDriftGate:
    """The summed rise of the retain NLL must stay within `share` of the NLL at the last exact fit.

    Attributes:
        share: the budget.
        lineage: erasures since the last exact fit, the one that is judged the last among them: `retain_nll_nats` before
            each and its `retain_rise_nats`. Empty for an exact fit, which has drifted from nothing.
    """

    share: float
    lineage: Sequence[Mapping[str, Any]] = field(default_factory=tuple)

    def __call__(self, before: Measurement, after: Measurement) -> Finding:
        """Judge the sum, nats per token; the measurements themselves are the retain gate's matter."""
        total = sum(float(one["retain_rise_nats"]) for one in self.lineage)
        first = float(self.lineage[0]["retain_nll_nats"]) if self.lineage else before.retain.mean
        budget = self.share * first
        sentence = "No erasing before this one since the last exact fit, so that nothing adds up."
        if len(self.lineage) > 1:
            sentence = (
                f"{len(self.lineage)} erasures since the last exact fit moved the retain NLL by {total:+.3f} nats per "
                f"token in all; the budget is {budget:.3f}."
            )
        outcome: Outcome = "pass" if total <= budget or len(self.lineage) < 2 else "fail"
        return Finding("sequence_drift", outcome, total, (total, total), (None, budget), sentence)
