"""Prefer a refusal: direct preference optimisation of "I don't know" over a record's own answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from unlearn.objectives.base import Need, View
from unlearn.objectives.dpo import preference

REFUSALS = (
    " I don't know.",
    " I have no information on that.",
    " That is not something I can tell.",
    " I'm not sure about this.",
    " I was never told.",
    " I can't answer that question.",
    " Nothing about this is known to me.",
    " I have no record of that.",
)
"""Answers that know nothing; written for this project, in turn with the steps."""


@dataclass(frozen=True)
class Idk:
    """DPO with a refusal as the preferred answer. Source: the preference baseline of TOFU, arXiv 2401.06121.

    Attributes:
        beta: inverse temperature.
    """

    beta: float = 0.1
    needs: ClassVar[frozenset[Need]] = frozenset({"reference", "refusals"})

    def __call__(self, view: View) -> torch.Tensor:
        """Mean over records."""
        return preference(view, self.beta)
