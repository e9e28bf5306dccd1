"""Deleting what a run logged: on this machine's disk and on S3, every version of it, and nothing else of the run."""

from __future__ import annotations

import boto3
import pytest
import s3fs
from mlflow.tracking import MlflowClient
from moto.server import ThreadedMotoServer

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


def test_on_s3_every_version_of_the_weights_goes(logged, tmp_path, monkeypatch):
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    for name in ("AWS_ENDPOINT_URL", "MLFLOW_S3_ENDPOINT_URL"):
        monkeypatch.setenv(name, endpoint)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    client = boto3.client("s3")
    client.create_bucket(Bucket="mlflow")
    client.put_bucket_versioning(Bucket="mlflow", VersioningConfiguration={"Status": "Enabled"})
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    MlflowClient(tracking_uri=uri).create_experiment("e", artifact_location="s3://mlflow/runs")
    run = open_run(uri, "e", tmp_path / "unused", "n", {})
    for _ in range(2):
        run.directory(logged / "adapter", "adapter")
    run.directory(logged / "report")
    delete_artifacts(uri, run.id, "adapter")
    listed = client.list_object_versions(Bucket="mlflow")
    assert [entry["Key"].rpartition("/")[2] for entry in listed["Versions"]] == ["report.json"]
    assert "DeleteMarkers" not in listed
    server.stop()
