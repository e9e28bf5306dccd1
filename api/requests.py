"""Deletion requests: submit, list, look at, export."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.dependencies import Id, TheDesk, TheRelay
from api.problems import answers
from api.schemas import RequestIn, RequestOut, RequestPage, RequestState

BINARY = {"type": "string", "format": "binary"}

router = APIRouter(prefix="/v1/requests", tags=["requests"])


@router.post("", status_code=201, summary="Submit a deletion request", responses=answers(400, 409, 413, 415, 422))
def submit(body: RequestIn, response: Response, desk: TheDesk, relay: TheRelay) -> RequestOut:
    """Ask for one person to be forgotten by every adapter that learned from their records.

    The identity is hashed at once and not stored. Follow the answer's `id`; the request ends as `completed` when the
    guards released every adapter, or as `needs_review` when a person has to decide.
    """
    view = desk.submit(f"{body.subject.type}:{body.subject.value}")
    relay.nudge()
    response.headers["Location"] = f"/v1/requests/{view.id}"
    return RequestOut.model_validate(view)


@router.get("", summary="List requests", responses=answers(422))
def listing(
    desk: TheDesk,
    state: Annotated[RequestState | None, Query(description="Only requests in this state.")] = None,
    limit: Annotated[int, Query(ge=1, le=200, description="Requests on a page.")] = 50,
    after: Annotated[
        str | None, Query(pattern=r"^[A-Za-z0-9_]{1,64}$", description="`next` of the page before.")
    ] = None,
) -> RequestPage:
    """A page of requests, the newest first."""
    found = desk.requests(state, limit + 1, after)
    items = [RequestOut.model_validate(view) for view in found[:limit]]
    return RequestPage(items=items, next=items[-1].id if len(found) > limit else None)


@router.get("/{id}", summary="Look at a request", responses=answers(404, 422))
def one(id: Id, desk: TheDesk) -> RequestOut:
    """One request with the state of its jobs."""
    return RequestOut.model_validate(desk.request(id))


@router.get(
    "/{id}/export",
    summary="Download a request's export",
    response_class=Response,
    responses={
        **answers(404, 409, 422),
        200: {
            "description": "The export.",
            "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
        },
    },
)
def export(id: Id, desk: TheDesk) -> Response:
    """A zip for the auditor: report, figures before and after, and the ledger's entries about this request."""
    headers = {"Content-Disposition": f'attachment; filename="{id}.zip"'}
    return Response(desk.export(id), media_type="application/zip", headers=headers)
