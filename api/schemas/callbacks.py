"""Addresses that are told, and the messages to them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints

from api.schemas.base import In, Out
from unlearn.cases.views import ErrandKind, ErrandState


class EndpointIn(In):
    """An address to tell."""

    url: Annotated[str, StringConstraints(min_length=1, max_length=2000)] = Field(
        description="HTTPS, and in no private network.", examples=["https://privacy.example.com/hooks/unlearn"]
    )


class EndpointOut(Out):
    """An address that is told what becomes of requests."""

    id: str = Field(examples=["end_51c0e1d2b3a4958677869504"])
    url: str
    created_at: datetime
    created_by: str = Field(examples=["key:51c0e1d2b3a49586"])
    old_secret_until: datetime | None = Field(description="Until when the secret of before signs as well.")
    disabled_at: datetime | None
    disabled_reason: str | None = Field(description="Why nothing is sent there any more.")


class EndpointMade(EndpointOut):
    """An address with a new secret."""

    secret: str = Field(description="Signs the messages; shown this once.", examples=["whsec_…"])


class RotateIn(In):
    """How to change a secret."""

    overlap_hours: int = Field(
        default=24,
        ge=0,
        le=168,
        strict=True,
        description="How long the old secret signs beside the new one; 0 if it leaked.",
    )


class MessageOut(Out):
    """A message to an address or a hook, and how it went."""

    id: str = Field(description="The same on every attempt (`webhook-id`).", examples=["msg_51c0e1d2b3a4958677869504"])
    kind: ErrandKind = Field(description="Checkpoints of the ledger are in the first company's list alone.")
    target: str = Field(
        description="The address's id, the hook's name, where a checkpoint goes, or the host and a digest of an "
        "address that came with a request."
    )
    event: str = Field(examples=["request.completed"])
    about: str = Field(description="Id of the request or the adapter, or `ledger/` and the size of a checkpoint.")
    state: ErrandState
    attempts: int
    next_at: datetime | None = Field(description="When it is tried next.")
    last_error: str | None
    created_at: datetime
    ended_at: datetime | None


class MessagePage(BaseModel):
    """A page of messages, the newest first."""

    items: list[MessageOut]
    next: str | None = Field(description="`after` of the next page; none on the last.")
