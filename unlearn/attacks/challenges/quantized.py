"""The model deployed in fewer bits: rounding undoes small changes of weights, and an erasing is one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from peft import PeftModel

from unlearn.attacks.panel import Panel
from unlearn.lm.likelihood import record_nlls
from unlearn.lm.quantize import quantized


@dataclass(frozen=True)
class Quantized:
    """All forget and holdout records, read in `form` (`unlearn.lm.quantize`)."""

    form: str
    personal: ClassVar[bool] = False

    def __call__(self, model: PeftModel, panel: Panel, pad_id: int) -> Mapping[str, float]:
        """NLL of each record in the format."""
        with quantized(model, self.form):
            return record_nlls(model, panel.attacked, pad_id)

    def forwards(self, panel: Panel) -> int:
        """One pass."""
        return len(panel.attacked)
