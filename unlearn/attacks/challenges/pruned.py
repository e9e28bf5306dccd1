"""Pruning of the merged weights: what an erasing added in small weights goes first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from peft import PeftModel

from unlearn.attacks.panel import Panel
from unlearn.lm.altered import altered
from unlearn.lm.likelihood import record_nlls
from unlearn.lm.prune import input_norms, magnitude, wanda, wanda_2_4

CALIBRATION = 128
"""Retained records whose inputs say which weights matter."""


@dataclass(frozen=True)
class Pruned:
    """All forget and holdout records, read without a part of the weights (`unlearn.lm.prune`)."""

    kind: Literal["magnitude", "wanda", "wanda-2:4"]
    share: float = 0.5
    personal: ClassVar[bool] = False

    def __call__(self, model: PeftModel, panel: Panel, pad_id: int) -> Mapping[str, float]:
        """NLL of each record under the pruned model."""
        norms: Mapping[str, torch.Tensor] = {}
        if self.kind != "magnitude":
            with altered(model, lambda layer, weight: weight), input_norms(model) as norms:
                record_nlls(model, [panel.examples[r.id] for r in panel.retain[:CALIBRATION]], pad_id)

        def change(layer: str, weight: torch.Tensor) -> torch.Tensor:
            if self.kind == "magnitude":
                return magnitude(weight, self.share)
            return (
                wanda_2_4(weight, norms[layer]) if self.kind == "wanda-2:4" else wanda(weight, norms[layer], self.share)
            )

        with altered(model, change):
            return record_nlls(model, panel.attacked, pad_id)

    def forwards(self, panel: Panel) -> int:
        """One pass, and one over the calibration records where there is one."""
        return len(panel.attacked) + (0 if self.kind == "magnitude" else min(CALIBRATION, len(panel.retain)))
