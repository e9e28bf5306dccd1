"""Durable files: whole or not at all, for their owner alone, and nothing is left beside them."""

from __future__ import annotations

import os
import stat

import pytest

from crowd import at_once
from unlearn.durable import sync, write_once, write_whole


def test_a_file_takes_the_place_of_the_old_one_and_only_its_owner_reads_it(tmp_path):
    file = tmp_path / "new" / "file"
    for content in (b"first", b"second"):
        write_whole(file, content)
        assert file.read_bytes() == content
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert os.listdir(file.parent) == ["file"]


def test_of_several_who_write_once_the_first_stays(tmp_path):
    file = tmp_path / "file"
    at_once(lambda n: write_once(file, f"{n}".encode() * 1000))
    kept = file.read_bytes()
    assert len(set(kept)) == 1
    assert len(kept) == 1000
    write_once(file, b"later")
    assert file.read_bytes() == kept
    assert os.listdir(tmp_path) == ["file"]


def test_what_can_not_be_put_in_its_place_leaves_no_draft(tmp_path):
    (tmp_path / "file").mkdir()
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path / "file", b"content")
    assert os.listdir(tmp_path) == ["file"]


def test_the_content_is_on_the_disk_before_anybody_sees_it_and_the_name_after(tmp_path, monkeypatch):
    seen, flush = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (seen.append((tmp_path / "file").exists()), flush(fd)))
    write_whole(tmp_path / "file", b"content")
    assert seen == [False, True]


def test_what_is_not_there_can_not_be_synced(tmp_path):
    with pytest.raises(FileNotFoundError):
        sync(tmp_path / "never")
