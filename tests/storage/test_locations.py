"""Names of places in object stores: one spelling for one place, nothing secret in it, no way out of a root."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearn.errors import BadInput, PathNotAllowed
from unlearn.locations import is_within, url_of
from unlearn.roots import allowed_place
from unlearn.settings import Settings

PART = st.text("azAZ09_=+,-.", min_size=1, max_size=9).filter(lambda part: part.strip("."))


@pytest.mark.parametrize(
    ("given", "spelled"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://bucket/a/b.jsonl", "s3://bucket/a/b.jsonl"),
        ("s3://bucket/a=1/v2.x.f1/", "s3://bucket/a=1/v2.x.f1"),
    ],
)
def test_a_place_has_one_spelling(given, spelled):
    assert url_of(given) == spelled
    assert url_of(spelled) == spelled


@pytest.mark.parametrize(
    "bad",
    [
        "file:///etc/passwd",
        "http://bucket/a",
        "memory://bucket/a",
        "simplecache::s3://bucket/a",
        "S3://bucket/a",
        "s3:///a",
        "s3://bu/a",
        "s3://bucket/../a",
        "s3://bucket/a/..",
        "s3://bucket/./a",
        "s3://bucket/a//b",
        "s3://bucket/.../a",
        "s3://bucket/%2e%2e/a",
        "s3://bucket/a*",
        "s3://bucket/a b",
        "s3://bucket/a\0",
        "s3://bucket/a\n",
        "s3://bucket/ä",
        "s3://" + "b" * 64,
        "s3://canary:canary@bucket/a",
        "s3://bucket/a?versionId=canary",
        "s3://bucket/a#canary",
    ],
)
def test_what_is_no_plain_name_of_a_place_is_refused_and_not_quoted(bad):
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the message is looked at
        url_of(bad)
    assert "canary" not in str(refused.value)
    with pytest.raises((BadInput, PathNotAllowed)) as told:
        allowed_place(Settings(roots=["s3://bucket"]), bad, "train", "us")
    assert "canary" not in str(told.value)


@given(st.lists(PART, min_size=1, max_size=4), st.lists(PART, max_size=3))
def test_a_place_is_within_a_root_exactly_when_the_root_begins_it_part_by_part(root, more):
    url = url_of("s3://bucket/" + "/".join(root))
    assert is_within(url_of("/".join([url, *more])), url)
    assert not is_within(url_of(f"{url}x"), url)
    assert is_within(url, url_of("s3://bucket"))
    assert not is_within(url, "s3://bucke")


def test_roots_are_directories_and_urls_joined_by_one_separator(monkeypatch, tmp_path):
    monkeypatch.setenv("UNLEARN_ROOTS", os.pathsep.join(["s3://bucket/models/", str(tmp_path), "gs://other"]))
    settings = Settings()
    assert settings.roots == ["s3://bucket/models", tmp_path, "gs://other"]
    assert allowed_place(settings, "s3://bucket/models/base/", "base", "us") == "s3://bucket/models/base"
    (tmp_path / "train.jsonl").touch()
    assert allowed_place(settings, str(tmp_path / "train.jsonl"), "train", "us") == str(tmp_path / "train.jsonl")
    for outside in ("s3://bucket/modelsx/base", "s3://bucket/base", "s3://other/models/base"):
        with pytest.raises(PathNotAllowed, match="UNLEARN_ROOTS"):
            allowed_place(settings, outside, "base", "us")


def test_a_root_or_a_store_with_a_password_in_it_is_refused_without_showing_it(monkeypatch):
    for name in ("UNLEARN_ROOTS", "UNLEARN_STORE"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "s3://key:canary@bucket/models")
            with pytest.raises(BadInput, match=f"{name}: .*environment") as refused:
                Settings()
        assert "canary" not in str(refused.value)


def test_versions_live_under_home_in_another_directory_or_in_s3(tmp_path):
    assert Settings(home=tmp_path).effective_store == str(tmp_path / "adapters")
    assert Settings(home=tmp_path, store=str(tmp_path / "shared")).effective_store == str(tmp_path / "shared")
    assert Settings(home=tmp_path, store="s3://bucket/store/").effective_store == "s3://bucket/store"
    with pytest.raises(BadInput, match=r"UNLEARN_STORE: .*s3://bucket/prefix"):
        Settings(store="gs://bucket/store")
