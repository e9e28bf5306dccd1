"""Fine-tuning: it learns, repeats itself bit for bit, records its recipe, and says when it did nothing."""

from __future__ import annotations

import json

import pytest

from unlearn.corpus.records import Record
from unlearn.errors import BadInput, Unchanged
from unlearn.lm.base import attached, load_base
from unlearn.lm.batches import encode
from unlearn.lm.finetune import Recipe, finetune
from unlearn.lm.likelihood import record_nlls

RECORDS = [Record(f"r-{i}", ("s",), text=f"Order {i * 37} of Ada went to Delft.") for i in range(12)]


def train(base, destination, **changes):
    examples = encode(RECORDS, base.tokenizer, base.files.context_tokens)
    recipe = Recipe(**{"rank": 4, "epochs": 4, "learning_rate": 1e-2, "batch_size": 4, **changes})
    return finetune(base, examples, recipe, destination), examples


def test_training_lowers_the_nll_of_its_records(tiny_base, tmp_path):
    base = load_base(tiny_base)
    adapter, examples = train(base, tmp_path / "adapter")
    before = record_nlls(base.model, examples, 0)
    with attached(base, adapter) as model:
        after = record_nlls(model, examples, 0)
    assert all(after[id_] < before[id_] - 0.1 for id_ in before)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(llama_base, tmp_path):
    base = load_base(llama_base)
    first, _ = train(base, tmp_path / "a", seed=5)
    second, _ = train(base, tmp_path / "b", seed=5)
    third, _ = train(base, tmp_path / "c", seed=6)
    assert first.sha256 == second.sha256
    assert third.sha256 != first.sha256


def test_the_recipe_is_written_beside_the_weights(llama_base, tmp_path):
    base = load_base(llama_base)
    train(base, tmp_path / "adapter", seed=5)
    recipe = json.loads((tmp_path / "adapter" / "recipe.json").read_text())
    assert recipe["base"]["sha256"] == base.files.sha256
    assert (recipe["rank"], recipe["epochs"], recipe["seed"]) == (4, 4, 5)


def test_a_training_that_moves_nothing_is_an_error_and_leaves_no_file(llama_base, tmp_path):
    with pytest.raises(Unchanged, match="12 records"):
        train(load_base(llama_base), tmp_path / "adapter", learning_rate=1e-30)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("change", [{"rank": 0}, {"epochs": 0}, {"batch_size": 0}, {"learning_rate": float("nan")}])
def test_an_impossible_recipe_is_refused(change):
    with pytest.raises(BadInput, match="must be"):
        Recipe(**change)
