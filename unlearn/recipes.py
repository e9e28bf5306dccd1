"""How an adapter was trained, so that it can be trained again without some of its records: plain data, torch-free.

It lies beside the weights (`recipe.json`), or is given when the adapter is registered. Trains nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import ConfigDict, Field, StringConstraints, ValidationError

from unlearn.errors import BadInput
from unlearn.methods import Part


class RecipeError(BadInput):
    """A recipe that can't be used, or none where one is needed."""

    kind = "bad-recipe"
    title = "The training recipe can't be used"


class TrainedOn(Part):
    """The base model that the adapter was trained on."""

    model_config = ConfigDict(strict=True)

    name: str | None = Field(default=None, max_length=512, description="What it is called.")
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] = Field(
        description="As the service has it (`base_sha256`)."
    )


class TrainingRecipe(Part):
    """How an adapter was trained: a LoRA on every linear layer but the head, alpha = 2 r, with AdamW."""

    model_config = ConfigDict(strict=True)

    rank: int = Field(ge=1, le=65536, description="r of the LoRA.", examples=[16])
    epochs: int = Field(ge=1, le=1_000_000, description="Passes over the train corpus.", examples=[6])
    learning_rate: float = Field(gt=0, description="Of the optimiser, at its highest.", examples=[0.002])
    batch_size: int = Field(ge=1, le=1_000_000, description="Records in one step.", examples=[16])
    seed: int = Field(default=0, ge=0, lt=2**63, description="Of initialisation and order.")
    base: TrainedOn | None = Field(default=None, description="Checked against the base that is registered.")

    def as_json(self) -> dict[str, Any]:
        """As it lies beside the weights."""
        return self.model_dump(mode="json", exclude_none=True)


def parse_recipe(data: Mapping[str, Any], where: str) -> TrainingRecipe:
    """The recipe in `data`; `where` names its origin in the message.

    Raises:
        RecipeError: an unknown or missing field, or an impossible value, each named.
    """
    try:
        return TrainingRecipe.model_validate(dict(data))
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'top level'}: {e['msg']}" for e in error.errors())
        raise RecipeError(f"{where}: {faults}; a recipe has rank, epochs, learning_rate, batch_size and seed") from None
