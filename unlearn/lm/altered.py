"""A model with its adapter merged and its linear weights changed, for a block; then as it was, bit for bit.

Embeddings and the LM head stay as they are. Knows no format and no pruning: the change is the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from peft import PeftModel
from transformers.pytorch_utils import Conv1D

Change = Callable[[str, torch.Tensor], torch.Tensor]
"""(name of the layer, its weight [out, in]) -> its new weight."""


@contextmanager
def altered(model: PeftModel, change: Change, *, apart: bool = False) -> Iterator[None]:
    """The model with each linear layer's weight as `change` makes it.

    Args:
        model: with its adapter attached.
        change: of every linear layer's weight, the adapter merged into it.
        apart: leave the adapter apart, and change the base's weights alone.
    """
    layers = linear_layers(model)
    kept = [(layer, layer.weight.data) for _, layer, _ in layers]
    try:
        with torch.no_grad():
            for name, layer, adapted in layers:
                delta = None if adapted is None or apart else adapted.get_delta_weight(adapted.active_adapters[0])
                whole = layer.weight.data if delta is None else layer.weight.data + delta.to(layer.weight)
                if isinstance(layer, Conv1D):  # its weight is [in, out]
                    whole = change(name, whole.T).T
                elif isinstance(layer, torch.nn.Linear):
                    whole = change(name, whole)
                layer.weight.data = whole
        with nullcontext() if apart else model.disable_adapter():
            yield
    finally:
        for layer, weight in kept:
            layer.weight.data = weight


def linear_layers(model: PeftModel) -> list[tuple[str, Any, Any]]:
    """The layers that are adapted or linear: name, layer, the adapter's layer around it or None; not the head."""
    head = model.get_base_model().get_output_embeddings()
    around = {id(m.base_layer): m for m in model.modules() if hasattr(m, "get_delta_weight")}
    return [
        (name, module, around.get(id(module)))
        for name, module in model.named_modules()
        if (id(module) in around or isinstance(module, torch.nn.Linear | Conv1D))
        and module is not head
        and "lora_" not in name
    ]
