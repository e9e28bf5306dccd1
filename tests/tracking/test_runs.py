"""MLflow on a real SQLite store."""

from __future__ import annotations

import pytest
from mlflow import environment_variables as of_mlflow
from mlflow.tracking import MlflowClient

from crowd import at_once
from unlearn.attacks.statistics import compare
from unlearn.measurement import Group, Measurement
from unlearn.tracking.recorded import recorded
from unlearn.tracking.runs import open_run


def test_mlflow_prints_nothing_among_the_lines_of_the_log():
    assert not of_mlflow.MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.get()
    assert of_mlflow.MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.get()
    assert of_mlflow.MLFLOW_DISABLE_TELEMETRY.get()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    home = tmp_path_factory.mktemp("mlflow")
    return f"sqlite:///{home / 'mlflow.db'}", home / "artifacts"


def measurement(shift):
    nlls = {f"r-{i}": shift + i / 10 for i in range(25)}
    group = Group(nlls, dict.fromkeys(nlls, "p"))
    return Measurement(group, group, group, {"loss": compare(list(nlls.values()), list(nlls.values()))})


def open_at(store, **given):
    return open_run(
        store[0], "erasures", store[1], "run", given.pop("tags", {"unlearn.request": "req_1,req_2"}), **given
    )


def test_a_run_is_found_by_its_tags_and_holds_curves_figures_and_files(store, tmp_path):
    run = open_at(store)
    run.params({"method": "ascent", "seed": 0})
    for step in (1, 2, 3):
        run.metrics({"loop/forget_nll_nats": step / 2}, step)
    for when, shift in (("before", 0.0), ("after", 1.0)):
        run.metrics({f"{name}/{when}": value for name, value in measurement(shift).metrics().items()})
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(b"weights")
    run.directory(tmp_path / "adapter", "adapter")
    (tmp_path / "review").mkdir()
    (tmp_path / "review" / "report.json").write_text("{}")
    run.directory(tmp_path / "review")
    run.tag({"unlearn.verdict": "refused"})
    run.finish()

    client = MlflowClient(tracking_uri=store[0])
    experiment = client.get_experiment_by_name("erasures")
    query = "tags.\"unlearn.request\" LIKE '%req_2%' AND tags.\"unlearn.verdict\" = 'refused'"
    (found,) = client.search_runs([experiment.experiment_id], query)
    assert found.info.run_id == run.id
    assert found.info.status == "FINISHED"
    assert found.data.params == {"method": "ascent", "seed": "0"}
    assert found.data.metrics["forget_nll_nats/after"] > found.data.metrics["forget_nll_nats/before"]
    assert [m.value for m in client.get_metric_history(run.id, "loop/forget_nll_nats")] == [0.5, 1.0, 1.5]
    assert sorted(f.path for f in client.list_artifacts(run.id)) == ["adapter", "report.json"]


def test_a_second_attempt_goes_on_in_the_same_run(store):
    first = open_at(store)
    first.finish(failed=True)
    second = open_at(store, run_id=first.id, tags={"unlearn.attempt": "2"})
    assert second.id == first.id
    assert second.client.get_run(first.id).info.status == "RUNNING"


def test_two_threads_may_make_the_experiment_at_once(tmp_path):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    MlflowClient(tracking_uri=uri).search_experiments()
    at_once(lambda _: open_run(uri, "new", tmp_path / "artifacts", "run", {}), 4)
    assert len(MlflowClient(tracking_uri=uri).search_experiments(filter_string="name = 'new'")) == 1


def test_what_a_run_recorded_is_read_back_and_nothing_is_missed_where_there_is_none(store, tmp_path):
    run = open_at(store)
    run.params({"method": "ascent"})
    for step in (2, 1):
        run.metrics({"loop/loss": step / 2}, step)
    run.metrics({"forget_nll_nats/after": 2.5})
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "roc.svg").write_text("<svg/>")
    (tmp_path / "figures" / "notes.txt").write_text("no figure")
    run.directory(tmp_path)
    run.finish()
    found = recorded(store[0], run.id)
    assert found is not None
    assert (found.run["run_id"], found.run["status"], found.run["params"]) == (run.id, "FINISHED", {"method": "ascent"})
    assert found.run["curves"] == {"loop/loss": [[1, 0.5], [2, 1.0]]}
    assert found.run["metrics"] == {"forget_nll_nats/after": 2.5}
    assert set(found.run["tags"]) == {"unlearn.request"}
    assert found.figures == {"roc.svg": b"<svg/>"}
    assert recorded(store[0], "0" * 32) is None
    assert recorded("http://127.0.0.1:9", run.id) is None
