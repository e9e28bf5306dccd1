"""What every answer of the OpenDSR front has in common: its error shape and its signature. Knows no request.

ASGI middleware around the whole app, so that nothing under the prefix leaves unsigned: also not what was refused
before an endpoint was found, nor a crash. Without a signer the front is closed.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import MEDIA_TYPE, problem
from api.schemas.opendsr import OpenDsrError
from unlearn.outbound import Signer
from unlearn.settings import OPENDSR

ROOT = "/opendsr"
OLD_NAMES = {
    "X-OpenDSR-Processor-Domain": "X-OpenGDPR-Processor-Domain",
    "X-OpenDSR-Signature": "X-OpenGDPR-Signature",
}
"""Section 10.1: headers go by their names of version 1 as well."""

_DOMAINS = {401: "Authentication", 403: "Authorization", 404: "Request", 405: "Request"}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an endpoint that may answer with errors of these statuses, beside the common ones.

    A 404 is a problem document where the front is not set up.
    """
    closed = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    told: dict[int | str, dict[str, Any]] = {
        status: {"description": HTTPStatus(status).phrase, "model": OpenDsrError}
        | ({"content": closed} if status == 404 else {})
        for status in sorted({*statuses, 404, 500})
    }
    return told | {"default": {"description": "Any other error", "model": OpenDsrError}}


class Signed:
    """Turns problem documents under `ROOT` into OpenDSR errors, and signs what is answered there.

    Args:
        app: what to wrap.
        signer: None closes the front.
    """

    def __init__(self, app: ASGIApp, signer: Signer | None) -> None:
        self._app = app
        self._signer = signer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the exchange on, and sign its answer if it is one of the front's."""
        if scope["type"] != "http" or not f"{scope['path']}/".startswith(f"{ROOT}/"):
            await self._app(scope, receive, send)
        elif self._signer is None:
            await _closed()(scope, receive, send)
        else:
            kept: list[Message] = []

            async def keep(message: Message) -> None:
                kept.append(message)

            await self._app(scope, receive, keep)
            if kept:  # nothing is answered to a client that went away
                await _send(kept, self._signer, send)


async def _send(kept: list[Message], signer: Signer, send: Send) -> None:
    status: int = kept[0]["status"]
    headers = {name.lower(): value for name, value in kept[0]["headers"]}
    body = b"".join(message.get("body", b"") for message in kept[1:])
    if headers.get(b"content-type", b"").decode("latin-1") == MEDIA_TYPE:
        status, body = _as_error(json.loads(body))
        headers[b"content-type"] = b"application/json"
    headers[b"content-length"] = str(len(body)).encode("ascii")
    headers.setdefault(b"cache-control", b"no-store")
    listed = [*headers.items(), *_named_twice(signer.headers(body))]
    await send({"type": "http.response.start", "status": status, "headers": listed})
    await send({"type": "http.response.body", "body": body})


def _as_error(told: dict[str, Any]) -> tuple[int, bytes]:
    """A problem document as an OpenDSR error: 400 for all that is wrong with a request (section 7.5)."""
    status = 400 if told["status"] in (409, 422) else told["status"]
    domain = _DOMAINS.get(status, "Validation" if status < 500 else "Service")
    reason = told["type"].rpartition("/")[2]
    faults = [f"{fault['pointer']}: {fault['detail']}" for fault in told.get("errors", ())] or [told["detail"]]
    error = {
        "code": status,
        "message": told["detail"],
        "errors": [{"domain": domain, "reason": reason, "message": fault} for fault in faults],
    }
    return status, json.dumps({"error": error}, ensure_ascii=False).encode()


def _named_twice(headers: dict[str, str]) -> Iterable[tuple[bytes, bytes]]:
    for name, value in headers.items():
        for spelled in (name, OLD_NAMES[name]):
            yield spelled.lower().encode("ascii"), value.encode("ascii")


def _closed() -> ASGIApp:
    names = ", ".join(f"UNLEARN_{name.upper()}" for name in OPENDSR)
    detail = f"the OpenDSR front is not set up here; who runs the service opens it with the settings {names}"
    return problem(secrets.token_hex(8), 404, "not-set-up", "The OpenDSR front is not set up", detail)
