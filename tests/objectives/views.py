"""Small views built by hand: three records of 2, 3 and 1 scored tokens over a vocabulary of five."""

from __future__ import annotations

import torch

from unlearn.objectives import Answers, View

ROWS = torch.tensor([0, 0, 1, 1, 1, 2])
TOKENS = torch.tensor([1, 4, 0, 2, 2, 3])
VOCABULARY = 5


def logits(seed: int) -> torch.Tensor:
    """Random logits [6, 5], leaves of a graph."""
    return torch.randn(len(ROWS), VOCABULARY, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def view_of(
    logits: torch.Tensor,
    reference: torch.Tensor | None = None,
    preferred: Answers | None = None,
    hidden: torch.Tensor | None = None,
    target_nll: torch.Tensor | None = None,
    target_top: torch.Tensor | None = None,
    at_top: torch.Tensor | None = None,
) -> View:
    """The view of records with these logits; everything else as given."""
    fixed = None if reference is None else reference.detach()
    return View(
        log_probs=taken(logits),
        rows=ROWS,
        n_rows=3,
        reference_log_probs=None if reference is None else taken(reference).detach(),
        target_nll=target_nll,
        target_top=target_top,
        at_top=at_top,
        preferred=preferred,
        hidden=hidden,
        over_vocabulary=lambda per_token: per_token(logits, TOKENS, fixed),
    )


def answers_of(logits: torch.Tensor, reference: torch.Tensor) -> Answers:
    """Answers with the same rows and tokens as the records."""
    return Answers(taken(logits), ROWS, 3, taken(reference).detach())


def taken(logits: torch.Tensor) -> torch.Tensor:
    """log p of every scored token."""
    return logits.log_softmax(1).gather(1, TOKENS[:, None])[:, 0]
