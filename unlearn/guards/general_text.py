"""The governor of general text: what the adapter must still say as before, far from anybody's records."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.guards.base import Intervention
from unlearn.measurement import Pulse


@dataclass(frozen=True)
class GeneralText:
    """Roll back when the NLL on the probe of general text rises by more than the budget.

    The budget is `share` of the original adapter's NLL on the probe.
    """

    share: float

    def __call__(self, pulse: Pulse) -> Intervention | None:
        """Judge the rise, nats per token; silent between the probe's looks."""
        if pulse.general_rise_nats is None or pulse.general_nll_nats is None:
            return None
        budget = self.share * pulse.general_nll_nats
        if pulse.general_rise_nats <= budget:
            return None
        sentence = (
            f"The NLL of general text rose by {pulse.general_rise_nats:.4f} nats per token; the budget is {budget:.4f}."
        )
        return Intervention("general_text", "rollback", pulse.general_rise_nats, budget, sentence)
