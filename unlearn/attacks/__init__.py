"""The menu of membership attacks. A new one is a file in this room, a line here, and a test."""

from collections.abc import Mapping
from types import MappingProxyType

from unlearn.attacks.base import Attack, Signals
from unlearn.attacks.loss import Loss

ATTACKS: Mapping[str, Attack] = MappingProxyType({"loss": Loss()})

__all__ = ["ATTACKS", "Attack", "Loss", "Signals"]
