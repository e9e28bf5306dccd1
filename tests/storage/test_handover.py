"""How far a job is travels from machine to machine by way of a real S3, versioned or not: whole, or not at all."""

from __future__ import annotations

import threading

import pytest

from polling import until
from unlearn.settings import Settings
from unlearn.storage import Handover, Vault, handover, objects
from unlearn.storage.vault import MANIFEST


@pytest.fixture
def attempt(remote):
    """Makes an attempt of one job on a machine: its handover, and its state there."""

    def attempt(machine: str, fence: int):
        settings = remote(machine)
        state = settings.home / "jobs" / "job_1" / "state"
        return Handover(Vault(settings), state, "job_1", fence), state

    return attempt


def write(state, **files):
    """As the program does, each in one step in the place of the last; `__` for a directory's slash."""
    for name, content in files.items():
        file = state / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_name(f".{file.name}.draft")
        draft.write_text(content)
        draft.replace(file)


def read(state):
    files = (path for path in state.rglob("*") if path.is_file())
    return {str(path.relative_to(state)).replace("/", "__"): path.read_text() for path in files if path.name[0] != "."}


def places(bucket):
    return sorted({key.removeprefix("store/jobs/job_1/").partition("/")[0] for key in bucket.versions("store/jobs/")})


def test_another_machine_goes_on_from_what_was_put_up_last(attempt, bucket):
    first, here = attempt("a", 1)
    with first:
        write(here, walk="1", rung__weights="w")
        first.turn()
        write(here, walk="2")
        first.turn()
        write(here, walk="3")
    second, there = attempt("b", 2)
    with second:
        assert read(there) == {"walk": "2", "rung__weights": "w"}
        assert there.stat().st_mode & 0o777 == 0o700
    assert places(bucket) == ["f1.2"]


def test_what_did_not_change_is_not_put_up_again(attempt, bucket):
    first, here = attempt("a", 1)
    with first:
        write(here, walk="1")
        for _ in range(2):
            first.turn()
        (here / ".walk.draft").touch()
        first.turn()
    second, _ = attempt("b", 2)
    with second:
        second.turn()
    assert places(bucket) == ["f1.1"]
    assert [key.rpartition("/")[2] for key in bucket.versions("store/jobs/")] == [MANIFEST, "walk"]


def test_a_late_attempt_changes_nothing_of_the_one_that_goes_on(attempt, bucket):
    late, here = attempt("a", 1)
    with late:
        write(here, walk="of the first")
        late.turn()
        second, there = attempt("b", 2)
        with second:
            write(there, walk="of the second")
            second.turn()
            assert places(bucket) == ["f2.1"]
            write(here, walk="late", more="late")
            late.turn()
            assert places(bucket) == ["f1.2", "f2.1"]
            third, elsewhere = attempt("c", 3)
            with third:
                assert read(elsewhere) == {"walk": "of the second"}
            write(there, walk="of the second, later")
            second.turn()
    assert places(bucket) == ["f2.2"]


def test_a_machine_keeps_its_own_state_unless_another_worked_on_the_job_since(attempt):
    first, here = attempt("a", 1)
    with first:
        write(here, walk="1")
        first.turn()
        write(here, walk="2")
    again, _ = attempt("a", 2)
    with again:
        assert read(here) == {"walk": "2"}
        again.turn()
    other, there = attempt("b", 3)
    with other:
        assert read(there) == {"walk": "2"}
        write(there, other="3")
        other.turn()
    back, _ = attempt("a", 4)
    with back:
        assert read(here) == {"walk": "2", "other": "3"}


@pytest.mark.parametrize("breaks", ["upload", "create"])
def test_what_was_put_up_by_half_when_its_process_was_killed_is_none(attempt, bucket, monkeypatch, breaks):
    first, here = attempt("a", 1)

    def killed(*given):
        raise KeyboardInterrupt

    def broken():
        with monkeypatch.context() as patch:
            patch.setattr(objects, breaks, killed)
            patch.setattr(objects, "remove", lambda *a, **k: None)  # it could not even clean up
            with pytest.raises(KeyboardInterrupt):
                first.turn()

    with first:
        write(here, walk="1", more="1")
        broken()
        second, there = attempt("b", 2)
        with second:
            assert read(there) == {}
        first.turn()
        write(here, walk="2")
        broken()
        third, elsewhere = attempt("c", 3)
        with third:
            assert read(elsewhere) == {"walk": "1", "more": "1"}


def test_a_damaged_state_is_none(attempt, bucket):
    first, here = attempt("a", 1)
    with first:
        write(here, walk="1")
        first.turn()
    bucket.put("store/jobs/job_1/f1.1/walk", b"2")
    second, there = attempt("b", 2)
    with second:
        assert read(there) == {}


def test_a_state_that_is_written_to_while_it_is_taken_is_put_up_at_the_next_turn(attempt, bucket, monkeypatch):
    first, here = attempt("a", 1)
    files = first._files
    with first:
        write(here, walk="1", more="1")
        with monkeypatch.context() as patch:
            patch.setattr(first, "_files", lambda: (files(), write(here, walk="2"))[0])
            first.turn()
        assert places(bucket) == []
        first.turn()
        assert places(bucket) == ["f1.2"]


def test_who_leaves_waits_for_no_upload(attempt, bucket, monkeypatch):
    monkeypatch.setattr(handover, "EVERY_SECONDS", 0.01)
    under_way, go_on, upload = threading.Event(), threading.Event(), objects.upload

    def slow(file, url):
        under_way.set()
        assert go_on.wait(60)
        upload(file, url)

    monkeypatch.setattr(objects, "upload", slow)
    first, here = attempt("a", 1)
    with first:
        write(here, walk="1")
        assert under_way.wait(60)
    assert first.is_running
    second, there = attempt("b", 2)
    with second:
        assert read(there) == {}
    go_on.set()
    until(lambda: not first.is_running)


def test_a_job_that_ended_leaves_nothing(attempt, bucket):
    first, here = attempt("a", 1)
    with first:
        write(here, walk="1")
        first.turn()
    second, there = attempt("b", 2)
    with second:
        write(there, walk="2")
        second.turn()
        second.remove()
    assert not there.exists()
    assert bucket.versions() == []
    assert not [path for path in here.parents[3].rglob("lent/*") if path.suffix != ".lock"]


def test_where_versions_are_in_a_directory_nothing_travels(tmp_path):
    settings = Settings(home=tmp_path / "home")
    state = settings.home / "jobs" / "job_1" / "state"
    first = Handover(Vault(settings), state, "job_1", 1)
    with first:
        assert not first.is_running
        assert not settings.home.exists()
        write(state, walk="1")
    with Handover(Vault(settings), state, "job_1", 2) as second:
        assert read(state) == {"walk": "1"}
        second.remove()
    assert not state.exists()
