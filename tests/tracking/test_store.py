"""MLflow's file on disk: made whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys

from polling import until
from unlearn.tracking.runs import open_run
from unlearn.tracking.store import prepare_store

MAKE = "import sys; from pathlib import Path; from unlearn.tracking.store import prepare_store; prepare_store(sys.argv[1], Path(sys.argv[2]))"


def test_a_process_killed_while_it_makes_the_store_leaves_one_that_can_be_made(tmp_path):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    making = subprocess.Popen([sys.executable, "-c", MAKE, uri, str(tmp_path / "artifacts")])
    draft = tmp_path / ".mlflow.db.draft"
    until(lambda: draft.exists() and draft.stat().st_size > 0)
    making.kill()
    making.wait()
    assert not (tmp_path / "mlflow.db").exists()
    run = open_run(uri, "erasures", tmp_path / "artifacts", "run", {})
    run.metrics({"loss": 1.0})
    assert not list(tmp_path.glob("*.draft*"))


def test_processes_that_start_at_once_make_one_store(tmp_path):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    making = [subprocess.Popen([sys.executable, "-c", MAKE, uri, str(tmp_path)]) for _ in range(2)]
    assert [one.wait() for one in making] == [0, 0]
    open_run(uri, "erasures", tmp_path / "artifacts", "run", {})


def test_a_store_that_is_there_and_a_server_are_left_alone(tmp_path, monkeypatch):
    file = tmp_path / "mlflow.db"
    file.write_bytes(b"as it was")
    monkeypatch.chdir(tmp_path)
    prepare_store(f"sqlite:///{file}", tmp_path)
    prepare_store("http://mlflow:5000", tmp_path)
    assert file.read_bytes() == b"as it was"
    assert os.listdir(tmp_path) == ["mlflow.db"]
