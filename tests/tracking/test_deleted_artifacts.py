"""Deleting what a run logged: on this machine's disk and on S3, every version of it, and nothing else of the run."""

from __future__ import annotations

import os

import pytest
from mlflow.tracking import MlflowClient

from mlflow_server import mlflow_server
from s3 import _s3_environment, _s3_server, versioned_bucket  # noqa: F401
from unlearn.errors import BadInput
from unlearn.tracking.runs import delete_artifacts, open_run

WEIGHTS = b"zqxweights" * 1000


@pytest.fixture
def logged(tmp_path):
    """A directory of weights, and one of a report."""
    for name, content in (("adapter/adapter_model.safetensors", WEIGHTS), ("report/report.json", b"{}")):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_on_disk_the_weights_go_and_the_report_stays(logged, tmp_path):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    run = open_run(uri, "e", tmp_path / "art facts", "n", {})
    run.directory(logged / "adapter", "adapter")
    run.directory(logged / "report")
    delete_artifacts(uri, run.id, "adapter")
    assert [file.name for file in (tmp_path / "art facts").rglob("*") if file.is_file()] == ["report.json"]
    delete_artifacts(uri, run.id, "adapter")
    delete_artifacts(uri, "0" * 32, "adapter")


def test_on_s3_every_version_of_the_weights_goes(logged, tmp_path, versioned_bucket, monkeypatch):  # noqa: F811
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", os.environ["AWS_ENDPOINT_URL"])
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    MlflowClient(tracking_uri=uri).create_experiment("e", artifact_location=versioned_bucket.url)
    run = open_run(uri, "e", tmp_path / "unused", "n", {})
    for _ in range(2):
        run.directory(logged / "adapter", "adapter")
    run.directory(logged / "report")
    delete_artifacts(uri, run.id, "adapter")
    assert [key.rpartition("/")[2] for key in versioned_bucket.versions()] == ["report.json"]


@pytest.fixture
def serving(logged, tmp_path, versioned_bucket, monkeypatch):  # noqa: F811
    """An MLflow server's URL, that of the bucket it keeps artifacts in, and a run that logged weights twice."""
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", os.environ["AWS_ENDPOINT_URL"])
    with mlflow_server(tmp_path / "runs.db", versioned_bucket.url) as url:
        run = open_run(url, "e", tmp_path / "unused", "n", {})
        for _ in range(2):
            run.directory(logged / "adapter", "adapter")
        run.directory(logged / "report")
        yield url, versioned_bucket, run.id


def names(bucket):
    return [key.rpartition("/")[2] for key in bucket.versions()]


def served(bucket):
    """Keys of what is read there now, without older versions."""
    return bucket.keys()


def test_behind_a_server_every_version_goes_where_its_destination_is_known(serving):
    url, bucket, run_id = serving
    assert delete_artifacts(url, run_id, "adapter", bucket.url)
    assert names(bucket) == ["report.json"]
    assert delete_artifacts(url, run_id, "adapter", bucket.url)


def test_behind_a_server_of_unknown_destination_mlflow_alone_deletes_and_it_is_told(serving):
    url, bucket, run_id = serving
    for _ in range(2):
        assert not delete_artifacts(url, run_id, "adapter")
    assert "adapter_model.safetensors" in names(bucket)
    assert not any(key.endswith("safetensors") for key in served(bucket))


def test_a_destination_that_is_not_the_servers_is_an_error_and_nothing_counts_as_gone(serving):
    url, bucket, run_id = serving
    with pytest.raises(BadInput, match=r"elsewhere than at 's3://.*/other'; set UNLEARN_MLFLOW_ARTIFACTS"):
        delete_artifacts(url, run_id, "adapter", f"s3://{bucket.name}/other")
    assert any(key.endswith("safetensors") for key in served(bucket))
