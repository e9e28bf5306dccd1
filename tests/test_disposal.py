"""Disposal: nothing of a file is left, and nothing beside it is touched."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import pytest

from s3 import _s3_environment, _s3_server, bucket, plain_bucket  # noqa: F401
from unlearn import overwriting
from unlearn.cases.backups.restoring import _draft
from unlearn.disposal import dispose
from unlearn.errors import BadInput, Unavailable
from unlearn.settings import Settings
from unlearn.storage import Loan

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


def test_on_s3_every_version_and_marker_goes_and_the_neighbour_stays(bucket):  # noqa: F811
    for body in (b"first", b"second"):
        bucket.put("shelf/v1/weights", body)
        bucket.put("shelf/v10/weights", body)
    bucket.client.delete_object(Bucket=bucket.name, Key="shelf/v1/weights")
    versioned = bucket.name.startswith("versioned")
    assert ("shelf/v1/weights" in bucket.versions()) == versioned
    bucket.put("shelf/v1/config", b"{}")
    dispose(f"s3://{bucket.name}/shelf/v1")
    assert bucket.versions() == ["shelf/v10/weights"] * (2 if versioned else 1)
    dispose(f"s3://{bucket.name}/shelf/v10/weights")
    assert bucket.versions() == []


def test_a_locked_object_is_told_of_and_a_whole_bucket_is_never_meant(plain_bucket):  # noqa: F811
    client = plain_bucket.client
    client.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
    locked = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": datetime(2099, 1, 1, tzinfo=UTC)}
    client.put_object(Bucket="locked", Key="v1", Body=b"x", **locked)
    with pytest.raises((Unavailable, OSError)):
        dispose("s3://locked/v1")
    with pytest.raises(BadInput, match="whole bucket"):
        dispose("s3://locked/")


def test_what_a_file_takes_the_place_of_is_overwritten(tmp_path):
    file, draft = tmp_path / "table", tmp_path / "draft"
    file.write_bytes(CANARY)
    draft.write_bytes(b"new")
    with file.open("rb") as before:
        overwriting.replace(draft, file)
        assert before.read() == b""
    assert (file.read_bytes(), draft.exists()) == (b"new", False)
    draft.write_bytes(b"newer")
    overwriting.replace(draft, tmp_path / "other")
    assert (tmp_path / "other").read_bytes() == b"newer"


def test_a_lent_copy_is_overwritten_and_a_pinned_file_keeps_its_other_name(tmp_path):
    home, pinned = tmp_path / "home", tmp_path / "state"
    pinned.write_bytes(CANARY)
    with Loan(Settings(home=home)) as loan:
        copy = loan.room("s3://bucket/train.jsonl")
        copy.write_bytes(CANARY)
        os.link(pinned, loan.room("s3://bucket/state"))
        lent = copy.open("rb")
    with lent:
        assert lent.read() == b""
    assert pinned.read_bytes() == CANARY
    assert not any((home / "lent").iterdir())


def test_what_a_killed_process_was_lent_is_overwritten_by_the_next(tmp_path):
    settings = Settings(home=tmp_path / "home")
    left = settings.home / "lent" / "0123"
    left.mkdir(parents=True)
    left.with_suffix(".lock").touch()
    (left / "train.jsonl").write_bytes(CANARY)
    with (left / "train.jsonl").open("rb") as lent, Loan(settings) as loan:
        loan.room("s3://bucket/other")
        assert lent.read() == b""
    assert not left.exists()


def test_the_draft_of_a_restore_is_overwritten(tmp_path):
    with _draft(Settings(home=tmp_path / "home")) as draft:
        (draft / "unlearn.db").write_bytes(CANARY)
        made = (draft / "unlearn.db").open("rb")
    with made:
        assert made.read() == b""
    assert not draft.exists()
