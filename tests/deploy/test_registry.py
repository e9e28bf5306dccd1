"""MLflow's model registry on a real SQLite store, and on a real server."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mlflow_server import mlflow_server
from unlearn.deploy import HookFailed, Registry
from unlearn.deploy.registry import EXPERIMENT

NAMES = (f"support-{i}" for i in itertools.count())


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture
def client(uri):
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


@pytest.fixture
def registry(uri):
    return Registry(uri)


@pytest.fixture
def name():
    return next(NAMES)


def state(client, name):
    """Our numbers of the versions, which are revoked, and the champion's."""
    versions = client.search_model_versions(f"name = '{name}'")
    by_version = {str(version.version): int(version.tags["adapter_version"]) for version in versions}
    champion = client.get_registered_model(name).aliases.get("champion")
    return (
        sorted(by_version.values()),
        sorted(int(version.tags["adapter_version"]) for version in versions if "revoked" in version.tags),
        None if champion is None else by_version[str(champion)],
    )


def test_each_release_is_one_model_version_and_the_last_is_the_champion(registry, client, name, released):
    for number in (1, 1, 2, 2, 3, 3):
        registry(released(number, adapter=name))
    assert state(client, name) == ([1, 2, 3], [1, 2], 3)
    champion = client.get_model_version_by_alias(name, "champion")
    assert champion.tags == {"adapter_id": "adp_1", "adapter_version": "3", "sha256": f"{3:064x}"}
    assert champion.source == str(released(3).path)


def test_a_version_with_a_run_has_the_runs_artifact_as_its_source(registry, client, name, released):
    run = client.create_run(client.create_experiment(name)).info.run_id
    registry(released(1, adapter=name, run_id=run))
    (version,) = client.search_model_versions(f"name = '{name}'")
    assert (version.source, version.run_id) == (f"runs:/{run}/adapter", run)


def test_a_release_that_comes_late_is_registered_as_revoked_and_the_newer_one_stays(registry, client, name, released):
    registry(released(1, adapter=name))
    registry(released(3, adapter=name, previous=1))
    registry(released(2, adapter=name))
    assert state(client, name) == ([1, 2, 3], [1, 2], 3)


def test_a_rollback_moves_the_champion_back_and_revokes_what_it_left(registry, client, name, released):
    for number in (1, 2, 3, 4):
        registry(released(number, adapter=name))
    rollback = released(2, adapter=name, previous=4, forced=True)
    for _ in range(2):
        registry(rollback)
        assert state(client, name) == ([1, 2, 3, 4], [1, 3, 4], 2)
    registry(released(4, adapter=name))
    assert state(client, name) == ([1, 2, 3, 4], [1, 3, 4], 2), "a late call for the version that was left"
    registry(released(5, adapter=name, previous=2))
    registry(rollback)
    assert state(client, name) == ([1, 2, 3, 4, 5], [1, 2, 3, 4], 5), "a late call for the rollback"


@pytest.mark.parametrize("breaks", ["set_registered_model_alias", "set_model_version_tag"])
def test_a_crash_in_the_middle_is_made_good_by_the_next_call(registry, client, name, released, monkeypatch, breaks):
    registry(released(1, adapter=name))
    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, breaks, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            registry(released(2, adapter=name))
    registry(released(2, adapter=name))
    assert state(client, name) == ([1, 2], [1], 2)


def test_a_version_that_a_crash_kept_from_the_alias_is_not_taken_for_revoked(
    registry, client, name, released, monkeypatch
):
    registry(released(1, adapter=name))
    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "set_registered_model_alias", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            registry(released(3, adapter=name))
    registry(released(2, adapter=name))
    assert state(client, name) == ([1, 2, 3], [1], 2)
    registry(released(3, adapter=name))
    assert state(client, name) == ([1, 2, 3], [1, 2], 3)


def test_other_weights_under_the_same_number_are_a_persons_affair(registry, client, name, released):
    registry(released(1, adapter=name))
    with pytest.raises(HookFailed, match=r"version 1 registered with other weights.*delete that model version"):
        registry(released(1, adapter=name, sha256="f" * 64))
    assert state(client, name) == ([1], [], 1)


def test_an_earlier_adapter_of_the_same_name_does_not_count(registry, client, name, released):
    registry(released(7, adapter=name, adapter_id="adp_0"))
    registry.withdraw(released(7, adapter=name, adapter_id="adp_0"))
    registry(released(1, adapter=name))
    assert client.get_model_version_by_alias(name, "champion").tags["adapter_id"] == "adp_1"
    registry.withdraw(released(7, adapter=name, adapter_id="adp_0"))
    assert client.get_model_version_by_alias(name, "champion").tags["adapter_id"] == "adp_1"


def test_the_champion_is_never_taken_from_another_adapter_that_serves(registry, client, name, released):
    registry(released(1, adapter=name, adapter_id="adp_0"))
    with pytest.raises(HookFailed, match=r"version 1 of adapter 'adp_0' as its champion.*take that alias away"):
        registry(released(2, adapter=name))
    assert client.get_model_version_by_alias(name, "champion").tags["adapter_id"] == "adp_0"
    registry.withdraw(released(2, adapter=name))
    assert client.get_model_version_by_alias(name, "champion").tags["adapter_id"] == "adp_0"


def test_withdrawing_leaves_no_champion_and_can_be_done_twice(registry, client, name, released):
    registry.withdraw(released(2, adapter=name))
    for number in (1, 2):
        registry(released(number, adapter=name))
    for _ in range(2):
        registry.withdraw(released(2, adapter=name))
        assert state(client, name) == ([1, 2], [1, 2], None)
    with pytest.raises(MlflowException):
        client.get_model_version_by_alias(name, "champion")


def test_a_store_that_can_not_be_reached_is_named(released, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        HookFailed, match=r"MLflow at sqlite:.*version 1 of adapter 'support' was not registered.*; see"
    ):
        Registry(f"sqlite:///{tmp_path}/file/mlflow.db")(released(1))


@pytest.fixture(scope="module")
def server(uri, tmp_path_factory):
    """MLflow's own server in front of the store that the other tests made."""
    with mlflow_server(Path(uri.removeprefix("sqlite:///")), tmp_path_factory.mktemp("artifacts")) as url:
        yield url


def test_on_a_server_the_weights_are_logged_to_a_run_since_it_takes_no_path(server, name, released, tmp_path):
    registry, client = Registry(server), MlflowClient(tracking_uri=server, registry_uri=server)
    for number in (1, 2, 2):
        registry(released(number, adapter=name))
    assert state(client, name) == ([1, 2], [1], 2)
    champion = client.get_model_version_by_alias(name, "champion")
    assert champion.source == f"runs:/{champion.run_id}/adapter"
    client.download_artifacts(champion.run_id, "adapter", str(tmp_path))
    assert (tmp_path / "adapter" / "adapter_model.safetensors").read_bytes() == b"weights of 2"


def test_a_crash_between_the_run_and_the_registration_leaves_no_second_run(server, name, released, monkeypatch):
    registry, client = Registry(server), MlflowClient(tracking_uri=server, registry_uri=server)
    for breaks in ("log_artifacts", "create_model_version"):
        with monkeypatch.context() as patched:
            patched.setattr(MlflowClient, breaks, lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                registry(released(1, adapter=name, adapter_id="adp_2"))
    registry(released(1, adapter=name, adapter_id="adp_2"))
    [experiment] = client.search_experiments(filter_string=f"name = '{EXPERIMENT}'")
    [run] = client.search_runs([experiment.experiment_id], "tags.adapter_id = 'adp_2'")
    assert run.info.status == "FINISHED"
    assert client.get_model_version_by_alias(name, "champion").run_id == run.info.run_id


@pytest.mark.parametrize("where", ["uri", "server"])
def test_what_was_registered_of_one_version_is_found_by_its_tags_and_forgotten(request, where, name, released):
    at = request.getfixturevalue(where)
    registry, client = Registry(at), MlflowClient(tracking_uri=at, registry_uri=at)
    adapter_id = f"adp_{name.replace('-', '')}{where}"
    for number in (1, 2):
        registry(released(number, adapter=name, adapter_id=adapter_id))
    copies = registry.copies(adapter_id, 1)
    assert [client.get_run(run).data.tags["adapter_version"] for run in copies] == ["1"] * (where == "server")
    for _ in range(2):
        registry.forget(adapter_id, 1)
        assert state(client, name) == ([2], [], 2)
    registry.forget(adapter_id, 3)
    registry.forget("adp_nobody", 2)
    assert state(client, name) == ([2], [], 2)


def test_a_server_that_can_not_be_reached_is_told_as_such(released, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(HookFailed, match="see that it can be reached"):
        Registry("http://127.0.0.1:9")(released(1))


def test_a_password_in_the_uri_is_in_no_repr_message_or_log(released, monkeypatch, caplog):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    caplog.set_level("DEBUG")
    registry = Registry("http://desk:hunter2@127.0.0.1:9")
    with pytest.raises(HookFailed, match=r"MLflow at http://127\.0\.0\.1:9:") as failed:
        registry(released(1))
    assert "hunter2" not in repr(registry) + repr(failed.value) + caplog.text
