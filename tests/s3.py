"""An S3 server in this process, over HTTP, and what tests ask of it beside the program."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

SECRET = "canary-of-the-secret-key"


@dataclass
class Bucket:
    """A bucket of its own for each test; `url` is a prefix in it."""

    client: Any
    name: str

    @property
    def url(self) -> str:
        return f"s3://{self.name}/store"

    def keys(self) -> list[str]:
        return sorted(one["Key"] for one in self.client.list_objects_v2(Bucket=self.name).get("Contents", []))

    def versions(self, prefix: str = "") -> list[str]:
        """Keys of everything that is kept, current or not, marks of deletions included."""
        found = self.client.list_object_versions(Bucket=self.name, Prefix=prefix)
        return sorted(one["Key"] for kind in ("Versions", "DeleteMarkers") for one in found.get(kind, []))

    def put(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=content)

    def put_directory(self, directory, key: str) -> str:
        for file in directory.iterdir():
            self.put(f"{key}/{file.name}", file.read_bytes())
        return f"s3://{self.name}/{key}"

    def get(self, key: str) -> bytes:
        return self.client.get_object(Bucket=self.name, Key=key)["Body"].read()


@pytest.fixture(scope="session")
def _s3_server() -> Iterator[str]:
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def _s3_environment(_s3_server, monkeypatch) -> None:
    """Where the store is and who asks: by the environment alone."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "FSSPEC_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", _s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(params=["plain", "versioned"])
def bucket(request, _s3_environment) -> Bucket:
    return _bucket(request.param)


@pytest.fixture
def plain_bucket(_s3_environment) -> Bucket:
    return _bucket("plain")


@pytest.fixture
def versioned_bucket(_s3_environment) -> Bucket:
    return _bucket("versioned")


def _bucket(kind: str) -> Bucket:
    made = Bucket(boto3.client("s3"), f"{kind}-{os.urandom(6).hex()}")
    made.client.create_bucket(Bucket=made.name)
    if kind == "versioned":
        made.client.put_bucket_versioning(Bucket=made.name, VersioningConfiguration={"Status": "Enabled"})
    return made
