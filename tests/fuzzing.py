"""The whole API under schemathesis, in this process: every operation of its OpenAPI document, right and wrong input.

Beside schemathesis' own checks: every error is a problem document with an id, no error repeats a reason, no answer at
all repeats an identity, and without a key nobody gets in. Identities and reasons of every case carry a canary.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import Failure
from schemathesis.engine import Status, events, from_schema
from schemathesis.python.asgi import shutdown_lifespans

from api.app import create_app
from unlearn.cases.desk import Desk
from unlearn.settings import Settings

PERSON, REASON = "canary-4711", "because-0815"
"""In every identity, and in every reason, that is sent."""

HALF = "half-a-surrogate-pair"
"""Stands for one, which JSON can spell and UTF-8 can't, until the body is."""

OPEN = (
    "/healthz",
    "/readyz",
    "/problems/",
    "/opendsr/v2/discovery",
    "/opendsr/v2/certificate.pem",
    "/opendsr/v2/status",
)
FOLLOWED = "/v1/jobs/{id}/events"
MEMBERS = {"type", "title", "status", "detail", "instance"}

STRANGE: tuple[Any, ...] = (
    2**63,
    -(2**63) - 1,
    10**400,
    1e308,
    float("inf"),
    float("nan"),
    -0.0,
    "",
    "\0",
    HALF,
    "\u202e\ufeff",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59",
    "2026-02-30T25:61:61Z",
    -62135596801,
    1e300,
    True,
    None,
    [],
    {HALF: "\0"},
    {"gates": {"membership_margin_sd": float("inf")}},
    {"targets": {"test_rounds": 10**30}},
    {"ladder": [{"method": HALF}]},
)
"""What no schema makes by itself, put in the place of single values."""


@dataclass
class Tally:
    """What happened: cases and successes by operation, failures by check, and the first example of each failure."""

    cases: Counter[str] = field(default_factory=Counter)
    succeeded: Counter[str] = field(default_factory=Counter)
    phases: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)
    examples: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, other: Tally) -> None:
        """Add what happened in another run."""
        for counts, more in (
            (self.cases, other.cases),
            (self.succeeded, other.succeeded),
            (self.failures, other.failures),
            (self.checks, other.checks),
        ):
            counts.update(more)
        self.statuses.update(other.statuses)
        self.phases.update(other.phases)
        self.examples = other.examples | self.examples

    def fail(self, check: str, operation: str, example: str) -> None:
        """Note a failure."""
        self.failures[check] += 1
        self.examples.setdefault((check, operation), example)


@schemathesis.serializer("application/json")
def spelled(_context: Any, value: Any) -> bytes:
    """JSON as Python spells it, with NaN, Infinity and half a surrogate pair: a client can send them."""
    return value if isinstance(value, bytes) else json.dumps(value, default=str).replace(HALF, r"\ud800").encode()


@schemathesis.check
def errors_are_problems(_context: Any, response: Any, case: Any) -> None:
    """Every 4xx and 5xx is a problem document (RFC 9457) that has a type, or OpenDSR's error; and has an id."""
    if not response.headers.get("x-request-id"):
        raise Failure(operation="", title="No X-Request-Id", message=f"{response.status_code} has no X-Request-Id")
    if response.status_code < 400:
        return
    kind = response.headers.get("content-type", [""])[0]
    if case.operation.path.startswith("/opendsr/") and kind == "application/json":
        if response.json()["error"]["code"] != response.status_code:
            raise Failure(operation="", title="No OpenDSR error", message=f"{response.status_code}")
        return
    body = response.json() if kind == "application/problem+json" else {}
    if not set(body) >= MEMBERS or not body["type"].startswith("/problems/") or body["status"] != response.status_code:
        raise Failure(operation="", title="No problem document", message=f"{response.status_code} {kind}")


@schemathesis.check
def nothing_comes_back(_context: Any, response: Any, _case: Any) -> None:
    """No answer repeats an identity, and no error a reason."""
    said = response.content.decode("utf-8", "replace").casefold() + str(response.headers).casefold()
    if PERSON in said or (response.status_code >= 400 and REASON in said):
        raise Failure(operation="", title="An answer repeats what was sent", message=said[:500])


@schemathesis.check
def nobody_gets_in(_context: Any, response: Any, case: Any) -> None:
    """Without a key, nothing but what is open to all succeeds."""
    sent = {name.lower() for name in response.request.headers}
    if "authorization" not in sent and response.status_code < 400 and not case.operation.path.startswith(OPEN):
        raise Failure(operation="", title="Let in without a key", message=f"{response.status_code}")


@dataclass(frozen=True)
class Known:
    """Ids of what is there: requests and jobs, those of the jobs that have ended, and what a tool calls its requests."""

    ids: list[str]
    ended: list[str]
    called: list[str]

    def of(self, place: str) -> list[str]:
        """Those to ask for there: a job that nobody works on would be followed without end."""
        if place == FOLLOWED:
            return self.ended
        return self.ids if place.startswith(("/v1/requests", "/v1/jobs")) else []


@contextmanager
def _hooks(own: str, known: Known, inputs: dict[str, str]) -> Iterator[None]:
    """Plant canaries, strange values and what is there; all decided by the case itself, so that a case repeats."""

    def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
        place, body = case.operation.path, case.body
        names = case.path_parameters
        for name, ids in (("id", known.of(place)), ("subject_request_id", known.called)):
            if not ids or not names or not isinstance(names.get(name), str):
                continue
            chosen = zlib.crc32(repr((names, body)).encode("utf-8", "replace")) % (2 * len(ids))
            if chosen < len(ids) or (place == FOLLOWED and names[name].startswith("job_")):
                names[name] = ids[chosen % len(ids)]
        if names and names.get("id") == own and place.startswith("/v1/keys"):
            names["id"] = "another"  # a run that revokes its own key sees nothing more
        if names and "name" in names and zlib.crc32(repr(names).encode("utf-8", "replace")) % 2:
            names["name"] = "bot"
        if isinstance(body, (dict, list, str)) and case.operation.method.upper() == "POST":
            dice = zlib.crc32(repr(body).encode("utf-8", "replace"))
            if place == "/v1/adapters" and isinstance(body, dict) and dice % 4 == 0:
                body = body | inputs
            if dice % 5 == 0 and isinstance(body, dict) and body:
                body = _swapped(body, dice // 5)
            if place.startswith(("/v1/requests", "/opendsr/")):
                body = _planted(body, "")
            case.body = body

    schemathesis.hook(before_call)
    try:
        yield
    finally:
        schemathesis.hooks.unregister(before_call)


def _swapped(body: dict[str, Any], dice: int) -> dict[str, Any]:
    """`body` with one of its values, at any depth, exchanged for a strange one."""
    name = sorted(body)[dice % len(body)]
    inner = body[name]
    if isinstance(inner, dict) and inner and dice % 3:
        return body | {name: _swapped(inner, dice // 3)}
    return body | {name: STRANGE[dice // 7 % len(STRANGE)]}


def _planted(value: Any, canary: str) -> Any:
    if isinstance(value, dict):
        known = {"subject": PERSON, "reason": REASON, "identity_value": PERSON}
        return {
            (f"{key}{PERSON}" if canary == PERSON and key not in ("type", "value") else key): _planted(
                item, known.get(key, canary)
            )
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_planted(item, canary) for item in value]
    return f"{canary}{value}" if isinstance(value, str) and value else value


def fuzz(
    settings: Settings, inputs: dict[str, str], subjects: list[str], *, examples: int, keyed: bool, seed: int = 0
) -> Tally:
    """Put the API of these settings through `examples` random cases an operation, and the schema's edge cases.

    Args:
        settings: of a home of its own, broker absent.
        inputs: a body of `POST /v1/adapters` that is accepted.
        subjects: identities that its corpus names; requests of theirs are there from the start.
        examples: random cases an operation, beside the edge cases of its schema and the chains of calls.
        keyed: whether calls carry an admin's key.
        seed: of the random cases.
    """
    app = create_app(settings)
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, config=_config(examples, keyed, seed))
    try:
        desk: Desk = app.state.desk
        own = settings.local_key_file.read_text(encoding="utf-8").strip()
        if keyed:
            schema.config.update(headers={"Authorization": f"Bearer {own}"})
        desk.register_adapter(**inputs)  # type: ignore[arg-type]
        known = _there(desk, subjects)
        with _hooks(own.split("_")[1], known, inputs):
            tally = _run(schema)
        _look_for_identities(settings.home, tally)
        desk.inspect_ledger()
        return tally
    finally:
        shutdown_lifespans()


def _there(desk: Desk, subjects: list[str]) -> Known:
    """Open requests of the subjects, and one before them that was cancelled."""
    gone = desk.cancel(desk.submit(subjects[0]).id)
    made = [desk.submit(one, external_id=str(UUID(int=number))) for number, one in enumerate(subjects, 1)]
    views = [gone, *made]
    return Known(
        [view.id for view in views] + [job.id for view in views for job in view.jobs],
        [job.id for job in gone.jobs],
        [str(view.external_id) for view in made],
    )


def _config(examples: int, keyed: bool, seed: int) -> SchemathesisConfig:
    def phase(n: int) -> dict[str, Any]:
        return {"generation": {"max-examples": max(1, n)}}

    return SchemathesisConfig.from_dict(
        {
            "seed": seed,
            "workers": 1,
            "continue-on-failure": True,
            "request-timeout": 30,
            "generation": {"mode": "all", "no-shrink": True, "database": "none", "with-security-parameters": False},
            "phases": {
                "coverage": {"enabled": True},
                "fuzzing": phase(examples),
                "stateful": phase(examples // 2) | {"enabled": keyed, "max-steps": 6},
            },
            "operations": [
                # Here the broker is absent, and to say so is what /readyz is for.
                {
                    "include-path": "/readyz",
                    "checks": {"not_a_server_error": {"expected-statuses": ["2xx", "4xx", 503]}},
                },
            ],
            "checks": {
                # What the schema can't say is refused as well: a subject that is open already, a path that is none.
                "positive_data_acceptance": {"enabled": False},
                # Calls without a key are a run of their own, in which every operation is called.
                "ignored_auth": {"enabled": keyed},
                "negative_data_rejection": {"enabled": True, "expected-statuses": ["4xx"]},
            },
        }
    )


def _run(schema: Any) -> Tally:
    tally = Tally()
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            recorder = event.recorder
            tally.phases[event.phase.value] += len(recorder.cases)
            for case_id, node in recorder.cases.items():
                operation = f"{node.value.operation.method.upper()} {node.value.operation.path}"
                tally.cases[operation] += 1
                interaction = recorder.interactions.get(case_id)
                if interaction is not None and interaction.response is not None:
                    tally.statuses[interaction.response.status_code] += 1
                    tally.succeeded[operation] += interaction.response.status_code < 300
                for check in recorder.checks.get(case_id, []):
                    tally.checks[check.name] += 1
                    if check.status == Status.FAILURE:
                        told = check.failure_info
                        why = "" if told is None else f"{told.failure}\n{told.failure.message}\n{told.code_sample}"
                        tally.fail(check.name, operation, why)
        elif isinstance(event, (events.NonFatalError, events.FatalError)):
            error = event.value if isinstance(event, events.NonFatalError) else event.exception
            tally.fail("engine", getattr(event, "label", ""), repr(error))
    return tally


def _look_for_identities(home: Path, tally: Tally) -> None:
    """No file of the service may hold an identity that was sent."""
    for file in home.rglob("*"):
        if file.is_file() and PERSON.encode() in file.read_bytes():
            tally.fail("nothing_is_kept", str(file.relative_to(home)), "the file holds an identity")


def as_json(tally: Tally) -> str:
    """The tally as JSON."""
    names = ("cases", "succeeded", "phases", "statuses", "checks", "failures")
    told: dict[str, Counter[Any]] = {name: getattr(tally, name) for name in names}
    return json.dumps({name: dict(sorted(counts.items())) for name, counts in told.items()}, indent=2)
