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


class Interrupted(Exception):
    pass


def interrupt_at(step_to_die):
    def on_step(step, steps, loss):
        if step == step_to_die:
            raise Interrupted

    return on_step


def resumable(base, destination, checkpoint, on_step=lambda step, steps, loss: None, **changes):
    examples = encode(RECORDS, base.tokenizer, base.files.context_tokens)
    recipe = Recipe(**{"rank": 4, "epochs": 4, "learning_rate": 1e-2, "batch_size": 4, **changes})
    return finetune(base, examples, recipe, destination, on_step, checkpoint)


@pytest.mark.parametrize("died_at", [2, 4, 8, 12])
def test_an_interrupted_training_goes_on_to_the_same_bytes(llama_base, tmp_path, died_at):
    base = load_base(llama_base)
    whole, _ = train(base, tmp_path / "whole")
    with pytest.raises(Interrupted):
        resumable(base, tmp_path / "a", tmp_path / "state", interrupt_at(died_at))
    assert not (tmp_path / "a").exists()
    taken = []
    done = resumable(base, tmp_path / "a", tmp_path / "state", lambda step, steps, loss: taken.append(step))
    assert done.sha256 == whole.sha256
    assert taken[0] == 3 * ((died_at - 1) // 3) + 1, "whole epochs are not trained again"
    assert not (tmp_path / "state").exists()


def test_a_state_of_other_inputs_is_not_taken_up(llama_base, tmp_path):
    base = load_base(llama_base)
    with pytest.raises(Interrupted):
        resumable(base, tmp_path / "a", tmp_path / "state", interrupt_at(8), seed=5)
    other, _ = train(base, tmp_path / "other", seed=6)
    assert resumable(base, tmp_path / "b", tmp_path / "state", seed=6).sha256 == other.sha256


def test_a_broken_state_is_as_good_as_none(llama_base, tmp_path):
    base = load_base(llama_base)
    whole, _ = train(base, tmp_path / "whole")
    (tmp_path / "state").write_bytes(b"not a state")
    assert resumable(base, tmp_path / "a", tmp_path / "state").sha256 == whole.sha256
