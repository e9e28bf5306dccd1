"""The governor of the retain KL: how far the adapter may move, as a distribution, where nothing is to be forgotten."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.guards.base import Intervention
from unlearn.measurement import Pulse


@dataclass(frozen=True)
class RetainKl:
    """Roll back when the window's mean retain KL to the original adapter exceeds the budget."""

    budget_nats: float

    def __call__(self, pulse: Pulse) -> Intervention | None:
        """Judge the retain KL, nats per token."""
        if pulse.retain_kl_nats <= self.budget_nats:
            return None
        sentence = (
            f"The retain KL reached {pulse.retain_kl_nats:.4f} nats per token over {pulse.window_records} records; "
            f"the budget is {self.budget_nats:.4f}."
        )
        return Intervention("retain_kl", "rollback", pulse.retain_kl_nats, self.budget_nats, sentence)
