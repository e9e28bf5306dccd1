"""An attempt that MLflow does not hear, or hears late."""

from __future__ import annotations

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST

from unlearn.errors import LeaseLost
from unlearn.tracking.deferred import MOST_WAITING, REST_SECONDS, DeferredRun
from unlearn.tracking.runs import open_run


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


class Away:
    """MLflow behind a wire that is cut now and then."""

    def __init__(self, store, artifacts):
        self.now, self.is_cut, self.asked, self.noted = 0.0, False, 0, []
        self._store, self._artifacts = store, artifacts

    def open(self, run_id):
        self.asked += 1
        self.check()
        run = open_run(self._store, "e", self._artifacts, "n", {}, run_id)
        for name in ("params", "metrics", "tag", "directory", "curve", "finish"):
            setattr(run, name, self._cut(getattr(run, name)))
        return run

    def check(self):
        if self.is_cut:
            raise MlflowException("no answer")

    def _cut(self, method):
        def call(*given, **more):
            self.asked += 1
            self.check()
            return method(*given, **more)

        return call

    def run(self, run_id=None):
        return DeferredRun(self.open, run_id, self.noted.append, lambda: self.now)


@pytest.fixture
def away(store, tmp_path):
    return Away(store, tmp_path / "artifacts")


def test_what_mlflow_was_not_told_it_is_told_in_order_once_it_is_back(away, tmp_path):
    run = away.run()
    away.is_cut = True
    run.params({"seed": 1})
    for step in (1, 2):
        run.metrics({"loss": step / 2}, step)
    run.directory(tmp_path)
    assert (away.asked, away.noted, run.curve("loss")) == (1, [], {})  # it rests
    away.is_cut, away.now = False, REST_SECONDS
    run.metrics({"loss": 1.5}, 3)
    assert run.curve("loss") == {1: 0.5, 2: 1.0, 3: 1.5}
    assert len(away.noted) == 1
    away.is_cut = True
    run.metrics({"loss": 2.0}, 4)
    away.is_cut = False
    run.finish()
    assert away.run(away.noted[0]).curve("loss") == {1: 0.5, 2: 1.0, 3: 1.5, 4: 2.0}


def test_what_mlflow_refuses_is_left_out_and_stops_nothing(away):
    run = away.run()
    run.params({"method": "ascent"})
    run.params({"method": "another"})  # a parameter is logged once
    run.metrics({"loss": 1.0}, 1)
    assert run.curve("loss") == {1: 1.0}


def test_a_run_that_is_no_more_is_opened_anew_and_one_that_can_not_be_opened_is_let_be(away):
    gone = away.run("0" * 32)
    gone.metrics({"loss": 1.0}, 1)
    assert away.noted != ["0" * 32]
    assert gone.curve("loss") == {1: 1.0}

    def refuse(_run_id):
        away.asked += 1
        raise MlflowException("deleted", INVALID_PARAMETER_VALUE)

    away.asked = 0
    run = DeferredRun(refuse, "1" * 32, away.noted.append, lambda: away.now)
    for step in range(100):
        run.metrics({"loss": 1.0}, step)
    assert away.asked == 1
    run.finish()
    assert MlflowException("x", RESOURCE_DOES_NOT_EXIST).get_http_status_code() < 500


def test_a_lost_lease_is_heard_and_no_run_is_told_anything_whose_id_was_not_noted(away):
    def lost(_run_id):
        raise LeaseLost("lost")

    with pytest.raises(LeaseLost):
        DeferredRun(away.open, None, lost, lambda: away.now).params({"seed": 1})

    def forgets(_run_id):
        raise OSError("the database is away")

    run = DeferredRun(away.open, None, forgets, lambda: away.now)
    run.params({"seed": 1})
    assert run.curve("loss") == {}


def test_what_waits_is_bounded(away):
    run = away.run()
    away.is_cut = True
    for step in range(MOST_WAITING + 5):
        run.metrics({"loss": 1.0}, step)
    assert len(run._waiting) == MOST_WAITING
