"""`unlearn settings`: what holds and why, and no secret on the screen."""

from __future__ import annotations

import json

import pytest

from unlearn.cli.settings import MASK, without_secrets
from unlearn.settings import Settings


@pytest.fixture
def told(run):
    def told():
        code, out, _ = run("settings", "--json")
        assert code == 0
        return {one["variable"]: one for one in json.loads(out)}

    return told


def test_every_setting_is_there_with_its_value_and_what_it_is(told, tmp_path):
    found = told()
    assert list(found) == [f"UNLEARN_{name.upper()}" for name in Settings.model_fields]
    assert all(one["description"] for one in found.values())
    assert found["UNLEARN_PORT"] == {
        "variable": "UNLEARN_PORT",
        "value": 8000,
        "source": "default",
        "description": Settings.model_fields["port"].description,
    }
    assert found["UNLEARN_DATABASE_URL"]["value"] == f"sqlite:///{tmp_path}/home/unlearn.db"
    assert found["UNLEARN_HOME"]["source"] == "environment"
    assert found["UNLEARN_API_KEY"]["value"] is None


def test_what_the_environment_says_is_told_apart(told, monkeypatch):
    monkeypatch.setenv("UNLEARN_PORT", "8000")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://runs.example")
    found = told()
    assert found["UNLEARN_PORT"]["source"] == "environment"
    assert found["UNLEARN_MLFLOW_TRACKING_URI"]["value"] == "http://runs.example"
    assert found["UNLEARN_MLFLOW_TRACKING_URI"]["source"] == "environment"


def test_no_secret_is_shown_as_a_table_or_as_json(run, monkeypatch):
    monkeypatch.setenv("UNLEARN_IDENTITY_KEY", "canary" * 8)
    monkeypatch.setenv("UNLEARN_API_KEY", "unl_canary")
    monkeypatch.setenv("UNLEARN_DATABASE_URL", "postgresql+psycopg://unlearn:canary@postgres:5432/unlearn")
    monkeypatch.setenv("UNLEARN_BROKER_URL", "redis://:canary@valkey:6379/0")
    monkeypatch.setenv("COLUMNS", "200")
    for words in (["settings"], ["settings", "--json"]):
        code, out, err = run(*words)
        assert code == 0
        assert "canary" not in out + err
        assert "postgres:5432" in out
        assert "valkey:6379" in out
        assert MASK in out


def test_the_keys_of_hooks_are_masked_and_the_rest_of_them_shown(told, monkeypatch):
    hooks = [{"kind": "vllm", "url": "http://u:hunter2@llm:8000", "api_key": "canary-4711"}]
    monkeypatch.setenv("UNLEARN_HOOKS", json.dumps(hooks))
    shown = json.loads(told()["UNLEARN_HOOKS"]["value"])
    assert shown == {"kind": "vllm", "url": f"http://u:{MASK}@llm:8000", "api_key": MASK}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:////home/x/unlearn.db", "sqlite:////home/x/unlearn.db"),
        ("redis+socket:///run/broker.sock", "redis+socket:///run/broker.sock"),
        ("postgresql://me@db/x", "postgresql://me@db/x"),
        ("postgresql://me:se@c/r:e#t?@db/x", f"postgresql://me:{MASK}@db/x"),
        ("postgresql://db/x?user=me&password=secret&a=b", f"postgresql://db/x?user=me&password={MASK}&a=b"),
        ("rediss://u:p@h:1/0?ssl_keyfile_PassWord=q#f", f"rediss://u:{MASK}@h:1/0?ssl_keyfile_PassWord={MASK}#f"),
        ("https://token@runs.example/x", f"https://{MASK}@runs.example/x"),
    ],
)
def test_of_an_address_the_secrets_are_masked_and_nothing_else(url, shown):
    assert without_secrets(url) == shown
