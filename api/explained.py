"""What a problem's type URI answers: the kind, explained. Open to all."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import PlainTextResponse

from api.catalogue import KINDS
from api.problems import answers
from unlearn.errors import NotFound

router = APIRouter(prefix="/problems", tags=["problems"])


@router.get(
    "/{kind}",
    summary="What a problem means",
    response_class=PlainTextResponse,
    responses=answers(404, 422, keyed=False),
)
def explain(kind: Annotated[str, Path(pattern=r"^[a-z-]{1,64}$", description="End of a `type`.")]) -> str:
    """What a kind of problem means and what to do, as plain text."""
    if kind not in KINDS:
        raise NotFound("no problem is called so; docs/problems.md lists them all")
    return KINDS[kind].told(kind)
