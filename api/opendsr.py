"""The OpenDSR 2.0 front: what controllers' tools send, put in the desk's words and back.

Where the specification is silent or contradicts itself: `docs/opendsr.md`. Errors' shape and signatures are
`opendsr_answers`'.
"""

from __future__ import annotations

import base64
from typing import Annotated, Any, cast, get_args

import rfc8785
from fastapi import APIRouter, Depends, Path, Request, Response

from api.dependencies import TheDesk, TheRelay, Who
from api.opendsr_answers import ROOT, errors
from api.schemas.opendsr import (
    API_VERSION,
    GUID,
    Alive,
    Cancellation,
    Discovery,
    Identity,
    IdentityIn,
    IdentityType,
    Receipt,
    RequestStatus,
    StateHere,
    SubjectRequestIn,
)
from unlearn.cases.desk import Wish
from unlearn.cases.identity import canonical
from unlearn.cases.views import OPENDSR_STATUS, RequestView, rfc3339
from unlearn.errors import BadInput
from unlearn.outbound import Signer, check_url

PREFIX = f"{ROOT}/v2"
TYPES = {"controller_customer_id": "customer"}
"""Identity types that corpora call otherwise; all others go by their own name."""


class Unsupported(BadInput):
    """The specification has it, this processor does not."""

    kind = "unsupported"
    title = "This is not supported"


def _signer(request: Request) -> Signer:
    return cast("Signer", request.app.state.signer)


async def _raw(request: Request) -> bytes:
    return await request.body()


TheSigner = Annotated[Signer, Depends(_signer)]
Raw = Annotated[bytes, Depends(_raw)]
Id = Annotated[str, Path(pattern=GUID, description="The `subject_request_id`: a UUID v4 in lower case.")]

router = APIRouter(prefix=PREFIX, tags=["opendsr"])


@router.get("/discovery", summary="See what this processor can do", responses=errors())
def discovery(signer: TheSigner) -> Discovery:
    """Identities and request types that are understood, and where the certificate is. Needs no key."""
    return Discovery(
        api_version=API_VERSION,
        supported_identities=[Identity(identity_type=kind) for kind in get_args(IdentityType)],
        supported_subject_request_types=["erasure"],
        processor_certificate=f"https://{signer.domain}{PREFIX}/certificate.pem",
    )


@router.get(
    "/certificate.pem",
    summary="Download the certificate",
    response_class=Response,
    responses={
        **errors(),
        200: {
            "description": "The certificate.",
            "content": {"application/x-pem-file": {"schema": {"type": "string"}}},
        },
    },
)
def certificate(signer: TheSigner) -> Response:
    """The X.509 certificate that checks the signatures, as PEM, and its issuers if there are any. Needs no key."""
    return Response(signer.certificate_pem, media_type="application/x-pem-file")


@router.get("/status", summary="Alive?", responses=errors())
def alive() -> Alive:
    """The front answers. Needs no key."""
    return Alive(api_version=API_VERSION)


@router.post("/opengdpr_requests", status_code=201, deprecated=True, responses=errors(400, 401, 403, 413, 415))
@router.post("/requests", status_code=201, summary="Submit a request", responses=errors(400, 401, 403, 413, 415))
def submit(
    body: SubjectRequestIn, raw: Raw, response: Response, desk: TheDesk, relay: TheRelay, signer: TheSigner, who: Who
) -> Receipt:
    """Ask for one person to be forgotten by every adapter that learned from their records. Scope: `requests:write`.

    The identity is hashed at once and not stored. The same `subject_request_id` with the same identity gets the same
    request again, with another identity an error.
    """
    view = desk.submit_once(_wish(body, signer.domain, allow_private=desk.settings.callbacks_allow_private), by=who)
    relay.nudge()
    response.headers["Location"] = f"{PREFIX}/requests/{body.subject_request_id}"
    receipt: dict[str, Any] = {
        "controller_id": desk.controller(who),
        "expected_completion_time": rfc3339(view.due_at),
        "received_time": rfc3339(view.created_at),
        "encoded_request": base64.b64encode(raw).decode("ascii"),
        "subject_request_id": body.subject_request_id,
        "extensions": _extensions(view, signer.domain),
    }
    return Receipt(**receipt, processor_signature=signer.sign(rfc8785.dumps(receipt)))


@router.get("/opengdpr_requests/{subject_request_id}", deprecated=True, responses=errors(400, 401, 403))
@router.get("/requests/{subject_request_id}", summary="Look at a request", responses=errors(400, 401, 403))
def status(subject_request_id: Id, desk: TheDesk, signer: TheSigner, who: Who) -> RequestStatus:
    """Where a request is. Scope: `requests:read` or `requests:write`.

    `cancelled` is also what was rejected, and `in_progress` what waits for a person's decision; `extensions` says
    which.
    """
    view = desk.request_called(subject_request_id, who)
    told = {
        "controller_id": desk.controller(who),
        "expected_completion_time": rfc3339(view.due_at),
        "subject_request_id": subject_request_id,
        "request_status": OPENDSR_STATUS[view.state],
        "api_version": API_VERSION,
        "extensions": _extensions(view, signer.domain),
    }
    return RequestStatus.model_validate(told)


@router.delete(
    "/opengdpr_requests/{subject_request_id}", status_code=202, deprecated=True, responses=errors(400, 401, 403)
)
@router.delete(
    "/requests/{subject_request_id}", status_code=202, summary="Cancel a request", responses=errors(400, 401, 403)
)
def cancel(subject_request_id: Id, desk: TheDesk, relay: TheRelay, signer: TheSigner, who: Who) -> Cancellation:
    """Cancel a request while it is `pending`. Scope: `requests:write`. What serves goes on serving."""
    view = desk.cancel_unstarted(subject_request_id, who)
    relay.nudge()
    told: dict[str, Any] = {
        "controller_id": desk.controller(who),
        "received_time": rfc3339(view.updated_at),
        "subject_request_id": subject_request_id,
        "api_version": API_VERSION,
        "extensions": _extensions(view, signer.domain),
    }
    return Cancellation(**told, processor_signature=signer.sign(rfc8785.dumps(told)))


def _wish(body: SubjectRequestIn, domain: str, *, allow_private: bool) -> Wish:
    """What the desk is asked for.

    Raises:
        Unsupported: something of the specification that this processor does not do.
        CallbackRefused: a callback address that is not allowed.
    """
    if body.subject_request_type != "erasure":
        raise Unsupported(f"'{body.subject_request_type}' requests are not supported; this processor takes 'erasure'")
    if body.extensions and body.extensions.get(domain):
        raise Unsupported(f"this processor knows no extensions of requests; send none under '{domain}'")
    people = {_subject(identity) for identity in body.subject_identities}
    if len(people) > 1:
        raise Unsupported(
            "give one identity: nothing here tells that several are one person's; send a request for each, with a "
            "subject_request_id of its own"
        )
    for url in body.status_callback_urls:
        check_url(url, allow_private=allow_private)
    urls = tuple(dict.fromkeys(body.status_callback_urls))
    return Wish(people.pop(), body.regulation, body.submitted_time, body.subject_request_id, urls)


def _subject(identity: IdentityIn) -> str:
    """The identity as corpora spell it: "type:value"."""
    if identity.identity_format != "raw":
        raise Unsupported(
            f"identity_format '{identity.identity_format}' is not supported: a digest can't be matched with the keyed "
            "hashes kept here; send the identity as 'raw'"
        )
    kind = TYPES.get(identity.identity_type, identity.identity_type)
    return canonical(f"{kind}:{identity.identity_value}")


def _extensions(view: RequestView, domain: str) -> dict[str, Any]:
    """Our own state, under our domain."""
    here = StateHere(
        state=view.state,
        request=view.id,
        due_at=rfc3339(view.due_at),
        decision=None if view.decision is None else view.decision["kind"],
    )
    return {domain: here.model_dump()}
