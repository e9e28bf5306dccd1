"""How an adapter was trained: known from the file beside it or from whoever registers it, or said to be missing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from unlearn.errors import Conflict
from unlearn.lm.finetune import Recipe, recorded_recipe
from unlearn.recipes import RecipeError
from unlearn.weights import RECIPE, copy_adapter, read_adapter

GIVEN = {"rank": 8, "epochs": 3, "learning_rate": 0.001, "batch_size": 4, "seed": 7}
NO_RETRAIN = {"ladder": [{"method": "calibrated"}]}


@pytest.fixture
def bare(company, inputs, tmp_path):
    """The company's adapter as another trainer leaves it."""
    place = Path(shutil.copytree(company.adapter, tmp_path / "home" / "inputs" / "bare"))
    (place / RECIPE).unlink()
    return inputs | {"adapter": str(place)}


def test_a_recipe_that_was_given_is_kept_with_the_first_version_and_shown(desk, bare):
    view = desk.register_adapter("bot", **bare, recipe=GIVEN)
    assert view.recipe == GIVEN
    kept = read_adapter(Path(view.current.path))
    assert recorded_recipe(kept) == Recipe(8, 3, 0.001, 4, 7)
    assert desk.register_adapter("bot", **bare, recipe=GIVEN) == view
    with pytest.raises(Conflict, match="belongs to"):
        desk.register_adapter("bot", **bare, recipe=GIVEN | {"epochs": 4})


def test_a_recipe_that_was_given_counts_in_the_place_of_the_file(desk, inputs):
    view = desk.register_adapter("bot", **inputs, recipe=GIVEN)
    assert recorded_recipe(read_adapter(Path(view.current.path))) == Recipe(8, 3, 0.001, 4, 7)


def test_the_file_beside_the_weights_is_kept_to_the_byte_and_shown(desk, inputs, company):
    view = desk.register_adapter("bot", **inputs)
    assert view.recipe == json.loads((company.adapter / RECIPE).read_text())
    assert (Path(view.current.path) / RECIPE).read_bytes() == (company.adapter / RECIPE).read_bytes()


@pytest.mark.parametrize(
    ("policy", "what"),
    [(None, "no 'retrain'"), (NO_RETRAIN | {"targets": {"shadows_at_registration": True}}, "no fold")],
)
def test_a_policy_that_trains_anew_is_refused_where_nobody_says_how(desk, bare, policy, what):
    with pytest.raises(RecipeError, match=f"{what} can be trained like .* give `recipe` with rank, epochs"):
        desk.register_adapter("bot", **bare, policy=policy)
    assert desk.adapters() == []
    assert desk.register_adapter("bot", **bare, policy=NO_RETRAIN).recipe is None


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"epochs": "3"}, "epochs"),
        ({"rank": 0}, "rank"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"batch_size": True}, "batch_size"),
        ({"lr": 0.1}, "lr: Extra"),
        ({"seed": -1}, "seed"),
        ({"base": {"sha256": "no digest"}}, r"base\.sha256"),
        ({"base": "llama"}, "base"),
        ({"rank": None}, "rank"),
    ],
)
@pytest.mark.parametrize("beside", [True, False])
def test_a_broken_recipe_is_refused_by_its_field(desk, bare, change, named, beside):
    given = {"recipe": GIVEN | change}
    if beside:
        (Path(bare["adapter"]) / RECIPE).write_text(json.dumps(GIVEN | change))
        given = {}
    with pytest.raises(RecipeError, match=named):
        desk.register_adapter("bot", **bare, **given)
    assert desk.adapters() == []


def test_a_recipe_with_a_missing_field_is_not_filled_with_a_default(desk, bare):
    (Path(bare["adapter"]) / RECIPE).write_text("{}")
    with pytest.raises(RecipeError, match=r"rank: Field required; epochs: Field required"):
        desk.register_adapter("bot", **bare)


def test_an_adapter_that_was_given_a_recipe_is_copied_with_it(company, tmp_path):
    from dataclasses import replace

    made = copy_adapter(replace(read_adapter(company.adapter), recipe=GIVEN), tmp_path / "copy")
    assert made.recipe == GIVEN
    assert copy_adapter(replace(made, recipe=None), tmp_path / "without").recipe is None
