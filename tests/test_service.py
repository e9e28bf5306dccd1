"""End to end: real HTTP, a real broker, a real worker process, a real MLflow store, real models."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from peft import PeftModel
from transformers import AutoModelForCausalLM

from polling import until
from unlearn.cases.desk import Desk
from unlearn.cli.client import Client
from unlearn.cli.house import House, free_port
from unlearn.erasure.shadow_table import read_shadows
from unlearn.errors import NotFound, Unauthenticated
from unlearn.evidence.signing import PublicKey
from unlearn.evidence.trust import TrustedKey
from unlearn.evidence.verify import verify
from unlearn.settings import Settings

WIDE = {
    # Every gate and governor open as far as a policy allows: this is about the way, not about the science.
    "ladder": [{"method": "ascent", "steps": 30, "learning_rate": 4e-3}],
    "governors": {"overshoot_nats": 99, "retain_kl_nats": 99, "retain_rise": 99, "general_text_rise": 99},
    "sequence": {"retain_drift": 9.0},
    "gates": {"membership_margin_sd": 99.0, "retain_drift": 9.0, "extraction_queries": 1},
    "audit": {"preset": "quick"},
}

OVERSHOOTING = {
    # Plain ascent with its governors all but off.
    "ladder": [{"method": "ascent", "steps": 30, "learning_rate": 5e-3}],
    "governors": {"overshoot_nats": 99, "retain_kl_nats": 99, "retain_rise": 99, "general_text_rise": 99},
}


@pytest.fixture(scope="module")
def service(company, tmp_path_factory):
    home = tmp_path_factory.mktemp("service")
    settings = Settings(home=home, port=free_port(), roots=[company.path], sweep_seconds=0.2)
    with House(settings, mlflow_ui=False) as house, Client(house.urls["api"], key=house.key) as client:
        yield settings, client


@pytest.fixture(autouse=True)
def _key(service, monkeypatch):
    """Commands find the service's key as if they ran under its home."""
    monkeypatch.setenv("UNLEARN_API_KEY", service[0].local_key_file.read_text().strip())


@pytest.fixture(scope="module")
def people(company):
    counts: dict[str, int] = {}
    for record in company.world.train:
        for subject in record.subjects:
            counts[subject] = counts.get(subject, 0) + 1
    return sorted(counts, key=lambda s: (-counts[s], s))


def register(client, company, name, policy=None):
    paths = {"base": company.base, "adapter": company.adapter}
    corpora = {part: company.path / f"{part}.jsonl" for part in ("train", "holdout")}
    back = {"ground": "consent", "reason": "these people are invented"}  # some were erased by tests before
    body = {"name": name, "policy": policy, "allow_erased": back} | {
        key: str(path) for key, path in (paths | corpora).items()
    }
    return client.post("/v1/adapters", body)


@pytest.fixture
def register_for_now(service, company):
    """Register an adapter that retires after the test: it learned from everybody, so every later request would wait for it."""
    _, client = service
    names = []

    def register_it(name, policy):
        names.append(name)
        return register(client, company, name, policy)

    yield register_it
    for name in names:
        client.post(f"/v1/adapters/{name}/retire", None)


@pytest.fixture(scope="module")
def released(service, company, people):
    """A request whose job the guards released, followed to its end."""
    _, client = service
    register(client, company, "open", WIDE)
    *_, request = client.follow(client.submit(people[0])["id"], 120)
    return request, client.get(f"/v1/jobs/{request['jobs'][0]['id']}")


def test_a_released_request_is_completed_and_a_new_version_serves(service, company, released):
    _, client = service
    request, job = released
    assert request["state"] == "completed", job["error"]
    assert (job["state"], job["verdict"], job["attempt"], job["error"]) == ("done", "released", 1, None)
    adapter = client.get("/v1/adapters/open")
    assert adapter["current"]["number"] == 2
    assert adapter["current"]["sha256"] == job["report"]["adapter"]["after_sha256"]
    place = Path(adapter["current"]["path"])
    until(lambda: (place.parent / "current").resolve() == place)  # the service's errand, a moment later
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(company.base), place)
    assert model.peft_config["default"].r == 8


def test_mlflow_holds_curves_before_and_after_the_adapter_and_the_report(service, released):
    settings, _ = service
    request, job = released
    store = MlflowClient(tracking_uri=settings.effective_mlflow_uri)
    experiment = store.get_experiment_by_name("unlearn")
    query = f"tags.\"unlearn.request\" LIKE '%{request['id']}%' AND tags.\"unlearn.adapter\" = 'open'"
    (run,) = store.search_runs([experiment.experiment_id], query)
    assert run.info.run_id == job["mlflow_run_id"]
    assert run.info.status == "FINISHED"
    assert run.data.tags["unlearn.verdict"] == "released"
    report = job["report"]
    for when in ("before", "after"):
        for key in ("forget_nll_nats", "retain_nll_nats", "holdout_nll_nats"):
            assert run.data.metrics[f"{key}/{when}"] == pytest.approx(report[when][key])
        assert run.data.metrics[f"membership.loss.auc/{when}"] == pytest.approx(
            report[when]["membership"]["loss"]["auc"]
        )
    for curve in ("forget_nll_nats", "retain_kl_nats", "gradient_norm"):
        history = store.get_metric_history(run.info.run_id, f"loop/{curve}")
        assert [m.value for m in sorted(history, key=lambda m: m.step)] == pytest.approx(
            [s[curve] for s in report["trace"]]
        )
    assert run.data.params["method"] == "ascent"
    assert run.data.params["ladder.1.steps"] == "30"
    artifacts = {f.path for f in store.list_artifacts(run.info.run_id)}
    assert artifacts == {"adapter", "report.json", "report.html", "figures"}
    assert "adapter/adapter_model.safetensors" in {f.path for f in store.list_artifacts(run.info.run_id, "adapter")}


def test_the_export_holds_report_metrics_and_ledger(service, released):
    _, client = service
    request, job = released
    data = client.download(f"/v1/requests/{request['id']}/export")
    archive = zipfile.ZipFile(io.BytesIO(data))
    assert json.loads(archive.read(f"jobs/{job['id']}/report.json")) == job["report"]
    told = [json.loads(line) for line in archive.read("ledger/entries.jsonl").splitlines()]
    later = ("ledger_", "deployment_done")  # told when the link was moved, a moment after
    actions = [one["action"] for one in told if not one["action"].startswith(later)]
    assert (actions[0], actions[-1]) == ("request_accepted", "request_completed")
    assert f"jobs/{job['id']}/figures/before_after.svg" in archive.namelist()
    run = json.loads(archive.read(f"jobs/{job['id']}/mlflow.json"))
    assert (run["run_id"], run["params"]["method"]) == (job["mlflow_run_id"], "ascent")
    assert [step for step, _ in run["curves"]["loop/loss"]] == list(range(1, 31))
    keys = [PublicKey.from_text(one["key"]) for one in client.get("/v1/ledger/keys")]
    assert [check.name for check in verify(data, [TrustedKey(key.name, key.raw) for key in keys])][-1] == "adapter"
    assert archive.read(f"jobs/{job['id']}/metrics.csv").startswith(b"metric,before,after\n")


def test_who_was_forgotten_has_nothing_left_to_forget(service, released, people):
    again = service[1].submit(people[0])
    assert (again["state"], again["jobs"]) == ("completed", [])


def test_a_second_person_is_erased_from_the_new_version_without_the_first(service, company, released, people):
    _, client = service
    second = people[1]
    *_, request = client.follow(client.submit(second)["id"], 120)
    job = client.get(f"/v1/jobs/{request['jobs'][0]['id']}")
    assert request["state"] == "completed", job["error"]
    forgotten = set(job["report"]["after"]["forget_record_nlls_nats"])
    assert forgotten == {r.id for r in company.world.train if second in r.subjects and people[0] not in r.subjects}
    assert job["report"]["adapter"]["before_sha256"] == released[1]["report"]["adapter"]["after_sha256"]
    assert client.get("/v1/adapters/open")["current"]["number"] == 3


def test_two_who_share_a_job_have_one_version_and_each_her_own_findings(service, people, run, register_for_now):
    _, client = service
    register_for_now("gathering", WIDE | {"schedule": {"coalescing_seconds": 2}})
    ids = [client.submit(person)["id"] for person in people[-2:]]
    requests = [list(client.follow(request_id, 120))[-1] for request_id in ids]
    shares = [next(job for job in request["jobs"] if job["adapter"] == "gathering") for request in requests]
    assert len({share["id"] for share in shares}) == 1
    assert client.get("/v1/adapters/gathering")["current"]["number"] == 2
    for request, share in zip(requests, shares, strict=True):
        found = {finding["gate"]: finding for finding in share["findings"]}
        assert {"membership", "robustness", "among_others"} <= set(found)
        assert share["verdict"] is not None
        released = all(job["verdict"] == "released" for job in request["jobs"])
        assert released == (request["state"] == "completed")
        code, out, _ = run("request", "show", request["id"], "--url", client.url)
        assert code == 0
        assert "this subject alone" in out


def test_what_the_guards_refuse_goes_to_a_person_and_the_old_version_serves_on(service, people, register_for_now):
    _, client = service
    register_for_now("strict", OVERSHOOTING)
    *_, request = client.follow(client.submit(people[2])["id"], 120)
    jobs = {job["adapter"]: job for job in request["jobs"]}
    assert request["state"] == "needs_review"
    assert jobs["strict"]["verdict"] == "refused"
    assert client.get("/v1/adapters/strict")["current"]["number"] == 1
    assert client.download(f"/v1/requests/{request['id']}/export")


def test_a_shadow_table_is_made_at_registration_used_by_the_erasing_and_cleared_of_the_person(
    service, company, people, register_for_now
):
    settings, client = service
    policy = WIDE | {
        "targets": {"shadow_folds": 2, "test_rounds": 1, "test_parts": 2, "shadows_at_registration": True},
    }
    adapter = register_for_now("shadowed", policy)
    assert adapter["shadows"] == "queued"
    *_, request = client.follow(client.submit(people[6])["id"], 240)  # its job waits for the table
    assert client.get("/v1/adapters/shadowed")["shadows"] == "done"
    (job,) = (client.get(f"/v1/jobs/{j['id']}") for j in request["jobs"] if j["adapter"] == "shadowed")
    assert job["verdict"] == "released", job["error"]
    assert job["report"]["targets"]["source"] == "shadows"
    table = settings.home / "adapters" / adapter["id"] / "shadows.parquet"
    gone = {r.id for r in company.world.train if people[6] in r.subjects}
    left = {r.id for r in company.world.train if r.subjects} - gone
    until(lambda: {record for record, _ in read_shadows(table).rows} == left)  # a moment after the release


def test_a_stored_corpus_that_somebody_changed_fails_the_job_with_the_reason(service, company, people):
    settings, client = service
    adapter = register(client, company, "changing")
    [file] = (settings.home / "adapters" / adapter["id"] / "corpora").glob("train.*")
    file.write_bytes(file.read_bytes()[:-1])
    *_, request = client.follow(client.submit(people[3])["id"], 120)
    (job,) = (client.get(f"/v1/jobs/{j['id']}") for j in request["jobs"] if j["adapter"] == "changing")
    assert request["state"] == "needs_review"
    assert (job["state"], job["attempt"]) == ("failed", 1)
    assert "was changed" in job["error"]
    client.post("/v1/adapters/changing/retire", None)


def test_nothing_the_service_wrote_names_a_person_or_quotes_a_record(service, company, released, people):
    """Canaries: identities of submitted people, and sentences of records, against every byte."""
    settings, _ = service
    canaries = [people[0].encode(), people[0].partition(":")[2].encode(), people[1].encode()]
    canaries += [r.content.encode() for r in company.world.train if people[0] in r.subjects]
    for directory, _, names in os.walk(settings.home):
        for name in names:
            file = Path(directory) / name
            if file.is_socket():
                continue
            held = file.read_bytes()
            assert not any(canary in held for canary in canaries), file


def test_the_ledger_holds_to_the_end(service, released):
    desk = Desk(service[0])
    assert desk.inspect_ledger().entries > 10
    desk.close()


def test_errors_reach_the_client_as_errors(service):
    with pytest.raises(NotFound, match="no request has this id"):
        service[1].get("/v1/requests/req_nothing")
    with pytest.raises(Unauthenticated), Client(service[1].url, key="unl_wrong") as stranger:
        stranger.get("/v1/requests")


def test_the_request_commands_submit_follow_show_list_and_export(service, company, released, people, run, tmp_path):
    _, client = service
    url = ("--url", client.url)
    code, out, _ = run("request", "submit", people[5], "--wait", "--json", *url)
    request = json.loads(out)
    assert request["state"] in ("completed", "needs_review")
    assert code == (0 if request["state"] == "completed" else 3)
    code, out, _ = run("request", "show", request["id"], *url)
    assert code == 0
    assert request["id"] in out
    assert "loss attack AUC" in out
    code, out, _ = run("request", "list", "--limit", 1, *url)
    assert code == 0
    assert request["id"] in out
    assert "--after" in out
    code, out, _ = run("request", "list", "--state", request["state"], "--json", *url)
    assert request["id"] in {item["id"] for item in json.loads(out)["items"]}
    code, out, _ = run("request", "export", request["id"], "--out", tmp_path / "e.zip", *url)
    assert code == 0
    assert "ledger/entries.jsonl" in zipfile.ZipFile(tmp_path / "e.zip").namelist()
    code, _, told = run("request", "export", request["id"], "--out", tmp_path / "e.zip", *url)
    assert code == 2
    assert "exists" in told


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["submit", "customer:canary", "--regulation", "none"], 2, "regulation"),
        (["submit", "no-colon"], 2, "type:value"),
        (["show", "req_nothing"], 2, "no request has this id"),
        (["export", "req_nothing"], 2, "no request has this id"),
        (["list", "--state", "lost"], 2, "state"),
    ],
)
def test_a_request_command_that_can_not_be_says_why(service, run, words, code, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found, _, told = run("request", *words, "--url", service[1].url)
    assert found == code
    assert message in told
    assert not list(tmp_path.glob("*.zip"))


def test_a_service_that_is_not_there_is_named_with_the_way_out(run):
    code, _, told = run("request", "list", "--url", f"http://127.0.0.1:{free_port()}")
    assert code == 1
    assert "unlearn up" in told


def test_a_url_that_is_none_is_refused(run):
    code, _, told = run("request", "list", "--url", "nonsense")
    assert code == 2
    assert "nonsense" in told
