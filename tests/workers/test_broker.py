"""The broker that the program starts itself, and the doorbell over it."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys

import pytest

from unlearn.errors import Unavailable
from unlearn.settings import Settings
from workers.broker import find_server, prepare
from workers.queue import Bell


def test_a_server_is_found_and_runs():
    done = subprocess.run([find_server(), "--version"], capture_output=True, text=True, check=True)
    assert "erver v=" in done.stdout


def test_without_any_server_the_way_out_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("workers.broker.IN_WHEELS", ())
    with pytest.raises(Unavailable, match="UNLEARN_BROKER_URL"):
        find_server()


def test_it_listens_on_a_private_socket_alone_and_keeps_what_it_is_told(broker):
    assert broker.client.config_get("port") == {"port": "0"}
    assert broker.client.config_get("appendonly") == {"appendonly": "yes"}
    assert broker.client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    assert stat.S_IMODE(broker.settings.broker_socket.stat().st_mode) == 0o700
    assert stat.S_IMODE(broker.settings.broker_socket.parent.stat().st_mode) == 0o700
    broker.client.set("a", "b")
    broker.stop()
    broker.start()
    assert broker.client.get("a") == b"b"


def test_a_socket_directory_of_somebody_else_is_refused(tmp_path, monkeypatch):
    settings = Settings(home=tmp_path / "home")
    (tmp_path / "elsewhere").mkdir()
    settings.home.mkdir()
    (settings.home / "broker").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unavailable, match="no directory of this user"):
        prepare(settings)


def test_a_message_holds_a_job_id_and_nothing_else(broker):
    bell = Bell(broker.settings)
    bell.check()
    bell("job_17")
    bell.close()
    (message,) = broker.client.lrange("unlearn:gpu", 0, -1)
    data = json.loads(message)
    import base64

    args, kwargs, _ = json.loads(base64.b64decode(data["body"]))
    assert (args, kwargs) == (["job_17"], {})
    assert data["headers"]["task"] == "unlearn.fulfil"
    assert data["headers"]["eta"] is None
    assert data["content-type"] == "application/json"


def test_a_broker_that_is_away_is_named_and_not_waited_for(tmp_path):
    bell = Bell(Settings(home=tmp_path / "home"))
    with pytest.raises(Unavailable, match="broker"):
        bell("job_17")
    with pytest.raises(Unavailable, match="broker"):
        bell.check()
    bell.close()


def test_the_workers_parent_imports_no_torch(tmp_path):
    code = "import sys, workers.tasks; print([m for m in ('torch', 'transformers', 'mlflow') if m in sys.modules])"
    env = os.environ | {"UNLEARN_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.strip() == "[]"
