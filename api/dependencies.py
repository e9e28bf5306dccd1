"""What endpoints get handed: the desk and the relay of the running app."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Path, Request

from unlearn.cases.desk import Desk
from workers.relay import Relay


def _desk(request: Request) -> Desk:
    return cast("Desk", request.app.state.desk)


def _relay(request: Request) -> Relay:
    return cast("Relay", request.app.state.relay)


TheDesk = Annotated[Desk, Depends(_desk)]
TheRelay = Annotated[Relay, Depends(_relay)]
Id = Annotated[str, Path(pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="The id, as the API gave it.")]
