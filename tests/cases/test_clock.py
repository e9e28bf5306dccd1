"""The statutory clock is the calendar's: months of their own length, business days, one extension in time."""

from __future__ import annotations

import calendar
import doctest
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearn.cases import clock
from unlearn.cases.clock import Deadline, business_days_after, extended, months_after, start
from unlearn.cases.desk import Desk, Wish
from unlearn.errors import BadInput, Conflict
from unlearn.settings import Settings

MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC))


def at(*parts):
    return datetime(*parts, tzinfo=UTC)


@pytest.mark.parametrize(
    ("received", "due"),
    [
        (at(2026, 3, 1, 12), at(2026, 4, 1, 12)),
        (at(2026, 1, 31), at(2026, 2, 28)),
        (at(2028, 1, 31), at(2028, 2, 29)),
        (at(2026, 8, 31), at(2026, 9, 30)),
        (at(2026, 12, 15, 23, 59), at(2027, 1, 15, 23, 59)),
    ],
)
def test_gdpr_gives_one_calendar_month(received, due):
    assert start("gdpr", received, received) == Deadline(due, None)


def test_ccpa_gives_forty_five_days_and_ten_business_days_to_confirm():
    friday = at(2026, 3, 6, 9)
    assert start("ccpa", friday, friday) == Deadline(friday + timedelta(days=45), at(2026, 3, 20, 9))


def test_an_extension_counts_from_receipt_and_must_come_before_the_day():
    received = at(2026, 1, 31)
    assert extended("gdpr", received, at(2026, 2, 28), at(2026, 2, 27)) == at(2026, 4, 30)
    assert extended("ccpa", received, at(2026, 3, 17), at(2026, 3, 1)) == received + timedelta(days=90)
    with pytest.raises(Conflict, match="only before"):
        extended("gdpr", received, at(2026, 2, 28), at(2026, 2, 28))


def test_a_clock_far_off_is_told():
    now = at(2026, 3, 1)
    assert start("gdpr", now + timedelta(minutes=4), now)
    with pytest.raises(BadInput, match="in the future"):
        start("gdpr", now + timedelta(minutes=6), now)
    with pytest.raises(BadInput, match="more than a year ago"):
        start("ccpa", now - timedelta(days=400), now)


@given(MOMENTS, st.integers(1, 12))
def test_a_month_later_is_the_same_day_or_the_months_last(moment, months):
    later = months_after(moment, months)
    assert (later.year * 12 + later.month) - (moment.year * 12 + moment.month) == months
    assert later.time() == moment.time()
    last = calendar.monthrange(later.year, later.month)[1]
    assert later.day == moment.day or (later.day == last < moment.day)


@given(MOMENTS, st.integers(1, 30))
def test_business_days_are_no_weekend_and_as_many_as_were_asked(moment, days):
    later = business_days_after(moment, days)
    between = (moment + timedelta(days=n) for n in range(1, (later - moment).days + 1))
    assert later.weekday() < 5
    assert sum(day.weekday() < 5 for day in between) == days


def test_the_examples_hold():
    assert doctest.testmod(clock).failed == 0


@pytest.mark.parametrize(
    ("regulation", "zone", "received", "last_day"),
    [
        ("gdpr", "Asia/Tokyo", (2026, 5, 31, 8), (2026, 6, 30)),
        ("gdpr", "Europe/Berlin", (2026, 3, 31, 0, 30), (2026, 4, 30)),
        ("gdpr", "Europe/Berlin", (2026, 1, 31, 0, 30), (2026, 2, 28)),
        ("gdpr", "America/Los_Angeles", (2026, 5, 31, 20), (2026, 6, 30)),
        ("ccpa", "America/Los_Angeles", (2026, 3, 8, 20), (2026, 4, 22)),
    ],
)
def test_the_day_is_the_one_of_the_companys_calendar(regulation, zone, received, last_day):
    local = datetime(*received, tzinfo=ZoneInfo(zone))
    found = start(regulation, local, local)
    assert found.due_at.tzinfo is UTC
    assert found.due_at.astimezone(ZoneInfo(zone)).date() == date(*last_day)
    if found.confirm_by is not None:  # a Sunday evening there is Monday in UTC
        assert found.confirm_by.astimezone(ZoneInfo(zone)).date() == date(2026, 3, 20)


def test_an_extension_is_the_companys_calendar_too():
    local = datetime(2025, 11, 30, 0, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    due = extended("gdpr", local, at(2025, 12, 30), at(2025, 12, 1))
    assert due.astimezone(ZoneInfo("Europe/Berlin")).date() == date(2026, 2, 28)


def test_a_desk_counts_in_its_zone(company, tmp_path):
    given = {"home": tmp_path / "home", "roots": [company.path], "statutory_zone": "Asia/Tokyo"}
    desk = Desk(Settings(**given), clock=lambda: at(2026, 6, 2))
    desk.migrate()
    received = at(2026, 5, 30, 23)  # the 31st of May there
    taken = desk.submit_many([Wish("customer:nobody", received_at=received)])[0]
    assert taken.due_at == at(2026, 6, 29, 23)
    with pytest.raises(BadInput, match="tz database"):
        Settings(statutory_zone="Mars/Olympus")
