"""Finished rungs: another climb of the same case takes them up, and no other case, damaged file or reader gets any."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from unlearn.attempt import Case, Unwatched
from unlearn.ladder import climb
from unlearn.policy import Policy
from unlearn.rungs import Rungs, rungs_of
from unlearn.weights import ADAPTER_WEIGHTS, read_adapter

STEPS = {"forget_records_per_step": 4, "retain_records_per_step": 4}
LADDER = [{"method": "ascent", "steps": 2} | STEPS, {"method": "npo", "steps": 7} | STEPS]
POLICY = Policy.model_validate(
    {
        "ladder": LADDER,
        "gates": {"membership_margin_sd": 1e-6},
        "audit": {"preset": "quick"},
        "governors": {"every_steps": 2},
    }
)


class Stopped(BaseException):
    """As a worker is told to stop."""


class Stopping(Unwatched):
    """Counts what is done, and stops it at a step."""

    def __init__(self, at=None):
        self.at, self.steps, self.stages = at, 0, []

    def stage(self, name):
        self.stages.append(name)

    def step(self, step, steps, behind):
        self.steps += 1
        if self.steps == self.at:
            raise Stopped


@pytest.fixture(scope="module")
def given(company):
    """A case of two people that keeps no state."""
    other = next(r.subjects[0] for r in company.world.train if company.subject not in r.subjects)
    files = (company.base, read_adapter(company.adapter), company.train, company.holdout)
    return Case(*files, {company.subject, other}.__contains__, POLICY)


@pytest.fixture(scope="module")
def whole(given, tmp_path_factory):
    """Its outcome, when nobody stops it."""
    return climb(given, tmp_path_factory.mktemp("whole") / "adapter")


@pytest.fixture(scope="module")
def left(given, tmp_path_factory):
    """What a climb leaves that is told to stop in its second rung."""
    place = tmp_path_factory.mktemp("left")
    with pytest.raises(Stopped):
        climb(replace(given, state=place / "state"), place / "adapter", Stopping(at=4))
    assert [path.name for path in place.iterdir()] == ["state"]
    return place / "state"


@pytest.fixture
def broken_off(given, left, tmp_path):
    """The case as its next attempt finds it."""
    shutil.copytree(left, tmp_path / "state")
    return replace(given, state=tmp_path / "state")


def erased(watcher):
    return [stage for stage in watcher.stages if stage.startswith("erasing")]


def timeless(value):
    """Without what a clock said."""
    if isinstance(value, dict):
        return {key: timeless(one) for key, one in value.items() if "seconds" not in key}
    return [timeless(one) for one in value] if isinstance(value, list) else value


def test_a_climb_goes_on_behind_its_finished_rungs_to_the_same_outcome(broken_off, whole, tmp_path):
    watcher = Stopping()
    outcome = climb(broken_off, tmp_path / "second" / "adapter", watcher)
    assert erased(watcher) == ["erasing: npo"]
    assert len(outcome.own) == 2
    assert (outcome.adapter.sha256, outcome.verdict) == (whole.adapter.sha256, whole.verdict)
    assert (outcome.after, outcome.own) == (whole.after, whole.own)
    assert timeless(outcome.report) == timeless(whole.report)
    last = Stopping()
    again = climb(broken_off, tmp_path / "third" / "adapter", last)
    assert (last.steps, erased(last)) == (0, [])
    assert (again.after, again.own) == (whole.after, whole.own)
    assert timeless(again.report) == timeless(whole.report)


def test_the_rung_under_way_goes_on_where_its_governors_last_accepted_it(broken_off, whole, tmp_path, monkeypatch):
    kept = Rungs.walk
    monkeypatch.setattr(Rungs, "walk", lambda rungs, number: replace(kept(rungs, number), every_seconds=0.0))
    with pytest.raises(Stopped):
        climb(broken_off, tmp_path / "second" / "adapter", Stopping(at=6))
    watcher = Stopping()
    outcome = climb(broken_off, tmp_path / "third" / "adapter", watcher)
    assert watcher.steps == 7 - 4  # the look before the fifth step was the last that was kept
    assert outcome.adapter.sha256 == whole.adapter.sha256
    names = sorted(path.name for path in broken_off.state.iterdir())
    assert names == ["rung-1", "rung-1.tried", "rung-2", "rung-2.tried"]


@pytest.mark.parametrize("name", ["rung-1.tried", f"rung-1/{ADAPTER_WEIGHTS}", "rung-1/lineage.json"])
def test_a_rung_that_is_damaged_is_run_again(broken_off, name):
    assert rungs_of(broken_off).finished(1) is not None
    damaged = broken_off.state / name
    damaged.write_bytes(damaged.read_bytes()[:-3])
    assert rungs_of(broken_off).finished(1) is None


def test_a_rung_whose_candidate_is_gone_is_run_again(broken_off):
    shutil.rmtree(broken_off.state / "rung-1")
    assert rungs_of(broken_off).finished(1) is None


def test_rungs_of_other_people_policies_and_adapters_are_not_taken_up(broken_off):
    others = [
        replace(broken_off, is_forgotten=lambda subject: subject.endswith("1")),
        replace(broken_off, already_erased=lambda subject: subject.endswith("1")),
        replace(broken_off, policy=POLICY.model_copy(update={"seed": 1})),
        replace(broken_off, adapter=replace(broken_off.adapter, sha256="0" * 64)),
        replace(broken_off, train=broken_off.holdout),
    ]
    assert len({rungs_of(one).inputs for one in [broken_off, *others]}) == 6
    assert rungs_of(others[0]).finished(1) is None


def test_nobody_is_named_in_a_state(broken_off, company):
    people = {subject for record in company.world.train for subject in record.subjects}
    files = [path for path in broken_off.state.rglob("*") if path.is_file()]
    assert len(files) > 3
    assert not [path for path in files for name in people if name.encode() in path.read_bytes()]
