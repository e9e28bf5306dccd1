"""The API as its users meet it."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys

import pytest


def body(company, value=None):
    kind, _, own = company.subject.partition(":")
    return {"subject": {"type": kind, "value": value or own}}


def is_problem(answer, status, kind):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert {"type", "title", "status", "detail", "instance"} <= set(problem)
    assert problem["type"] == f"/problems/{kind}"
    assert problem["status"] == status
    assert problem["instance"] == f"urn:request:{answer.headers['x-request-id']}"
    assert "Traceback" not in answer.text
    return problem


def test_an_adapter_is_registered_listed_and_found(api, registered, company):
    assert registered["current"]["number"] == 1
    assert registered["train_records"] == len(company.world.train)
    assert api.get("/v1/adapters").json() == [registered]
    assert api.get("/v1/adapters/bot").json() == registered
    assert registered["versions"][0]["made_from"] is None


def test_a_request_is_accepted_found_and_listed(api, registered, company):
    answer = api.post("/v1/requests", json=body(company))
    assert answer.status_code == 201
    request = answer.json()
    assert answer.headers["location"] == f"/v1/requests/{request['id']}"
    assert request["state"] == "pending"
    assert request["jobs"][0]["adapter"] == "bot"
    assert request["jobs"][0]["records"] >= 5
    assert api.get(f"/v1/requests/{request['id']}").json() == request
    assert api.get("/v1/requests").json() == {"items": [request], "next": None}
    assert api.get("/v1/requests", params={"state": "completed"}).json()["items"] == []
    job = api.get(f"/v1/jobs/{request['jobs'][0]['id']}").json()
    assert (job["state"], job["request_ids"], job["report"]) == ("queued", [request["id"]], None)


def test_pages_follow_each_other(api, registered, company):
    people = company.people[:5]
    made = [api.post("/v1/requests", json=body(company, p.partition(":")[2])).json()["id"] for p in people]
    seen, after = [], None
    for _ in range(3):
        page = api.get("/v1/requests", params={"limit": 2, **({"after": after} if after else {})}).json()
        seen += [item["id"] for item in page["items"]]
        after = page["next"]
    assert after is None
    assert sorted(seen) == sorted(made)


def test_the_identity_comes_back_in_no_answer(api, registered, company):
    value = company.subject.partition(":")[2]
    for answer in (
        api.post("/v1/requests", json=body(company)),
        api.post("/v1/requests", json=body(company)),
        api.post("/v1/requests", json=body(company, "canary-4711")),
        api.post("/v1/requests", json={"subject": {"type": "canary-4711"}}),
        api.post("/v1/requests", json={"subject": "canary-4711"}),
        api.post("/v1/requests", json={"subject": {"type": "a", "value": ["canary-4711"]}}),
        api.post("/v1/requests", json={"subject": {"type": "a", "value": "b", "canary-4711": 1}}),
        api.post("/v1/requests", json={"canary-4711": "customer"}),
        api.get("/v1/requests"),
    ):
        assert value not in answer.text
        assert "canary-4711" not in answer.text


def test_a_request_for_somebody_unknown_is_completed_at_once(api, registered, company):
    answer = api.post("/v1/requests", json=body(company, "nobody"))
    assert answer.status_code == 201
    assert (answer.json()["state"], answer.json()["jobs"]) == ("completed", [])
    assert api.get(f"/v1/requests/{answer.json()['id']}/export").status_code == 200


def test_a_subject_with_an_open_request_conflicts(api, registered, company):
    first = api.post("/v1/requests", json=body(company)).json()
    problem = is_problem(api.post("/v1/requests", json=body(company)), 409, "conflict")
    assert first["id"] in problem["detail"]


def test_an_export_before_the_end_conflicts(api, registered, company):
    request = api.post("/v1/requests", json=body(company)).json()
    is_problem(api.get(f"/v1/requests/{request['id']}/export"), 409, "conflict")


@pytest.mark.parametrize(
    "path", ["/v1/requests/req_0", "/v1/requests/req_0/export", "/v1/jobs/job_0", "/v1/adapters/no", "/x"]
)
def test_what_is_not_there_is_a_404_problem(api, path):
    is_problem(api.get(path), 404, "not-found")


@pytest.mark.parametrize("id_", ["%00", "a%0Ab", "..%2f..%2fetc", "x" * 200, "%F0%9F%92%A5"])
def test_an_id_that_is_none_is_a_problem(api, id_):
    answer = api.get(f"/v1/requests/{id_}")
    assert answer.status_code in (404, 422)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/v1/requests", "GET, POST"), ("/v1/requests/search", "POST"), ("/v1/keys/0", "DELETE"), ("/docs", "GET, HEAD")],
)
def test_a_wrong_method_is_a_problem_that_names_all_the_right_ones(api, path, allowed):
    answer = api.put(path)
    is_problem(answer, 405, "method-not-allowed")
    assert ", ".join(sorted(answer.headers["allow"].split(", "))) == allowed


@pytest.mark.parametrize(
    ("content", "status", "kind"),
    [
        (b"{", 400, "not-json"),
        (b"", 422, "bad-input"),
        (b'{"subject": "\xff\xfe"}', 400, "not-json"),
        (b'{"subject": {"type": "a", "value": "\\u0000"}}', 422, "bad-input"),
        (b'{"subject": {"type": "a", "value": "\\ud800"}}', 422, "bad-input"),
        (b'{"subject": {"type": "a", "value": "b", "extra": 1}}', 422, "bad-input"),
        (b"[]", 422, "bad-input"),
        (b"null", 422, "bad-input"),
        (b'{"subject": {"type": "a", "value": "' + b"x" * 600 + b'"}}', 422, "bad-input"),
        (b"[" * 60_000, 400, "not-json"),
        (b'{"subject": ' * 2000 + b"1" + b"}" * 2000, 400, "not-json"),
        ('{"subject": {"type": "customer", "value": "a"}}'.encode("utf-16"), 400, "not-json"),
        ('{"subject": {"type": "customer", "value": "a"}}'.encode("utf-16-le"), 400, "not-json"),
        (b'{"subject": {"type": "customer", "value": "a", "value": "b"}}', 400, "not-json"),
    ],
)
def test_a_body_that_can_not_be_used_is_a_problem(api, content, status, kind):
    answer = api.post("/v1/requests", content=content, headers={"content-type": "application/json"})
    is_problem(answer, status, kind)


def test_an_oversized_body_is_refused_while_it_is_read(api):
    def forever():
        for _ in range(100):
            yield b" " * 65536

    answer = api.post("/v1/requests", content=forever(), headers={"content-type": "application/json"})
    is_problem(answer, 413, "body-too-large")


def test_a_body_that_is_too_large_by_its_headers_is_not_waited_for(api):
    headers = {"content-type": "application/json", "content-length": "99000000000"}
    is_problem(api.post("/v1/requests", content=b"{", headers=headers), 413, "body-too-large")


def test_a_body_in_another_coding_is_refused(api):
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    is_problem(api.post("/v1/requests", content=b"{}", headers=headers), 415, "unsupported-media-type")


def test_a_slash_too_many_leads_nowhere_else(api):
    is_problem(api.get("/v1/adapters/", headers={"host": "evil.example"}), 404, "not-found")


@pytest.mark.parametrize("path", ["/v1/requests", "/opendsr/v2/requests"])
def test_an_upload_that_breaks_off_changes_nothing_though_what_came_is_whole(api, path):
    """Spoken past the client library, which sends whole bodies alone."""
    body = json.dumps({"subject": {"type": "customer", "value": "nobody"}}).encode()
    came = iter([{"type": "http.request", "body": body, "more_body": True}, {"type": "http.disconnect"}])
    sent = []

    async def receive():
        return next(came)

    async def send(message):
        sent.append(message)

    headers = {
        "authorization": api.headers["Authorization"],
        "content-type": "application/json",
        "content-length": "500",
    }
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""}
    scope |= {
        "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
        "http_version": "1.1",
        "scheme": "http",
    }
    asyncio.run(api.app(scope, receive, send))
    assert all(message.get("status", 404) == 404 for message in sent)  # the closed front says so at once
    assert api.get("/v1/requests").json()["items"] == []


def test_another_content_type_is_refused(api):
    answer = api.post(
        "/v1/requests", content=b"subject=a", headers={"content-type": "application/x-www-form-urlencoded"}
    )
    is_problem(answer, 415, "unsupported-media-type")


def test_every_fault_of_a_registration_is_named(api):
    problem = is_problem(api.post("/v1/adapters", json={"name": 3}), 422, "bad-input")
    assert {fault["pointer"] for fault in problem["errors"]} == {
        "#/name",
        "#/base",
        "#/adapter",
        "#/train",
        "#/holdout",
    }


def test_an_unknown_field_is_told_by_the_place_that_holds_it(api, company):
    given = body(company) | {"recieved_at": "2026-03-01T09:30:00Z", "note": 1}
    problem = is_problem(api.post("/v1/requests", json=given), 422, "bad-input")
    assert [fault["pointer"] for fault in problem["errors"]] == ["#"]
    assert "unknown" in problem["detail"]


def test_bad_registrations_are_problems_of_their_kind(api, inputs, company, tmp_path):
    (tmp_path / "home" / "inputs").mkdir()
    (tmp_path / "home" / "inputs" / "empty.jsonl").write_text("")
    cases = [
        ({"train": "/etc/passwd"}, 403, "path-not-allowed"),
        ({"base": str(company.adapter)}, 422, "bad-model"),
        ({"holdout": str(tmp_path / "home" / "inputs" / "empty.jsonl")}, 422, "bad-corpus"),
        ({"holdout": inputs["train"]}, 422, "bad-corpus"),
        ({"policy": {"nonsense": 1}}, 422, "bad-policy"),
        ({"name": "../x"}, 422, "bad-input"),
    ]
    for change, status, kind in cases:
        is_problem(api.post("/v1/adapters", json=inputs | change), status, kind)
    assert api.get("/v1/adapters").json() == []


def test_a_recipe_of_another_trainer_is_given_with_the_registration(api, inputs, company, tmp_path):
    bare = shutil.copytree(company.adapter, tmp_path / "home" / "inputs" / "bare")
    (bare / "recipe.json").unlink()
    given = inputs | {"adapter": str(bare)}
    problem = is_problem(api.post("/v1/adapters", json=given), 422, "bad-recipe")
    assert "give `recipe`" in problem["detail"]
    recipe = {"rank": 8, "epochs": 3, "learning_rate": 0.001, "batch_size": 4}
    wrong = is_problem(api.post("/v1/adapters", json=given | {"recipe": recipe | {"epochs": "3"}}), 422, "bad-input")
    assert [fault["pointer"] for fault in wrong["errors"]] == ["#/recipe/epochs"]
    answer = api.post("/v1/adapters", json=given | {"recipe": recipe})
    assert answer.status_code == 201
    assert answer.json()["recipe"] == recipe | {"seed": 0, "base": None}


def test_a_crash_is_a_problem_without_a_trace(api, monkeypatch):
    def crash(_who):
        raise RuntimeError("canary-4711")

    monkeypatch.setattr(api.app.state.desk, "adapters", crash)
    answer = api.get("/v1/adapters")
    is_problem(answer, 500, "error")
    assert "canary-4711" not in answer.text


def test_health_is_the_process_and_readiness_names_what_is_missing(api):
    assert api.get("/healthz").json()["status"] == "ok"
    problem = is_problem(api.get("/readyz"), 503, "unavailable")
    assert "broker" in problem["detail"]


@pytest.mark.parametrize(
    ("path", "pointer"),
    [
        ("/v1/requests?due_befor=2026-01-01T00:00:00Z", "query"),
        ("/v1/requests?state=pending&state=completed", "query/state"),
        ("/v1/requests?state=pending&customer%3Ac-0001=1", "query"),
        ("/v1/adapters?name=bot", "query"),
        ("/v1/register?from=2026-01-01&from_=x", "query"),
        ("/healthz?verbose", "query"),
    ],
)
def test_a_query_parameter_that_is_unknown_or_given_twice_is_refused_by_its_place(api, path, pointer):
    problem = is_problem(api.get(path), 422, "bad-input")
    assert [fault["pointer"] for fault in problem["errors"]] == [pointer]
    assert "c-0001" not in str(problem)
    assert "befor=" not in str(problem)


def test_query_parameters_that_an_address_takes_are_taken_also_by_their_alias(api):
    assert api.get("/v1/requests?state=pending&limit=3&held=false").status_code == 200
    assert api.get("/v1/register?from=2026-01-01&to=2026-02-01&format=jsonl").status_code == 200
    assert api.get("/v1/requests?").status_code == 200


def test_the_openapi_document_has_an_example_and_its_problems_for_every_endpoint(api):
    document = api.get("/openapi.json").json()
    assert document["paths"]  # which they are: test_scopes
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], (path, method)
            assert operation["description"], (path, method)
            problems = [code for code in operation["responses"] if code >= "400"]
            assert problems, (path, method)
            shape = "application/json" if path.startswith("/opendsr/") else "application/problem+json"
            for code in problems:
                assert shape in operation["responses"][code]["content"], (path, method, code)
    assert not [name for name in document["components"]["schemas"] if "__" in name]  # two classes of one name
    for schema in ("AdapterIn", "SubjectIn", "RequestOut", "Problem"):
        properties = document["components"]["schemas"][schema]["properties"]
        assert any("examples" in p for p in properties.values()), schema


def test_importing_the_api_loads_no_heavy_library():
    code = (
        "import sys, api.app, workers.queue; heavy = 'torch', 'transformers', 'peft', 'mlflow', 'pandas', 'matplotlib', 'jwt', "
        "'scipy', 'datasketch', 'reportlab'; "
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
