"""The outermost layer: gives every exchange its id, and tells log and trace of it, once.

What is told is a closed list: method, template of the route, status, milliseconds, who asked by id. No address, no
header, no body: a person's identity may be in any of them.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import MutableMapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, cast

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.traces import Spans
from unlearn import logs

log = logging.getLogger(__name__)

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""A client may send any word as its method."""


@dataclass
class Exchange:
    """What may be told of one exchange.

    Attributes:
        method: of HTTP; "other" for one that it does not know.
        route: template of the address, None where no endpoint is.
        status: of the answer, None if none was given.
        milliseconds: from the first byte of the question to the last of the answer.
        actor: who asked ("key:<id>", "oidc:<hash>"), None if nobody known.
    """

    method: str
    route: str | None = None
    status: int | None = None
    milliseconds: float = 0.0
    actor: str | None = None


def exchange(scope: MutableMapping[str, Any]) -> Exchange:
    """The exchange that an endpoint answers."""
    return cast("Exchange", scope["exchange"])


class Access:
    """ASGI middleware.

    Args:
        app: what answers.
        spans: where traces go, if they go anywhere.
    """

    def __init__(self, app: ASGIApp, spans: Spans | None = None) -> None:
        self._app, self._spans = app, spans

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the exchange on, and tell of it when it is over."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["request_id"] = request_id = secrets.token_hex(8)
        scope["exchange"] = told = Exchange(scope["method"] if scope["method"] in METHODS else "other")
        began = time.perf_counter()

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                told.status = message["status"]
            await send(message)

        span = nullcontext() if self._spans is None else self._spans.around(scope["headers"], request_id, told)
        with logs.about(logs.request_id, request_id), span:
            try:
                await self._app(scope, receive, answer)
            finally:
                told.route = getattr(scope.get("route"), "path", None)
                told.milliseconds = round((time.perf_counter() - began) * 1000, 1)
                fields = dict(vars(told))
                shown = {name: "-" if value is None else value for name, value in fields.items()}
                line = "%(method)s %(route)s %(status)s %(milliseconds)s ms %(actor)s"
                log.info(line, shown, extra={"fields": fields})
