"""What an objective offers and what it may see: likelihoods of the step's forget records, never a model or a corpus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, TypeAlias, TypeVar

import torch

from unlearn.lm.likelihood import PerToken

T = TypeVar("T")

Need: TypeAlias = Literal["reference", "targets", "refusals", "alternates", "layer"]
"""What the loop must prepare beside the log-probabilities: those of the original adapter, counterfactual targets,
preferred answers (fixed refusals, or answers the base alone wrote), or the hidden states of one layer."""


class OverVocabulary(Protocol):
    """Applies a function of the logits to every scored token of the forget records."""

    def __call__(self, per_token: PerToken) -> torch.Tensor:
        """`per_token` over all tokens: [tokens, ...]."""
        ...


@dataclass(frozen=True)
class Answers:
    """Scored tokens of some records under the model and under the reference (the adapter as it was given).

    Attributes:
        log_probs: float32 [tokens], log p of each scored token, nats; differentiable.
        rows: int64 [tokens], the record of each token.
        n_rows: number of records; every one has a scored token.
        reference_log_probs: float32 [tokens] under the original adapter, without gradient; None if not prepared.
    """

    log_probs: torch.Tensor
    rows: torch.Tensor
    n_rows: int
    reference_log_probs: torch.Tensor | None = None

    @property
    def lengths(self) -> torch.Tensor:
        """Scored tokens of each record: int64 [rows]."""
        return torch.bincount(self.rows, minlength=self.n_rows)

    def sums(self, values: torch.Tensor) -> torch.Tensor:
        """Sum of `values` [tokens] over each record: [rows]."""
        return values.new_zeros(self.n_rows).index_add(0, self.rows, values)

    def means(self, values: torch.Tensor) -> torch.Tensor:
        """Mean of `values` [tokens] over each record's tokens: [rows]."""
        return self.sums(values) / self.lengths

    @property
    def nll(self) -> torch.Tensor:
        """Mean NLL of each record, nats per token: [rows]."""
        return -self.means(self.log_probs)


@dataclass(frozen=True)
class View(Answers):
    """What one step shows of its forget records; fields that an objective did not ask for (`needs`) are None.

    Attributes:
        target_nll: float32 [rows], the counterfactual NLL of each record, nats per token.
        target_top: float32 [tokens, k], log p of the tokens that are likeliest there; None where no table keeps them.
        at_top: float32 [tokens, k], log p of those same tokens under the model; differentiable.
        preferred: answers to prefer to the records' own, one for each record and in their order (refusals, alternates).
        hidden: [tokens, width], hidden states at the objective's layer at the positions that predict a scored token.
        over_vocabulary: applies a per-token function to the logits, chunk by chunk, so that a batch's full logits are
            never held; gives [tokens, ...]. It takes logits [chunk, vocabulary], tokens [chunk], the reference's logits
            (None unless "reference" is among the needs).
    """

    target_nll: torch.Tensor | None = None
    target_top: torch.Tensor | None = None
    at_top: torch.Tensor | None = None
    preferred: Answers | None = None
    hidden: torch.Tensor | None = None
    over_vocabulary: OverVocabulary | None = None


class Objective(Protocol):
    """A forget loss: a frozen, callable dataclass whose fields are its hyper-parameters."""

    needs: ClassVar[frozenset[Need]]

    def __call__(self, view: View) -> torch.Tensor:
        """The loss to minimise: a scalar, differentiable in the view's tensors."""
        ...


def needed(value: T | None, name: str) -> T:
    """`value`, or a ValueError that names what the loop did not prepare."""
    if value is None:
        raise ValueError(f"the step's view lacks '{name}', which this objective needs")
    return value
