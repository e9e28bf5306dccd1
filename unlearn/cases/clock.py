"""The statutory clock: when a request is due, and until when it may be extended. Pure; in the calendar of
the zone that a moment of receipt comes in, which is the company's: near midnight UTC's day is another, and at the end
of a month what comes a month after it is too. Results are in UTC.

GDPR, article 12(3): one month after receipt, extended by two where that is necessary, if the person is told why within
the first. A period of months ends with the day of the same number, or with the last of a month that has none
(Regulation (EEC, Euratom) 1182/71, article 3(2)(c)); here it is counted to the moment, and no weekend is waited for,
which is earlier. CCPA regulations, section 7021: receipt confirmed within 10 business days, an answer within 45
calendar days of receipt, once 45 more. Knows no request.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from unlearn.errors import BadInput, Conflict

Regulation = Literal["gdpr", "ccpa"]

OLDEST = timedelta(days=366)
"""How long ago a request may have been received by whoever passes it on."""

SKEW = timedelta(minutes=5)
"""How far ahead their clock may be."""

SOON = timedelta(days=7)
"""What is due within this is due soon."""


@dataclass(frozen=True)
class Deadline:
    """When a request is to be answered.

    Attributes:
        due_at: the answer.
        confirm_by: the confirmation of receipt, where the regulation asks for one; a request's 201 is one.
    """

    due_at: datetime
    confirm_by: datetime | None


def start(regulation: Regulation, received_at: datetime, now: datetime) -> Deadline:
    """The deadline of a request received at `received_at`.

    Raises:
        BadInput: that is in the future, or more than a year ago.
    """
    if received_at > now + SKEW:
        raise BadInput(
            f"received at {received_at.isoformat()}, in the future; it is {now.isoformat()} here, so check the clock"
        )
    if received_at < now - OLDEST:
        raise BadInput(f"received at {received_at.isoformat()}, more than a year ago; check the date")
    if regulation == "gdpr":
        return Deadline(months_after(received_at, 1).astimezone(UTC), None)
    confirm_by = business_days_after(received_at, 10)
    return Deadline((received_at + timedelta(days=45)).astimezone(UTC), confirm_by.astimezone(UTC))


def extended(regulation: Regulation, received_at: datetime, due_at: datetime, now: datetime) -> datetime:
    """When a request is due once it is extended, which must happen before it is due.

    Raises:
        Conflict: it is due already.
    """
    if now >= due_at:
        raise Conflict(f"the request was due at {due_at.isoformat()}; it can be extended only before")
    due = months_after(received_at, 3) if regulation == "gdpr" else received_at + timedelta(days=90)
    return due.astimezone(UTC)


def months_after(moment: datetime, months: int) -> datetime:
    """The same day and time so many months later, on the last day of a month that has no such day.

    >>> months_after(datetime(2026, 1, 31, 9), 1)
    datetime.datetime(2026, 2, 28, 9, 0)
    >>> months_after(datetime(2026, 1, 31, 9), 3)
    datetime.datetime(2026, 4, 30, 9, 0)
    """
    years, month = divmod(moment.month - 1 + months, 12)
    year = moment.year + years
    return moment.replace(year=year, month=month + 1, day=min(moment.day, calendar.monthrange(year, month + 1)[1]))


def business_days_after(moment: datetime, days: int) -> datetime:
    """The same time so many days later, Saturdays and Sundays not counted. Holidays count, which is earlier.

    >>> business_days_after(datetime(2026, 3, 6, 9), 1)
    datetime.datetime(2026, 3, 9, 9, 0)
    """
    while days > 0:
        moment += timedelta(days=1)
        days -= moment.weekday() < 5
    return moment
