"""Direct preference optimisation of other answers over a record's own: the loss that `idk` and `altpo` share."""

from __future__ import annotations

import torch
from torch.nn.functional import logsigmoid

from unlearn.objectives.base import Answers, View, needed


def preference(view: View, beta: float) -> torch.Tensor:
    """The DPO loss of the view's preferred answers over its records, with whole answers' log-probabilities."""
    preferred: Answers = needed(view.preferred, "preferred")
    return dpo_loss(_log_ratio(preferred), _log_ratio(view), beta)


def _log_ratio(answers: Answers) -> torch.Tensor:
    """log p - log p_reference of each whole answer: [rows]."""
    return answers.sums(answers.log_probs - needed(answers.reference_log_probs, "reference_log_probs"))


def dpo_loss(preferred: torch.Tensor, rejected: torch.Tensor, beta: float) -> torch.Tensor:
    """-(2 / beta) * mean(log sigmoid(beta * (preferred - rejected))), log-ratios [rows] to the reference: a scalar.

    The factor 2 / beta, which DPO itself has not, gives it the scale of NPO (arXiv 2404.05868).

    >>> round(dpo_loss(torch.zeros(2), torch.zeros(2), 2.0).item(), 4)
    0.6931
    """
    return -(2.0 / beta) * logsigmoid(beta * (preferred - rejected)).mean()
