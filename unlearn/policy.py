"""The policy: how to erase and what may be released. Plain data, read from YAML; knows no torch.

A policy names an objective and the gates' thresholds. Every default is explained at its field; a key that
is not known is an error, so that a typing mistake never weakens a guard.
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from unlearn.errors import PolicyError


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_as_number(cls, value: object, info: ValidationInfo) -> object:
        """YAML reads `off` as false, and false would pass as 0: a guard switched off by a word."""
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation in (int, float):
            raise ValueError("this is true or false; give a number")
        return value


class LoopPolicy(_Part):
    """How the loop walks."""

    steps: int = Field(default=25, ge=1, le=100_000, description="Optimiser steps.")
    learning_rate: float = Field(
        default=3e-4, gt=0, description="Adam's step size on the LoRA weights; plain ascent overshoots at larger ones."
    )
    forget_records_per_step: int = Field(default=16, ge=1, description="Forget records in one step.")
    retain_records_per_step: int = Field(default=16, ge=1, description="Retain records in one step.")
    max_gradient_norm: float = Field(default=1.0, gt=0, description="Global gradient norm is clipped to this.")
    retain_weight: float = Field(
        default=20.0, ge=0, description="Weight of the retain KL beside the forget loss (lambda)."
    )
    retain_pool_records: int = Field(
        default=256, ge=1, description="Retain records the KL term draws from; bounds the job's cost."
    )
    retain_check_records: int = Field(
        default=256, ge=1, description="Retain records, apart from the pool, on which drift is measured."
    )


class GatePolicy(_Part):
    """What may be released."""

    membership_auc_margin: float = Field(
        default=0.20,
        gt=0,
        le=0.5,
        description="The loss attack's AUC must lie within 0.5 ± this, its whole 90 % interval (two one-sided "
        "tests at 5 %). 0.20 is the smallest margin that 20 records can be shown to meet with power 0.8; tighten it "
        "for larger requests.",
    )
    retain_drift: float = Field(
        default=0.05, gt=0, description="Largest rise of the retain NLL, as a share of its value before."
    )
    retain_drift_floor_nats: float = Field(
        default=0.01, ge=0, description="A rise below this many nats per token is never a drift."
    )


class Policy(_Part):
    """One erasing: the objective, the loop and the gates."""

    method: Literal["ascent"] = Field(default="ascent", description="Objective by its name in the menu.")
    seed: int = Field(default=0, ge=0, lt=2**32, description="Seed of the split and of the order of records.")
    loop: LoopPolicy = LoopPolicy()
    gates: GatePolicy = GatePolicy()


class _Loader(yaml.SafeLoader):
    """A safe loader that refuses a key given twice, of which YAML would quietly take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """The mapping at `node`."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key.value}' comes twice; keep one", key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def read_policy(path: Path | None) -> Policy:
    """The policy in the YAML file at `path`, or the defaults without one.

    Raises:
        PolicyError: the file can't be read, is not YAML, or names an unknown key or an impossible value.
    """
    if path is None:
        return Policy()
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 a SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(f"policy '{path}' can't be read: {error}") from None
    except yaml.YAMLError as error:
        raise PolicyError(f"policy '{path}' is not YAML: {error}") from None
    except (ValueError, RecursionError) as error:
        raise PolicyError(f"policy '{path}' holds a value that YAML can't give: {error}") from None
    return parse_policy({} if data is None else data, f"policy '{path}'")


def parse_policy(data: Any, where: str) -> Policy:
    """The policy in `data`; `where` names its origin in the message.

    Raises:
        PolicyError: an unknown key or an impossible value, each named.
    """
    try:
        return Policy.model_validate(data)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'top level'}: {e['msg']}" for e in error.errors())
        raise PolicyError(f"{where}: {faults}") from None
