"""The register of a period: one row a request, and the signed statement about it."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response, StreamingResponse

from api.dependencies import TheDesk, Who
from api.ledger import LARGEST
from api.problems import answers
from api.requests import NAME
from unlearn.evidence.dsse import ENVELOPE
from unlearn.evidence.register import MEDIA, Format

router = APIRouter(prefix="/v1/register", tags=["evidence"])

CHUNK_BYTES = 64 * 1024


@router.get(
    "",
    summary="Download the register of a period",
    response_class=StreamingResponse,
    responses={
        **answers(403, 404, 422),
        200: {
            "description": "The register.",
            "content": {media: {"schema": {"type": "string"}} for media in ("text/csv", "application/jsonl")},
            "headers": {
                "Link": {"description": "Where its signed statement is, `describedby`.", "schema": {"type": "string"}}
            },
        },
    },
)
def register(
    desk: TheDesk,
    who: Who,
    since: Annotated[
        date | None, Query(alias="from", description="First day, in UTC; without, a year before the last.")
    ] = None,
    until: Annotated[date | None, Query(alias="to", description="Last day; without, today.")] = None,
    adapter: Annotated[str | None, Query(pattern=NAME, description="Only requests with a job on this adapter.")] = None,
    form: Annotated[Format, Query(alias="format", description="CSV, or a JSON object a line.")] = "csv",
) -> StreamingResponse:
    """A row for each request received in the period, under pseudonyms: clock, state, methods, verdicts, decision.

    Scope: `audit`. The ledger says who took it and its SHA-256; the header `Link` leads to the signed statement.
    """
    made = desk.export_register(since, until, adapter, form, who)
    headers = {
        "Content-Disposition": f'attachment; filename="register.{form}"',
        "Content-Length": str(made.size_bytes),
        "Link": f'<{router.prefix}/{made.entry}/statement>; rel="describedby"; type="{ENVELOPE}"',
    }
    return StreamingResponse(iter(lambda: made.file.read(CHUNK_BYTES), b""), media_type=MEDIA[form], headers=headers)


@router.get(
    "/{seq}/statement",
    summary="Get the statement about a register",
    response_class=Response,
    responses={
        **answers(403, 404, 422),
        200: {"description": "The statement.", "content": {ENVELOPE: {"schema": {"type": "object"}}}},
    },
)
def statement(
    seq: Annotated[int, Path(ge=1, le=LARGEST, description="The ledger's entry of the export.")],
    desk: TheDesk,
    who: Who,
) -> Response:
    """An in-toto statement in a DSSE envelope: the register's SHA-256, period and rows, and its entry's path to a
    signed checkpoint. Scope: `audit`. `unlearn verify` checks it, with the register, offline.
    """
    headers = {"Content-Disposition": 'attachment; filename="register.dsse.json"'}
    return Response(desk.register_statement(seq, who), media_type=ENVELOPE, headers=headers)
