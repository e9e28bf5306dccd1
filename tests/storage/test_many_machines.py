"""Several machines share a database and an S3 store, and nothing else: what one writes another reads.

Each machine is a `Settings` with a home of its own; no path of one is given to another.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
from mlflow.tracking import MlflowClient

from company import noted
from errands import run_errands
from like_vllm import LikeVllm
from polling import until
from unlearn.cases.desk import Desk
from unlearn.clearing import clear
from unlearn.erasure.shadow_table import read_shadows
from unlearn.errors import BadInput, Conflict, CorpusError, Diverged, ModelError, Unavailable
from unlearn.following import Follower
from unlearn.fulfilment import _drop, fulfil
from unlearn.purging import sweep
from unlearn.rungs import Rungs
from unlearn.settings import Settings
from unlearn.shadow_file import COLUMNS, write_table
from unlearn.storage import Handover, Loan, Vault, handover, objects
from unlearn.storage.loans import LENT
from unlearn.weights import ADAPTER_WEIGHTS, read_adapter

WIDE = {
    "ladder": [{"method": "ascent", "steps": 8, "learning_rate": 2e-3}],
    "sequence": {"retain_drift": 9.0},
    "gates": {"membership_margin_sd": 99.0, "retain_drift": 9.0, "extraction_queries": 1},
    "audit": {"preset": "quick"},
}
REPORT: dict = {"verdict": "released", "method": "ascent", "findings": [], "before": {}, "after": {}, "trace": []}


@pytest.fixture
def bucket(versioned_bucket):
    return versioned_bucket


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """MLflow's store of all machines of this file, since making one takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('runs') / 'mlflow.db'}"


@pytest.fixture
def machine(tmp_path, bucket, runs):
    """Makes a machine: its desk; closed at the end."""
    desks = []

    def machine(name: str, **given) -> Desk:
        settings = Settings(
            home=tmp_path / name,
            roots=[f"s3://{bucket.name}/in"],
            store=bucket.url,
            database_url=f"sqlite:///{tmp_path / 'shared.db'}",
            mlflow_tracking_uri=runs,
            identity_key="k" * 32,
            **given,
        )
        desk = Desk(settings)
        desk.migrate()
        desks.append(desk)
        return desk

    yield machine
    for desk in desks:
        desk.close()


@pytest.fixture
def inputs(bucket, company):
    """The company's files as objects."""
    places = {key: bucket.put_directory(company.path / key, f"in/{key}") for key in ("base", "adapter")}
    for key in ("train", "holdout"):
        bucket.put(f"in/{key}.jsonl", (company.path / f"{key}.jsonl").read_bytes())
        places[key] = f"s3://{bucket.name}/in/{key}.jsonl"
    return places


def files(desk: Desk) -> list[Path]:
    """What lies under a machine's home, without MLflow's artifacts and locks."""
    home = desk.settings.home
    found = [file.relative_to(home) for file in home.rglob("*") if file.is_file()]
    return [file for file in found if file.parts[0] != "mlartifacts" and file.suffix != ".lock"]


def test_an_adapter_is_registered_from_s3_into_s3_and_no_copy_of_a_person_stays(machine, inputs, bucket, company):
    desk = machine("api")
    view = desk.register_adapter("bot", **inputs)
    assert {key: getattr(view, key) for key in ("base", "train", "holdout")} == {
        key: inputs[key] for key in ("base", "train", "holdout")
    }
    assert view.current.path == f"{bucket.url}/{view.id}/v1"
    assert view.current.sha256 == read_adapter(company.adapter).sha256
    assert {file.parts[0] for file in files(desk)} == {"cache"}
    assert not any("jsonl" in file.name or "adapter" in file.name for file in files(desk))
    assert desk.register_adapter("bot", **inputs) == view
    assert len([key for key in bucket.keys() if key.endswith("manifest.json")]) == 1  # noqa: SIM118


@pytest.mark.parametrize(
    ("change", "kind", "match"),
    [
        ({"base": "{root}/nothing"}, ModelError, "base: nothing at 's3://"),
        ({"train": "{root}/nothing.jsonl"}, CorpusError, "nothing at 's3://"),
        ({"train": "{root}/bad.jsonl"}, CorpusError, r"s3://[\w-]+/in/bad.jsonl, line 1: "),
        ({"adapter": "{root}/base"}, ModelError, "has no weights"),
        ({"holdout": "{root}/train.jsonl"}, CorpusError, "s3://.*in/train.jsonl"),
    ],
)
def test_a_bad_input_is_refused_by_the_name_it_was_given_and_nothing_is_written(
    machine, inputs, bucket, change, kind, match
):
    bucket.put("in/bad.jsonl", b"no json")
    desk = machine("api")
    given = {key: value.format(root=f"s3://{bucket.name}/in") for key, value in change.items()}
    with pytest.raises(kind, match=match) as told:
        desk.register_adapter("bot", **inputs | given)
    assert LENT not in str(told.value)
    assert desk.adapters() == []
    assert not any(key.startswith("store/") for key in bucket.versions())


def test_what_a_failed_registration_stored_is_removed(machine, inputs, bucket, monkeypatch):
    desk = machine("api")
    monkeypatch.setattr(desk, "_enter", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        desk.register_adapter("bot", **inputs)
    assert not any(key.startswith("store/") for key in bucket.versions())


def test_a_worker_of_another_machine_carries_a_request_out_and_a_third_reads_the_version(
    machine, inputs, bucket, people, monkeypatch
):
    monkeypatch.setattr("unlearn.fulfilment.write_review", lambda *given: None)  # figures take seconds
    api, worker, third = machine("api"), machine("worker"), machine("third")
    adapter = api.register_adapter("bot", **inputs, policy=WIDE)
    request = api.submit(people[0])
    fulfil(request.jobs[0].id, desk=worker, settings=worker.settings, owner="w")
    job = api.job(request.jobs[0].id)
    assert (job.state, job.verdict, job.error) == ("done", "released", None)
    version = third.adapter("bot").current
    assert version.number == 2
    assert version.path.startswith(f"{bucket.url}/{adapter.id}/v2.")
    with Loan(third.settings) as loan:
        weights = third.vault.version(version.path, loan)
        assert weights.sha256 == version.sha256 == job.report["adapter"]["after_sha256"]
        assert len(weights.lineage) == 1
    assert {file.parts[0] for file in files(worker)} == {"cache"}
    assert bucket.versions(f"store/{adapter.id}/")
    assert [m for m in api.messages() if m.kind == "deploy"] == []  # a link is for a directory


LADDER = [
    {"method": method, "steps": steps, "forget_records_per_step": 4, "retain_records_per_step": 4}
    for method, steps in (("ascent", 2), ("npo", 7))
]
GOES_ON = {
    "ladder": LADDER,
    "gates": {"membership_margin_sd": 1e-6},
    "governors": {"every_steps": 2},
    "audit": {"preset": "quick"},
}


def curve(run_id, runs):
    history = MlflowClient(runs).get_metric_history(run_id, "loop/loss")
    return [(one.step, one.value) for one in sorted(history, key=lambda one: one.step)]


def test_a_job_goes_on_on_another_machine_bit_for_bit_and_leaves_nothing(
    machine, inputs, bucket, people, runs, monkeypatch
):
    monkeypatch.setattr("unlearn.fulfilment.write_review", lambda *given: None)  # figures take seconds
    walk, step, taken = Rungs.walk, Follower.step, []
    monkeypatch.setattr(Rungs, "walk", lambda rungs, number: replace(walk(rungs, number), every_seconds=0.0))
    api, first, second = machine("api"), machine("first"), machine("second")
    for name in ("bot", "twin"):
        api.register_adapter(name, **inputs, policy=GOES_ON)
    jobs = {job.id for job in api.submit(people[0]).jobs}

    def there():
        manifests = [key for key in bucket.keys() if key.startswith("store/jobs/") and key.endswith("manifest.json")]  # noqa: SIM118
        found = [objects.read(f"s3://{bucket.name}/{key}", 2**20) for key in manifests]  # None: removed just now
        return {name for one in found if one for name in json.loads(one)["files"]}

    def stop(follower, at, steps, behind):
        step(follower, at, steps, behind)
        if (at.step, steps) == (5, 7):
            until(lambda: {"rung-1.tried", "rung-2.walk"} <= there())
            raise SystemExit

    def noted(follower, at, steps, behind):
        taken.append((at.step, steps))
        step(follower, at, steps, behind)

    with monkeypatch.context() as patch:
        patch.setattr(Follower, "step", stop)
        patch.setattr(handover, "EVERY_SECONDS", 0.05)
        patch.setattr(handover, "PAUSES", 0.0)
        with pytest.raises(SystemExit):
            fulfil("", desk=first, settings=first.settings, owner="w1")
    (begun,) = [job_id for job_id in jobs if api.job(job_id).started_at is not None]
    monkeypatch.setattr(Follower, "step", noted)
    while any(api.job(job_id).state != "done" for job_id in jobs):
        fulfil("", desk=second, settings=second.settings, owner="w2")
    (other,) = jobs - {begun}
    assert taken.count((1, 2)) == taken.count((1, 7)) == 1  # the other job's alone
    assert taken.count((7, 7)) == 2
    reports = [api.job(job_id).report for job_id in (begun, other)]
    assert reports[0]["adapter"]["after_sha256"] == reports[1]["adapter"]["after_sha256"]
    assert reports[0]["trace"] == reports[1]["trace"]
    curves = [curve(api.job(job_id).mlflow_run_id, runs) for job_id in (begun, other)]
    assert [at for at, _ in curves[0]] == list(range(1, 10))
    assert curves[0] == curves[1]
    assert not any(key.startswith("store/jobs/") for key in bucket.versions())
    clear(first, first.settings)
    assert {file.parts[0] for one in (first, second) for file in files(one)} == {"cache"}


def test_a_late_worker_that_fails_takes_nothing_from_the_one_that_goes_on(machine, inputs, bucket, people, monkeypatch):
    api, first, second = machine("api"), machine("first"), machine("second")
    api.register_adapter("bot", **inputs)
    job_id = api.submit(people[0]).jobs[0].id
    state = second.settings.home / "jobs" / job_id / "state"
    second._clock = lambda: datetime.now(UTC) + timedelta(seconds=second.settings.lease_seconds + 1)

    def late(*given):
        with Handover(second.vault, state, job_id, second.claim(job_id, "w2").fence) as going:
            (state / "walk").write_text("of the second")
            going.turn()
        raise Diverged("not finite")

    monkeypatch.setattr("unlearn.fulfilment.climb", late)
    fulfil(job_id, desk=first, settings=first.settings, owner="w1")
    assert (api.job(job_id).state, api.job(job_id).error) == ("running", None)
    kept = [key.removeprefix(f"store/jobs/{job_id}/") for key in bucket.versions("store/jobs/")]
    assert kept == ["f2.1/manifest.json", "f2.1/walk"]
    assert state.exists()


def test_the_purge_takes_from_the_store_how_far_ended_jobs_were_and_no_others(machine, inputs, bucket, people):
    api = machine("api")
    api.register_adapter("bot", **inputs)
    ended, waiting = api.submit(people[0]), api.submit(people[1])
    for request in (ended, waiting):
        bucket.put(f"store/jobs/{request.jobs[0].id}/f1.1/walk", b"")
    bucket.put("store/jobs/job_of_another_database/f1.1/walk", b"")
    api.cancel(ended.id)
    sweep(api, api.settings)
    left = [key.split("/")[2] for key in bucket.versions("store/jobs/")]
    assert left == sorted(["job_of_another_database", waiting.jobs[0].id])


def new_version(desk, request):
    """Release the same weights again, as a worker of `desk` would."""
    claim = desk.claim(desk.request(request.id).jobs[0].id, "w")
    place = desk.vault.place(claim.adapter.id, f"v{claim.next_number}.{claim.job_id[-6:]}.f{claim.fence}")
    with Loan(desk.settings) as loan:
        version = desk.vault.shelve(desk.vault.version(claim.adapter.current.path, loan), place)
    desk.release(claim, version, REPORT)
    return place.rpartition("/")[2]


def test_vllm_gets_a_version_as_a_directory_that_goes_when_it_serves_another(machine, inputs, people, tmp_path):
    server = LikeVllm()
    try:
        hooks = [
            {"kind": "vllm", "url": server.url, "directory": str(tmp_path / "served")},
            {"kind": "vllm", "url": server.url},
        ]
        api, errands = machine("api", hooks=hooks), machine("errands", hooks=hooks)
        shelf = tmp_path / "served" / api.register_adapter("bot", **inputs).id
        for number, person in enumerate(people[:2], 2):
            name = new_version(api, api.submit(person))
            run_errands(errands, errands.settings)
            assert server.loaded == {"bot": str(shelf / name)}
            assert [path.name for path in shelf.iterdir()] == [name]
            assert read_adapter(shelf / name).sha256 == api.adapter("bot").versions[number - 1].sha256
            os.link(shelf / name / ADAPTER_WEIGHTS, tmp_path / f"{number}")
        assert (tmp_path / "2").read_bytes() == b"", "it was overwritten, and cut, not unlinked alone"
        assert (tmp_path / "3").read_bytes()
        api.roll_back("bot", 1, reopen=True)
        run_errands(errands, errands.settings)
        assert [path.name for path in shelf.iterdir()] == ["v1"]
        api.retire("bot")
        run_errands(errands, errands.settings)
        assert server.loaded == {}
        assert list(shelf.iterdir()) == []
        told = [m.last_error for m in api.messages() if m.target == "1:vllm" and m.last_error]
        assert any("give the hook a `directory`" in error for error in told)
    finally:
        server.stop()


def test_a_copy_that_vllm_was_left_with_goes_with_its_version(machine, inputs, people, tmp_path):
    hooks = [{"kind": "vllm", "url": "http://127.0.0.1:9", "directory": str(tmp_path / "served")}]
    api = machine("api", hooks=hooks)
    shelf = tmp_path / "served" / api.register_adapter("bot", **inputs, policy={"retention": {"grace_days": 0}}).id
    new_version(api, api.submit(people[0]))
    for name in ("v1", ".v1.draft", api.adapter("bot").current.path.rpartition("/")[2]):
        (shelf / name).mkdir(parents=True)
        (shelf / name / ADAPTER_WEIGHTS).write_bytes(b"weights")
    assert 1 in [purge.number for purge in sweep(api, api.settings)]
    assert [path.name[:2] for path in shelf.iterdir()] == ["v2"]


def test_mlflow_is_told_the_url_of_a_version(machine, inputs, people, runs):
    hooks = [{"kind": "mlflow", "uri": runs}]
    api = machine("api", hooks=hooks)
    api.register_adapter("registered", **inputs)
    new_version(api, api.submit(people[0]))
    run_errands(api, api.settings)
    champion = MlflowClient(runs, runs).get_model_version_by_alias("registered", "champion")
    assert champion.source == api.adapter("registered").current.path


def test_a_candidate_that_was_held_back_is_released_by_a_person_on_another_machine(machine, inputs, people):
    api, worker = machine("api"), machine("worker")
    api.register_adapter("bot", **inputs)
    request = api.submit(people[0])
    claim = worker.claim(request.jobs[0].id, "w")
    place = worker.vault.place(claim.adapter.id, f"v{claim.next_number}.{claim.job_id[-6:]}.f{claim.fence}")
    with Loan(worker.settings) as loan:
        candidate = worker.vault.shelve(worker.vault.version(claim.adapter.current.path, loan), place)
    worker.hold(claim, candidate, REPORT | {"verdict": "refused"})
    worker.vault.remove(place)
    with pytest.raises(Conflict, match="files are gone"):
        api.release_as_it_is(request.id, "checked by hand")
    with Loan(worker.settings) as loan:
        worker.vault.shelve(worker.vault.version(claim.adapter.current.path, loan), place)
    assert api.release_as_it_is(request.id, "checked by hand").state == "completed"
    assert worker.adapter("bot").current.path == place


def test_an_input_that_changed_in_the_store_since_is_not_used(machine, inputs, bucket, people, company):
    api, worker = machine("api"), machine("worker")
    api.register_adapter("bot", **inputs)
    request = api.submit(people[0])
    config = json.loads((company.base / "config.json").read_text())
    bucket.put("in/base/config.json", json.dumps(config | {"rope_theta": 5.0}).encode())
    fulfil(request.jobs[0].id, desk=worker, settings=worker.settings, owner="w")
    job = api.job(request.jobs[0].id)
    assert job.state == "failed"
    assert f"base '{inputs['base']}' changed since" in job.error


def test_a_store_that_is_away_delays_a_job_and_spoils_none(machine, inputs, people, monkeypatch):
    api, worker = machine("api"), machine("worker")
    api.register_adapter("bot", **inputs, policy=WIDE)
    request = api.submit(people[0])

    def away(*_given, **_more):
        raise Unavailable("the object store can't be used")

    api.rung([outbox for outbox, _ in api.doorbells()])
    with monkeypatch.context() as patch:
        patch.setattr(objects, "read", away)
        fulfil(request.jobs[0].id, desk=worker, settings=worker.settings, owner="w")
    job = api.job(request.jobs[0].id)
    assert (job.state, job.attempt, job.error) == ("queued", 0, "the object store can't be used")
    assert api.doorbells() == []  # it pauses


def made_table(path: Path, *records: str) -> Path:
    """A shadow table with a row of each record."""
    signals = {"log_probs": [-1.0], "top_tokens": [7], "top_log_probs": [-0.5], "scores": []}
    rows = [{"record": record, "place": 0, "fold": fold, **signals} for fold, record in enumerate(records)]
    write_table(path, pa.Table.from_pylist(rows, schema=COLUMNS), noted())
    return path


@pytest.mark.parametrize("local", [True, False])
def test_rows_of_who_is_gone_are_in_no_version_of_a_shadow_table_wherever_it_is(
    machine, inputs, bucket, company, people, tmp_path, local
):
    api = machine("api")
    adapter = api.register_adapter("bot", **inputs)
    claim = api.claim(api.submit(people[0]).jobs[0].id, "w")
    vault = Vault(Settings(home=tmp_path / "other")) if local else machine("worker").vault
    place = vault.place(adapter.id, "shadows.parquet")
    hers = next(record.id for record in company.train.records if people[0] in record.subjects)
    vault.replace(made_table(tmp_path / "made.parquet", hers, "another's"), place)
    corpora = SimpleNamespace(train=company.train, holdout=company.holdout)
    _drop(vault, claim, corpora, lambda subject: subject == people[0])
    with Loan(vault.settings) as loan:
        assert read_shadows(vault.lend(place, loan)).rows.keys() == {("another's", 0)}
    if not local:
        assert bucket.versions(f"store/{adapter.id}/shadows") == [f"store/{adapter.id}/shadows.parquet"]


def test_the_sweep_takes_them_out_of_the_store_where_no_worker_did(machine, inputs, bucket, company, people, tmp_path):
    api = machine("api")
    adapter = api.register_adapter("bot", **inputs)
    place = api.vault.place(adapter.id, "shadows.parquet")
    hers = next(record.id for record in company.train.records if people[0] in record.subjects)
    another = next(record.id for record in company.train.records if people[0] not in record.subjects)
    api.vault.replace(made_table(tmp_path / "made.parquet", hers, another), place)
    claim = api.claim(api.submit(people[0]).jobs[0].id, "w")
    with Loan(api.settings) as loan:
        weights = api.vault.version(claim.adapter.current.path, loan)
        api.release(claim, api.vault.shelve(weights, api.vault.place(adapter.id, f"v2.{claim.job_id}.f1")), REPORT)
    sweep(api, api.settings)
    with Loan(api.settings) as loan:
        assert read_shadows(api.vault.lend(place, loan)).rows.keys() == {(another, 0)}
    assert bucket.versions(f"store/{adapter.id}/shadows") == [f"store/{adapter.id}/shadows.parquet"]


def test_no_secret_of_the_store_is_in_what_the_program_wrote_or_says(machine, inputs, people, run, monkeypatch, caplog):
    caplog.set_level("DEBUG", logger="unlearn")
    desk = machine("api")
    desk.register_adapter("bot", **inputs)
    with pytest.raises(BadInput) as told:
        desk.register_adapter("two", **inputs | {"base": "s3://me:canary@bucket/x"})
    monkeypatch.setenv("UNLEARN_STORE", desk.settings.store)
    monkeypatch.setenv("UNLEARN_ROOTS", inputs["base"])
    code, out, err = run("settings", "--json")
    assert code == 0
    shown = {one["variable"]: one["value"] for one in json.loads(out)}
    assert (shown["UNLEARN_STORE"], shown["UNLEARN_ROOTS"]) == (desk.settings.store, inputs["base"])
    written = b"".join(file.read_bytes() for file in desk.settings.home.parent.rglob("*.db*"))
    for text in (str(told.value), out, err, caplog.text, written.decode("latin-1")):
        assert "canary" not in text
