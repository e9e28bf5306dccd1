"""What MLflow has of an ended run: parameters, tags, metrics with the loop's history, figures. Changes nothing.

MLflow is a view that may be purged or gone: what can't be had is left out, and that is no error.
"""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from sqlalchemy.exc import SQLAlchemyError

log = logging.getLogger(__name__)

CURVES = ("loop/", "training/")
"""Metrics of which every step counts; of the others the last value."""

FIGURES, PICTURES, LARGEST_BYTES = "figures", (".png", ".svg"), 5_000_000
PATIENCE_SECONDS = 3.0


@dataclass(frozen=True)
class Recorded:
    """A run as JSON types, and its figures by file name."""

    run: dict[str, Any]
    figures: dict[str, bytes]


def recorded(uri: str, run_id: str) -> Recorded | None:
    """The run, or None if MLflow can't be reached or does not have it any more.

    Args:
        uri: MLflow tracking URI.
        run_id: of an ended run.
    """
    try:
        if uri.startswith(("http://", "https://")):  # MLflow itself would try again for minutes
            httpx.get(f"{uri.rstrip('/')}/health", timeout=PATIENCE_SECONDS)
        client = MlflowClient(tracking_uri=uri)
        return Recorded(_run(client, run_id), _figures(client, run_id))
    except (MlflowException, SQLAlchemyError, httpx.HTTPError, OSError) as error:
        log.warning("MLflow run %s can't be read (%s)", run_id, type(error).__name__)
        return None


def _run(client: MlflowClient, run_id: str) -> dict[str, Any]:
    run = client.get_run(run_id)
    curves = {
        name: [[one.step, one.value] for one in sorted(client.get_metric_history(run_id, name), key=lambda m: m.step)]
        for name in run.data.metrics
        if name.startswith(CURVES)
    }
    return {
        "run_id": run_id,
        "status": run.info.status,
        "params": dict(run.data.params),
        "tags": {name: value for name, value in run.data.tags.items() if name.startswith("unlearn.")},
        "metrics": {name: value for name, value in run.data.metrics.items() if name not in curves},
        "curves": curves,
    }


def _figures(client: MlflowClient, run_id: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory() as folder:
        for artifact in client.list_artifacts(run_id, FIGURES):
            if artifact.path.endswith(PICTURES) and (artifact.file_size or 0) <= LARGEST_BYTES:
                file = Path(client.download_artifacts(run_id, artifact.path, folder))
                found[file.name] = file.read_bytes()
    return found
