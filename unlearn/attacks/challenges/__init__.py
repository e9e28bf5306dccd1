"""The menu of challenges, which might bring forgotten records back. A new one is a file, a line here, and a test."""

from collections.abc import Mapping
from types import MappingProxyType

from unlearn.attacks.challenges.base import Challenge
from unlearn.attacks.challenges.paraphrased import Paraphrased
from unlearn.attacks.challenges.prompted import Prompted
from unlearn.attacks.challenges.pruned import Pruned
from unlearn.attacks.challenges.quantized import Quantized
from unlearn.attacks.challenges.relearned import Relearned
from unlearn.attacks.challenges.suffix import Suffix

CHALLENGES: Mapping[str, Challenge] = MappingProxyType(
    {
        "int8": Quantized("int8"),
        "int4": Quantized("int4"),
        "nf4": Quantized("nf4"),
        "base-int8": Quantized("base-int8"),
        "base-int4": Quantized("base-int4"),
        "base-nf4": Quantized("base-nf4"),
        "pruned-30": Pruned("magnitude", 0.3),
        "pruned-50": Pruned("magnitude", 0.5),
        "wanda-50": Pruned("wanda", 0.5),
        "wanda-2:4": Pruned("wanda-2:4"),
        "relearned-5": Relearned("own", 5),
        "relearned-20": Relearned("own", 20),
        "relearned-neighbours": Relearned("neighbours", 20),
        "relearned-unrelated": Relearned("unrelated", 20),
        "paraphrase": Paraphrased(),
        "affirmative": Prompted("affirmative"),
        "role_play": Prompted("role_play"),
        "injected": Prompted("injected"),
        "in_context": Prompted("in_context"),
        "reverse": Prompted("reverse"),
        "led": Prompted("led"),
        "suffix": Suffix(),
        "suffix-50": Suffix(steps=50, candidates=64, tokens=16),
    }
)

__all__ = ["CHALLENGES", "Challenge"]
