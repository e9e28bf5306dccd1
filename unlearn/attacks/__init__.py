"""The menu of membership attacks. A new one is a file in this room, a line here, and a test."""

from collections.abc import Mapping
from types import MappingProxyType

from unlearn.attacks.base import FEWEST_TOKENS, Attack, Signals
from unlearn.attacks.compression import Zlib
from unlearn.attacks.loss import Loss
from unlearn.attacks.memorisation import ExactMemorisation, ExtractionStrength
from unlearn.attacks.min_k import MinK, MinKPlusPlus
from unlearn.attacks.reference import ErrorZone, Reference

ATTACKS: Mapping[str, Attack] = MappingProxyType(
    {
        "loss": Loss(),
        "zlib": Zlib(),
        "min_k": MinK(),
        "min_k_plus_plus": MinKPlusPlus(),
        "reference": Reference(),
        "error_zone": ErrorZone(),
        "exact_memorisation": ExactMemorisation(),
        "extraction_strength": ExtractionStrength(),
    }
)

__all__ = ["ATTACKS", "FEWEST_TOKENS", "Attack", "Signals"]
