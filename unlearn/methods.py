"""The methods a ladder may name, each with its parameters: plain data, torch-free; one class a method.

Every default is explained at its field. A class here and a loss of the same name in `unlearn.objectives` make a
method; `retrain` alone has no loss. A parameter that is not known is an error.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Weight = Annotated[float, Field(ge=0)]


class Part(BaseModel):
    """A part of the policy: immutable, unknown keys are errors, and no yes or no passes as a number."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_boolean_as_number(cls, data: Any) -> Any:
        """YAML reads `off` as false, and false would pass as 0: a guard switched off by a word."""
        for name, value in data.items() if isinstance(data, dict) else ():
            field = cls.model_fields.get(name)
            if isinstance(value, bool) and field is not None and "bool" not in str(field.annotation):
                raise ValueError(f"'{name}' is true or false here; give a number")
        return data


class Walk(Part):
    """What every method but `retrain` has: how its loop walks."""

    steps: int = Field(default=60, ge=1, le=100_000, description="Most optimiser steps; a method may stop earlier.")
    learning_rate: float = Field(default=1e-3, gt=0, description="Adam's step size on the LoRA weights.")
    forget_records_per_step: int = Field(
        default=40, ge=1, description="Forget records in one step; a set of fewer is in every step whole."
    )
    retain_records_per_step: int = Field(default=16, ge=1, description="Retain records in one step.")
    max_gradient_norm: float = Field(default=1.0, gt=0, description="Global gradient norm is clipped to this.")
    retain_term: Literal["kl", "nll"] = Field(
        default="kl",
        description="What holds the retained records: their KL to the original adapter, or their NLL.",
    )
    retain_weight: Weight | Literal["auto"] = Field(
        default=5.0,
        description="Weight of the retain term beside the forget loss (lambda); 'auto' finds it by dual ascent on the "
        "retain-KL budget.",
    )
    schedule: Literal["constant", "linear"] = Field(
        default="linear", description="Step size over the steps: constant, or falling linearly to zero."
    )
    weight_noise: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Gaussian noise on the LoRA weights while a step's gradient is taken, in standard deviations of "
        "each tensor; makes the forgetting hold under quantisation and relearning.",
    )
    shrink: float = Field(
        default=1.0, gt=0, le=1, description="Factor on the adapter before the first step; 1 leaves it whole."
    )
    tolerance_nats: float | None = Field(
        default=None,
        gt=0,
        description="Stop when the mean absolute gap to the targets is at or below this; never without a figure.",
    )
    mean_tolerance_nats: float = Field(
        default=0.05, gt=0, description="...and the mean gap lies within ± this, nats per token."
    )


class Ascent(Walk):
    """Plain gradient ascent (arXiv 2401.06121): the textbook baseline; unbounded, overshoots."""

    method: Literal["ascent"] = "ascent"
    steps: int = Field(default=25, ge=1, le=100_000, description="Optimiser steps; nothing stops it earlier.")
    learning_rate: float = Field(default=3e-4, gt=0, description="Larger ones overshoot at once.")
    forget_records_per_step: int = Field(default=16, ge=1, description="Forget records in one step.")
    retain_weight: Weight | Literal["auto"] = Field(default=20.0, description="Weight of the retain term (lambda).")


class Calibrated(Walk):
    """Ascent to a per-record counterfactual target, and no further (ours)."""

    method: Literal["calibrated"] = "calibrated"


class Retrain(Part):
    """A fresh adapter on the retain set with the recorded recipe: exact by construction, and dear."""

    method: Literal["retrain"] = "retrain"


Rung = Annotated[Ascent | Calibrated | Retrain, Field(discriminator="method")]
"""One rung of a ladder: a method by its name, with its parameters."""

METHODS: dict[str, type[Part]] = {kind.model_fields["method"].default: kind for kind in (Ascent, Calibrated, Retrain)}
"""Every method by its name."""


def parameters(rung: Walk) -> dict[str, Any]:
    """The rung's own parameters, without those of the walk: what its objective is built with."""
    return {name: value for name, value in rung if name not in Walk.model_fields and name != "method"}
