"""What one step minimises, from one decoder pass over its records; and what that pass showed.

    objective(theta on F)  +  lambda * (retain term(theta on R)  +  w * max(0, rise of the retain NLL)^2)

The reference of the retain KL is the adapter as it was given, cached once as hidden states. The rise counts from
where the last exact fit had the retained, so that what earlier erasures cost them is in it. Knows no optimiser and no
governor.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from peft import PeftModel

from unlearn.erasure.task import Task
from unlearn.lm.batches import Example
from unlearn.lm.likelihood import (
    PerToken,
    Scored,
    head_of,
    log_probs_at,
    over_vocabulary,
    reference_of,
    row_means,
    score_examples,
    token_kl,
    token_log_probs,
)
from unlearn.methods import Walk
from unlearn.objectives import Answers, Objective, View


@dataclass(frozen=True)
class Look:
    """What one pass showed.

    Attributes:
        loss: what the step minimises: a scalar.
        forget: NLL of each forget record, nats per token, by record id.
        kl: KL of each retain record to the adapter as it was given, nats per token.
        rise: by how much the NLL of each retain record lies above that adapter's, nats per token.
        reference: that adapter's NLL of each, nats per token.
    """

    loss: torch.Tensor
    forget: dict[str, float]
    kl: list[float]
    rise: list[float]
    reference: list[float]


class StepLoss:
    """The loss of one rung's steps, on the adapter as it is when called.

    Args:
        model: base with the adapter, as it was given.
        task: the records and their targets.
        objective: the forget loss.
        walk: the retain term.
        retain: the retain records that steps will be made of.
        pad_id: token that pads.
    """

    def __init__(
        self, model: PeftModel, task: Task, objective: Objective, walk: Walk, retain: Sequence[Example], pad_id: int
    ) -> None:
        self.model, self.task, self.objective, self.walk, self.pad_id = model, task, objective, walk, pad_id
        self.head = head_of(model)
        referred = list(retain)  # records that the original adapter is asked about
        if "reference" in objective.needs:
            referred += [*task.forget, *(answer for pool in self._answers.values() for answer in pool)]
        self.fixed, self.fixed_probs = reference_of(model, referred, pad_id)

    def __call__(self, forget: list[Example], retain: list[Example], weight: float, turn: int) -> Look:
        """One pass over a step's records.

        Args:
            forget: its forget records.
            retain: its retain records.
            weight: lambda.
            turn: of the step; says which of several preferred answers to take.
        """
        preferred = self._preferred(forget, turn)
        layer = getattr(self.objective, "layer", None) if "layer" in self.objective.needs else None
        scored = score_examples(self.model, [*forget, *retain, *preferred], self.pad_id, layer)
        ends = [0, len(forget), len(forget) + len(retain), len(forget) + len(retain) + len(preferred)]
        of_forget, of_retain, of_preferred = (scored.of_rows(*pair) for pair in itertools.pairwise(ends))
        view = self._view(forget, of_forget, preferred, of_preferred)
        kl, log_probs = token_kl(self.head, self._fixed_of(retain), of_retain)
        nll, kl_of_row = -row_means(log_probs, of_retain), row_means(kl, of_retain)
        held = kl_of_row.mean() if self.walk.retain_term == "kl" else nll.mean()
        reference = [-float(self.fixed_probs[e.id].mean()) for e in retain]
        if self.walk.retain_rise_weight:
            above = nll.mean() - fmean(reference) + self.task.retain_drift_nats + self.walk.retain_margin_nats
            held = held + self.walk.retain_rise_weight * above.clamp_min(0.0).square()
        loss = self.objective(view) + weight * held
        rise = [now - then for now, then in zip(nll.tolist(), reference, strict=True)]
        return Look(
            loss, dict(zip([e.id for e in forget], view.nll.tolist(), strict=True)), kl_of_row.tolist(), rise, reference
        )

    def _view(self, forget: list[Example], of_forget: Scored, answers: list[Example], of_answers: Scored) -> View:
        referring, targets = "reference" in self.objective.needs, self.task.targets
        fixed = self._fixed_of(forget) if referring else None

        def over(per_token: PerToken) -> torch.Tensor:
            return over_vocabulary(self.head, per_token, of_forget, fixed)

        def known(examples: list[Example]) -> torch.Tensor | None:
            return torch.cat([self.fixed_probs[e.id] for e in examples]).to(self.model.device) if referring else None

        preferred = None
        if answers:
            probs = token_log_probs(self.head, of_answers)
            preferred = Answers(probs, of_answers.rows, of_answers.n_rows, known(answers))
        top, at_top = None, None
        if targets is not None and targets.top_tokens:
            kinds = (targets.top_tokens, targets.top_log_probs)
            tokens, top = (torch.cat([kind[e.id] for e in forget]).to(self.model.device) for kind in kinds)
            log_probs, at_top = log_probs_at(self.head, of_forget, tokens)
        else:
            log_probs = token_log_probs(self.head, of_forget)
        nlls = None if targets is None else [targets.nlls[e.id] for e in forget]
        return View(
            log_probs=log_probs,
            rows=of_forget.rows,
            n_rows=of_forget.n_rows,
            reference_log_probs=known(forget),
            target_nll=None if nlls is None else torch.tensor(nlls, device=self.model.device),
            target_top=top,
            at_top=at_top,
            preferred=preferred,
            hidden=of_forget.inner,
            over_vocabulary=over,
        )

    def _preferred(self, forget: list[Example], turn: int) -> list[Example]:
        """One preferred answer for each record: its refusals or alternates in turn."""
        pool = self._answers
        return [pool[e.id][turn % len(pool[e.id])] for e in forget] if pool else []

    @property
    def _answers(self) -> Mapping[str, Sequence[Example]]:
        """The answers that the objective prefers, by the id of their record; empty if it prefers none."""
        if "refusals" in self.objective.needs:
            return self.task.refusals
        return self.task.alternates if "alternates" in self.objective.needs else {}

    def _fixed_of(self, examples: list[Example]) -> torch.Tensor:
        return torch.cat([self.fixed[e.id] for e in examples]).to(self.model.device)  # [scored tokens, width]
