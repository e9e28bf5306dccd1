"""What a loop works on: encoded records and everything about them that no step changes.

Knows no corpus, no policy and no verdict; a `Task` is made once and walked by one rung after another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from unlearn.lm.batches import Example

Source = Literal["shadows", "calibration fit", "mean shift", "base"]


@dataclass(frozen=True)
class Targets:
    """Where the forget records would be, had they never been trained on.

    Attributes:
        nlls: counterfactual NLL of each forget record, nats per token, by record id.
        source: what they come from: a shadow table, a fit on the calibration half, its mean shift, or the base alone.
        top_tokens: int64 [scored tokens, k] by record id, the tokens most likely there; empty where none is kept.
        top_log_probs: float32 [scored tokens, k] by record id, their log p, nats.
        sentence: how they were made, for a person.
    """

    nlls: Mapping[str, float]
    source: Source
    top_tokens: Mapping[str, torch.Tensor] = field(default_factory=dict)
    top_log_probs: Mapping[str, torch.Tensor] = field(default_factory=dict)
    sentence: str = ""


@dataclass(frozen=True)
class Task:
    """The records of one job, encoded.

    Attributes:
        forget: the forget set.
        retain: the retain pool.
        targets: of the forget set; None if nothing says where they would be.
        refusals: for each forget record, by its id, its prompt answered by a refusal.
        alternates: for each forget record, by its id, its prompt answered by a model that never saw the record.
        probe: passages of general text.
        retain_drift_nats: by how much earlier erasures have raised the retain NLL since the last exact fit.
    """

    forget: Sequence[Example]
    retain: Sequence[Example]
    targets: Targets | None = None
    refusals: Mapping[str, Sequence[Example]] = field(default_factory=dict)
    alternates: Mapping[str, Sequence[Example]] = field(default_factory=dict)
    probe: Sequence[Example] = ()
    retain_drift_nats: float = 0.0
