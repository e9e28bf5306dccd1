"""/metrics: what a Prometheus server reads, and who may."""

from __future__ import annotations

import re

from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from test_endpoints import body, is_problem

from api.app import create_app
from unlearn.settings import Settings


def scraped(answer):
    """Every sample as {(name, its labels)}: value."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    families = list(text_string_to_metric_families(answer.text))
    return {(s.name, *sorted(s.labels.items())): s.value for family in families for s in family.samples}


def test_a_scrape_counts_what_the_database_holds(api, registered, company):
    api.post("/v1/requests", json=body(company))
    found = scraped(api.get("/metrics"))
    assert found["unlearn_requests", ("state", "pending")] == 1
    assert found["unlearn_requests", ("state", "rejected")] == 0
    assert found["unlearn_jobs", ("kind", "erasure"), ("state", "queued")] == 1
    assert found["unlearn_queue_jobs",] == 1
    assert found["unlearn_outbox_unsent",] == 1
    assert found["unlearn_job_seconds_bucket", ("kind", "erasure"), ("le", "+Inf")] == 0


def test_the_seconds_of_each_stage_are_a_histogram(api, registered, company):
    desk = api.app.state.desk
    job = api.post("/v1/requests", json=body(company)).json()["jobs"][0]["id"]
    claim = desk.claim(job, "a worker")
    desk.progress(claim, "erasing: calibrated", 0, 9)
    desk.fail(claim, "broken", final=True)
    found = scraped(api.get("/metrics"))
    assert found["unlearn_job_stage_seconds_bucket", ("le", "1.0"), ("stage", "erasing: calibrated")] == 1
    assert found["unlearn_job_stage_seconds_gcount", ("stage", "erasing: calibrated")] == 1


def test_names_say_their_unit_and_labels_name_nobody(api, registered, company):
    request = api.post("/v1/requests", json=body(company)).json()
    text = api.get("/metrics").text
    for kind, name in re.findall(r"# TYPE (\S+) (\S+)", text):
        assert kind.startswith("unlearn_")
        assert kind.endswith("_total") == (name == "counter"), kind
    assert {label for _, *labels in scraped(api.get("/metrics")) for label, _ in labels} <= {
        "kind",
        "state",
        "stage",
        "le",
    }
    secret = [request["id"], request["jobs"][0]["id"], request["subject_hash"], "bot", "default", "key:"]
    assert not [one for one in secret if one in text]


def test_it_takes_a_key_unless_it_was_opened(api, settings, registered, company):
    api.post("/v1/requests", json=body(company))
    is_problem(api.get("/metrics", headers={"Authorization": ""}), 401, "unauthenticated")
    _, theirs = api.app.state.desk.create_key("theirs", ["audit"], controller="other")
    found = scraped(api.get("/metrics", headers={"Authorization": f"Bearer {theirs}"}))
    assert found["unlearn_requests", ("state", "pending")] == 0
    opened = Settings(home=settings.home, metrics_open=True, sweep_seconds=60)
    with TestClient(create_app(opened)) as anybody:
        assert scraped(anybody.get("/metrics"))["unlearn_requests", ("state", "pending")] == 1


def test_rounds_of_the_relay_that_failed_are_counted(api, registered, company):
    before = api.app.state.relay.failed_turns
    api.app.state.relay.failed_turns = before + 5
    assert scraped(api.get("/metrics"))["unlearn_relay_rounds_failed_total",] >= before + 5
