"""The link `current`: one step, never back by itself, nothing left behind."""

from __future__ import annotations

import os
import shutil

import pytest

from crowd import at_once
from unlearn.deploy import CurrentLink, HookFailed
from unlearn.locks import hold


@pytest.fixture
def shelf(tmp_path):
    return tmp_path / "adapters" / "adp_1"


@pytest.fixture
def link(tmp_path):
    return CurrentLink(tmp_path / "adapters")


def test_the_link_follows_the_releases_and_a_second_call_changes_nothing(link, shelf, released):
    for number in (1, 1, 2, 2, 3):
        link(released(number))
        assert (shelf / "current").resolve() == shelf / f"v{number}.f1"
        assert (shelf / "current" / "adapter_model.safetensors").read_bytes() == b"weights of %d" % number


def test_the_link_is_relative_beside_its_versions_and_absolute_elsewhere(link, shelf, released, tmp_path):
    release = released(1)
    link(release)
    assert os.readlink(shelf / "current") == "v1.f1"
    elsewhere = CurrentLink(tmp_path / "served")
    elsewhere(release)
    assert os.readlink(tmp_path / "served" / "adp_1" / "current") == str(release.path)


def test_a_late_release_leaves_a_newer_one_where_it_is(link, shelf, released):
    link(released(3))
    link(released(2))
    assert os.readlink(shelf / "current") == "v3.f1"


def test_a_rollback_goes_back_but_not_over_what_was_released_since(link, shelf, released):
    link(released(4))
    rollback = released(2, previous=4, forced=True)
    link(rollback)
    link(rollback)
    assert os.readlink(shelf / "current") == "v2.f1"
    link(released(5, previous=2))
    link(rollback)
    assert os.readlink(shelf / "current") == "v5.f1"


def test_another_attempt_of_the_same_number_takes_the_place_of_the_first(link, shelf, released):
    link(released(2, fence=1))
    link(released(2, fence=7))
    assert os.readlink(shelf / "current") == "v2.f7"


def test_what_a_crash_left_behind_is_cleared_and_files_of_others_stay(link, shelf, released):
    link(released(1))
    (shelf / ".current.draft").symlink_to("v2.f1")
    (shelf / ".current.4711").symlink_to("nowhere")
    (shelf / ".current.notes").write_text("somebody's")
    link(released(2))
    assert os.readlink(shelf / "current") == "v2.f1"
    assert sorted(path.name for path in shelf.glob(".current*")) == [".current.lock", ".current.notes"]


def test_a_crash_before_the_step_leaves_the_old_version_and_the_next_call_ends_it(link, shelf, released, monkeypatch):
    link(released(1))
    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            link(released(2))
    assert os.readlink(shelf / "current") == "v1.f1"
    link(released(2))
    assert os.readlink(shelf / "current") == "v2.f1"
    assert not (shelf / ".current.draft").is_symlink()


def test_a_link_whose_version_is_gone_is_replaced(link, shelf, released):
    link(released(1))
    shutil.rmtree(shelf / "v1.f1")
    link(released(2))
    assert os.readlink(shelf / "current") == "v2.f1"


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: path.write_text("weights")])
def test_what_is_no_link_is_never_touched(link, shelf, released, make):
    shelf.mkdir(parents=True)
    make(shelf / "current")
    for call in (link, link.withdraw):
        with pytest.raises(HookFailed, match="is no link; move it away"):
            call(released(1))
    assert (shelf / "current").exists()


def test_a_link_to_something_else_needs_a_person_or_a_rollback(link, shelf, released):
    shelf.mkdir(parents=True)
    (shelf / "current").symlink_to("elsewhere")
    with pytest.raises(HookFailed, match=r"points to 'elsewhere'.*remove the link"):
        link(released(2))
    link(released(2, previous=3, forced=True))
    assert os.readlink(shelf / "current") == "v2.f1"


def test_a_version_that_is_not_there_is_not_pointed_at(link, shelf, released):
    link(released(1))
    gone = released(2)
    shutil.rmtree(gone.path)
    with pytest.raises(HookFailed, match="restore that directory"):
        link(gone)
    assert os.readlink(shelf / "current") == "v1.f1"


def test_what_the_file_system_refuses_is_said_with_the_next_step(released, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HookFailed, match=r"could not be moved: .*irectory.*may write to"):
        CurrentLink(tmp_path / "file")(released(1))


def test_withdrawing_removes_the_link_alone_and_can_be_done_twice(link, shelf, released, tmp_path):
    release = released(1)
    link.withdraw(release)
    link(release)
    link.withdraw(release)
    link.withdraw(release)
    assert not (shelf / "current").is_symlink()
    assert release.path.is_dir()
    CurrentLink(tmp_path / "never").withdraw(release)
    assert not (tmp_path / "never").exists()


def test_who_can_not_have_the_links_lock_leaves_the_link_alone(link, shelf, released, monkeypatch):
    monkeypatch.setattr("unlearn.deploy.link.PATIENCE_SECONDS", 0)
    link(released(1))
    held = hold(shelf / ".current.lock", 0, "busy")
    with pytest.raises(HookFailed, match="could not be moved: another process holds its lock"):
        link(released(2))
    os.close(held)
    assert os.readlink(shelf / "current") == "v1.f1"
    link(released(2))
    assert os.readlink(shelf / "current") == "v2.f1"


def test_of_releases_told_at_once_the_newest_stays(link, shelf, released):
    releases = [released(number) for number in (3, 1, 5, 2, 4)]
    at_once(lambda n: link(releases[n]), 5)
    assert os.readlink(shelf / "current") == "v5.f1"
