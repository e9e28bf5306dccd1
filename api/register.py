"""The register of a period: one row a request."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from api.dependencies import TheDesk, Who
from api.problems import answers
from api.requests import NAME
from unlearn.evidence.register import MEDIA, Format, written

router = APIRouter(prefix="/v1/register", tags=["evidence"])


@router.get(
    "",
    summary="Download the register of a period",
    response_class=StreamingResponse,
    responses={
        **answers(403, 404, 422),
        200: {
            "description": "The register.",
            "content": {media: {"schema": {"type": "string"}} for media in ("text/csv", "application/jsonl")},
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

    Scope: `audit`. It comes as it is read, however long it is.
    """
    rows = desk.register(since, until, adapter, who)
    headers = {"Content-Disposition": f'attachment; filename="register.{form}"'}
    return StreamingResponse(written(rows, form), media_type=MEDIA[form], headers=headers)
