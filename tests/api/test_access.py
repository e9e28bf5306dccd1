"""What is told of an exchange: a line of the log, a span of the trace, and no address, header or body in either."""

from __future__ import annotations

import builtins
import json
import logging

import pytest
from fastapi.testclient import TestClient
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from test_endpoints import body

from api.app import create_app
from api.traces import Spans
from unlearn.logs import JsonLines

CANARY = "canary-4711"


@pytest.fixture
def told(caplog):
    """The access lines so far, as JSON."""
    caplog.set_level(logging.INFO)
    formatter = JsonLines()
    return lambda: [json.loads(formatter.format(r)) for r in caplog.records if r.name == "api.access"]


def test_an_exchange_is_one_line_with_the_template_of_its_route_and_the_key(api, told):
    api.get(f"/v1/requests/{CANARY}", params={"x": CANARY}, headers={"X-Thing": CANARY})
    [line] = told()
    assert (line["method"], line["route"], line["status"]) == ("GET", "/v1/requests/{id}", 422)
    assert line["milliseconds"] > 0
    assert line["actor"] == "key:" + api.headers["Authorization"].split("_")[1]
    assert line["message"].startswith("GET /v1/requests/{id} 422 ")
    assert CANARY not in json.dumps(line)


def test_who_is_not_known_and_what_is_not_there_have_no_name(api, told):
    api.request(CANARY.upper(), f"/{CANARY}", headers={"Authorization": f"Bearer {CANARY}"})
    api.get("/v1/requests", headers={"Authorization": f"Bearer unl_{'0' * 16}_{'x' * 43}"})
    api.delete("/v1/requests")
    first, second, third = told()
    assert (first["method"], first["route"], first["status"], first["actor"]) == ("other", None, 404, None)
    assert (second["route"], second["status"], second["actor"]) == ("/v1/requests", 401, None)
    assert third["status"] == 405


def test_lines_of_an_exchange_carry_the_id_that_its_answer_names(api, caplog, monkeypatch):
    def crash(_who):
        raise RuntimeError(CANARY)

    seen = []
    formatter = JsonLines()
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(formatter.format(record))
    logging.getLogger().addHandler(handler)
    monkeypatch.setattr(api.app.state.desk, "adapters", crash)
    try:
        answer = api.get("/v1/adapters")
    finally:
        logging.getLogger().removeHandler(handler)
    lines = [json.loads(line) for line in seen if "request_id" in line]
    assert {line["request_id"] for line in lines} == {answer.headers["x-request-id"]}
    assert [line["error"]["type"] for line in lines if "error" in line] == ["RuntimeError"]
    assert "in crash" in "".join(seen)
    assert CANARY not in "".join(seen)


@pytest.fixture
def spans(monkeypatch):
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(Spans, "of_environment", classmethod(lambda cls: cls(provider)))
    return exporter


def test_a_span_has_the_template_of_the_route_and_joins_the_callers_trace(spans, settings):
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        theirs = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "tracestate": f"x={CANARY}", "baggage": f"y={CANARY}"}
        answer = client.get(f"/v1/jobs/{CANARY}", params={"q": CANARY}, headers=theirs)
        client.get(f"/{CANARY}")
    first, second = spans.get_finished_spans()
    assert (first.name, second.name) == ("GET /v1/jobs/{id}", "GET")
    assert dict(first.attributes) == {
        "http.request.method": "GET",
        "http.route": "/v1/jobs/{id}",
        "http.response.status_code": 401,
        "unlearn.request_id": answer.headers["x-request-id"],
    }
    assert f"{first.context.trace_id:x}" == "a" * 32
    assert CANARY not in first.to_json() + second.to_json()


def test_a_crash_marks_its_span_without_what_the_error_said(spans, settings, monkeypatch):
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        client.headers["Authorization"] = f"Bearer {settings.local_key_file.read_text().strip()}"

        def crash(_who):
            raise RuntimeError(CANARY)

        monkeypatch.setattr(client.app.state.desk, "adapters", crash)
        assert client.get("/v1/adapters").status_code == 500
    [span] = spans.get_finished_spans()
    assert span.status.status_code.name == "ERROR"
    assert CANARY not in span.to_json()


def test_without_the_extra_a_warning_says_what_to_install_and_all_goes_on(
    settings, registered, company, monkeypatch, caplog
):
    real = builtins.__import__

    def missing(name, *given, **more):
        if name.startswith("opentelemetry.exporter"):
            raise ImportError(name)
        return real(name, *given, **more)

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(builtins, "__import__", missing)
    with TestClient(create_app(settings)) as client:
        client.headers["Authorization"] = f"Bearer {settings.local_key_file.read_text().strip()}"
        assert client.post("/v1/requests", json=body(company)).status_code == 201
    assert "unlearn-service[otel]" in caplog.text


def test_where_the_environment_says_nothing_there_are_no_spans(monkeypatch):
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    assert Spans.of_environment() is None
