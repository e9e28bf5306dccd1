"""API keys."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints

from api.schemas.base import In, Moment, Out
from unlearn.cases.rights import Scope


class KeyIn(In):
    """A key to make."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=64)] = Field(examples=["ticket system"])
    scopes: list[Scope] = Field(min_length=1, max_length=6, examples=[["requests:write", "requests:read"]])
    expires_at: Moment | None = Field(default=None, description="When it ends; never, if you say nothing.")


class KeyOut(Out):
    """A key, without its secret."""

    id: str = Field(examples=["51c0e1d2b3a49586"])
    controller: str = Field(description="Whose it is.", examples=["default"])
    name: str
    scopes: list[Scope]
    created_at: datetime
    created_by: str = Field(examples=["operator"])
    expires_at: datetime | None
    revoked_at: datetime | None


class KeyMade(KeyOut):
    """A key as it is made."""

    token: str = Field(description="Shown this once.", examples=["unl_51c0e1d2b3a49586_…"])
