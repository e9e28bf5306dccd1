"""The policy: a typing mistake is an error, never a weaker guard."""

from __future__ import annotations

import pytest

from unlearn.errors import PolicyError
from unlearn.methods import METHODS, Walk
from unlearn.policy import GatePolicy, GovernorPolicy, Policy, RetainPolicy, SequencePolicy, TargetPolicy, read_policy


def write(tmp_path, text):
    (tmp_path / "p.yaml").write_text(text)
    return tmp_path / "p.yaml"


def test_without_a_file_the_defaults_hold_and_an_empty_one_is_the_same(tmp_path):
    assert read_policy(None) == Policy() == read_policy(write(tmp_path, ""))


def test_a_file_overrides_what_it_names(tmp_path):
    policy = read_policy(write(tmp_path, "seed: 9\nladder: [{method: ascent, steps: 3}]\nretain: {neighbours: 0}\n"))
    (rung,) = policy.ladder
    assert (policy.seed, rung.method, rung.steps) == (9, "ascent", 3)
    assert rung.learning_rate == METHODS["ascent"]().learning_rate
    assert (policy.retain.neighbours, policy.retain.pool_records) == (0, RetainPolicy().pool_records)


def test_one_method_by_its_name_is_a_ladder_of_one(tmp_path):
    policy = read_policy(write(tmp_path, "method: ascent\n"))
    assert policy.ladder == (METHODS["ascent"](),)


def test_what_a_policy_dumps_is_the_same_policy():
    assert Policy.model_validate(Policy().model_dump(mode="json")) == Policy()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("stepps: 3", "stepps"),
        ("ladder: [{method: ascent, stepps: 3}]", "ladder.0.ascent.stepps"),
        ("method: magic", "magic"),
        ("ladder: [{method: magic}]", "magic"),
        ("ladder: [{steps: 3}]", "method"),
        ("ladder: []", "ladder"),
        ("ladder: [{method: retrain}, {method: ascent}]", "must be the last"),
        ("method: ascent\nladder: [{method: ascent}]", "not both"),
        ("governors: {retain_kl_nats: 0}", "governors.retain_kl_nats"),
        ("retain: {neighbours: 1.5}", "retain.neighbours"),
        ("ladder: [{method: ascent, steps: 0}]", "ladder.0.ascent.steps"),
        ("ladder: [{method: ascent, learning_rate: .nan}]", "learning_rate"),
        ("ladder: [{method: ascent, retain_weight: -1}]", "retain_weight"),
        ("gates: {membership_margin_sd: 0}", "gates.membership_margin_sd"),
        ("gates: {retain_drift: 0}", "gates.retain_drift"),
        ("gates: {membership_attacks: [loss]}", "add one that reads something else, as 'min_k_plus_plus'"),
        ("gates: {membership_attacks: [loss, reference]}", "names only 'loss', 'reference'"),
        ("gates: {membership_attacks: [known_tokens]}", "'known_tokens' alone"),
        ("gates: {record_attacks: [zlib]}", "gates.record_attacks names only 'zlib'"),
        ("gates: {record_attacks: [known_tokens]}", "record_attacks"),
        ("ladder: [{method: ascent, retain_weight: off}]", "'retain_weight' is true or false"),
        ("gates: {retain_drift: on}", "'retain_drift' is true or false"),
        ("gates: {retain_drift: 1}\ngates: {}", "'gates' comes twice"),
        ("seed: 2024-13-45", "YAML can't give"),
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
    parts = (Policy, RetainPolicy, TargetPolicy, GovernorPolicy, SequencePolicy, GatePolicy, *METHODS.values())
    for part in parts:
        assert part.__doc__
        for name, field in part.model_fields.items():
            assert field.description or name == "method", (part, name)


def test_every_method_is_called_by_the_name_it_is_listed_under():
    for name, kind in METHODS.items():
        assert kind().method == name
        assert issubclass(kind, Walk) or name == "retrain"
