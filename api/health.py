"""Is the process alive; can it do its work."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from api.dependencies import TheDesk
from api.problems import answers
from unlearn import __version__
from unlearn.errors import Unavailable

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The service answers."""

    status: Literal["ok"] = "ok"
    version: str = Field(examples=["0.1.0"])


@router.get("/healthz", summary="Alive?", responses=answers(keyed=False))
def healthy() -> Health:
    """The process answers."""
    return Health(version=__version__)


@router.get("/readyz", summary="Ready?", responses=answers(503, keyed=False))
def ready(request: Request, desk: TheDesk) -> Health:
    """Database and broker answer, and no adapter awaits a deletion; otherwise a problem that names what is amiss."""
    missing = []
    for check in (desk.check, request.app.state.bell.check):
        try:
            check()
        except Unavailable as error:
            missing.append(str(error))
    if missing:
        raise Unavailable("; ".join(missing))
    desk.check_serving()
    return Health(version=__version__)
