"""The erasing loop: walk the LoRA weights along an objective, held back by a retain term, watched by governors.

    L(theta) = objective(theta on F)  +  lambda * retain(theta on R)

What one step minimises is `loss.py`'s. Governors look at the weights before an update is made: what they accept becomes
a snapshot, what they refuse is taken back to one. Knows no corpus, no verdict, no database.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import torch
from peft import PeftModel

from unlearn.erasure.loss import Look, StepLoss
from unlearn.erasure.mover import Held, Mover
from unlearn.erasure.state import Seen, State, Step
from unlearn.erasure.task import Task
from unlearn.erasure.turns import shuffled, steps_of, turns
from unlearn.errors import Diverged, Unchanged
from unlearn.guards import Governor, Intervention
from unlearn.lm.base import is_unchanged, restore, snapshot
from unlearn.lm.batches import Example
from unlearn.lm.checkpoint import Checkpoint
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
    checkpoint: Checkpoint | None = None,
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
        checkpoint: keeps the loop where the governors last accepted it; found there, it goes on from it, to the same
            weights bit for bit.

    Raises:
        Diverged: not even the first steps were finite; the weights are as they were given.
        Unchanged: no weight moved.
    """
    before = snapshot(model)
    loop = _Loop(model, task, objective, walk, pad_id, seed, kl_budget_nats, every_steps, rollbacks, checkpoint)
    end, pulse = loop.run(governors, on_step)
    if is_unchanged(model, before):
        taken = "; ".join(why.sentence for _, why in loop.interventions)
        reason = f": {taken}" if taken else "; the learning rate may be too small"
        kind = Diverged if any(why.governor == "non_finite" for _, why in loop.interventions) else Unchanged
        raise kind(f"{len(loop.trace)} steps left every LoRA weight as it was{reason}")
    return Walked(loop.trace, loop.interventions, end, pulse)


@dataclass
class _Good:
    """A state the governors accepted."""

    held: Held
    seen: dict[str, float]
    pulse: Pulse


@dataclass
class _Loop:
    """One rung's walk: the order of records, and what the governors are shown."""

    model: PeftModel
    task: Task
    objective: Objective
    walk: Walk
    pad_id: int
    seed: int
    kl_budget_nats: float
    every_steps: int
    rollbacks: int  # that are left
    checkpoint: Checkpoint | None
    trace: list[Step] = field(default_factory=list)
    interventions: list[tuple[int, Intervention]] = field(default_factory=list)
    seen: dict[str, float] = field(default_factory=dict)  # last NLL of each forget record

    def __post_init__(self) -> None:
        self.started = time.monotonic()
        self.aims = "targets" in self.objective.needs
        self.learning_rate = self.walk.learning_rate
        self.most_steps = steps_of(self.walk, len(self.task.forget))
        self.weight = 1.0 if self.walk.retain_weight == "auto" else float(self.walk.retain_weight)
        forget, retain = self.walk.forget_records_per_step, self.walk.retain_records_per_step
        order = shuffled(self.task.retain, f"{self.seed}|retain")[: max(retain, retain * self.most_steps)]
        self.forget_turns = turns(shuffled(self.task.forget, f"{self.seed}|forget"), forget)
        self.retain_turns = turns(order, retain)
        self.loss = StepLoss(self.model, self.task, self.objective, self.walk, order, self.pad_id)
        self.probe_nll = self._probe()
        self.window: deque[Seen] = deque(maxlen=self.every_steps)
        sample = order[: self.walk.curvature_records]
        self.mover = Mover(self.model, self.walk, sample, self.pad_id, self.seed)
        self.number = 0  # of the step under way
        self.kept = time.monotonic()
        state = None if self.checkpoint is None else State.load(self.checkpoint)
        if state is not None:
            self._take_up(state)

    # -- the way ---------------------------------------------------------------------------------------------------

    def run(self, governors: Sequence[Governor], on_step: Callable[[Step], None]) -> tuple[str, Pulse]:
        """Walk to an end; the weights are then the last ones that every governor accepted."""
        good: _Good | None = None
        while True:
            self.number += 1
            state = self._state() if self._is_due() else None
            forget, retain = next(self.forget_turns), next(self.retain_turns)
            look, norm = self._differentiate(forget, retain, last=self.number > self.most_steps)
            self.window.append(Seen(look.kl, look.rise, look.reference))
            looking = self._looks() or norm is None
            pulse = self._pulse(look, norm, looking)
            found, past = self._judged(governors, pulse, looking)
            if any(why.action == "rollback" for why in found):
                self.rollbacks -= 1
                if good is None or self.rollbacks < 0 or any(why.action == "stop" for why in found):
                    return self._end(good, found[0].governor, pulse)
                self._return_to(good)
                continue
            if past and found:
                return self._end(good, "overshoot", pulse)
            if looking and not past:
                good = _Good(self.mover.hold(), dict(self.seen), pulse)
                self._keep(state)
            if found:
                return self._end(good, found[0].governor, pulse)
            if self._settled():
                return "settled", pulse
            assert norm is not None  # noqa: S101 - a look without a gradient is settled or beyond the budget
            self._update(look, norm)
            on_step(self.trace[-1])

    def _looks(self) -> bool:
        """Whether the step is one of those at which everything is looked at."""
        return (self.number - 1) % self.every_steps == 0

    def _judged(self, governors: Sequence[Governor], pulse: Pulse, looking: bool) -> tuple[list[Intervention], bool]:
        """What the governors want done, and whether the forget set lies past its targets."""
        found = [why for governor in governors if (why := governor(pulse)) is not None]
        if not looking:
            found = [why for why in found if why.governor == "non_finite" or why.action == "stop"]
        past = any(why.governor == "overshoot" for why in found)
        if past and self.aims and len(found) == 1:
            found = []  # on its way to its targets an objective that aims at them may pass them
        self.interventions += [(self.number, why) for why in found]
        return found, past

    def _differentiate(self, forget: list[Example], retain: list[Example], *, last: bool) -> tuple[Look, float | None]:
        """One pass over the step's records and its gradient's norm, at weights shaken by the walk's noise.

        No gradient is taken (and the norm is None) where no step will follow: at the last look, and once settled.
        """
        with self.mover.shaken():
            with torch.set_grad_enabled(not last):
                look = self.loss(forget, retain, self.weight, len(self.trace))
            self.seen |= look.forget
            if walking := not last and not self._settled():
                look.loss.backward()
        return look, self.mover.clip() if walking else None

    def _update(self, look: Look, norm: float) -> None:
        rate = self.learning_rate * self._share()
        self.mover.move(rate)
        kl = fmean(look.kl)
        gaps = self._gaps(look.forget)
        gap = fmean(gaps) if gaps else None
        loss = look.loss.item()
        self.trace.append(Step(self.number, loss, fmean(look.forget.values()), gap, kl, self.weight, rate, norm))
        if self.walk.retain_weight == "auto":
            factor = math.exp(DUAL_RATE * min(5.0, kl / self.kl_budget_nats - 1.0))
            self.weight = min(HEAVIEST, max(LIGHTEST, self.weight * factor))

    def _share(self) -> float:
        """Share of the learning rate at the step under way."""
        if self.walk.schedule == "constant":
            return 1.0
        rising = min(1.0, self.number / (WARM_UP_STEPS + 1))
        return rising * max(0.0, 1.0 - (self.number - 1) / self.most_steps)

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
        self.mover.return_to(good.held)
        self.seen = dict(good.seen)
        self.window.clear()
        self.learning_rate *= ROLLBACK_STEP
        self.weight = min(HEAVIEST, self.weight * ROLLBACK_WEIGHT)

    def _end(self, good: _Good | None, why: str, pulse: Pulse) -> tuple[str, Pulse]:
        if good is None:
            return why, pulse
        restore(self.model, good.held.weights)
        return why, good.pulse

    # -- where another attempt goes on from --------------------------------------------------------------------------

    def _is_due(self) -> bool:
        """Whether the step, if it is accepted, is one to keep."""
        if self.checkpoint is None or not self.trace or not self._looks():
            return False
        return time.monotonic() - self.kept >= self.checkpoint.every_seconds

    def _state(self) -> State:
        """The loop as the step begins: a look adds noise and takes it off, which does not give back every last bit."""
        return State(
            held=self.mover.hold(),
            noise=self.mover.noise.get_state(),
            number=self.number,
            learning_rate=self.learning_rate,
            retain_weight=self.weight,
            rollbacks=self.rollbacks,
            seconds=time.monotonic() - self.started,
            trace=list(self.trace),
            interventions=list(self.interventions),
            seen=dict(self.seen),
            window=list(self.window),
        )

    def _keep(self, state: State | None) -> None:
        if state is not None and self.checkpoint is not None:
            state.save(self.checkpoint)
            self.kept = time.monotonic()

    def _take_up(self, state: State) -> None:
        self.mover.return_to(state.held)
        self.mover.noise.set_state(state.noise)
        self.number, self.rollbacks = state.number - 1, state.rollbacks
        self.learning_rate, self.weight = state.learning_rate, state.retain_weight
        self.started -= state.seconds
        self.trace, self.interventions, self.seen = state.trace, state.interventions, state.seen
        self.window.extend(state.window)
        for _ in range(self.number):  # rounds of both are of other lengths
            next(self.forget_turns), next(self.retain_turns)

    # -- what the governors see --------------------------------------------------------------------------------------

    def _pulse(self, look: Look, norm: float | None, looking: bool) -> Pulse:
        gaps = self._gaps(self.seen)
        whole = len(self.seen) == len(self.task.forget)
        kl = [value for past in self.window for value in past.kl]
        probe = self._probe() if looking else None
        known = probe is not None and self.probe_nll is not None
        return Pulse(
            step=self.number,
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
