"""What a model says once it is deployed in fewer bits: weights rounded and put back, in plain torch, on any device.

A format is rounding alone: int8 (symmetric, one scale an output channel), int4 (asymmetric, one scale and zero point a
group of 128 along the input), nf4 (16 quantiles of a normal distribution, one scale a block of 64; QLoRA, arXiv
2305.14314). Merged, the adapter is added to its layers first; "base-..." rounds the base and leaves the adapter apart.
Embeddings and the LM head stay as they are. Deterministic. Knows no record and no attack.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from peft import PeftModel
from scipy.stats import norm

from unlearn.lm.altered import altered

INT4_GROUP, NF4_BLOCK = 128, 64

NF4_OFFSET = 0.9677083
"""Largest quantile of the NF4 codebook: the mean of 1 - 1/32 and 1 - 1/30."""


def _nf4_codebook() -> torch.Tensor:
    above = norm.ppf(torch.linspace(0.5, NF4_OFFSET, 9, dtype=torch.float64).numpy())[1:]
    below = -norm.ppf(torch.linspace(0.5, NF4_OFFSET, 8, dtype=torch.float64).numpy())[1:]
    levels = torch.tensor([*below[::-1], 0.0, *above], dtype=torch.float64)
    return (levels / levels.abs().max()).float()


NF4 = _nf4_codebook()
"""float32 [16], rising from -1 to 1, with 0 among them."""


def rounded(weight: torch.Tensor, kind: str) -> torch.Tensor:
    """`weight` [out, in] as `kind` ("int8", "int4", "nf4") keeps it, in its own dtype."""
    whole = weight.float()
    if kind == "int8":
        scale = whole.abs().amax(1, keepdim=True).clamp_min(1e-12) / 127
        return ((whole / scale).round().clamp(-127, 127) * scale).to(weight)
    size = {"int4": INT4_GROUP, "nf4": NF4_BLOCK}[kind]
    flat = whole if kind == "int4" else whole.reshape(1, -1)
    even = flat.shape[1] // size * size
    parts = [_groups(flat[:, :even].reshape(-1, size), kind).reshape(len(flat), even)] if even else []
    if even < flat.shape[1]:
        parts.append(_groups(flat[:, even:], kind))
    return torch.cat(parts, dim=1).reshape(weight.shape).to(weight)


def _groups(part: torch.Tensor, kind: str) -> torch.Tensor:
    """Groups of weights [groups, size], each with a scale of its own."""
    if kind == "nf4":
        scale = part.abs().amax(1, keepdim=True).clamp_min(1e-12)
        nearest = torch.bucketize((part / scale).contiguous(), ((NF4[1:] + NF4[:-1]) / 2).to(part))
        return NF4.to(part)[nearest] * scale
    low, high = part.amin(1, keepdim=True).clamp_max(0.0), part.amax(1, keepdim=True).clamp_min(0.0)
    scale = (high - low).clamp_min(1e-12) / 15
    zero = (-low / scale).round()
    return ((part / scale + zero).round().clamp(0, 15) - zero) * scale


def quantized(model: PeftModel, form: str) -> AbstractContextManager[None]:
    """The model as it is deployed in `form`, for a block; then every weight is as it was, bit for bit.

    Args:
        model: with its adapter attached.
        form: "int8", "int4" or "nf4", merged, or "base-" and one of them, the adapter apart.
    """
    kind = form.removeprefix("base-")
    return altered(model, lambda layer, weight: rounded(weight, kind), apart=form.startswith("base-"))
