"""Gradient norm: what a model has learned no longer pulls at its weights (white-box, arXiv 2402.17012)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from peft import PeftModel

from unlearn.attacks.base import Signals
from unlearn.attacks.panel import Panel
from unlearn.lm.base import lora_parameters
from unlearn.lm.likelihood import head_of, score_examples, token_log_probs


@dataclass(frozen=True)
class GradientNorm:
    """Score = minus the global norm of the NLL's gradient at the LoRA weights, record by record; in evaluation mode."""

    def __call__(self, model: PeftModel, panel: Panel, signals: Signals, pad_id: int) -> Mapping[str, float]:
        """The score of every scorable record."""
        head, parameters = head_of(model), [p for _, p in lora_parameters(model)]
        found = {}
        for record in signals.scorable:
            with torch.enable_grad():
                loss = -token_log_probs(head, score_examples(model, [panel.examples[record]], pad_id)).mean()
                gradients = torch.autograd.grad(loss, parameters)
            found[record] = -float(torch.stack([g.float().norm() for g in gradients]).norm())
        return found
