"""What a client may name on the disk: home and the roots, by no way around."""

from __future__ import annotations

import pytest

from unlearn.errors import BadInput, PathNotAllowed
from unlearn.roots import allowed_path
from unlearn.settings import Settings


def test_paths_under_home_and_roots_may_be_read_and_no_others(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").touch()
    (tmp_path / "outside").touch()
    (root / "link").symlink_to(tmp_path / "outside")
    settings = Settings(home=tmp_path / "h", roots=[root])
    assert allowed_path(settings, str(root / "file"), "train") == root / "file"
    for bad in (root / "link", tmp_path / "outside", f"{root}/../outside", tmp_path / "rootless"):
        with pytest.raises(PathNotAllowed, match="train"):
            allowed_path(settings, str(bad), "train")
    with pytest.raises(BadInput, match="nothing at"):
        allowed_path(settings, str(root / "missing"), "train")
    with pytest.raises(BadInput):
        allowed_path(settings, f"{root}/\ud800", "train")


def test_a_name_too_long_for_a_file_is_bad_input(tmp_path):
    with pytest.raises(BadInput, match="train"):
        allowed_path(Settings(home=tmp_path), str(tmp_path / ("x" * 300)), "train")
