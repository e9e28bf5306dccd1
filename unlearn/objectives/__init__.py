"""The menu of forget losses. A new one is a file here, a line below, a class in `unlearn.methods`, and a test."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from unlearn.methods import Walk, parameters
from unlearn.objectives.ascent import Ascent
from unlearn.objectives.base import Answers, Need, Objective, View
from unlearn.objectives.calibrated import Calibrated

OBJECTIVES: Mapping[str, Callable[..., Objective]] = MappingProxyType({"ascent": Ascent, "calibrated": Calibrated})


def objective_of(rung: Walk) -> Objective:
    """The forget loss that `rung` names, built with the rung's parameters."""
    return OBJECTIVES[rung.method](**parameters(rung))  # type: ignore[attr-defined]


__all__ = ["OBJECTIVES", "Answers", "Need", "Objective", "View", "objective_of"]
