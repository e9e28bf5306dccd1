"""Steps that spare the retained records: Adam in the eigenbasis of their Kronecker-factored Fisher information.

A step of equal size in every direction is spent mostly where the retained records feel it. For each LoRA matrix
[out, in] the Fisher information of the retained records is taken as the product of two small ones, of what flows
into the matrix [in, in] and of the gradients at its output [out, out] (K-FAC; Martens and Grosse, PMLR 37:2408-2417,
2015). Turned into their eigenvectors and scaled down along their large eigenvalues, the same forgetting moves the
retained records less. The same product says how far, to second order, a displacement moves them: a penalty that needs
no pass over any record. One pass over some of the retained records, with labels that the model itself draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from peft import PeftModel

from unlearn.lm.base import lora_parameters
from unlearn.lm.batches import Example, by_length, collate
from unlearn.lm.likelihood import head_of, over_vocabulary, score, token_log_probs

BATCH_TOKENS = 1024
"""Padded tokens of a batch; larger ones only wait for memory."""


@dataclass(frozen=True)
class Basis:
    """One side of a LoRA matrix.

    Attributes:
        vectors: [n, n], an eigenvector in each column.
        values: [n], the eigenvalues.
        scale: [n], the size of a step along each; their mean square is 1.
    """

    vectors: torch.Tensor
    values: torch.Tensor
    scale: torch.Tensor


class Curvature:
    """The two bases of each LoRA matrix, in the order of `lora_parameters`."""

    def __init__(self, inputs: Sequence[Basis], outputs: Sequence[Basis]) -> None:
        self.inputs, self.outputs = list(inputs), list(outputs)

    @torch.no_grad()
    def turned(self, gradients: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Gradients [out, in] of the weights as gradients in the turned coordinates, float32."""
        return [
            out.scale[:, None] * (out.vectors.T @ g.float() @ into.vectors) * into.scale
            for g, into, out in zip(gradients, self.inputs, self.outputs, strict=True)
        ]

    @torch.no_grad()
    def back(self, steps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Steps in the turned coordinates as changes [out, in] of the weights."""
        return [
            out.vectors @ (out.scale[:, None] * step * into.scale) @ into.vectors.T
            for step, into, out in zip(steps, self.inputs, self.outputs, strict=True)
        ]

    @torch.no_grad()
    def pull(self, displacements: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Gradient [out, in] of half the Fisher-weighted square of the displacements from where it was read.

        That is the retained records' KL per token to second order, the matrices taken one by one.
        """
        return [
            out.vectors
            @ (out.values[:, None] * (out.vectors.T @ d.float() @ into.vectors) * into.values)
            @ into.vectors.T
            for d, into, out in zip(displacements, self.inputs, self.outputs, strict=True)
        ]


def curvature_of(model: PeftModel, examples: Sequence[Example], pad_id: int, *, damping: float, seed: int) -> Curvature:
    """Read the curvature of `examples` at the adapter as it is; no weight and no gradient of the model changes.

    Args:
        model: with the adapter attached, its LoRA weights trainable.
        examples: retained records.
        pad_id: token that pads; padding counts for nothing.
        damping: added to the eigenvalues, as a share of their mean; a large one leaves steps as they were.
        seed: of the labels.
    """
    modules = dict(model.named_modules())
    names = [name for name, _ in lora_parameters(model)]
    parameters = [parameter for _, parameter in lora_parameters(model)]
    inputs: dict[str, torch.Tensor] = {}
    outputs: dict[str, torch.Tensor] = {}
    mask = torch.empty(0, dtype=torch.bool)  # of the batch under way
    tokens, labelled = 0, 0

    def add(to: dict[str, torch.Tensor], name: str, values: torch.Tensor) -> None:
        x = values.detach()[mask].float()  # [tokens, n]
        to[name] = x.T @ x + to.get(name, 0.0)

    def watch(name: str) -> Any:
        def forward(_module: torch.nn.Module, given: tuple[torch.Tensor, ...], out: torch.Tensor) -> None:
            add(inputs, name, given[0])
            out.register_hook(lambda gradient: add(outputs, name, gradient))

        return modules[name.removesuffix(".weight")].register_forward_hook(forward)

    head = head_of(model)
    draws = torch.Generator(device=parameters[0].device).manual_seed(seed)

    def drawn(logits: torch.Tensor, _tokens: torch.Tensor, _reference: torch.Tensor | None) -> torch.Tensor:
        return torch.multinomial(logits.softmax(1), 1, generator=draws)[:, 0]

    hooks = [watch(name) for name in names]
    try:
        for group in by_length(examples, BATCH_TOKENS):
            batch = collate(group, pad_id, parameters[0].device)
            mask = batch.attention_mask.bool()
            scored = score(model, batch)
            tokens, labelled = tokens + int(mask.sum()), labelled + len(scored.targets)
            with torch.no_grad():
                labels = over_vocabulary(head, drawn, scored)
            loss = -token_log_probs(head, replace(scored, targets=labels)).sum()
            torch.autograd.grad(loss, parameters)
    finally:
        for hook in hooks:
            hook.remove()
    return Curvature(
        [_basis(inputs[name] / tokens, damping) for name in names],
        [_basis(outputs[name] / labelled, damping) for name in names],
    )


def _basis(moment: torch.Tensor, damping: float) -> Basis:
    values, vectors = torch.linalg.eigh(moment)
    values = values.clamp_min(0.0)
    mean = values.mean()
    share = values / mean if float(mean) > 0.0 else torch.zeros_like(values)
    scale = (share + damping).rsqrt()
    return Basis(vectors, values, scale / scale.square().mean().sqrt())
