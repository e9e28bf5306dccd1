"""The governor of time: an erasing that does not arrive has to end."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.guards.base import Intervention
from unlearn.measurement import Pulse


@dataclass(frozen=True)
class Budget:
    """Stop when the rung's steps are taken, those rolled back included, or its seconds are over."""

    seconds: float

    def __call__(self, pulse: Pulse) -> Intervention | None:
        """Judge steps and seconds."""
        if pulse.step > pulse.steps:
            sentence = f"The {pulse.steps} steps of this rung are taken."
            return Intervention("budget", "stop", float(pulse.step - 1), float(pulse.steps), sentence)
        if pulse.seconds > self.seconds:
            sentence = f"{pulse.seconds:.0f} seconds are over; {self.seconds:.0f} are the budget."
            return Intervention("budget", "stop", pulse.seconds, self.seconds, sentence)
        return None
