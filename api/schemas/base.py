"""What all bodies and answers share: how strict they are, and how moments, names and reasons are spelled."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, StringConstraints

RFC3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?([Zz]|[+-]\d{2}:?\d{2})", re.ASCII)


def _spelled(value: object) -> object:
    if isinstance(value, datetime) or (isinstance(value, str) and RFC3339.fullmatch(value)):
        return value
    # seconds since 1970 look like any number
    raise ValueError("give date, time and zone, such as 2026-03-01T09:30:00Z")


def in_utc(moment: datetime) -> datetime:
    """The same moment in UTC.

    Raises:
        ValueError: it has no year there.
    """
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("this moment lies outside of the years 1 to 9999 in UTC") from None


Moment = Annotated[AwareDatetime, BeforeValidator(_spelled), AfterValidator(in_utc)]
"""A moment as RFC 3339 spells it (seconds may be missing), in UTC from here on."""

Text = Annotated[str, StringConstraints(min_length=1, max_length=512)]
PathText = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
Reason = Annotated[str, StringConstraints(min_length=1, max_length=2000)]


class In(BaseModel):
    """A body; a member that it does not have is refused."""

    model_config = ConfigDict(extra="forbid")


class Out(BaseModel):
    """An answer, made of a view of the desk's."""

    model_config = ConfigDict(from_attributes=True)
