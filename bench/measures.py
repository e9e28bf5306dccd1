"""What the forgetting benchmark measures on one adapter, beside what an audit does.

Min-K++, truth ratio, forgetting under 4-bit weights, and how fast half of a person's records bring the other half
back. Knows models and encoded records; knows no method and no control.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import fmean
from typing import Any

import torch
from peft import PeftModel

from unlearn.attacks.min_k import MinKPlusPlus
from unlearn.lm.base import lora_parameters, restore, snapshot
from unlearn.lm.batches import Example
from unlearn.lm.likelihood import head_of, readings, record_nlls, score_examples, token_log_probs

RELEARN_STEPS, RELEARN_RATE = 5, 1e-3
GROUP = 32


def min_k_plus_plus(model: PeftModel, examples: Sequence[Example], pad_id: int) -> dict[str, float]:
    """Minus the attack's score, by record id, so that members are smaller as they are in NLL."""
    attack = MinKPlusPlus()
    return {record: -attack.score(reading) for record, reading in readings(model, examples, pad_id).items()}


def truth_ratios(model: PeftModel, answers: Mapping[str, Sequence[Example]], pad_id: int) -> dict[str, float]:
    """Geometric mean of p(wrong)^(1/length) over p(right)^(1/length), by item; TOFU, arXiv 2401.06121.

    Args:
        model: the model.
        answers: for each item the paraphrased right answer first, then the wrong ones.
        pad_id: token that pads.
    """
    nlls = record_nlls(model, [e for group in answers.values() for e in group], pad_id)
    return {
        item: math.exp(nlls[right.id] - fmean(nlls[w.id] for w in wrong)) for item, (right, *wrong) in answers.items()
    }


@contextmanager
def four_bit(model: PeftModel) -> Iterator[None]:
    """The adapter merged into its layers and their weights rounded to 4 bits, in groups of 32, symmetric, for a block."""
    layers: list[Any] = [module for module in model.modules() if hasattr(module, "get_delta_weight")]
    kept = [layer.base_layer.weight.data for layer in layers]
    with torch.no_grad():
        for layer in layers:
            whole = layer.base_layer.weight.data + layer.get_delta_weight("default")
            rows, columns = whole.shape
            grouped = whole.view(rows, -1, GROUP if columns % GROUP == 0 else columns)
            scale = grouped.abs().amax(-1, keepdim=True).clamp_min(1e-12) / 7
            layer.base_layer.weight.data = ((grouped / scale).round().clamp(-8, 7) * scale).view(rows, columns)
    try:
        with model.disable_adapter():
            yield
    finally:
        for layer, weight in zip(layers, kept, strict=True):
            layer.base_layer.weight.data = weight


def relearned(model: PeftModel, examples: Sequence[Example], person_of: Callable[[str], str], pad_id: int) -> float:
    """NLL of the other half of each person's records after five steps on the one half, nats per token, mean of people.

    Adam at 1e-3 on the LoRA weights, the half whole in every step; the weights are put back.
    """
    before, head = snapshot(model), head_of(model)
    parameters = [parameter for _, parameter in lora_parameters(model)]
    found = []
    for person in sorted({person_of(e.id) for e in examples}):
        mine = [e for e in examples if person_of(e.id) == person]
        optimizer = torch.optim.Adam(parameters, lr=RELEARN_RATE)
        for _ in range(RELEARN_STEPS):
            loss = -token_log_probs(head, score_examples(model, mine[::2], pad_id)).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
        if mine[1::2]:
            found.append(fmean(record_nlls(model, mine[1::2], pad_id).values()))
        restore(model, before)
    return fmean(found)
