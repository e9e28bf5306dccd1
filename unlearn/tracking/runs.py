"""MLflow runs: one a job, with its parameters, the loop's curves, before/after metrics, artifacts and tags.

Speaks MlflowClient with explicit run ids: there is no active run that another thread could write to. MLflow is a
view for people; the truth is in the database. Knows no torch and no request's subject.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mlflow.entities import Metric, Param, RunStatus
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient

from unlearn.disposal import dispose
from unlearn.errors import BadInput
from unlearn.tracking.store import prepare_store

EXPERIMENT_TRIES = 5

MOST_PARAMS = 100
"""Parameters that MLflow takes in one batch."""


class Run:
    """One MLflow run by its id."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self.client = client
        self.id = run_id

    def params(self, values: Mapping[str, Any]) -> None:
        """Log parameters; the same value may be logged again."""
        params = [Param(key, str(value)) for key, value in values.items()]
        for start in range(0, len(params), MOST_PARAMS):
            self.client.log_batch(self.id, params=params[start : start + MOST_PARAMS])

    def metrics(self, values: Mapping[str, float], step: int = 0, at: float | None = None) -> None:
        """Log metrics at `step`, of the moment `at` (seconds since 1970), or of now."""
        now = int((time.time() if at is None else at) * 1000)
        self.client.log_batch(self.id, metrics=[Metric(key, float(v), now, step) for key, v in values.items()])

    def curve(self, name: str) -> dict[int, float]:
        """What was logged as metric `name`, by step; of a step that was logged twice, the last."""
        return {one.step: one.value for one in self.client.get_metric_history(self.id, name)}

    def tag(self, values: Mapping[str, str]) -> None:
        """Set tags."""
        for key, value in values.items():
            self.client.set_tag(self.id, key, value)

    def directory(self, local: Path, name: str | None = None) -> None:
        """Log every file of the directory `local` under the artifact path `name`, or at the top without one."""
        self.client.log_artifacts(self.id, str(local), name)

    def finish(self, *, failed: bool = False) -> None:
        """End the run."""
        self.client.set_terminated(self.id, RunStatus.to_string(RunStatus.FAILED if failed else RunStatus.FINISHED))


def delete_artifacts(uri: str, run_id: str, name: str, served_from: str | None = None) -> bool:
    """Delete what a run logged under the artifact path `name`; a run that is not there has nothing.

    On this machine's disk it is overwritten first, and on S3 every version goes: MLflow's own call does neither.

    Args:
        uri: MLflow tracking URI.
        run_id: of the run.
        name: of the artifacts.
        served_from: path or URL at which the server keeps what it serves as mlflow-artifacts:/; None if nobody said.

    Returns:
        Whether they were disposed of like that; False where MLflow's own call is all that was made.

    Raises:
        BadInput: the server still lists them when they are gone from `served_from`: they are elsewhere.
    """
    client = MlflowClient(tracking_uri=uri)
    try:
        root = client.get_run(run_id).info.artifact_uri
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return True
        raise
    own = _place(root, served_from)
    if own is not None:
        dispose(f"{own}/{name}")
    artifacts = get_artifact_repository(root, tracking_uri=uri)
    if not any(file.path == name for file in artifacts.list_artifacts()):
        return own is not None
    if own is not None:
        raise BadInput(
            f"'{own}/{name}' is gone, and MLflow still lists it: its server keeps artifacts elsewhere than at "
            f"'{served_from or root}'; set UNLEARN_MLFLOW_ARTIFACTS, or the hook's `artifacts`, to where it does"
        )
    artifacts.delete_artifacts(name)
    return False


def _place(root: str, served_from: str | None) -> str | None:
    """Where the artifacts of a run with this URI are, if that can be reached without MLflow."""
    parts = urlsplit(root)
    if parts.scheme in ("", "file", "s3"):
        return root.rstrip("/")
    if parts.scheme == "mlflow-artifacts" and served_from is not None:
        return f"{served_from.rstrip('/')}/{parts.path.strip('/')}"
    return None


def open_run(
    uri: str, experiment: str, artifacts: Path, name: str, tags: Mapping[str, str], run_id: str | None = None
) -> Run:
    """Start a run, or go on with `run_id` when the job was started before.

    Args:
        uri: MLflow tracking URI.
        experiment: its name; made if missing, its artifacts under `artifacts` when the store is a local database.
        artifacts: directory for artifacts of a local store.
        name: of the run.
        tags: that find it.
        run_id: of an earlier attempt.
    """
    prepare_store(uri, artifacts)
    client = MlflowClient(tracking_uri=uri)
    if run_id is not None:
        client.update_run(run_id, status=RunStatus.to_string(RunStatus.RUNNING))
        run = Run(client, run_id)
        run.tag(tags)
        return run
    experiment_id = _experiment(client, experiment, artifacts if uri.startswith("sqlite:") else None)
    return Run(client, client.create_run(experiment_id, tags=dict(tags), run_name=name).info.run_id)


def _experiment(client: MlflowClient, name: str, artifacts: Path | None) -> str:
    """Id of the experiment; two processes may ask for it at once, and one of them makes it."""
    for _ in range(EXPERIMENT_TRIES):
        found = client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        try:
            where = None if artifacts is None else artifacts.as_uri()
            return str(client.create_experiment(name, artifact_location=where))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
    raise RuntimeError(f"MLflow experiment '{name}' is neither there nor can it be made; was it deleted? Restore it.")
