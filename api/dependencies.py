"""What endpoints get handed: the desk and the relay of the running app."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, cast

from fastapi import Depends, Path, Request, Security
from fastapi.concurrency import run_in_threadpool
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.access import exchange
from unlearn.cases.desk import Desk
from unlearn.cases.rights import OPERATOR, Actor
from unlearn.errors import Unauthenticated
from workers.relay import Relay


# All of these are coroutines, since FastAPI takes a plain function to a thread of its pool and back.
async def known_query(request: Request) -> None:
    """Refuse query parameters that the address does not take, or that come twice: a typo would widen a list unseen.

    Raises:
        RequestValidationError: names those there are, and nothing that was sent.
        Unauthenticated: nobody known asks, where a key is needed.
    """
    if not request.scope["query_string"]:
        return
    parts = list(_parts(request.scope["route"].dependant))
    names = list(dict.fromkeys(one.alias for part in parts for one in part.query_params))
    given = [name for name, _ in request.query_params.multi_items()]
    faults = [
        {"type": "repeated_parameter", "loc": ("query", name), "msg": "it is given more than once; give it once"}
        for name in names
        if given.count(name) > 1
    ]
    if not set(given) <= set(names):
        there = f"there are {', '.join(names)}" if names else "there are none"
        faults.append({"type": "unknown_parameter", "loc": ("query",), "msg": f"a parameter is unknown; {there}"})
    if faults and any(part.call is _bearer for part in parts):
        await _who(request, await _bearer(request))
    if faults:
        raise RequestValidationError(faults)


def _parts(dependant: Dependant) -> Iterator[Dependant]:
    """An endpoint and all that it depends on."""
    yield dependant
    for one in dependant.dependencies:
        yield from _parts(one)


async def _desk(request: Request) -> Desk:
    return cast("Desk", request.app.state.desk)


async def _relay(request: Request) -> Relay:
    return cast("Relay", request.app.state.relay)


TheDesk = Annotated[Desk, Depends(_desk)]
TheRelay = Annotated[Relay, Depends(_relay)]


_bearer = HTTPBearer(
    auto_error=False,
    description="An API key (`unlearn key create`), or a token of the OIDC issuer where one is set up.",
)


Credentials = Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]


async def holder(desk: Desk, token: str) -> Actor:
    """Who holds the key or token now; of a key the database is asked once a second.

    Raises:
        Unauthenticated: nobody does (any more).
        NotAllowed: the token is for a company that is not known here.
    """
    recent = desk.recognise(token)
    return await run_in_threadpool(desk.authenticate, token) if recent is None else recent


async def _who(request: Request, given: Credentials) -> Actor:
    if given is None:
        raise Unauthenticated("send an API key as 'Authorization: Bearer unl_…'; `unlearn key create` makes one")
    actor = await holder(await _desk(request), given.credentials)
    exchange(request.scope).actor = actor.name
    return actor


async def _watcher(request: Request, given: Credentials) -> Actor:
    return OPERATOR if (await _desk(request)).settings.metrics_open else await _who(request, given)


Who = Annotated[Actor, Depends(_who)]
Watcher = Annotated[Actor, Depends(_watcher)]
Id = Annotated[str, Path(pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="The id, as the API gave it.")]
