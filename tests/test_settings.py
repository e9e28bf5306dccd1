"""Settings: where things are, and what may be read."""

from __future__ import annotations

import os
import stat

import pytest

from crowd import at_once
from unlearn.errors import BadInput
from unlearn.settings import Settings


def test_everything_is_under_home_by_default(tmp_path):
    settings = Settings(home=tmp_path / "h")
    assert settings.effective_database_url == f"sqlite:///{tmp_path}/h/unlearn.db"
    assert settings.effective_mlflow_uri == f"sqlite:///{tmp_path}/h/mlflow.db"
    assert settings.effective_broker_url.startswith("redis+socket://")


def test_the_environment_is_honoured(monkeypatch, tmp_path):
    monkeypatch.setenv("UNLEARN_ROOTS", f"/tmp{os.pathsep}{tmp_path}")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://runs.example")
    monkeypatch.setenv("UNLEARN_BROKER_URL", "redis://broker.example/1")
    settings = Settings()
    assert tmp_path in settings.roots
    assert settings.effective_mlflow_uri == "http://runs.example"
    assert settings.effective_broker_url == "redis://broker.example/1"


def test_a_home_too_deep_for_a_socket_gets_one_elsewhere_that_every_process_finds(tmp_path):
    deep = tmp_path / ("d" * 90) / "e"
    assert len(os.fsencode(Settings(home=deep).broker_socket)) <= 100
    assert Settings(home=deep).broker_socket == Settings(home=deep).broker_socket
    assert Settings(home=deep).broker_socket != Settings(home=deep / "f").broker_socket


def test_the_identity_key_is_made_once_and_only_its_owner_reads_it(tmp_path):
    [key] = set(at_once(lambda _: Settings(home=tmp_path / "h").identity_hash_key))
    assert len(key) == 64
    file = tmp_path / "h" / "keys" / "identity.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [p.name for p in file.parent.iterdir()] == ["identity.key"]


def test_a_short_key_is_refused_and_no_key_is_shown():
    with pytest.raises(BadInput, match="at least 32"):
        _ = Settings(identity_key="short").identity_hash_key
    assert "secret" not in repr(Settings(identity_key="secret" * 8))


def test_a_damaged_key_file_is_refused_rather_than_used(tmp_path):
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "identity.key").touch()
    with pytest.raises(BadInput, match="0 bytes"):
        _ = Settings(home=tmp_path).identity_hash_key


def test_a_setting_that_can_not_be_is_refused_by_the_name_of_its_variable(monkeypatch):
    monkeypatch.setenv("UNLEARN_PORT", "http")
    with pytest.raises(BadInput, match=r"UNLEARN_PORT: .*integer"):
        Settings()
    monkeypatch.setenv("UNLEARN_PORT", "8000")
    with pytest.raises(BadInput, match="UNLEARN_HEARTBEAT_SECONDS"):
        Settings(lease_seconds=10)
