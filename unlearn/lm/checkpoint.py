"""A file that says how far a computation is: numbers and tensors, written whole, taken up by the same inputs alone.

    SHA-256 of the inputs and of all that follows | JSON | safetensors      (a line each, the tensors to the end)

A file that is damaged, cut short or of other inputs has another digest: it is as good as none, and is removed. Knows
nothing of what is computed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors.torch import load, save

from unlearn.durable import write_whole


@dataclass(frozen=True)
class Checkpoint:
    """Where a state is kept.

    Attributes:
        file: its file, which need not exist.
        inputs: says what the computation is made from; a state of other inputs is not taken up.
        every_seconds: shortest time between two states, where they could be kept more often.
    """

    file: Path
    inputs: str
    every_seconds: float = 30.0

    def keep(self, about: Mapping[str, Any], tensors: Mapping[str, torch.Tensor] = MappingProxyType({})) -> None:
        """Write a state in the place of the last one: `about` is of JSON types, floats are kept to the last bit."""
        kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        body = json.dumps(about).encode() + b"\n" + save(kept)
        write_whole(self.file, self._digest(body) + b"\n" + body)

    def kept(self) -> tuple[dict[str, Any], dict[str, torch.Tensor]] | None:
        """The state that was kept last, its tensors on the CPU; None if there is none of these inputs."""
        try:
            digest, _, body = self.file.read_bytes().partition(b"\n")
        except OSError:
            return None
        if digest != self._digest(body):
            self.clear()
            return None
        about, _, tensors = body.partition(b"\n")
        return json.loads(about), load(tensors)

    def clear(self) -> None:
        """Remove what is kept."""
        self.file.unlink(missing_ok=True)

    def _digest(self, body: bytes) -> bytes:
        given = hashlib.sha256(self.inputs.encode()).digest()
        return hashlib.sha256(given + body).hexdigest().encode()
