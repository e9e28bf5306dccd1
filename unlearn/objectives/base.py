"""What an objective offers. Sees per-record likelihoods, never a model or a batch."""

from __future__ import annotations

from typing import Protocol

import torch


class Objective(Protocol):
    """A forget loss: a frozen, callable dataclass whose fields are its hyper-parameters."""

    def __call__(self, forget_nll: torch.Tensor) -> torch.Tensor:
        """The loss to minimise.

        Args:
            forget_nll: float32 [records], mean NLL of each forget record, nats per token.

        Returns:
            A scalar, differentiable in `forget_nll`.
        """
        ...
