"""Deletion requests: submit, find, decide, export."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from api.dependencies import Id, TheDesk, TheRelay, Who
from api.problems import answers
from api.schemas.base import Moment
from api.schemas.requests import (
    BatchIn,
    ReasonIn,
    RejectIn,
    RequestIn,
    RequestOut,
    RequestPage,
    RetryIn,
    SearchIn,
    SubjectOf,
    TouchedOut,
)
from unlearn.cases.desk import Desk, Wish
from unlearn.cases.rights import Actor
from unlearn.cases.store.requests import Order, Wanted
from unlearn.cases.views import RequestState, RequestView
from workers.relay import Relay

NAME = r"^[a-z0-9][a-z0-9_.-]{0,63}$"
ASKED = (400, 403, 413, 415, 422)
CHANGED = (*ASKED, 404, 409)
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[A-Za-z0-9_.:-]{1,64}$",
        description="The same key with the same body gets the same answer, however often it is sent.",
    ),
]

router = APIRouter(prefix="/v1/requests", tags=["requests"])


@router.post("", status_code=201, summary="Submit a deletion request", responses=answers(*ASKED, 409))
async def submit(
    body: RequestIn, response: Response, desk: TheDesk, relay: TheRelay, who: Who, key: IdempotencyKey = None
) -> RequestOut:
    """Ask for one person to be forgotten by every adapter that learned from their records. Scope: `requests:write`.

    The identity is hashed at once and not stored. Follow the answer's `id`; the request ends as `completed` when the
    guards released every adapter, or as `needs_review` when a person has to decide. A person of whom no adapter knows
    (any more) is completed at once.
    """
    [view] = await desk.submit_soon([wish(body)], by=who, idempotency_key=key)
    if view.jobs:
        relay.nudge()
    response.headers["Location"] = f"/v1/requests/{view.id}"
    return RequestOut.model_validate(view)


@router.post("/batch", status_code=201, summary="Submit several deletion requests", responses=answers(*ASKED, 409))
async def submit_many(
    body: BatchIn, desk: TheDesk, relay: TheRelay, who: Who, key: IdempotencyKey = None
) -> list[RequestOut]:
    """Submit up to 50 requests: all of them are accepted, or none. Scope: `requests:write`."""
    views = await desk.submit_soon([wish(one) for one in body.requests], by=who, idempotency_key=key)
    relay.nudge()
    return [RequestOut.model_validate(view) for view in views]


@router.post("/preview", summary="See what a request would touch", responses=answers(*ASKED))
def preview(body: SubjectOf, desk: TheDesk, who: Who) -> list[TouchedOut]:
    """Which adapters learned from the person, and by how many records; nothing is stored. Scope: `requests:write`."""
    return [TouchedOut.model_validate(one) for one in desk.preview(body.subject.spelled, who)]


@router.get("", summary="List requests", responses=answers(403, 422))
def listing(
    desk: TheDesk,
    who: Who,
    state: Annotated[RequestState | None, Query(description="Only requests in this state.")] = None,
    due_before: Annotated[
        Moment | None, Query(description="Only what is due before this moment and has not ended.")
    ] = None,
    adapter: Annotated[str | None, Query(pattern=NAME, description="Only with a job on this adapter.")] = None,
    held: Annotated[bool | None, Query(description="Only under a legal hold, or only not.")] = None,
    confirmed_late: Annotated[
        bool | None, Query(description="Only those whose receipt was confirmed after `confirm_by`, or only others.")
    ] = None,
    order: Annotated[Order, Query(description="The newest first, or the most urgent.")] = "created",
    limit: Annotated[int, Query(ge=1, le=200, description="Requests on a page.")] = 50,
    after: Annotated[
        str | None, Query(pattern=r"^[A-Za-z0-9_]{1,64}$", description="`next` of the page before.")
    ] = None,
) -> RequestPage:
    """A page of requests. Scope: `requests:read`, `review` or `audit`.

    To look for a person's requests, `POST /v1/requests/search`: an identity has no place in an address.
    """
    return _page(desk, who, Wanted(state, due_before, adapter, None, held, order, confirmed_late), limit, after)


@router.post("/search", summary="Find requests", responses=answers(*ASKED))
def search(body: SearchIn, desk: TheDesk, who: Who) -> RequestPage:
    """As the list, and by a person's identity, which is hashed at once. Scope: `requests:read`, `review` or `audit`."""
    wanted = Wanted(body.state, body.due_before, body.adapter, None, body.held, body.order, body.confirmed_late)
    subject = None if body.subject is None else body.subject.spelled
    return _page(desk, who, wanted, body.limit, body.after, subject)


@router.get("/{id}", summary="Look at a request", responses=answers(403, 404, 422))
def one(id: Id, desk: TheDesk, who: Who) -> RequestOut:
    """One request with the state of its jobs. Scope: any of requests."""
    return RequestOut.model_validate(desk.request(id, who))


@router.post("/{id}/cancel", summary="Cancel a request", responses=answers(*CHANGED))
def cancel(id: Id, desk: TheDesk, relay: TheRelay, who: Who) -> RequestOut:
    """Cancel a request that its person took back. Scope: `requests:write`. What serves goes on serving.

    Also one that waits for a decision: its candidate is dropped, as at a rejection. 409 if it was completed, cancelled
    or rejected.
    """
    return _changed(relay, desk.cancel(id, who))


@router.post("/{id}/hold", summary="Put a request under a legal hold", responses=answers(*CHANGED))
def hold(id: Id, body: ReasonIn, desk: TheDesk, relay: TheRelay, who: Who) -> RequestOut:
    """Nothing of the person is erased until the hold is lifted, whichever of her requests asks; the clock runs on.

    Scope: `review`.
    """
    return _changed(relay, desk.put_on_hold(id, body.reason, who))


@router.post("/{id}/lift", summary="Lift a legal hold", responses=answers(*CHANGED))
def lift(id: Id, desk: TheDesk, relay: TheRelay, who: Who) -> RequestOut:
    """The request goes on. Scope: `review`."""
    return _changed(relay, desk.lift_hold(id, who))


@router.post("/{id}/extend", summary="Extend the time for an answer", responses=answers(*CHANGED))
def extend(id: Id, body: ReasonIn, desk: TheDesk, relay: TheRelay, who: Who) -> RequestOut:
    """Once, and before the request is due: by two months (gdpr) or 45 days (ccpa). Scope: `review`."""
    return _changed(relay, desk.extend(id, body.reason, who))


@router.post("/{id}/retry", summary="Try again", responses=answers(*CHANGED))
def retry(id: Id, body: RetryIn, desk: TheDesk, relay: TheRelay, who: Who) -> RequestOut:
    """Try again what waits for a decision, under another policy if one is given. Scope: `review`."""
    return _changed(relay, desk.retry(id, body.policy, who))


@router.post("/{id}/reject", summary="Reject a request", responses=answers(*CHANGED))
def reject(id: Id, body: RejectIn, desk: TheDesk, relay: TheRelay, who: Who) -> RequestOut:
    """Reject a request on a legal ground. Scope: `review`."""
    return _changed(relay, desk.reject(id, body.ground, body.reason, who))


@router.post("/{id}/release", summary="Release as it is", responses=answers(*CHANGED, 503))
def release(id: Id, body: ReasonIn, desk: TheDesk, relay: TheRelay, who: Who) -> RequestOut:
    """Let the candidates serve that the guards held back, for a reason in writing. Scope: `review`."""
    return _changed(relay, desk.release_as_it_is(id, body.reason, who))


@router.get(
    "/{id}/export",
    summary="Download a request's export",
    response_class=Response,
    responses={
        **answers(403, 404, 409, 422),
        200: {
            "description": "The export.",
            "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
        },
    },
)
def export(id: Id, desk: TheDesk, who: Who) -> Response:
    """A signed zip for the auditor: statement, certificate, reports, the ledger's entries and proofs. Scope: `audit`.

    `unlearn verify` checks it offline; so do openssl, sha256sum and the script in it.
    """
    headers = {"Content-Disposition": f'attachment; filename="{id}.zip"'}
    return Response(desk.export(id, who), media_type="application/zip", headers=headers)


def wish(body: RequestIn) -> Wish:
    """What the desk is asked for."""
    return Wish(body.subject.spelled, body.regulation, body.received_at, body.external_id)


def _changed(relay: Relay, view: RequestView) -> RequestOut:
    relay.nudge()
    return RequestOut.model_validate(view)


def _page(
    desk: Desk, who: Actor, wanted: Wanted, limit: int, after: str | None, subject: str | None = None
) -> RequestPage:
    found = desk.requests(wanted, limit + 1, after, subject=subject, by=who)
    items = [RequestOut.model_validate(view) for view in found[:limit]]
    return RequestPage(items=items, next=items[-1].id if len(found) > limit else None)
