"""The erasing loop: walk the LoRA weights along an objective, held back by a retain term, watched by governors.

    L(theta) = objective(theta on F)  +  lambda * retain(theta on R)

What one step minimises is `loss.py`'s. Governors look at the weights before an update is made: what they accept becomes
a snapshot, what they refuse is taken back to one. Knows no corpus, no verdict, no database.
"""

from __future__ import annotations

import math
import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import torch
from peft import PeftModel

from unlearn.erasure.curvature import Curvature, curvature_of
from unlearn.erasure.loss import Look, StepLoss
from unlearn.erasure.task import Task
from unlearn.errors import Diverged, Unchanged
from unlearn.guards import Governor, Intervention
from unlearn.lm.base import is_unchanged, lora_parameters, restore, snapshot
from unlearn.lm.batches import Example
from unlearn.lm.likelihood import record_nlls
from unlearn.measurement import Pulse
from unlearn.methods import Walk
from unlearn.objectives import Objective

ROLLBACK_STEP, ROLLBACK_WEIGHT = 0.5, 2.0
"""What a rollback does to the step size and to the retain weight."""

DUAL_RATE = 0.2
"""Rate of the dual ascent on the logarithm of lambda; a KL of twice the budget raises lambda by e^0.2 a step."""

WARM_UP_STEPS = 2
"""Steps over which a step size that falls rises first: Adam's first step is as long as its last, and knows least."""

LIGHTEST, HEAVIEST = 0.1, 1000.0
"""Range of an automatic lambda."""


@dataclass(frozen=True)
class Step:
    """One step as it was taken; NLL and KL are of that step's records, before the update.

    Attributes:
        step: from 1; steps that were rolled back later are among them.
        loss: what was minimised.
        forget_nll_nats: mean over the step's forget records, nats per token.
        gap_nats: mean of target minus NLL over the same records; None without targets.
        retain_kl_nats: mean over the step's retain records, nats per token.
        retain_weight: lambda.
        learning_rate: Adam's.
        gradient_norm: global norm before clipping.
    """

    step: int
    loss: float
    forget_nll_nats: float
    gap_nats: float | None
    retain_kl_nats: float
    retain_weight: float
    learning_rate: float
    gradient_norm: float


@dataclass(frozen=True)
class Walked:
    """How a loop went.

    Attributes:
        trace: every step taken.
        interventions: what the governors did, each with the step it was done before.
        end: why the loop ended: "settled" on its targets, or the governor that stopped it.
        pulse: the last look, at the weights that were kept.
    """

    trace: list[Step]
    interventions: list[tuple[int, Intervention]]
    end: str
    pulse: Pulse


def erase(
    model: PeftModel,
    task: Task,
    objective: Objective,
    walk: Walk,
    governors: Sequence[Governor],
    *,
    pad_id: int,
    seed: int,
    every_steps: int = 5,
    rollbacks: int = 3,
    kl_budget_nats: float = 0.1,
    on_step: Callable[[Step], None] = lambda step: None,
) -> Walked:
    """Change the adapter on `model` in place until it settles on its targets or a governor stops it.

    The same inputs and seed give the same weights bit for bit on a CPU, unless a budget of seconds ends the loop.

    Args:
        model: base with the adapter, in evaluation mode, its LoRA weights trainable.
        task: the records, their targets and the probe.
        objective: the forget loss.
        walk: steps, step size, batch sizes, retain term and its weight.
        governors: judge every look.
        pad_id: token that pads.
        seed: of the order of records and of the weight noise.
        every_steps: steps between two looks.
        rollbacks: returns to a snapshot before the loop ends at one instead.
        kl_budget_nats: what an automatic retain weight steers the retain KL to.
        on_step: called after each step; may raise to stop.

    Raises:
        Diverged: not even the first steps were finite; the weights are as they were given.
        Unchanged: no weight moved.
    """
    before = snapshot(model)
    loop = _Loop(model, task, objective, walk, pad_id, seed, kl_budget_nats, every_steps)
    end, pulse = loop.run(governors, every_steps, rollbacks, on_step)
    if is_unchanged(model, before):
        taken = "; ".join(why.sentence for _, why in loop.interventions)
        reason = f": {taken}" if taken else "; the learning rate may be too small"
        kind = Diverged if any(why.governor == "non_finite" for _, why in loop.interventions) else Unchanged
        raise kind(f"{len(loop.trace)} steps left every LoRA weight as it was{reason}")
    return Walked(loop.trace, loop.interventions, end, pulse)


@dataclass
class _Good:
    """A state the governors accepted."""

    weights: dict[str, torch.Tensor]
    optimizer: dict[str, object]
    seen: dict[str, float]
    pulse: Pulse


@dataclass
class _Loop:
    """One rung's walk: the optimiser, the order of records, and what the governors are shown."""

    model: PeftModel
    task: Task
    objective: Objective
    walk: Walk
    pad_id: int
    seed: int
    kl_budget_nats: float
    window_steps: int
    trace: list[Step] = field(default_factory=list)
    interventions: list[tuple[int, Intervention]] = field(default_factory=list)
    seen: dict[str, float] = field(default_factory=dict)  # last NLL of each forget record

    def __post_init__(self) -> None:
        self.started = time.monotonic()
        self.parameters = [parameter for _, parameter in lora_parameters(self.model)]
        self.aims = "targets" in self.objective.needs
        self.learning_rate = self.walk.learning_rate
        self.most_steps = steps_of(self.walk, len(self.task.forget))
        self.weight = 1.0 if self.walk.retain_weight == "auto" else float(self.walk.retain_weight)
        forget, retain = self.walk.forget_records_per_step, self.walk.retain_records_per_step
        order = _shuffled(self.task.retain, f"{self.seed}|retain")[: max(retain, retain * self.most_steps)]
        self.forget_turns = _turns(_shuffled(self.task.forget, f"{self.seed}|forget"), forget)
        self.retain_turns = _turns(order, retain)
        self.loss = StepLoss(self.model, self.task, self.objective, self.walk, order, self.pad_id)
        self.probe_nll = self._probe()
        self.window: deque[Look] = deque(maxlen=self.window_steps)
        if self.walk.shrink < 1.0:
            with torch.no_grad():
                for name, parameter in lora_parameters(self.model):
                    if "lora_B" in name:
                        parameter.mul_(self.walk.shrink)
        self.scales = [float(p.detach().std()) if p.numel() > 1 else 0.0 for p in self.parameters]
        self.noise = torch.Generator().manual_seed(self.seed)
        self.curvature: Curvature | None = None
        self.steps: list[torch.Tensor] = list(self.parameters)  # what the optimiser moves
        if self.walk.curvature_damping is not None:
            sample = order[: self.walk.curvature_records]
            damping = self.walk.curvature_damping
            self.curvature = curvature_of(self.model, sample, self.pad_id, damping=damping, seed=self.seed)
            self.origin = [p.detach().clone() for p in self.parameters]
            self.steps = [torch.zeros_like(p, dtype=torch.float32, requires_grad=True) for p in self.parameters]
        self.optimizer = torch.optim.Adam(self.steps, lr=self.learning_rate, betas=self.walk.adam_betas)

    # -- the way ---------------------------------------------------------------------------------------------------

    def run(
        self, governors: Sequence[Governor], every: int, rollbacks: int, on_step: Callable[[Step], None]
    ) -> tuple[str, Pulse]:
        """Walk to an end; the weights are then the last ones that every governor accepted."""
        good: _Good | None = None
        number = 0
        while True:
            number += 1
            forget, retain = next(self.forget_turns), next(self.retain_turns)
            look, norm = self._differentiate(forget, retain, last=number > self.most_steps)
            self.window.append(look)
            looking = (number - 1) % every == 0 or norm is None
            pulse = self._pulse(number, look, norm, looking)
            found = [why for governor in governors if (why := governor(pulse)) is not None]
            if not looking:
                found = [why for why in found if why.governor == "non_finite" or why.action == "stop"]
            past = any(why.governor == "overshoot" for why in found)
            if past and self.aims and len(found) == 1:
                found = []  # on its way to its targets an objective that aims at them may pass them
            self.interventions += [(number, why) for why in found]
            if any(why.action == "rollback" for why in found):
                rollbacks -= 1
                if good is None or rollbacks < 0 or any(why.action == "stop" for why in found):
                    return self._end(good, found[0].governor, pulse)
                self._return_to(good)
                self.learning_rate *= ROLLBACK_STEP
                self.weight = min(HEAVIEST, self.weight * ROLLBACK_WEIGHT)
                continue
            if past and found:
                return self._end(good, "overshoot", pulse)
            if looking and not past:
                good = _Good(snapshot(self.model), _copied(self.optimizer.state_dict()), dict(self.seen), pulse)
            if found:
                return self._end(good, found[0].governor, pulse)
            if self._settled():
                return "settled", pulse
            assert norm is not None  # noqa: S101 - a look without a gradient is settled or beyond the budget
            self._update(number, look, norm)
            on_step(self.trace[-1])

    def _differentiate(self, forget: list[Example], retain: list[Example], *, last: bool) -> tuple[Look, float | None]:
        """One pass over the step's records and its gradient's norm, at weights shaken by the walk's noise.

        No gradient is taken (and the norm is None) where no step will follow: at the last look, and once settled.
        """
        shake = [
            torch.randn(p.shape, generator=self.noise).to(p) * (self.walk.weight_noise * scale)
            for p, scale in zip(self.parameters, self.scales, strict=True)
            if self.walk.weight_noise
        ]
        with torch.no_grad():
            for parameter, by in zip(self.parameters, shake, strict=False):
                parameter.add_(by)
        with torch.set_grad_enabled(not last):
            look = self.loss(forget, retain, self.weight, len(self.trace))
        self.seen |= look.forget
        walking = not last and not self._settled()
        for parameter in self.parameters:
            parameter.grad = None
        if walking:
            look.loss.backward()
        with torch.no_grad():
            for parameter, by in zip(self.parameters, shake, strict=False):
                parameter.sub_(by)
        if not walking:
            return look, None
        return look, float(torch.nn.utils.clip_grad_norm_(self.parameters, self.walk.max_gradient_norm))

    def _update(self, number: int, look: Look, norm: float) -> None:
        rate = self.learning_rate * self._share(number)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self._move()
        kl = fmean(look.kl)
        gaps = self._gaps(look.forget)
        gap = fmean(gaps) if gaps else None
        loss = look.loss.item()
        self.trace.append(Step(number, loss, fmean(look.forget.values()), gap, kl, self.weight, rate, norm))
        if self.walk.retain_weight == "auto":
            factor = math.exp(DUAL_RATE * min(5.0, kl / self.kl_budget_nats - 1.0))
            self.weight = min(HEAVIEST, max(LIGHTEST, self.weight * factor))

    @torch.no_grad()
    def _move(self) -> None:
        """One step of the optimiser; with a curvature it moves zeros in the turned coordinates, then turned back."""
        if self.curvature is None:
            self.optimizer.step()
            return
        gradients = [_gradient(p) for p in self.parameters]
        if self.walk.curvature_weight:
            pulls = self.curvature.pull([p - then for p, then in zip(self.parameters, self.origin, strict=True)])
            gradients = [g + self.walk.curvature_weight * pull for g, pull in zip(gradients, pulls, strict=True)]
        for step, turned in zip(self.steps, self.curvature.turned(gradients), strict=True):
            step.grad = turned
        self.optimizer.step()
        for parameter, change in zip(self.parameters, self.curvature.back(self.steps), strict=True):
            parameter.add_(change.to(parameter))
        for step in self.steps:
            step.zero_()

    def _share(self, number: int) -> float:
        """Share of the learning rate at step `number`."""
        if self.walk.schedule == "constant":
            return 1.0
        rising = min(1.0, number / (WARM_UP_STEPS + 1))
        return rising * max(0.0, 1.0 - (number - 1) / self.most_steps)

    def _settled(self) -> bool:
        """Whether every forget record was seen, and they lie on their targets within the walk's tolerances."""
        if self.walk.tolerance_nats is None or len(self.seen) < len(self.task.forget):
            return False
        gaps = self._gaps(self.seen)
        if not gaps:
            return False
        near = abs(fmean(gaps)) <= self.walk.mean_tolerance_nats
        return near and fmean(map(abs, gaps)) <= self.walk.tolerance_nats

    def _return_to(self, good: _Good) -> None:
        restore(self.model, good.weights)
        self.optimizer.load_state_dict(_copied(good.optimizer))
        self.seen = dict(good.seen)
        self.window.clear()

    def _end(self, good: _Good | None, why: str, pulse: Pulse) -> tuple[str, Pulse]:
        if good is None:
            return why, pulse
        restore(self.model, good.weights)
        return why, good.pulse

    # -- what the governors see --------------------------------------------------------------------------------------

    def _pulse(self, number: int, look: Look, norm: float | None, looking: bool) -> Pulse:
        gaps = self._gaps(self.seen)
        whole = len(self.seen) == len(self.task.forget)
        kl = [value for past in self.window for value in past.kl]
        probe = self._probe() if looking else None
        known = probe is not None and self.probe_nll is not None
        return Pulse(
            step=number,
            steps=self.most_steps,
            seconds=time.monotonic() - self.started,
            loss=look.loss.item(),
            gradient_norm=norm,
            forget_nll_nats=fmean(self.seen.values()),
            gap_nats=fmean(gaps) if gaps else None,
            absolute_gap_nats=fmean(map(abs, gaps)) if gaps and whole else None,
            retain_kl_nats=fmean(kl),
            retain_rise_nats=fmean(value for past in self.window for value in past.rise),
            retain_nll_nats=fmean(value for past in self.window for value in past.reference),
            general_rise_nats=probe - self.probe_nll if known else None,  # type: ignore[operator]
            general_nll_nats=self.probe_nll,
            window_records=len(kl),
        )

    def _gaps(self, nlls: dict[str, float]) -> list[float]:
        targets = self.task.targets
        return [] if targets is None else [targets.nlls[record] - nll for record, nll in nlls.items()]

    def _probe(self) -> float | None:
        if not self.task.probe:
            return None
        return fmean(record_nlls(self.model, self.task.probe, self.pad_id).values())


def steps_of(walk: Walk, forget_records: int) -> int:
    """Most steps that `walk` takes over so many forget records."""
    if walk.passes is None:
        return walk.steps
    a_step = min(walk.forget_records_per_step, forget_records)
    return min(walk.steps, math.ceil(walk.passes * forget_records / a_step))


def _gradient(parameter: torch.nn.Parameter) -> torch.Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _copied(state: dict[str, object]) -> dict[str, object]:
    """An optimiser's state whose tensors no later step changes."""

    def copied(value: object) -> object:
        if isinstance(value, torch.Tensor):
            return value.detach().clone()
        if isinstance(value, dict):
            return {key: copied(item) for key, item in value.items()}
        return [copied(item) for item in value] if isinstance(value, list) else value

    return {key: copied(value) for key, value in state.items()}


def _shuffled(examples: Sequence[Example], seed: str) -> list[Example]:
    drawn = list(examples)
    random.Random(seed).shuffle(drawn)  # noqa: S311
    return drawn


def _turns(examples: Sequence[Example], size: int) -> Iterator[list[Example]]:
    """Batches of `size` (fewer when there are fewer), every example once before any comes again."""
    size = min(size, len(examples))
    start = 0
    while True:
        yield [examples[i % len(examples)] for i in range(start, start + size)]
        start = (start + size) % len(examples)
