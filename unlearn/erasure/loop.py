"""The erasing loop: walk the LoRA weights along an objective, held back by the retain KL.

    L(theta) = objective(nll_theta on F)  +  lambda * mean_R KL( p_orig || p_theta )

One decoder pass a step serves both terms. The reference p_orig is the adapter as it was given, cached once as
hidden states. Knows no corpus, no verdict, no database.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from peft import PeftModel

from unlearn.errors import Diverged, Unchanged
from unlearn.lm.base import is_unchanged, lora_parameters, snapshot
from unlearn.lm.batches import Example, collate
from unlearn.lm.likelihood import head_of, reference_hidden, row_means, score, token_kl, token_log_probs
from unlearn.objectives import Objective
from unlearn.policy import LoopPolicy


@dataclass(frozen=True)
class Step:
    """One step as it was taken; NLL and KL are of that step's records, before the update.

    Attributes:
        step: from 1.
        loss: what was minimised.
        forget_nll_nats: mean over the step's forget records, nats per token.
        retain_kl_nats: mean over the step's retain records, nats per token.
        gradient_norm: global norm before clipping.
    """

    step: int
    loss: float
    forget_nll_nats: float
    retain_kl_nats: float
    gradient_norm: float


def erase(
    model: PeftModel,
    forget: Sequence[Example],
    retain: Sequence[Example],
    objective: Objective,
    policy: LoopPolicy,
    *,
    pad_id: int,
    seed: int,
    on_step: Callable[[Step], None] = lambda step: None,
) -> list[Step]:
    """Change the adapter on `model` in place until `policy.steps` are taken.

    The same inputs and seed give the same weights bit for bit on a CPU.

    Args:
        model: base with the adapter, in evaluation mode, its LoRA weights trainable.
        forget: the forget set.
        retain: the retain pool.
        objective: the forget loss.
        policy: steps, step size, batch sizes, weight of the retain KL.
        pad_id: token that pads.
        seed: of the order of records.
        on_step: called after each step; may raise to stop.

    Raises:
        Diverged: loss or gradient is not finite; the weights are those of the step before.
        Unchanged: no weight moved.
    """
    before = snapshot(model)
    parameters = [parameter for _, parameter in lora_parameters(model)]
    optimizer = torch.optim.Adam(parameters, lr=policy.learning_rate)
    reference = reference_hidden(model, retain, pad_id)
    forget_turns = _turns(forget, policy.forget_records_per_step, random.Random(f"{seed}|forget"))  # noqa: S311
    retain_turns = _turns(retain, policy.retain_records_per_step, random.Random(f"{seed}|retain"))  # noqa: S311
    trace = []
    for number in range(1, policy.steps + 1):
        forget_nll, retain_kl = _pass(model, next(forget_turns), next(retain_turns), reference, pad_id)
        loss = objective(forget_nll) + policy.retain_weight * retain_kl
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, policy.max_gradient_norm))
        step = Step(number, loss.item(), forget_nll.mean().item(), retain_kl.item(), norm)
        if not (math.isfinite(step.loss) and math.isfinite(norm)):
            raise Diverged(
                f"step {number} of {policy.steps}: loss {step.loss}, gradient norm {norm}; "
                "try a smaller learning rate or a larger retain weight"
            )
        optimizer.step()
        trace.append(step)
        on_step(step)
    if is_unchanged(model, before):
        raise Unchanged(f"{policy.steps} steps left every LoRA weight as it was; the learning rate may be too small")
    return trace


def _pass(
    model: PeftModel,
    forget: list[Example],
    retain: list[Example],
    reference: dict[str, torch.Tensor],
    pad_id: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Forget NLL [records] and the mean retain KL, from one decoder pass over both."""
    head = head_of(model)
    device = model.get_base_model().device
    scored = score(model, collate([*forget, *retain], pad_id, device))
    of_forget = scored.of_rows(0, len(forget))
    of_retain = scored.of_rows(len(forget), len(forget) + len(retain))
    fixed = torch.cat([reference[example.id] for example in retain]).to(device)  # [retain tokens, width]
    forget_nll = -row_means(token_log_probs(head, of_forget), of_forget)
    return forget_nll, row_means(token_kl(head, fixed, of_retain), of_retain).mean()


def _turns(examples: Sequence[Example], size: int, order: random.Random) -> Iterator[list[Example]]:
    """Batches of `size` (fewer when there are fewer), every example once before any comes again."""
    size = min(size, len(examples))
    queue: list[Example] = []
    while True:
        if len(queue) < size:
            fresh = list(examples)
            order.shuffle(fresh)
            queue += sorted(fresh, key=lambda example: example in queue)  # no example twice in one batch
        batch, queue = queue[:size], queue[size:]
        yield batch
