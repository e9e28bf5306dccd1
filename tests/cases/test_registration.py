"""Registering: every bad input is refused by name and leaves neither file nor row behind."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from unlearn.corpus.jsonl import write_corpus
from unlearn.corpus.records import Record
from unlearn.errors import BadInput, Conflict, CorpusError, ModelError, PathNotAllowed, PolicyError


@pytest.fixture
def own(tmp_path, company, inputs):
    """The company's files, copied to where a test may spoil them."""
    place = tmp_path / "home" / "inputs"
    shutil.copytree(company.path, place)
    return place, {key: value.replace(str(company.path), str(place)) for key, value in inputs.items()}


def refused(desk, kind, match, inputs, name="bot", **more):
    with pytest.raises(kind, match=match):
        desk.register_adapter(name, **inputs, **more)
    assert desk.adapters() == []
    assert not (desk.settings.home / "adapters").exists() or not list((desk.settings.home / "adapters").iterdir())


def test_a_good_adapter_is_registered_with_its_own_copy_of_the_weights(desk, inputs, company):
    view = desk.register_adapter("bot", **inputs)
    assert view.current.number == 1
    assert view.current.path.startswith(str(desk.settings.home))
    assert (view.train_records, view.holdout_records) == (len(company.world.train), len(company.world.holdout))
    assert [rung["method"] for rung in view.policy["ladder"]] == ["calibrated", "calibrated", "retrain"]


def test_registering_the_same_again_gives_the_same_and_other_inputs_conflict(desk, inputs):
    first = desk.register_adapter("bot", **inputs)
    assert desk.register_adapter("bot", **inputs) == first
    with pytest.raises(Conflict, match="belongs to"):
        desk.register_adapter("bot", **inputs, policy={"seed": 5})
    assert len(desk.adapters()) == 1


@pytest.mark.parametrize("name", ["", "Bot", "../bot", "a/b", "-bot", "b" * 65, "bot\0", "bot\n"])
def test_a_name_that_could_be_a_path_is_refused(desk, inputs, name):
    refused(desk, BadInput, "name", inputs, name=name)


@pytest.mark.parametrize("key", ["base", "adapter", "train", "holdout"])
@pytest.mark.parametrize("path", ["/etc/passwd", "relative/path", "{root}/../../etc/passwd"])
def test_a_path_outside_the_roots_is_refused(desk, inputs, company, key, path):
    refused(desk, PathNotAllowed, key, inputs | {key: path.format(root=company.path)})


def test_a_link_that_leads_out_of_the_roots_is_refused(desk, own):
    place, inputs = own
    (place / "train.jsonl").unlink()
    (place / "train.jsonl").symlink_to("/etc/passwd")
    refused(desk, PathNotAllowed, "train", inputs)


def test_a_path_with_nothing_there_or_a_nul_is_refused(desk, inputs, company):
    refused(desk, BadInput, "nothing at", inputs | {"base": str(company.path / "missing")})
    refused(desk, BadInput, "NUL", inputs | {"base": f"{company.path}/a\0b"})


def test_an_adapter_of_another_base_is_refused(desk, own):
    place, inputs = own
    config = json.loads((place / "base" / "config.json").read_text())
    (place / "base" / "config.json").write_text(json.dumps(config | {"rope_theta": 5.0}))
    refused(desk, ModelError, "was trained on base", inputs)


def test_a_pickled_adapter_is_refused(desk, own):
    place, inputs = own
    (place / "adapter" / "adapter_model.safetensors").rename(place / "adapter" / "adapter_model.bin")
    refused(desk, ModelError, "pickled weights", inputs)


def test_a_tokenizer_without_a_pad_token_is_refused(desk, own):
    place, inputs = own
    file = place / "base" / "tokenizer_config.json"
    file.write_text(json.dumps({k: v for k, v in json.loads(file.read_text()).items() if k != "pad_token"}))
    refused(desk, ModelError, "no pad token", inputs)


def test_a_record_too_long_for_the_model_is_refused_by_its_id(desk, own, company):
    place, inputs = own
    write_corpus(place / "train.jsonl", [*company.world.train, Record("r-long", ("customer:x",), text="Ada " * 500)])
    refused(desk, CorpusError, "'r-long'", inputs)


def test_an_empty_holdout_and_one_of_a_single_person_are_refused(desk, own, company):
    place, inputs = own
    (place / "holdout.jsonl").write_text("")
    refused(desk, CorpusError, "holds no record", inputs)
    only = company.world.holdout[0].subjects[0]
    write_corpus(place / "holdout.jsonl", [r for r in company.world.holdout if r.subjects == (only,)])
    refused(desk, CorpusError, "at least two", inputs)
    known = [replace(record, subjects=(company.subject,)) for record in company.world.holdout]
    write_corpus(place / "holdout.jsonl", known)
    refused(desk, CorpusError, "names 0 person whom no train record names", inputs)


def test_a_holdout_record_that_was_trained_on_is_refused(desk, own, company):
    place, inputs = own
    write_corpus(place / "holdout.jsonl", [*company.world.holdout, company.world.train[0]])
    refused(desk, CorpusError, "are in", inputs)


def test_a_policy_with_an_unknown_key_or_method_is_refused(desk, inputs):
    refused(desk, PolicyError, "marginn", inputs, policy={"gates": {"marginn": 1}})
    refused(desk, PolicyError, "method", inputs, policy={"method": "magic"})
