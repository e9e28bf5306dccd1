"""The menu of forget losses. A new one is a file here, a line below, a class in `unlearn.methods`, and a test."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from unlearn.methods import Walk, parameters
from unlearn.objectives.altpo import AltPo
from unlearn.objectives.ascent import Ascent
from unlearn.objectives.base import Answers, Need, Objective, View
from unlearn.objectives.calibrated import Calibrated
from unlearn.objectives.ceu import Ceu
from unlearn.objectives.idk import Idk
from unlearn.objectives.ihl import Ihl
from unlearn.objectives.npo import Npo
from unlearn.objectives.rmu import Rmu
from unlearn.objectives.satimp import SatImp
from unlearn.objectives.simnpo import SimNpo
from unlearn.objectives.undial import Undial
from unlearn.objectives.wga import Wga

OBJECTIVES: Mapping[str, Callable[..., Objective]] = MappingProxyType(
    {
        "calibrated": Calibrated,
        "ascent": Ascent,
        "npo": Npo,
        "simnpo": SimNpo,
        "wga": Wga,
        "satimp": SatImp,
        "undial": Undial,
        "ceu": Ceu,
        "ihl": Ihl,
        "idk": Idk,
        "altpo": AltPo,
        "rmu": Rmu,
    }
)


def objective_of(rung: Walk) -> Objective:
    """The forget loss that `rung` names, built with the rung's parameters."""
    return OBJECTIVES[rung.method](**parameters(rung))  # type: ignore[attr-defined]


__all__ = ["OBJECTIVES", "Answers", "Need", "Objective", "View", "objective_of"]
