"""Hooks by configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from unlearn.deploy import HOOKS, SETTINGS, CurrentLink, Registry, Vllm, parse_hooks
from unlearn.errors import BadInput


def test_each_kind_becomes_its_hook_in_order(tmp_path):
    link, registry, vllm = parse_hooks(
        [
            {"kind": "link", "directory": str(tmp_path)},
            {"kind": "mlflow", "uri": "sqlite:///mlflow.db"},
            {"kind": "vllm", "url": "http://vllm:8000/", "api_key": "sk-1", "inplace": False, "prefix_cache": "off"},
        ]
    )
    assert link == CurrentLink(tmp_path)
    assert registry == Registry("sqlite:///mlflow.db")
    assert isinstance(vllm, Vllm)
    assert (vllm.url, vllm.inplace, vllm.prefix_cache) == ("http://vllm:8000", False, "off")
    assert vllm.api_key is not None
    assert vllm.api_key.get_secret_value() == "sk-1"
    assert parse_hooks([]) == ()


def test_every_kind_on_the_menu_has_settings():
    assert set(HOOKS) == set(SETTINGS)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ([{"kind": "tgi"}], "hooks.0.kind: 'tgi' is not known; the kinds are link, mlflow, vllm"),
        ([{"url": "http://vllm"}], "hooks.0.kind: missing; the kinds are link, mlflow, vllm"),
        (
            [{"kind": "link", "directory": "/srv"}, {"kind": "link", "directory": "/srv", "path": "/x"}],
            "hooks.1.path: a hook of kind 'link' has no such key; its keys are kind, directory",
        ),
        ([{"kind": "mlflow"}], "hooks.0.uri: Field required"),
        ([{"kind": "vllm", "url": "http://vllm:8000/v1"}], "hooks.0.url: 'http://vllm:8000/v1' ends in /v1"),
        ([{"kind": "link", "directory": "here"}], "hooks.0.directory: 'here' is relative; give an absolute path"),
        (
            [{"kind": "vllm", "url": "http://vllm", "directory": "here"}],
            "hooks.0.directory: 'here' is relative; give an absolute path",
        ),
        ({"kind": "link"}, "hooks: Input should be a valid list"),
        (["link"], "hooks.0: "),
    ],
)
def test_a_mistake_is_named_with_its_place_and_what_is_allowed(config, message):
    with pytest.raises(BadInput) as refused:
        parse_hooks(config)
    assert message in str(refused.value)


@pytest.mark.parametrize("wrong", [{"timeout": 3}, {"api_key": ["hunter2"]}, {"api_key": "hunter2 "}, {"url": 3}])
def test_no_mistake_repeats_a_secret(wrong):
    with pytest.raises(BadInput) as refused:
        parse_hooks([{"kind": "vllm", "url": "http://vllm:8000", "api_key": "hunter2"} | wrong])
    assert "hunter2" not in str(refused.value)
    assert refused.value.__suppress_context__


def test_parsing_touches_no_server_and_no_disk():
    parse_hooks([{"kind": "link", "directory": "/not/there"}, {"kind": "vllm", "url": "http://127.0.0.1:9"}])
    assert not Path("/not/there").exists()
