"""The governor of numbers that are none: a loss or a gradient that is not finite."""

from __future__ import annotations

import math
from dataclasses import dataclass

from unlearn.guards.base import Intervention
from unlearn.measurement import Pulse


@dataclass(frozen=True)
class NonFinite:
    """Roll back as soon as the loss or the gradient is not finite; the update is not made."""

    def __call__(self, pulse: Pulse) -> Intervention | None:
        """Judge the step's loss and gradient norm."""
        norm = 0.0 if pulse.gradient_norm is None else pulse.gradient_norm
        if math.isfinite(pulse.loss) and math.isfinite(norm):
            return None
        sentence = f"Loss {pulse.loss} and gradient norm {norm} at step {pulse.step} are not both finite."
        return Intervention("non_finite", "rollback", None, 0.0, sentence)
