"""The menu of forget losses. A new one is a file in this room, a line here, and a test."""

from collections.abc import Mapping
from types import MappingProxyType

from unlearn.objectives.ascent import Ascent
from unlearn.objectives.base import Objective

OBJECTIVES: Mapping[str, Objective] = MappingProxyType({"ascent": Ascent()})

__all__ = ["OBJECTIVES", "Ascent", "Objective"]
