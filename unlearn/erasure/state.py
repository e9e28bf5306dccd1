"""The state of an erasing loop between two steps, in memory and in a checkpoint.

What the loop makes anew from its inputs (the reference of the KL, the curvature, the order of records) is not in it.
Knows no text and no person: records go by their ids.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

from unlearn.erasure.mover import Held, Moments
from unlearn.guards import Intervention
from unlearn.lm.checkpoint import Checkpoint


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
class Seen:
    """The retain records of one step, each: its KL, its NLL's rise and the original adapter's NLL, nats per token."""

    kl: list[float]
    rise: list[float]
    reference: list[float]


@dataclass(frozen=True)
class State:
    """A loop at the beginning of a step: with the same inputs, the same steps follow, bit for bit on a CPU.

    Attributes:
        held: the LoRA weights and Adam's moments.
        noise: state of the generator of the weight noise.
        number: of the step that comes next, from 1.
        learning_rate, retain_weight: what rollbacks and the dual ascent made of them.
        rollbacks: that are left.
        seconds: since the loop began, in all attempts together.
        trace, interventions: so far.
        seen: last NLL of each forget record.
        window: the retain records of the last steps.
    """

    held: Held
    noise: torch.Tensor
    number: int
    learning_rate: float
    retain_weight: float
    rollbacks: int
    seconds: float
    trace: list[Step]
    interventions: list[tuple[int, Intervention]]
    seen: dict[str, float]
    window: list[Seen]

    def save(self, checkpoint: Checkpoint) -> None:
        """Write it whole, in the place of the last one."""
        tensors = {f"weight/{name}": tensor for name, tensor in self.held.weights.items()} | {"noise": self.noise}
        for number, moments in self.held.moments.items():
            tensors |= {f"moment/{number}/{name}": tensor for name, tensor in moments.items()}
        about = {name: getattr(self, name) for name in PLAIN}
        about["trace"] = [asdict(step) for step in self.trace]
        about["interventions"] = [(number, asdict(why)) for number, why in self.interventions]
        about["window"] = [asdict(one) for one in self.window]
        checkpoint.keep(about, tensors)

    @classmethod
    def load(cls, checkpoint: Checkpoint) -> State | None:
        """The one that was saved last, its tensors on the CPU; None if there is none of the checkpoint's inputs."""
        kept = checkpoint.kept()
        if kept is None:
            return None
        about, tensors = kept
        weights: dict[str, torch.Tensor] = {}
        moments: Moments = {}
        for key, tensor in tensors.items():
            kind, _, name = key.partition("/")
            if kind == "weight":
                weights[name] = tensor
            elif kind == "moment":
                number, _, name = name.partition("/")
                moments.setdefault(int(number), {})[name] = tensor
        lists: dict[str, Any] = {
            "trace": [Step(**one) for one in about["trace"]],
            "interventions": [(number, Intervention(**why)) for number, why in about["interventions"]],
            "window": [Seen(**one) for one in about["window"]],
        }
        return cls(Held(weights, moments), tensors["noise"], **{name: about[name] for name in PLAIN}, **lists)


PLAIN = ("number", "learning_rate", "retain_weight", "rollbacks", "seconds", "seen")
"""Fields of a state that JSON has as they are."""
