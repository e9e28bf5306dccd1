"""Callbacks: who is told what becomes of requests, and how each message went."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from api.dependencies import Id, TheDesk, Who
from api.problems import answers
from api.schemas.callbacks import EndpointIn, EndpointMade, EndpointOut, MessageOut, MessagePage, RotateIn
from unlearn.cases.views import ErrandState

router = APIRouter(prefix="/v1/callbacks", tags=["callbacks"])


@router.post("", status_code=201, summary="Add an address", responses=answers(400, 403, 409, 413, 415, 422))
def add(body: EndpointIn, desk: TheDesk, who: Who) -> EndpointMade:
    """Have an address told of every change of the company's requests, and of what is due. Scope: `admin`.

    Messages follow the Standard Webhooks specification: `webhook-id`, `webhook-timestamp`, `webhook-signature`
    (HMAC-SHA-256 under `secret`, which is shown this once). They hold ids, states and times. What is not answered by a
    2xx is sent again, with growing pauses, for a day.
    """
    view, secret = desk.add_endpoint(body.url, who)
    return EndpointMade(**EndpointOut.model_validate(view).model_dump(), secret=secret)


@router.get("", summary="List addresses", responses=answers(403))
def listing(desk: TheDesk, who: Who) -> list[EndpointOut]:
    """The company's addresses, the newest first. Scope: `admin`."""
    return [EndpointOut.model_validate(view) for view in desk.endpoints(who)]


@router.post("/{id}/rotate", summary="Change a secret", responses=answers(400, 403, 404, 409, 413, 415, 422))
def rotate(id: Id, body: RotateIn, desk: TheDesk, who: Who) -> EndpointMade:
    """Make a new `secret`, which is shown this once. Scope: `admin`.

    Until `old_secret_until` each message has a signature by either, separated by a space, so that receivers can
    change over in their own time. A secret that was old already ends now.
    """
    view, secret = desk.rotate_secret(id, timedelta(hours=body.overlap_hours), who)
    return EndpointMade(**EndpointOut.model_validate(view).model_dump(), secret=secret)


@router.delete("/{id}", summary="Take an address away", responses=answers(403, 404, 422))
def remove(id: Id, desk: TheDesk, who: Who) -> EndpointOut:
    """Send no more there. Scope: `admin`."""
    return EndpointOut.model_validate(desk.disable_endpoint(id, who))


@router.get("/messages", summary="List messages", responses=answers(403, 422))
def messages(
    desk: TheDesk,
    who: Who,
    state: Annotated[ErrandState | None, Query(description="Only messages in this state.")] = None,
    about: Annotated[
        str | None,
        Query(pattern=r"^[A-Za-z0-9_/]{1,40}$", description="Only about this request, adapter or checkpoint."),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=200, description="Messages on a page.")] = 50,
    after: Annotated[
        str | None, Query(pattern=r"^[A-Za-z0-9_]{1,40}$", description="`next` of the page before.")
    ] = None,
) -> MessagePage:
    """Callbacks, what deployment hooks were told, where checkpoints went; the newest first.

    Scope: `requests:read` or `audit`.
    """
    found = desk.messages(state, about, limit + 1, after, who)
    items = [MessageOut.model_validate(view) for view in found[:limit]]
    return MessagePage(items=items, next=items[-1].id if len(found) > limit else None)


@router.post("/messages/{id}/replay", summary="Send a message again", responses=answers(403, 404, 409, 413, 415, 422))
def replay(id: Id, desk: TheDesk, who: Who) -> MessageOut:
    """Send a message, or tell a hook, again, whatever became of it. Its id stays. Scope: `admin`."""
    return MessageOut.model_validate(desk.replay(id, who))
