"""The governor of the retain NLL: what the people who stay lose while the loop walks."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.guards.base import Intervention
from unlearn.measurement import Pulse


@dataclass(frozen=True)
class RetainRise:
    """Roll back when the paired rise of the retain NLL over the window exceeds the budget.

    The budget is `share` of the original adapter's NLL on the same records, `floor_nats` at least.
    """

    share: float
    floor_nats: float

    def __call__(self, pulse: Pulse) -> Intervention | None:
        """Judge the rise, nats per token."""
        budget = max(self.share * pulse.retain_nll_nats, self.floor_nats)
        if pulse.retain_rise_nats <= budget:
            return None
        sentence = (
            f"The NLL of {pulse.window_records} retained records rose by {pulse.retain_rise_nats:.4f} nats per token; "
            f"the budget is {budget:.4f}."
        )
        return Intervention("retain_rise", "rollback", pulse.retain_rise_nats, budget, sentence)
