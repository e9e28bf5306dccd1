"""What people are called goes in at the front and comes out nowhere: no answer, line, figure or byte of the database.

A canary is a string that nothing else makes. One is planted in everything that a client can send; each is distinct, so
that a failure names the place. Exempt is what the service is asked to keep: external ids, names of adapters and keys,
paths and policies, and reasons, which stay in the table of requests alone.
"""

from __future__ import annotations

import itertools
import logging
import re
from dataclasses import dataclass, field

import pytest
from sqlalchemy import text
from test_scopes import OPEN_TO_ALL, RIGHTS

from unlearn import logs

MARK, REASON = "zqxcanary", "zqxreason"


@dataclass
class Planted:
    """Makes canaries, and finds where they came out."""

    number: itertools.count = field(default_factory=itertools.count)
    outside: list[tuple[str, str]] = field(default_factory=list)

    def __call__(self, where, mark=MARK):
        return f"{mark}{next(self.number):04d}-{where}"[:60]

    def answered(self, what, answer):
        """Note every word of an answer."""
        headers = "\n".join(f"{key}: {value}" for key, value in answer.headers.items())
        self.outside.append((what, f"{headers}\n{answer.content.decode('latin-1')}"))
        return answer

    def found(self, mark=MARK):
        return [
            (what, said[max(0, at - 200) : at + 100]) for what, said in self.outside if (at := said.find(mark)) >= 0
        ]


@pytest.fixture
def planted():
    return Planted()


@pytest.fixture
def lines():
    """Every line that was logged from INFO on, in both forms."""
    seen, formatters = [], (logs.TextLines(), logs.JsonLines())

    class Both(logging.Handler):
        def emit(self, record):
            seen.extend(formatter.format(record) for formatter in formatters)

    handler, root = Both(), logging.getLogger()
    levels = {name: logging.getLogger(name).level for name in ("", *logs.TALKATIVE)}
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    for name in logs.TALKATIVE:  # among them the client of these tests, which knows what it asks for
        logging.getLogger(name).setLevel(logging.WARNING)
    yield seen
    root.removeHandler(handler)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def person(canary, **more):
    return {"subject": {"type": canary("type"), "value": canary("value")}} | more


def wrong_bodies(canary):
    """Bodies that no endpoint takes, a canary wherever something fits."""
    yield {"json": canary("string")}
    yield {"json": [canary("list")]}
    yield {"json": {canary("key"): canary("of key")}}
    yield {"json": {"subject": canary("flat")}}
    yield {"json": {"subject": {canary("key within"): 1, "type": canary("type alone")}}}
    yield {"json": {"subject": {"type": canary("t"), "value": [canary("value in a list")]}}}
    yield {"json": {"subject": {"type": canary("t"), "value": canary("nul") + "\0"}}}
    yield {"json": person(canary, regulation=canary("regulation"))}
    yield {"json": person(canary, received_at=canary("moment"))}
    yield {"json": person(canary, received_at="1999-01-01T00:00:00Z")}
    yield {"json": person(canary, external_id=canary("no external id") + " ")}
    yield {"json": {"requests": [person(canary), canary("in a batch"), {canary("key in a batch"): 1}]}}
    same = person(canary)
    yield {"json": {"requests": [same, same]}}
    fields = ("state", "due_before", "adapter", "held", "order", "limit", "after", "version", "reopen", "scopes")
    yield {"json": {name: f"{canary(name)} " for name in fields}}
    yield {"json": {name: {canary(f"within {name}"): canary(name)} for name in (*fields, "reason", "ground", "name")}}
    for content in (f'{{"subject": "{canary("cut")}', f'"{canary("surrogate")}\\ud800"'):
        yield {"content": content, "headers": {"content-type": "application/json"}}
    yield {"content": f"subject={canary('form')}", "headers": {"content-type": "application/x-www-form-urlencoded"}}
    yield {"content": canary("type of body"), "headers": {"content-type": canary("content type")}}
    yield {"content": canary("large") * 20_000, "headers": {"content-type": "application/json"}}


def test_no_canary_comes_out_whatever_is_asked(api, registered, planted, lines, company, settings, capfd):
    people = company.people
    names = {word for person in people for word in (person, f'"{person.partition(":")[2]}"')}

    def ask(method, path, **given):
        given["headers"] = {"X-Anything": planted("header"), "Cookie": planted("cookie")} | given.get("headers", {})
        return planted.answered(f"{method} {path} {str(given)[:300]}", api.request(method, path, **given))

    # What is asked for properly, of people unknown and known.
    keyed = {"Idempotency-Key": planted("idempotency")}
    one = person(planted)
    assert ask("POST", "/v1/requests", json=one, headers=keyed).status_code == 201
    assert ask("POST", "/v1/requests", json=one, headers=keyed).status_code == 201
    assert ask("POST", "/v1/requests", json=person(planted), headers=keyed).status_code == 409
    assert ask("POST", "/v1/requests/batch", json={"requests": [person(planted), person(planted)]}).status_code == 201
    for path in ("preview", "search"):
        assert ask("POST", f"/v1/requests/{path}", json=person(planted)).status_code == 200
    known = [
        ask("POST", "/v1/requests", json={"subject": dict(zip(("type", "value"), p.split(":", 1), strict=True))}).json()
        for p in people[:3]
    ]
    assert [request["state"] for request in known] == ["pending"] * 3

    # Everything else: every endpoint with names that are none, odd queries, odd keys and bodies that do not fit.
    for method, path in [*RIGHTS, *(("GET", path) for path in OPEN_TO_ALL), ("GET", f"/{planted('nowhere')}")]:
        body = RIGHTS.get((method, path), (None, None))[1]
        fits = {"json": body} if body is not None else {}
        for place in (f"{planted('blank')} x", f"{planted('nul')}%00") if "{" in path else ():
            ask(method, re.sub(r"\{\w+\}", place, path), **fits)
        filled = re.sub(r"\{\w+\}", planted("id"), path)
        ask(method, filled, params={planted("query"): planted("of query"), "subject": planted("subject")}, **fits)
        ask(planted("method").upper(), filled)
        for given in (
            planted("scheme"),
            f"Bearer {planted('token')}",
            f"Bearer unl_{'0' * 16}_{planted('secret'):x<43.43}",
        ):
            assert ask(method, filled, headers={"Authorization": given}).status_code != 500
        ask(method, filled, headers={"Authorization": planted("scheme")})
        ask(
            method, filled, headers={"Idempotency-Key": f"{planted('idempotency')} no", "traceparent": planted("trace")}
        )
        if method == "POST":
            for body in wrong_bodies(planted):
                assert ask(method, filled, **body).status_code != 500
    for name in ("state", "due_before", "adapter", "held", "order", "limit", "after"):
        ask("GET", "/v1/requests", params={name: planted(name)})
        ask("GET", "/v1/requests", params={name: f"{planted(name)} %00"})
    assert planted.found() == []

    planted.answered("/metrics", api.get("/metrics"))
    written = "\n".join([*lines, *capfd.readouterr()])
    assert "/v1/requests/{id}" in written
    assert MARK not in written
    stored = {file: file.read_bytes() for file in settings.home.glob("unlearn.db*")}
    assert len(stored) >= 2
    assert known[0]["subject_hash"].encode() in b"".join(stored.values())
    assert [file.name for file, held in stored.items() if MARK.encode() in held] == []
    outside = "\n".join(said for _, said in planted.outside)
    assert [name for name in names if name in written or name in outside] == []
    assert [name for name in names if any(name.encode() in held for held in stored.values())] == []


def test_reasons_are_kept_with_their_request_and_nowhere_else(api, registered, planted, lines, company, capfd):
    people = company.people
    ids = [
        api.post("/v1/requests", json={"subject": dict(zip(("type", "value"), p.split(":", 1), strict=True))}).json()[
            "id"
        ]
        for p in people[:3]
    ]

    def act(request_id, what, **more):
        return api.post(f"/v1/requests/{request_id}/{what}", json={"reason": planted(what, REASON), **more})

    assert act(ids[0], "hold").status_code == 200
    assert act(ids[0], "hold").status_code == 409
    assert act(ids[1], "extend").status_code == 200
    assert act(ids[1], "extend").status_code == 409
    assert act(ids[2], "reject", ground="legal_claims").status_code == 200
    assert act(ids[2], "release").status_code == 409
    assert act(ids[2], "reject", ground=planted("ground", REASON)).status_code == 422
    assert api.get(f"/v1/requests/{ids[2]}/export").status_code == 200
    with api.app.state.desk.store.reading() as session:
        tables = [name for (name,) in session.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'"))]
        held = {name: repr(session.execute(text(f"SELECT * FROM {name}")).all()) for name in tables}  # noqa: S608
    assert {"requests", "ledger", "jobs", "outbox"} <= set(held)
    assert [name for name, rows in held.items() if REASON in rows] == ["requests"]
    assert REASON not in "\n".join([*lines, *capfd.readouterr(), api.get("/metrics").text])
