"""The register over HTTP: a row a request, in two forms, for those who may audit."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
from datetime import UTC, datetime, timedelta

from test_endpoints import is_problem

TODAY = datetime.now(UTC).date()


def test_the_register_comes_as_csv_and_as_json_lines(api, registered, company):
    kind, _, value = company.subject.partition(":")
    asked = api.post("/v1/requests", json={"subject": {"type": kind, "value": value}}).json()
    period = {"from": str(TODAY - timedelta(days=1)), "to": str(TODAY + timedelta(days=1))}
    answer = api.get("/v1/register", params=period)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["content-disposition"]
    [row] = csv.DictReader(io.StringIO(answer.text))
    assert (row["request"], row["state"], row["adapters"], row["late"]) == (asked["id"], "pending", "bot", "no")
    assert value not in answer.text
    [line] = api.get("/v1/register", params=period | {"format": "jsonl", "adapter": "bot"}).text.splitlines()
    assert json.loads(line)["request"] == asked["id"]
    past = {"from": str(TODAY - timedelta(days=9)), "to": str(TODAY - timedelta(days=8)), "format": "jsonl"}
    assert api.get("/v1/register", params=past).text == ""


def test_a_register_links_to_its_signed_statement(api, registered, company):
    for form in ("csv", "jsonl"):
        answer = api.get("/v1/register", params={"format": form})
        assert answer.headers["content-length"] == str(len(answer.content))
        link = answer.links["describedby"]
        told = api.get(link["url"])
        assert told.headers["content-type"] == link["type"] == "application/vnd.dsse.envelope.v1+json"
        [subject] = json.loads(base64.b64decode(told.json()["payload"]))["subject"]
        assert subject == {
            "name": f"register.{form}",
            "digest": {"sha256": hashlib.sha256(answer.content).hexdigest()},
        }
    is_problem(api.get("/v1/register/1/statement"), 404, "not-found")
    assert api.get("/v1/register/0/statement").status_code == 422


def test_a_period_that_can_not_be_and_an_adapter_that_is_not_there_say_so(api):
    is_problem(api.get("/v1/register", params={"from": "2026-02-01", "to": "2026-01-01"}), 422, "bad-input")
    is_problem(api.get("/v1/register", params={"to": "9999-12-31"}), 422, "bad-input")
    is_problem(api.get("/v1/register", params={"adapter": "nobody"}), 404, "not-found")
    assert api.get("/v1/register", params={"from": "yesterday"}).status_code == 422
    assert api.get("/v1/register", params={"format": "xlsx"}).status_code == 422
