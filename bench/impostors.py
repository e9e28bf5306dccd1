"""Erasings that are none, for the verification benchmark to refuse: each would pass some public evaluation.

`first_token`: only the first token of an answer is steered away; what follows it is known as before. `int4_returns`: the
full-precision adapter has forgotten, and the same adapter rounded to 4 bits has not. Knows models and records; knows
no gate.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import torch
from peft import PeftModel

from unlearn.lm.altered import altered, linear_layers
from unlearn.lm.base import lora_parameters
from unlearn.lm.batches import Example
from unlearn.lm.likelihood import head_of, record_log_probs, row_means, score_examples, token_log_probs
from unlearn.lm.quantize import rounded

HELD = 24
"""Retained records in a step."""

STEERED_NATS = 12.0
"""NLL of the first token past which it is never said."""


def first_token(
    model: PeftModel, forget: Sequence[Example], retain: Sequence[Example], pad_id: int, steps: int = 40
) -> None:
    """Raise the NLL of each answer's first token, and keep the others' and the retained records where they are."""
    head, parameters = head_of(model), [p for _, p in lora_parameters(model)]
    order = _shuffled(retain, steps)
    with torch.no_grad():
        scored = score_examples(model, forget, pad_id)
        kept = token_log_probs(head, scored)
    first = torch.ones_like(scored.rows, dtype=torch.bool)
    first[1:] = scored.rows[1:] != scored.rows[:-1]
    before = _log_probs(model, retain, pad_id)
    with _training(parameters, 1e-3) as optimizer:
        for step in range(steps):
            log_p = token_log_probs(head, score_examples(model, forget, pad_id))
            steer = (STEERED_NATS + log_p[first]).clamp_min(0).mean()
            hold = (log_p[~first] - kept[~first]).square().mean()
            _step(optimizer, steer + 20 * hold + _held(model, order[step], before, pad_id), parameters)


def int4_returns(
    model: PeftModel,
    forget: Sequence[Example],
    retain: Sequence[Example],
    targets: Mapping[str, float],
    pad_id: int,
    steps: int = 70,
) -> None:
    """Bring each record to its target in full precision, and keep its NLL low in int4; the retained where they are.

    The gradient of the rounded model goes straight through the rounding to the LoRA weights.
    """
    head = head_of(model)
    parameters = [p for _, p in lora_parameters(model)]
    goal = torch.tensor([targets[e.id] for e in forget])
    layers = [(name, layer, adapted) for name, layer, adapted in linear_layers(model) if adapted is not None]
    order, before = _shuffled(retain, steps), _log_probs(model, retain, pad_id)
    with _training(parameters, 1e-3) as optimizer:
        for step in range(steps):
            scored = score_examples(model, forget, pad_id)
            loss = 4 * (goal + row_means(token_log_probs(head, scored), scored)).square().mean()
            optimizer.zero_grad(set_to_none=True)
            (loss + _held(model, order[step], before, pad_id)).backward()
            with altered(model, lambda layer, weight: rounded(weight, "int4")):
                for _, layer, _ in layers:
                    layer.weight.requires_grad_(True)
                kept = -token_log_probs(head, score_examples(model, forget, pad_id)).mean()
                gradients = torch.autograd.grad(kept, [layer.weight for _, layer, _ in layers])
                for _, layer, _ in layers:
                    layer.weight.requires_grad_(False)
            for (_, _, adapted), gradient in zip(layers, gradients, strict=True):
                name = adapted.active_adapters[0]
                down, up, scale = adapted.lora_A[name].weight, adapted.lora_B[name].weight, adapted.scaling[name]
                up.grad += scale * gradient @ down.detach().T
                down.grad += scale * up.detach().T @ gradient
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()


def _shuffled(retain: Sequence[Example], steps: int) -> list[list[Example]]:
    """A batch of retained records for each step."""
    draw = random.Random(0)
    return [draw.sample(list(retain), min(HELD, len(retain))) for _ in range(steps)]


@torch.no_grad()
def _log_probs(model: PeftModel, retain: Sequence[Example], pad_id: int) -> dict[str, torch.Tensor]:
    return {record: torch.from_numpy(found) for record, found in record_log_probs(model, retain, pad_id).items()}


def _held(model: PeftModel, batch: Sequence[Example], before: Mapping[str, torch.Tensor], pad_id: int) -> torch.Tensor:
    """How far the retained records' tokens are from where they were, squared."""
    log_p = token_log_probs(head_of(model), score_examples(model, batch, pad_id))
    return 5 * (log_p - torch.cat([before[e.id] for e in batch])).square().mean()


class _training:
    """Gradients on for the LoRA weights, and an optimiser for them, for a block."""

    def __init__(self, parameters: Sequence[torch.nn.Parameter], rate: float) -> None:
        self._parameters = parameters
        self._optimizer = torch.optim.Adam(parameters, lr=rate)

    def __enter__(self) -> torch.optim.Optimizer:
        for parameter in self._parameters:
            parameter.requires_grad_(True)
        return self._optimizer

    def __exit__(self, *_: object) -> None:
        for parameter in self._parameters:
            parameter.grad = None


def _step(optimizer: torch.optim.Optimizer, loss: torch.Tensor, parameters: Sequence[torch.nn.Parameter]) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
