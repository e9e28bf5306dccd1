"""What moves the LoRA weights in a walk: Adam, in the curvature's coordinates if the walk asks so, and weight noise.

Knows no record, no loss and no governor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from peft import PeftModel

from unlearn.erasure.curvature import Curvature, curvature_of
from unlearn.lm.base import lora_parameters, restore, snapshot
from unlearn.lm.batches import Example
from unlearn.methods import Walk

Moments = dict[int, dict[str, torch.Tensor]]
"""What Adam remembers of each tensor it moves, in their order."""


@dataclass(frozen=True)
class Held:
    """Weights by name and Adam's moments, copied: no later step changes them."""

    weights: Mapping[str, torch.Tensor]
    moments: Moments


class Mover:
    """Moves the weights of `model`; made when they are as the walk begins with.

    Args:
        model: base with the adapter, its LoRA weights trainable.
        walk: step size, noise, shrinking, curvature.
        sample: retained records that the curvature is read on.
        pad_id: token that pads.
        seed: of the noise and of the curvature's labels.
    """

    def __init__(self, model: PeftModel, walk: Walk, sample: Sequence[Example], pad_id: int, seed: int) -> None:
        self.model, self.walk = model, walk
        self.parameters = [parameter for _, parameter in lora_parameters(model)]
        if walk.shrink < 1.0:
            with torch.no_grad():
                for name, parameter in lora_parameters(model):
                    if "lora_B" in name:
                        parameter.mul_(walk.shrink)
        self.scales = [float(p.detach().std()) if p.numel() > 1 else 0.0 for p in self.parameters]
        self.noise = torch.Generator().manual_seed(seed)
        self.curvature: Curvature | None = None
        self.steps: list[torch.Tensor] = list(self.parameters)  # what the optimiser moves
        if walk.curvature_damping is not None:
            self.curvature = curvature_of(model, sample, pad_id, damping=walk.curvature_damping, seed=seed)
            self.origin = [p.detach().clone() for p in self.parameters]
            self.steps = [torch.zeros_like(p, dtype=torch.float32, requires_grad=True) for p in self.parameters]
        self.optimizer = torch.optim.Adam(self.steps, lr=walk.learning_rate, betas=walk.adam_betas)

    @contextmanager
    def shaken(self) -> Iterator[None]:
        """The weights with fresh noise on them, for the length of a `with` block; no gradient is left on them before.

        Taking the noise off does not give back every last bit.
        """
        noise = self.walk.weight_noise
        shake = [
            torch.randn(p.shape, generator=self.noise).to(p) * (noise * scale)
            for p, scale in zip(self.parameters, self.scales, strict=True)
            if noise
        ]
        for parameter in self.parameters:
            parameter.grad = None
        self._add(shake, 1)
        yield
        self._add(shake, -1)

    def clip(self) -> float:
        """Clip the gradient to the walk's largest norm; its norm before."""
        return float(torch.nn.utils.clip_grad_norm_(self.parameters, self.walk.max_gradient_norm))

    @torch.no_grad()
    def move(self, rate: float) -> None:
        """One step of the optimiser; with a curvature it moves zeros in the turned coordinates, then turned back."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if self.curvature is None:
            self.optimizer.step()
            return
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        if self.walk.curvature_weight:
            pulls = self.curvature.pull([p - then for p, then in zip(self.parameters, self.origin, strict=True)])
            gradients = [g + self.walk.curvature_weight * pull for g, pull in zip(gradients, pulls, strict=True)]
        for step, turned in zip(self.steps, self.curvature.turned(gradients), strict=True):
            step.grad = turned
        self.optimizer.step()
        for parameter, change in zip(self.parameters, self.curvature.back(self.steps), strict=True):
            parameter.add_(change.to(parameter))
        for step in self.steps:
            step.zero_()

    def hold(self) -> Held:
        """Weights and moments as they are."""
        return Held(snapshot(self.model), _copied(self.optimizer.state_dict()["state"]))

    def return_to(self, held: Held) -> None:
        """Take both back."""
        restore(self.model, held.weights)
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": _copied(held.moments)})

    @torch.no_grad()
    def _add(self, shake: Sequence[torch.Tensor], sign: int) -> None:
        for parameter, by in zip(self.parameters, shake, strict=False):
            parameter.add_(by, alpha=sign)


def _copied(moments: Moments) -> Moments:
    return {number: {name: value.detach().clone() for name, value in one.items()} for number, one in moments.items()}
