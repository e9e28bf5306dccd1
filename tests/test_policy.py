"""The policy: a typing mistake is an error, never a weaker guard."""

from __future__ import annotations

import pytest

from unlearn.errors import PolicyError
from unlearn.policy import GatePolicy, LoopPolicy, Policy, read_policy


def write(tmp_path, text):
    (tmp_path / "p.yaml").write_text(text)
    return tmp_path / "p.yaml"


def test_without_a_file_the_defaults_hold_and_an_empty_one_is_the_same(tmp_path):
    assert read_policy(None) == Policy() == read_policy(write(tmp_path, ""))


def test_a_file_overrides_what_it_names(tmp_path):
    policy = read_policy(write(tmp_path, "seed: 9\nloop: {steps: 3}\n"))
    assert (policy.seed, policy.loop.steps, policy.loop.learning_rate) == (9, 3, LoopPolicy().learning_rate)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("stepps: 3", "stepps"),
        ("loop: {stepps: 3}", "loop.stepps"),
        ("method: magic", "method"),
        ("loop: {steps: 0}", "loop.steps"),
        ("loop: {learning_rate: .nan}", "loop.learning_rate"),
        ("loop: {retain_weight: -1}", "loop.retain_weight"),
        ("gates: {membership_auc_margin: 0.6}", "gates.membership_auc_margin"),
        ("gates: {retain_drift: 0}", "gates.retain_drift"),
        ("loop: {retain_weight: off}", "loop.retain_weight"),
        ("gates: {retain_drift: 1}\ngates: {}", "'gates' comes twice"),
        ("loop: {steps: 2024-13-45}", "YAML can't give"),
        ("[" * 5000, "YAML can't give|not YAML"),
        ("- a list", "top level"),
        ("a: [", "not YAML"),
        ("!!python/object/apply:os.system ['true']", "not YAML"),
    ],
)
def test_a_fault_is_named(tmp_path, text, named):
    with pytest.raises(PolicyError, match=named.replace(".", r"\.")):
        read_policy(write(tmp_path, text))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(PolicyError, match="nowhere"):
        read_policy(tmp_path / "nowhere.yaml")


def test_every_default_is_explained():
    for part in (Policy, LoopPolicy, GatePolicy):
        for name, field in part.model_fields.items():
            assert field.description or name in ("loop", "gates"), name
