"""What a client may name on the disk: home and the roots, by no way around."""

from __future__ import annotations

import pytest

from unlearn.errors import BadInput, PathNotAllowed
from unlearn.roots import allowed_path, allowed_place
from unlearn.settings import Settings


def test_paths_under_home_and_roots_may_be_read_and_no_others(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").touch()
    (tmp_path / "outside").touch()
    (root / "link").symlink_to(tmp_path / "outside")
    settings = Settings(home=tmp_path / "h", roots=[root])
    assert allowed_path(settings, str(root / "file"), "train", "us") == root / "file"
    for bad in (root / "link", tmp_path / "outside", f"{root}/../outside", tmp_path / "rootless"):
        with pytest.raises(PathNotAllowed, match="train"):
            allowed_path(settings, str(bad), "train", "us")
    with pytest.raises(BadInput, match="nothing at"):
        allowed_path(settings, str(root / "missing"), "train", "us")
    with pytest.raises(BadInput):
        allowed_path(settings, f"{root}/\ud800", "train", "us")


def test_a_name_too_long_for_a_file_is_bad_input(tmp_path):
    with pytest.raises(BadInput, match="train"):
        allowed_path(Settings(home=tmp_path), str(tmp_path / ("x" * 300)), "train", "us")


def test_nothing_of_the_service_itself_may_be_named_whatever_the_roots(tmp_path):
    home, store = tmp_path / "home", tmp_path / "store"
    settings = Settings(
        home=home, roots=[tmp_path], store=str(store), database_url=f"sqlite:///{tmp_path / 'cases.db'}"
    )
    own = [
        home / "adapters/adp_1/v1/adapter_config.json",
        home / "keys/identity.key",
        home / "journal.jsonl",
        store / "adp_1",
        *(tmp_path / f"cases.db{end}" for end in ("", "-wal", "-shm")),
    ]
    for place in (*own, home / "inputs/train.jsonl"):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    for place in (*own, home):
        with pytest.raises(PathNotAllowed):
            allowed_path(settings, str(place), "train", "us")
    (tmp_path / "way").symlink_to(tmp_path / "cases.db")
    with pytest.raises(PathNotAllowed):
        allowed_path(settings, str(tmp_path / "way"), "train", "us")
    assert allowed_path(Settings(home=home), str(home / "inputs/train.jsonl"), "train", "us").is_file()


def test_a_company_names_its_own_files_alone_where_roots_say_so(tmp_path):
    for name in ("us", "them"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.jsonl").touch()
    settings = Settings(home=tmp_path / "home", roots=f"{tmp_path}/{{controller}}:s3://bucket/{{controller}}/in")
    assert allowed_place(settings, "s3://bucket/us/in/x", "train", "us") == "s3://bucket/us/in/x"
    assert allowed_path(settings, str(tmp_path / "us/train.jsonl"), "train", "us").is_file()
    for place in (str(tmp_path / "them/train.jsonl"), f"{tmp_path}/us/../them/train.jsonl", "s3://bucket/them/in/x"):
        with pytest.raises(PathNotAllowed):
            allowed_place(settings, place, "train", "us")
