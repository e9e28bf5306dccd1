"""What belongs to nothing on disk goes; what a row or a living attempt needs stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from by_hand import REFUSED, REPORT, submit, work

from unlearn.cases.desk import UNFINISHED, Desk
from unlearn.clearing import clear
from unlearn.settings import Settings
from unlearn.weights import copy_adapter, read_adapter


def left_by(desk, claim):
    """Everything that an attempt has on disk at the moment it is killed: workshop, weights, a copy half made."""
    home = desk.settings.home
    workshop = home / "jobs" / claim.job_id / f"f{claim.fence}"
    (workshop / "adapter").mkdir(parents=True)
    shelf = home / "adapters" / claim.adapter.id
    weights = shelf / f"v{claim.next_number}.{claim.job_id}.f{claim.fence}"
    copy_adapter(read_adapter(Path(claim.adapter.current.path)), weights)
    draft = shelf / f".{weights.name}.a1b2c3d4"
    draft.mkdir()
    return workshop, weights, draft


def test_what_a_killed_attempt_left_goes_while_the_next_one_works(desk, settings, adapter, company, clock):
    _, job_id = submit(desk, company)
    dead = left_by(desk, work(desk, job_id))
    state = settings.home / "jobs" / job_id / "state"
    state.mkdir()
    clock.forward(91)
    alive = left_by(desk, work(desk, job_id, "w2"))
    assert set(clear(desk, settings)) == set(dead)
    assert not any(path.exists() for path in dead)
    assert all(path.exists() for path in (*alive, state))
    assert clear(desk, settings) == []


def test_a_living_attempt_loses_nothing(desk, settings, adapter, company):
    _, job_id = submit(desk, company)
    alive = left_by(desk, work(desk, job_id))
    assert clear(desk, settings) == []
    assert all(path.exists() for path in alive)


@pytest.mark.parametrize("report", [REPORT, REFUSED], ids=["released", "held"])
def test_of_a_job_that_ended_the_weights_stay_that_its_row_names(desk, settings, adapter, company, report):
    _, job_id = submit(desk, company)
    claim = work(desk, job_id)
    workshop, weights, draft = left_by(desk, claim)
    end = desk.release if report is REPORT else desk.hold
    end(claim, read_adapter(weights), report)
    clear(desk, settings)
    assert weights.is_dir()
    assert not draft.exists()
    assert not workshop.parent.exists()


def test_of_a_job_whose_attempts_are_spent_nothing_stays(desk, settings, adapter, company, clock):
    _, job_id = submit(desk, company)
    left = [path for _ in range(3) for path in (left_by(desk, work(desk, job_id)), clock.forward(91))[0]]
    desk.sweep()
    clear(desk, settings)
    assert not any(path.exists() for path in left)
    assert Path(adapter.current.path).is_dir()


def test_what_the_database_does_not_know_stays(desk, settings, adapter):
    stranger = settings.home / "adapters" / adapter.id / "v9.job_0123.f1"
    workshop = settings.home / "jobs" / "job_0123" / "f1"
    for path in (stranger, workshop):
        path.mkdir(parents=True)
    assert clear(desk, settings) == []
    assert stranger.is_dir()
    assert workshop.is_dir()


def aged(path):
    os.utime(path, (1, 1), follow_symlinks=False)


def test_what_names_no_attempt_goes_after_a_day_and_not_before(desk, settings, adapter, company):
    _, job_id = submit(desk, company)
    claim = work(desk, job_id)
    _, candidate, _ = left_by(desk, claim)
    desk.hold(claim, read_adapter(candidate), REFUSED)
    shelf = settings.home / "adapters" / adapter.id
    lost = [shelf / "v2.abcdef.f9", shelf / ".v3.draft", shelf / "corpora" / "train.v2.0000.sealed"]
    for place in lost[:2]:
        place.mkdir()
    lost[2].write_bytes(b"sealed")
    for place in (*lost, candidate, shelf / "v1", *(shelf / "corpora").iterdir()):
        aged(place)
    fresh = shelf / "v4.abcdef.f1"
    fresh.mkdir()
    clear(desk, settings)
    assert [place.name for place in lost if place.exists()] == []
    assert fresh.exists()
    assert candidate.exists()
    assert desk.corpus(desk.adapter("bot"), "train").records
    assert Path(desk.adapter("bot").current.path).is_dir()


def test_nothing_of_a_busy_adapter_and_nothing_that_the_database_does_not_know_is_touched(
    desk, settings, adapter, company
):
    submit(desk, company)
    draft = settings.home / "adapters" / adapter.id / ".v2.draft"
    unknown = settings.home / "adapters" / "adp_of_another_database"
    for place in (draft, unknown):
        place.mkdir()
        aged(place)
    assert clear(desk, settings) == []
    (unknown / UNFINISHED).touch()  # a registration that ended in the middle left this
    aged(unknown / UNFINISHED)
    assert clear(desk, settings) == [unknown]
    assert draft.exists()


def test_a_database_that_is_away_is_no_error_and_nothing_goes(settings, tmp_path):
    workshop = settings.home / "jobs" / "job_1" / "f1"
    workshop.mkdir(parents=True)
    unprepared = Desk(settings.model_copy(update={"database_url": f"sqlite:///{tmp_path / 'empty.db'}"}))
    assert clear(unprepared, settings) == []
    assert workshop.is_dir()
    unprepared.close()


def test_a_home_that_moved_loses_nothing(desk, settings, adapter, company, clock, tmp_path):
    """Rows spell the paths of then."""
    _, job_id = submit(desk, company)
    claim = work(desk, job_id)
    _, weights, _ = left_by(desk, claim)
    desk.release(claim, read_adapter(weights), REPORT)
    desk.close()
    settings.home.rename(tmp_path / "moved")
    moved = Settings(home=tmp_path / "moved", roots=settings.roots, database_url=settings.database_url)
    again = Desk(moved, clock)
    kept = tree(moved.home / "adapters")
    for path in (moved.home / "adapters").rglob("*"):
        os.utime(path, (0, 0))
    clear(again, moved)
    assert tree(moved.home / "adapters") == {one for one in kept if "/." not in one}
    again.close()


def tree(root: Path) -> set[str]:
    return {str(path) for path in root.rglob("*") if path.is_file()}
