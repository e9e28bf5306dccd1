"""The governor of overshoot: a record pushed past where it would be unseen is as recognisable as a memorised one."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.guards.base import Intervention
from unlearn.measurement import Pulse


@dataclass(frozen=True)
class Overshoot:
    """Stop when the forget set lies past its counterfactual targets by more than the tolerance, on the mean.

    Silent without targets: nothing then says where past is.
    """

    tolerance_nats: float

    def __call__(self, pulse: Pulse) -> Intervention | None:
        """Judge the mean gap, nats per token."""
        if pulse.gap_nats is None or -pulse.gap_nats <= self.tolerance_nats:
            return None
        sentence = (
            f"The forget records are {-pulse.gap_nats:.3f} nats per token past their targets on the mean; "
            f"{self.tolerance_nats:.3f} is the tolerance."
        )
        return Intervention("overshoot", "stop", -pulse.gap_nats, self.tolerance_nats, sentence)
