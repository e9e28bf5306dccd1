"""What the forgetting benchmark measures on one adapter, beside what an audit does.

Min-K++, truth ratio, forgetting under 4-bit weights, and how fast half of a person's records bring the other half
back. Knows models and encoded records; knows no method and no control.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from statistics import fmean

import torch
from peft import PeftModel

from unlearn.attacks.challenges.relearned import taught
from unlearn.attacks.min_k import MinKPlusPlus
from unlearn.lm.altered import altered
from unlearn.lm.batches import Example
from unlearn.lm.likelihood import readings, record_nlls

RELEARN_STEPS = 5
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


def four_bit(model: PeftModel) -> AbstractContextManager[None]:
    """The adapter merged into its layers and their weights rounded to 4 bits, in groups of 32, symmetric, for a block."""
    return altered(model, lambda layer, weight: _rounded(weight))


def _rounded(weight: torch.Tensor) -> torch.Tensor:
    rows, columns = weight.shape
    grouped = weight.view(rows, -1, GROUP if columns % GROUP == 0 else columns)
    scale = grouped.abs().amax(-1, keepdim=True).clamp_min(1e-12) / 7
    return ((grouped / scale).round().clamp(-8, 7) * scale).view(rows, columns)


def relearned(model: PeftModel, examples: Sequence[Example], person_of: Callable[[str], str], pad_id: int) -> float:
    """NLL of the other half of each person's records after five steps on the one half, nats per token, mean of people.

    As the challenge `relearned-5` trains: Adam at 1e-3 on the LoRA weights, the half whole in every step.
    """
    found = []
    for person in sorted({person_of(e.id) for e in examples}):
        mine = [e for e in examples if person_of(e.id) == person]
        if mine[1::2]:
            with taught(model, mine[::2], RELEARN_STEPS, pad_id):
                found.append(fmean(record_nlls(model, mine[1::2], pad_id).values()))
    return fmean(found)
