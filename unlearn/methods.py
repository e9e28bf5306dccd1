"""The methods a ladder may name, each with its parameters: plain data, torch-free; one class a method.

Every default is explained at its field. A class here and a loss of the same name in `unlearn.objectives` make a
method; `retrain` alone has no loss. A parameter that is not known is an error.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

Weight = Annotated[float, Field(ge=0)]
Beta = Annotated[float, Field(ge=0, lt=1)]


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
    passes: float | None = Field(
        default=None,
        gt=0,
        description="Most passes over the forget set; fewer steps for a small one. None: any.",
    )
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
    retain_rise_weight: Weight = Field(
        default=0.0,
        description="Weight, inside the retain term, of the squared rise of the step's retained NLL over where the "
        "last exact fit had it (0 if below): what one erasure cost the retained, the next one gives back.",
    )
    retain_margin_nats: Weight = Field(
        default=0.02, description="Added to that rise: retained records outside the steps drift more than those inside."
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
    adam_betas: tuple[Beta, Beta] = Field(
        default=(0.9, 0.999), description="Adam's decay rates; smaller ones forget old steps sooner."
    )
    curvature_damping: float | None = Field(
        default=None,
        gt=0,
        description="Steps are taken in the eigenbasis of the retained records' Kronecker-factored Fisher, smaller "
        "where they feel more; this damps it, as a share of the mean eigenvalue. None: plain Adam.",
    )
    curvature_weight: Weight = Field(
        default=0.0,
        description="Weight of that Fisher's penalty on how far the weights have gone; the retain term without noise.",
    )
    curvature_records: int = Field(default=128, ge=1, description="Retain records that the curvature is read from.")
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
    steps: int = Field(default=10, ge=1, le=100_000, description="Most optimiser steps; it stops when settled.")
    passes: float | None = Field(
        default=7.0, gt=0, description="Most passes over the forget set: one person needs fewer steps than several."
    )
    learning_rate: float = Field(
        default=6e-3, gt=0, description="Adam's step size on the LoRA weights, in the turned coordinates."
    )
    forget_records_per_step: int = Field(
        default=24, ge=1, description="Forget records in one step; a set of fewer is in every step whole."
    )
    retain_weight: Weight | Literal["auto"] = Field(
        default=60.0, description="Weight of the retain term (lambda); 'auto' finds it on the retain-KL budget."
    )
    retain_rise_weight: Weight = Field(
        default=3.0, description="Weight of the squared rise of the retained NLL over where the last exact fit had it."
    )
    adam_betas: tuple[Beta, Beta] = Field(
        default=(0.5, 0.8), description="Adam's decay rates; a few steps to a moving target want a short memory."
    )
    curvature_damping: float | None = Field(
        default=0.1, gt=0, description="Damping of the retained records' curvature; None: plain Adam."
    )
    curvature_records: int = Field(default=64, ge=1, description="Retain records that the curvature is read from.")
    tolerance_nats: float | None = Field(
        default=0.05,
        gt=0,
        description="Stop when the mean absolute gap to the targets is this or less; None: never.",
    )
    mean_tolerance_nats: float = Field(
        default=0.02, gt=0, description="...and the mean gap lies within ± this, nats per token."
    )
    record_weight: Weight = Field(default=20.0, description="Weight of each record's gap to its target.")
    distribution_weight: Weight = Field(
        default=30.0,
        description="Weight of the KL to what the fold that never saw the person would say; needs a shadow table.",
    )
    shape: Literal["squared", "huber", "hinge"] = Field(
        default="squared", description="Of the gap: its square, Huber's, or a squared hinge that never pulls back."
    )
    huber_nats: float = Field(default=0.5, gt=0, description="Where Huber's shape turns from square to straight.")


class Npo(Walk):
    """Negative preference optimisation (arXiv 2404.05868): ascent that fades as a record gets less likely."""

    method: Literal["npo"] = "npo"
    beta: float = Field(default=0.1, gt=0, description="Inverse temperature: how soon the push fades.")


class SimNpo(Walk):
    """SimNPO (arXiv 2410.07163): NPO by length-normalised likelihood, without a reference."""

    method: Literal["simnpo"] = "simnpo"
    beta: float = Field(default=4.5, gt=0, description="Inverse temperature.")
    margin: float = Field(default=0.0, ge=0, description="Reward margin; larger keeps the push up for longer.")


class Wga(Walk):
    """Weighted gradient ascent (arXiv 2502.19301): pushes hardest on the tokens that are still likely."""

    method: Literal["wga"] = "wga"
    beta: float = Field(default=1.0, ge=0, description="Exponent of the token weight p^beta.")


class SatImp(Walk):
    """SatImp (arXiv 2505.11953): token weights of saturation and importance."""

    method: Literal["satimp"] = "satimp"
    beta_1: float = Field(default=5.0, ge=0, description="Exponent of p in the token weight.")
    beta_2: float = Field(default=1.0, ge=0, description="Exponent of 1 - p in the token weight.")


class Undial(Walk):
    """UNDIAL (arXiv 2402.10052): self-distillation with the forgotten tokens' logits turned down."""

    method: Literal["undial"] = "undial"
    beta: float = Field(default=10.0, gt=0, description="By how much a forgotten token's logit is turned down.")


class Ceu(Walk):
    """CE-U (arXiv 2503.01224): learn what the model would say if the forgotten token could not be said."""

    method: Literal["ceu"] = "ceu"
    skip_first: int = Field(default=1, ge=0, description="Scored tokens left out at each record's beginning.")


class Ihl(Walk):
    """Inverted hinge loss (arXiv 2408.06621): bounded ascent towards the next likely token."""

    method: Literal["ihl"] = "ihl"


class Idk(Walk):
    """DPO towards refusals (arXiv 2401.06121)."""

    method: Literal["idk"] = "idk"
    beta: float = Field(default=0.1, gt=0, description="Inverse temperature.")


class AltPo(Walk):
    """DPO towards answers that the base alone wrote, without the adapter (arXiv 2409.13474)."""

    method: Literal["altpo"] = "altpo"
    beta: float = Field(default=0.1, gt=0, description="Inverse temperature.")


class Rmu(Walk):
    """Representation misdirection (arXiv 2403.03218): steers a layer's states to a random direction."""

    method: Literal["rmu"] = "rmu"
    coefficient: float = Field(default=2.0, gt=0, description="Length of the vector that the states are steered to.")
    layer: int = Field(default=-2, description="Decoder layer; negative counts from the end.")
    direction_seed: int = Field(default=0, ge=0, lt=2**32, description="Seed of the random direction.")


class Retrain(Part):
    """A fresh adapter on the retain set with the recorded recipe: exact by construction, and dear."""

    method: Literal["retrain"] = "retrain"


Rung = Annotated[
    Calibrated | Ascent | Npo | SimNpo | Wga | SatImp | Undial | Ceu | Ihl | Idk | AltPo | Rmu | Retrain,
    Field(discriminator="method"),
]
"""One rung of a ladder: a method by its name, with its parameters."""

METHODS: dict[str, type[Part]] = {kind.model_fields["method"].default: kind for kind in get_args(get_args(Rung)[0])}
"""Every method by its name."""


def parameters(rung: Walk) -> dict[str, Any]:
    """The rung's own parameters, without those of the walk: what its objective is built with."""
    return {name: value for name, value in rung if name not in Walk.model_fields and name != "method"}
