"""Versions in a directory and in a real S3, versioned or not: whole or not at all, verified, gone for good."""

from __future__ import annotations

import json

import pytest

from unlearn.errands import hook_of
from unlearn.errors import BadInput, ModelError, Unavailable
from unlearn.settings import Settings
from unlearn.storage import Loan, Vault, objects
from unlearn.storage.vault import MANIFEST
from unlearn.weights import ADAPTER_CONFIG, ADAPTER_WEIGHTS


@pytest.fixture
def vault(remote):
    return Vault(remote())


def same_files(one, other):
    return {f.name: f.read_bytes() for f in one.iterdir()} == {f.name: f.read_bytes() for f in other.iterdir()}


def test_a_version_shelved_on_one_machine_is_read_on_another_and_leaves_nothing_there(remote, tiny):
    adapter = tiny()
    here, there = Vault(remote("a")), Vault(remote("b"))
    place = here.place("adp_1", "v1")
    shelved = here.shelve(adapter, place)
    assert (shelved.place, shelved.sha256) == (place, adapter.sha256)
    with Loan(there.settings) as loan:
        read = there.version(place, loan)
        assert (read.place, read.sha256, read.shapes) == (place, adapter.sha256, adapter.shapes)
        assert read.path.is_relative_to(there.settings.home)
        assert same_files(read.path, adapter.path)
    assert not read.path.exists()
    left = [file for home in (here, there) for file in home.settings.home.rglob("*") if file.is_file()]
    assert left == []


def test_in_a_directory_a_version_is_the_directory_itself(tmp_path, tiny):
    vault = Vault(Settings(home=tmp_path / "home"))
    adapter, place = tiny(), vault.place("adp_1", "v1")
    assert vault.shelve(adapter, place).place == place == str(tmp_path / "home" / "adapters" / "adp_1" / "v1")
    with Loan(vault.settings) as loan:
        assert str(vault.version(place, loan).path) == place
    vault.put(adapter.path, vault.place("adp_1", "v2"))
    assert same_files(vault.get(vault.place("adp_1", "v2"), tmp_path / "unused"), adapter.path)
    for again in ("v1", "v2"):
        with pytest.raises(FileExistsError):
            vault.put(adapter.path, vault.place("adp_1", again))
    vault.remove(vault.place("adp_1"))
    assert not vault.exists(place)
    vault.remove(place)  # nothing there is well


def test_the_link_lies_beside_versions_in_whatever_directory_they_are_and_nowhere_else(tmp_path):
    shared = Settings(home=tmp_path / "home", store=str(tmp_path / "shared"))
    assert hook_of(shared, "link").directory == tmp_path / "shared"
    with pytest.raises(BadInput, match="no link"):
        hook_of(Settings(home=tmp_path / "home", store="s3://bucket/store"), "link")


def test_the_manifest_comes_last_and_names_every_file_with_its_digest(vault, bucket, tiny, monkeypatch):
    order, upload, create = [], objects.upload, objects.create
    monkeypatch.setattr(objects, "upload", lambda file, url: (order.append(url), upload(file, url)))
    monkeypatch.setattr(objects, "create", lambda content, url: (order.append(url), create(content, url)))
    adapter, place = tiny(), vault.place("adp_1", "v1")
    vault.shelve(adapter, place)
    assert [url.rpartition("/")[2] for url in order] == [ADAPTER_CONFIG, ADAPTER_WEIGHTS, MANIFEST]
    manifest = json.loads(bucket.get("store/adp_1/v1/manifest.json"))
    assert manifest["files"][ADAPTER_WEIGHTS]["sha256"] == adapter.sha256
    assert set(manifest["files"]) == {ADAPTER_CONFIG, ADAPTER_WEIGHTS}


@pytest.mark.parametrize("breaks_at", [0, 1, 2])
def test_an_upload_that_breaks_off_leaves_no_version_and_the_retry_none_of_its_files(
    vault, bucket, tiny, monkeypatch, breaks_at
):
    adapter, place, calls = tiny(), vault.place("adp_1", "v1"), []

    def breaking(real):
        def call(*given):
            calls.append(given)
            if len(calls) > breaks_at:
                raise KeyboardInterrupt
            return real(*given)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(objects, "upload", breaking(objects.upload))
        patch.setattr(objects, "create", breaking(objects.create))
        patch.setattr(objects, "remove", lambda *a, **k: None)  # killed: it could not even clean up
        with pytest.raises(KeyboardInterrupt):
            vault.shelve(adapter, place)
    assert len(bucket.keys()) == breaks_at
    assert not vault.exists(place)
    with pytest.raises(ModelError, match="nothing whole"), Loan(vault.settings) as loan:
        vault.version(place, loan)
    bucket.put("store/adp_1/v1/leftover", b"of an older form")
    assert vault.shelve(adapter, place).sha256 == adapter.sha256
    assert sorted(key.rpartition("/")[2] for key in bucket.versions()) == [ADAPTER_CONFIG, ADAPTER_WEIGHTS, MANIFEST]


def test_an_upload_that_fails_cleans_up_after_itself(vault, bucket, tiny, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(objects, "create", lambda content, url: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            vault.shelve(tiny(), vault.place("adp_1", "v1"))
    assert bucket.versions() == []


def test_an_unfinished_upload_of_a_large_file_goes_with_the_rest(vault, bucket):
    begun = bucket.client.create_multipart_upload(Bucket=bucket.name, Key="store/adp_1/v1/weights")
    part = {"Bucket": bucket.name, "Key": "store/adp_1/v1/weights", "UploadId": begun["UploadId"], "PartNumber": 1}
    bucket.client.upload_part(**part, Body=b"a person's")
    vault.remove(vault.place("adp_1"))
    assert not bucket.client.list_multipart_uploads(Bucket=bucket.name).get("Uploads")


def test_what_is_there_is_not_overwritten(vault, tiny):
    place = vault.place("adp_1", "v1")
    vault.shelve(tiny(), place)
    with pytest.raises(FileExistsError):
        vault.shelve(tiny(seed=1), place)
    with pytest.raises(FileExistsError):  # also by one that looked before the first was done
        objects.create(b"{}", f"{place}/{MANIFEST}")
    with Loan(vault.settings) as loan:
        assert vault.version(place, loan).sha256 == tiny(seed=0, path=vault.settings.home / "t").sha256


@pytest.mark.parametrize("spoil", ["content", "size", "missing", "manifest", "form", "name"])
def test_a_version_that_is_not_what_its_manifest_says_is_refused(vault, bucket, tiny, spoil):
    place, key = vault.place("adp_1", "v1"), "store/adp_1/v1"
    vault.shelve(tiny(), place)
    weights = bucket.get(f"{key}/{ADAPTER_WEIGHTS}")
    manifest = json.loads(bucket.get(f"{key}/{MANIFEST}"))
    if spoil == "content":
        bucket.put(f"{key}/{ADAPTER_WEIGHTS}", weights[:-1] + bytes([weights[-1] ^ 1]))
    elif spoil == "size":
        bucket.put(f"{key}/{ADAPTER_WEIGHTS}", weights + b"\0")
    elif spoil == "missing":
        bucket.client.delete_object(Bucket=bucket.name, Key=f"{key}/{ADAPTER_CONFIG}")
    elif spoil == "manifest":
        bucket.put(f"{key}/{MANIFEST}", b"\xff{")
    elif spoil == "form":
        bucket.put(f"{key}/{MANIFEST}", json.dumps(manifest | {"schema": "unlearn/version/v9"}).encode())
    else:
        manifest["files"] = {f"../../{name}": file for name, file in manifest["files"].items()}
        bucket.put(f"{key}/{MANIFEST}", json.dumps(manifest).encode())
    into = vault.settings.home / "into"
    with pytest.raises(ModelError, match=r"restore it"):
        vault.get(place, into)
    assert not into.exists()
    assert [file for file in vault.settings.home.rglob("*") if file.is_file()] == []


def test_removing_leaves_no_version_of_any_object_and_none_of_the_neighbours_go(vault, bucket, tiny):
    for name in ("v1", "v1.ab.f2", "v10"):
        vault.shelve(tiny(seed=len(name)), vault.place("adp_1", name))
    bucket.put("store/adp_1/v1/manifest.json", b"a second version of an object")
    bucket.client.delete_object(Bucket=bucket.name, Key=f"store/adp_1/v1/{ADAPTER_CONFIG}")
    vault.remove(vault.place("adp_1", "v1"))
    assert bucket.versions("store/adp_1/v1/") == []
    assert vault.exists(vault.place("adp_1", "v1.ab.f2"))
    assert vault.exists(vault.place("adp_1", "v10"))
    vault.remove(vault.place("adp_1"))
    assert bucket.versions() == []
    vault.remove(vault.place("adp_1"))  # nothing there is well


def test_more_than_one_page_of_objects_is_removed(vault, bucket, monkeypatch):
    monkeypatch.setattr(objects, "MOST_KEYS", 3)
    listing = objects._pages

    def by_twos(driver, call, name, prefix, *kinds):
        class Paged:
            def call_s3(self, method, **given):
                limit = {"MaxKeys": 2} if method == "list_object_versions" else {}
                return driver.call_s3(method, **given, **limit)

        return listing(Paged(), call, name, prefix, *kinds)

    monkeypatch.setattr(objects, "_pages", by_twos)
    for number in range(7):
        bucket.put(f"store/adp_1/f{number}", b"x")
    vault.remove(vault.place("adp_1"))
    assert bucket.versions() == []


def test_a_single_file_is_replaced_at_once_and_its_older_versions_are_gone(vault, bucket, tmp_path):
    place = vault.place("adp_1", "shadows.parquet")
    with Loan(vault.settings) as loan:
        assert vault.lend(place, loan) is None
        for content in (b"rows of two people", b"rows of one"):
            (tmp_path / "table").write_bytes(content)
            vault.replace(tmp_path / "table", place)
            assert vault.lend(place, loan).read_bytes() == content
    assert bucket.versions() == ["store/adp_1/shadows.parquet"]


def test_a_whole_bucket_and_a_place_that_is_only_read_are_never_removed(vault, bucket):
    with pytest.raises(BadInput, match="whole bucket"):
        vault.remove(f"s3://{bucket.name}")
    with pytest.raises(BadInput, match="only what is at s3"):
        vault.remove("gs://other/place")


def test_a_store_that_can_not_be_reached_or_has_no_such_bucket_is_unavailable_and_no_secret_is_told(
    vault, bucket, tiny, monkeypatch, tmp_path
):
    with pytest.raises(Unavailable, match="nosuchbucket"):
        Vault(Settings(home=tmp_path / "h", store="s3://nosuchbucket/x")).shelve(tiny(), "s3://nosuchbucket/x/v1")
    monkeypatch.setattr(objects, "PATIENCE", {"connect_timeout": 1, "retries": {"max_attempts": 0}})
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    with pytest.raises(Unavailable, match="can't be used") as told:
        vault.exists(vault.place("adp_1", "v1"))
    s3fs.S3FileSystem.clear_instance_cache()
    assert "canary" not in str(told.value)
