"""Every error as a problem document (RFC 9457), and the guards in front of the endpoints.

No answer repeats what the client sent: it may hold an identity. Knows no resource.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.catalogue import KINDS
from unlearn.errors import Unauthenticated, UnlearnError

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 256 * 1024
MEDIA_TYPE = "application/problem+json"


class Fault(BaseModel):
    """One thing that is wrong with the input."""

    pointer: str = Field(description="Where in the input (JSON Pointer, RFC 6901).", examples=["#/subject/value"])
    detail: str = Field(description="What is wrong there.", examples=["Field required"])


class Problem(BaseModel):
    """A problem document, RFC 9457."""

    type: str = Field(description="What kind of problem this is.", examples=["/problems/unknown-subject"])
    title: str = Field(description="The kind in words.", examples=["No record names this subject"])
    status: int = Field(description="The HTTP status code.", examples=[422])
    detail: str = Field(
        description="What was wrong this time, and what to do.",
        examples=["no registered adapter learned from this subject; check its type and spelling"],
    )
    instance: str = Field(description="This occurrence.", examples=["urn:request:5f0c"])
    errors: list[Fault] | None = Field(default=None, description="Each fault of the input, when there are several.")


def answers(*statuses: int, keyed: bool = True) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an endpoint that may answer with problems of these statuses, beside the common ones.

    Args:
        statuses: what it may answer.
        keyed: whether it takes an API key or a token, whose issuer may be out of reach.
    """
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    all_of_them = sorted({*statuses, 422, 500, *({401, 503} if keyed else ())})
    return {s: {"description": HTTPStatus(s).phrase, "model": Problem, "content": content} for s in all_of_them}


def problem(
    request_id: str, status: int, kind: str, title: str, detail: str, errors: Sequence[Mapping[str, str]] | None = None
) -> JSONResponse:
    """A problem document as a response."""
    body: dict[str, Any] = {
        "type": f"/problems/{kind}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": f"urn:request:{request_id}",
    }
    if errors:
        body["errors"] = list(errors)
    return JSONResponse(body, status, media_type=MEDIA_TYPE, headers={"X-Request-Id": request_id})


def _own(request_id: str, kind: str, detail: str, errors: Sequence[Mapping[str, str]] | None = None) -> JSONResponse:
    """A problem that no error of the tree stands for."""
    known = KINDS[kind]
    return problem(request_id, known.status, kind, known.title, detail, errors)


def install(app: FastAPI) -> None:
    """Let `app` answer every error with a problem document."""

    @app.exception_handler(UnlearnError)
    async def ours(request: Request, error: UnlearnError) -> JSONResponse:
        if error.status >= 500:
            log.error("request %s: %s", _id(request), error)
        return problem(_id(request), error.status, error.kind, error.title, str(error))

    @app.exception_handler(Unauthenticated)
    async def unknown(request: Request, error: Unauthenticated) -> JSONResponse:
        answer = problem(_id(request), error.status, error.kind, error.title, str(error))
        answer.headers["WWW-Authenticate"] = "Bearer"
        return answer

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        faults = error.errors()
        if any(fault["type"] == "json_invalid" for fault in faults):
            return _own(_id(request), "not-json", "the body can't be read as JSON")
        listed = list({fault["pointer"]: fault for fault in map(_fault, faults)}.values())
        detail = "; ".join(f"{fault['pointer']}: {fault['detail']}" for fault in listed[:5])
        return _own(_id(request), "bad-input", detail, listed)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 400:  # the framework's word for a body that it could not parse
            return _own(_id(request), "not-json", "the body can't be read as JSON in UTF-8")
        if error.status_code == 404:
            answer = _own(_id(request), "not-found", "nothing is at this address; the API is described under /docs")
        elif error.status_code == 405:
            detail = "this address does not take this method; the API is described under /docs"
            answer = _own(_id(request), "method-not-allowed", detail)
        else:
            phrase = HTTPStatus(error.status_code).phrase
            answer = problem(_id(request), error.status_code, "error", phrase, phrase)
        answer.headers.update(error.headers or {})
        if error.status_code == 405:
            answer.headers["Allow"] = _methods(app, request.url.path) or answer.headers.get("Allow", "GET")
        return answer


def _methods(app: FastAPI, path: str) -> str:
    """Every method that an address takes (RFC 9110, section 10.2.1); the framework names those of its first route."""
    paths = app.openapi()["paths"]
    places = [path] if path in paths else [place for place in paths if compile_path(place)[0].match(path)]
    return ", ".join(sorted({method.upper() for place in places for method in paths[place]}))


def _id(request: Request) -> str:
    return str(request.scope.get("request_id", ""))


def _fault(found: Mapping[str, Any]) -> dict[str, str]:
    """One fault without anything that was sent: not even the name of an unknown field, which may be an identity."""
    if found["type"] == "extra_forbidden":
        return {
            "pointer": _pointer(found["loc"][:-1]),
            "detail": "a field here is unknown; /docs names those there are",
        }
    return {"pointer": _pointer(found["loc"]), "detail": found["msg"].removeprefix("Value error, ")}


def _pointer(loc: Sequence[str | int]) -> str:
    place, *path = loc
    return f"{'#' if place == 'body' else place}/{'/'.join(map(str, path))}".rstrip("/")


class Gate:
    """Names every answer's exchange, bounds bodies, and turns a crash into a problem.

    ASGI middleware. The body is read here, up to its bound, so that nothing behind ever holds more.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the exchange on, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = scope["request_id"]
        started = False

        async def answer(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = [pair for pair in message["headers"] if pair[0].lower() != b"x-request-id"]
                extra = [(b"x-request-id", request_id.encode()), (b"x-content-type-options", b"nosniff")]
                message = {**message, "headers": [*headers, *extra, (b"cache-control", b"no-store")]}
            await send(message)

        body, refused = b"", _refused(scope, request_id)
        if refused is None:
            try:
                body = await _body(receive)
            except ClientDisconnect:  # half a body may well read like a whole one; nobody waits for an answer
                return
            refused = _unreadable(body, request_id)
        if refused is not None:
            await refused(scope, receive, answer)
            return
        try:
            await self._app(scope, _replay(body, receive), answer)
        except Exception:
            log.exception("request %s crashed", request_id)
            if started:
                raise
            detail = f"an unexpected error; the service's log has it under {request_id}"
            crash = _own(request_id, "error", detail)
            await crash(scope, receive, answer)


def _refused(scope: Scope, request_id: str) -> JSONResponse | None:
    """The answer to an exchange that can be refused by its headers alone."""
    headers = {key.lower(): value for key, value in scope["headers"]}
    empty = headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers
    if scope["method"] in ("POST", "PUT", "PATCH") and not empty:
        kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
        if kind != b"application/json":
            return _own(request_id, "unsupported-media-type", "send the body as application/json")
        if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
            return _own(request_id, "unsupported-media-type", "send the body as it is, without a Content-Encoding")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > MAX_BODY_BYTES:
            return _own(request_id, "body-too-large", f"a body may have {MAX_BODY_BYTES} bytes at most")
    return None


async def _body(receive: Receive) -> bytes:
    """The body, read no further than shows that it is too large.

    Raises:
        ClientDisconnect: the client went away before it had sent the whole.
    """
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        size += len(part)
        parts.append(part)
        if size > MAX_BODY_BYTES or not message.get("more_body", False):
            return b"".join(parts)


def _unreadable(body: bytes, request_id: str) -> JSONResponse | None:
    """The answer to a body that would be read in two ways, or in none."""
    if len(body) > MAX_BODY_BYTES:
        return _own(request_id, "body-too-large", f"a body may have {MAX_BODY_BYTES} bytes at most")
    if b"\0" in body:  # as in UTF-16, which the parser would guess; the escaped one is not this byte
        return _own(request_id, "not-json", "the body can't be read as JSON in UTF-8")
    try:
        json.loads(body or b"null", object_pairs_hook=_members)
    except _Twice:
        return _own(request_id, "not-json", "the body names a member twice; send each once")
    except (ValueError, RecursionError):
        return None  # told where it is parsed
    return None


class _Twice(Exception):
    """An object names a member twice: which one counts is every reader's own guess (RFC 8259, section 4)."""


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Twice
    return found


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body read already, then what follows."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
