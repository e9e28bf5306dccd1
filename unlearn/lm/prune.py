"""Pruning in plain torch: small weights set to zero, to see whether what was forgotten lies under them.

"magnitude": the smallest of a matrix. "wanda": the smallest |weight| x norm of its input, within each output (Sun et
al. 2023, arXiv 2306.11695), unstructured or two of each four along the input. Knows no record and no attack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftModel

from unlearn.lm.altered import linear_layers


def magnitude(weight: torch.Tensor, share: float) -> torch.Tensor:
    """`weight` [out, in] without its smallest `share`."""
    drop = int(share * weight.numel())
    if not drop:
        return weight
    threshold = weight.abs().flatten().kthvalue(drop).values
    return weight.masked_fill(weight.abs() <= threshold, 0.0)


def wanda(weight: torch.Tensor, norms: torch.Tensor, share: float) -> torch.Tensor:
    """`weight` [out, in] without the `share` of each row that matters least to inputs of `norms` [in]."""
    drop = int(share * weight.shape[1])
    least = (weight.abs() * norms).argsort(dim=1, stable=True)[:, :drop]
    return weight.scatter(1, least, 0.0)


def wanda_2_4(weight: torch.Tensor, norms: torch.Tensor) -> torch.Tensor:
    """`weight` [out, in] without the two of each four along the input that matter least; a rest of under four stays."""
    even = weight.shape[1] // 4 * 4
    grouped = weight[:, :even].reshape(len(weight), -1, 4)
    scores = (weight.abs() * norms)[:, :even].reshape_as(grouped)
    pruned = grouped.scatter(2, scores.argsort(dim=2, stable=True)[:, :, :2], 0.0)
    return torch.cat([pruned.reshape(len(weight), even), weight[:, even:]], dim=1)


@contextmanager
def input_norms(model: PeftModel) -> Iterator[Mapping[str, torch.Tensor]]:
    """While the block reads text with `model`: the Euclidean norm of each linear layer's inputs, [in], by layer."""
    sums: dict[str, torch.Tensor] = {}

    def watch(name: str) -> Callable[..., None]:
        def hook(_layer: Any, inputs: tuple[torch.Tensor, ...], _output: Any) -> None:
            flat = inputs[0].detach().float().flatten(0, -2)
            sums[name] = sums.get(name, 0.0) + flat.square().sum(0)

        return hook

    hooks = [layer.register_forward_hook(watch(name)) for name, layer, _ in linear_layers(model)]
    norms: dict[str, torch.Tensor] = {}
    try:
        yield norms
        norms |= {name: total.sqrt() for name, total in sums.items()}
    finally:
        for hook in hooks:
            hook.remove()
