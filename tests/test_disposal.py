"""Disposal: nothing of a file is left, and nothing beside it is touched."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import boto3
import pytest
import s3fs
from moto.server import ThreadedMotoServer

from unlearn.disposal import dispose
from unlearn.errors import BadInput, Unavailable

CANARY = b"zqxcanary" * 50_000


def test_a_file_is_overwritten_before_it_goes(tmp_path):
    file = tmp_path / "weights"
    file.write_bytes(CANARY)
    os.link(file, tmp_path / "seen")  # what is seen through a second name is what lay on the disk
    descriptor = os.open(tmp_path / "seen", os.O_RDONLY)
    dispose(str(file))
    assert not file.exists()
    assert os.pread(descriptor, len(CANARY), 0) == b""
    os.close(descriptor)


def test_every_byte_is_zero_before_the_file_is_cut(tmp_path, monkeypatch):
    file, seen = tmp_path / "weights", []
    file.write_bytes(CANARY)
    flush = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (seen.append(file.read_bytes() if file.exists() else None), flush(fd)))
    dispose(str(file))
    assert seen[:2] == [bytes(len(CANARY)), b""]


def test_a_directory_goes_with_all_that_is_in_it_and_links_are_not_followed(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_bytes(CANARY)
    inside = tmp_path / "v1"
    (inside / "deep").mkdir(parents=True)
    (inside / "deep" / "weights").write_bytes(CANARY)
    (inside / "deep" / "weights").chmod(0o400)
    (inside / "file-link").symlink_to(outside / "kept")
    (inside / "directory-link").symlink_to(outside)
    dispose(inside.as_uri())
    assert not inside.exists()
    assert (outside / "kept").read_bytes() == CANARY


def test_where_nothing_is_nothing_happens_and_twice_is_as_good_as_once(tmp_path):
    dispose(str(tmp_path / "never"))
    (tmp_path / "empty").touch()
    dispose(str(tmp_path / "empty"))
    dispose(str(tmp_path / "empty"))
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_looks_like_a_url_s_escape_is_a_name(tmp_path):
    odd = tmp_path / "a%20b"
    odd.write_bytes(CANARY)
    dispose(str(odd))
    assert not odd.exists()


def test_a_store_whose_versions_nobody_can_remove_is_refused():
    with pytest.raises(BadInput, match="only what is at s3"):
        dispose("memory://shelf/v1")


@pytest.fixture(scope="module")
def endpoint():
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint, monkeypatch):
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint,
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    client = boto3.client("s3", endpoint_url=endpoint)
    client.create_bucket(Bucket="adapters")
    yield client
    for page in client.get_paginator("list_object_versions").paginate(Bucket="adapters"):
        for entry in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
            client.delete_object(Bucket="adapters", Key=entry["Key"], VersionId=entry["VersionId"])
    client.delete_bucket(Bucket="adapters")


def versions(client):
    listed = client.list_object_versions(Bucket="adapters")
    return sorted(entry["Key"] for entry in (*listed.get("Versions", ()), *listed.get("DeleteMarkers", ())))


@pytest.mark.parametrize("versioned", [True, False])
def test_on_s3_every_version_and_marker_goes_and_the_neighbour_stays(bucket, versioned):
    if versioned:
        bucket.put_bucket_versioning(Bucket="adapters", VersioningConfiguration={"Status": "Enabled"})
    for body in (b"first", b"second"):
        bucket.put_object(Bucket="adapters", Key="shelf/v1/weights", Body=body)
        bucket.put_object(Bucket="adapters", Key="shelf/v10/weights", Body=body)
    bucket.delete_object(Bucket="adapters", Key="shelf/v1/weights")
    assert ("shelf/v1/weights" in versions(bucket)) == versioned
    bucket.put_object(Bucket="adapters", Key="shelf/v1/config", Body=b"{}")
    dispose("s3://adapters/shelf/v1")
    assert versions(bucket) == ["shelf/v10/weights"] * (2 if versioned else 1)
    dispose("s3://adapters/shelf/v10/weights")
    assert versions(bucket) == []


def test_a_locked_object_is_told_of_and_a_whole_bucket_is_never_meant(bucket):
    bucket.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
    locked = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": datetime(2099, 1, 1, tzinfo=UTC)}
    bucket.put_object(Bucket="locked", Key="v1", Body=b"x", **locked)
    with pytest.raises((Unavailable, OSError)):
        dispose("s3://locked/v1")
    with pytest.raises(BadInput, match="whole bucket"):
        dispose("s3://locked/")
