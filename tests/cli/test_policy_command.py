"""`unlearn policy show`: what is printed is what runs, every key explained."""

from __future__ import annotations

import json

import pytest
import yaml

from unlearn.methods import METHODS
from unlearn.policy import Policy, parse_policy


def test_the_effective_policy_is_printed_with_every_key_explained_and_reads_back(run, tmp_path):
    (tmp_path / "p.yaml").write_text("seed: 7\nladder: [{method: npo, steps: 3}, {method: retrain}]\n")
    code, out, _ = run("policy", "show", tmp_path / "p.yaml")
    assert code == 0
    assert parse_policy(yaml.safe_load(out), "what was printed") == parse_policy(
        {"seed": 7, "ladder": [{"method": "npo", "steps": 3}, {"method": "retrain"}]}, "the file"
    )
    unexplained = [line for line in out.splitlines() if line.strip() and "# " not in line]
    assert unexplained == []


def test_without_a_file_the_defaults_are_printed(run):
    code, out, _ = run("policy", "show", "--json")
    assert code == 0
    assert parse_policy(json.loads(out), "what was printed") == Policy()


def test_every_method_is_shown_with_its_parameters(run):
    code, out, _ = run("policy", "show", "--methods")
    assert code == 0
    shown = yaml.safe_load(out)
    assert [rung["method"] for rung in shown] == list(METHODS)
    code, out, _ = run("policy", "show", "--methods", "--json")
    assert {name: rung["method"] for name, rung in json.loads(out).items()} == {name: name for name in METHODS}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method: magic", "magic"),
        ("ladder: []", "ladder"),
        ("governors: {seconds: -1}", "seconds"),
        ("steps: 3", "steps"),
    ],
)
def test_a_policy_that_can_not_be_is_named(run, tmp_path, text, message):
    (tmp_path / "p.yaml").write_text(text)
    code, out, told = run("policy", "show", tmp_path / "p.yaml")
    assert (code, out) == (2, "")
    assert message in told
