"""The model deployed in fewer bits: rounding undoes small changes of weights, and an erasing is one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from peft import PeftModel

from unlearn.attacks.panel import Panel
from unlearn.lm.likelihood import Reading, readings
from unlearn.lm.quantize import quantized


@dataclass(frozen=True)
class Quantized:
    """All forget and holdout records, read in `form` (`unlearn.lm.quantize`)."""

    form: str
    personal: ClassVar[bool] = False

    def __call__(self, model: PeftModel, panel: Panel, pad_id: int) -> Mapping[str, float]:
        """NLL of each record in the format."""
        return {record: one.nll for record, one in self.read(model, panel, pad_id).items()}

    def read(self, model: PeftModel, panel: Panel, pad_id: int) -> Mapping[str, Reading]:
        """All that one pass says of each record in the format, as it is served."""
        with quantized(model, self.form):
            return readings(model, panel.attacked, pad_id, panel.decoding)

    def forwards(self, panel: Panel) -> int:
        """One pass."""
        return len(panel.attacked)
