"""Bases and adapters: what is attached comes off again, what is saved loads anywhere, what is wrong is refused."""

from __future__ import annotations

import json
import os
import pickle
import shutil

import pytest
import torch
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from unlearn.errors import ModelError
from unlearn.lm.base import attached, fresh_lora, load_base, resolve_base, save_adapter
from unlearn.weights import read_adapter

TOKENS = torch.arange(3, 15)[None]


def random_adapter(base, destination, seed=0, rank=4):
    with fresh_lora(base, LoraConfig(r=rank, target_modules="all-linear", task_type="CAUSAL_LM"), seed) as model:
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(0, 0.3, generator=torch.Generator().manual_seed(seed))
        return save_adapter(model, destination)


@torch.no_grad()
def logits(model):
    return model(input_ids=TOKENS).logits


def test_an_attached_adapter_changes_the_logits_and_leaves_the_base_as_it_was(tiny_base, tmp_path):
    base = load_base(tiny_base)
    plain = logits(base.model)
    adapter = random_adapter(base, tmp_path / "adapter")
    with attached(base, adapter) as model:
        assert not torch.allclose(logits(model), plain)
        assert all("lora_" in name for name, p in model.named_parameters() if p.requires_grad)
    assert torch.equal(logits(base.model), plain)
    assert not any(p.requires_grad for p in base.model.parameters())


def test_a_saved_adapter_loads_in_plain_peft_with_the_same_logits(tiny_base, tmp_path):
    base = load_base(tiny_base)
    adapter = random_adapter(base, tmp_path / "adapter")
    with attached(base, adapter) as model:
        ours = logits(model)
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base), tmp_path / "adapter").eval()
    assert torch.allclose(logits(plain), ours, atol=1e-5)
    assert sorted(p.name for p in (tmp_path / "adapter").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


def test_an_adapter_of_another_architecture_is_refused(tmp_path, llama_base, gemma_base):
    adapter = random_adapter(load_base(llama_base), tmp_path / "adapter")
    with pytest.raises(ModelError, match="was trained on"), attached(load_base(gemma_base), adapter):
        pass


def test_an_adapter_of_another_base_of_the_same_shape_is_refused(tmp_path, llama_base):
    other = tmp_path / "other"
    shutil.copytree(llama_base, other)
    weights = load_file(other / "model.safetensors")
    save_file({name: w * 1.01 for name, w in weights.items()}, other / "model.safetensors", {"format": "pt"})
    adapter = random_adapter(load_base(llama_base), tmp_path / "adapter")
    with pytest.raises(ModelError, match="was trained on base"), attached(load_base(other), adapter):
        pass


def test_a_base_that_moved_is_known_again_by_its_digest(tmp_path, llama_base):
    shutil.copytree(llama_base, tmp_path / "moved")
    adapter = random_adapter(load_base(llama_base), tmp_path / "adapter")
    with attached(load_base(tmp_path / "moved"), adapter) as model:
        assert logits(model).shape[-1] == 320


class Bomb:
    def __reduce__(self):
        return (open, ("pickle-was-opened", "w"))


def test_a_pickled_adapter_is_refused_and_never_opened(tmp_path, llama_base, monkeypatch):
    monkeypatch.chdir(tmp_path)
    random_adapter(load_base(llama_base), tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_model.safetensors").unlink()
    (tmp_path / "adapter" / "adapter_model.bin").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ModelError, match="pickled weights"):
        read_adapter(tmp_path / "adapter")
    assert not (tmp_path / "pickle-was-opened").exists()


def test_a_pickle_under_a_safetensors_name_is_refused_and_never_opened(tmp_path, llama_base, monkeypatch):
    monkeypatch.chdir(tmp_path)
    random_adapter(load_base(llama_base), tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ModelError, match="not a safetensors file"):
        read_adapter(tmp_path / "adapter")
    assert not (tmp_path / "pickle-was-opened").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_weights_that_may_not_be_read_are_not_called_bad_or_missing(tmp_path, llama_base):
    random_adapter(load_base(llama_base), tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_model.safetensors").chmod(0)
    with pytest.raises(ModelError, match=f"user {os.geteuid()}, as whom this runs, may not read"):
        read_adapter(tmp_path / "adapter")


def test_a_pickled_base_is_refused(tmp_path, llama_base):
    shutil.copytree(llama_base, tmp_path / "base")
    (tmp_path / "base" / "model.safetensors").rename(tmp_path / "base" / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickled weights"):
        load_base(tmp_path / "base")


def test_a_tokenizer_without_a_pad_token_is_refused_with_the_way_out(tmp_path, llama_base):
    shutil.copytree(llama_base, tmp_path / "base")
    file = tmp_path / "base" / "tokenizer_config.json"
    config = json.loads(file.read_text())
    del config["pad_token"]
    file.write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"no pad token.*tokenizer\.pad_token"):
        load_base(tmp_path / "base")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"r": 0}, "rank 0"),
        ({"peft_type": "IA3"}, "IA3"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"auto_mapping": {"base_model_class": "X"}}, "its own code"),
        ({"bias": "all"}, "trains biases"),
    ],
)
def test_an_adapter_that_is_no_plain_lora_is_refused(tmp_path, llama_base, change, message):
    random_adapter(load_base(llama_base), tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ModelError, match=message):
        read_adapter(tmp_path / "adapter")


def test_an_adapter_on_the_output_head_is_refused(tmp_path, llama_base):
    base = load_base(llama_base)
    with fresh_lora(base, LoraConfig(r=2, target_modules=["lm_head"], task_type="CAUSAL_LM"), 0) as model:
        model.save_pretrained(tmp_path / "adapter")
    with pytest.raises(ModelError, match="embeddings and head"):
        read_adapter(tmp_path / "adapter")


def test_an_adapter_with_a_value_that_is_not_finite_is_refused(tmp_path, llama_base):
    base = load_base(llama_base)
    random_adapter(base, tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    weights = load_file(file)
    next(iter(weights.values()))[0, 0] = float("nan")
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(ModelError, match="not finite"), attached(base, read_adapter(tmp_path / "adapter")):
        pass
    with torch.no_grad():
        assert bool(torch.isfinite(logits(base.model)).all())


@pytest.mark.parametrize("name", ["nothing/here/at/all", "./missing", "one-word"])
def test_a_base_that_is_nowhere_is_an_error_that_names_it(name):
    with pytest.raises(ModelError, match=name.replace(".", r"\.")):
        resolve_base(name)


def test_saving_over_something_is_refused(tmp_path, llama_base):
    base = load_base(llama_base)
    random_adapter(base, tmp_path / "adapter")
    with pytest.raises(FileExistsError):
        random_adapter(base, tmp_path / "adapter")
