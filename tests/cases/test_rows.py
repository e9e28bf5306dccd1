"""Many rows by one statement: both databases give back what they got."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from unlearn.cases.rights import HERE
from unlearn.cases.store.rows import add_rows
from unlearn.cases.tables import LedgerEntry, LedgerNode, Request

AWKWARD = "quotes ' \" \\ $1 %s :name {} \t\n\u2028 é 🙂"


def test_rows_come_back_as_they_were(desk):
    facts = [{"text": AWKWARD, "list": [1, None, 2.5], "more": {"é": True}}, {}]
    entries = [
        {"seq": 10 + n, "at": AWKWARD[:40], "action": "x", "facts": f, "hash": "0" * 64} for n, f in enumerate(facts)
    ]
    nodes = [{"level": 1, "index": 2**40, "hash": bytes(range(32))}, {"level": 2, "index": 0, "hash": b"\x00" * 32}]
    with desk.store.writing() as session:
        add_rows(session, LedgerEntry, entries)
        add_rows(session, LedgerNode, nodes)
        add_rows(session, LedgerNode, [])
    with desk.store.reading() as session:
        columns = LedgerEntry.seq, LedgerEntry.at, LedgerEntry.action, LedgerEntry.facts, LedgerEntry.hash
        found = session.execute(select(*columns).where(LedgerEntry.seq >= 10).order_by(LedgerEntry.seq))
        assert [dict(row._mapping) for row in found] == entries
        found = session.execute(select(LedgerNode.level, LedgerNode.index, LedgerNode.hash).order_by(LedgerNode.level))
        assert [dict(row._mapping) for row in found] == nodes


def request(number, **more):
    moment = datetime(2026, 3, 1, 12, 0, 0, 123456, UTC)
    return {
        "id": f"req_{number}",
        "controller_id": HERE,
        "external_id": None,
        "subject_hash": f"{number:064x}",
        "regulation": "gdpr",
        "state": "pending",
        "submitted_by": "operator",
        "received_at": moment.astimezone(timezone(timedelta(hours=5, minutes=45))),
        "due_at": moment,
        "confirm_by": None,
        "callback_urls": None,
        "created_at": moment,
        "updated_at": moment,
        "completed_at": None,
    } | more


def test_moments_keep_their_microseconds_whatever_their_zone_and_none_is_null(desk):
    rows = [request(1), request(2, external_id="a", callback_urls=["https://a.example/?x=1"])]
    with desk.store.writing() as session:
        add_rows(session, Request, rows)
    with desk.store.reading() as session:
        found = {row.id: row for row in session.scalars(select(Request))}
        assert [{name: getattr(found[row["id"]], name) for name in row} for row in rows] == rows
        query = select(Request.id).where(Request.callback_urls.is_(None), Request.external_id.is_(None))
        assert list(session.scalars(query)) == ["req_1"]


def test_one_row_that_can_not_be_keeps_out_all(desk):
    with pytest.raises(IntegrityError), desk.store.writing() as session:
        add_rows(session, Request, [request(1), request(2, id="req_1")])
    with desk.store.reading() as session:
        assert list(session.scalars(select(Request.id))) == []


def test_a_number_that_is_none_is_refused(desk):
    entry = {"seq": 10, "at": "", "action": "x", "facts": {"n": float("nan")}, "hash": "0" * 64}
    with pytest.raises(Exception, match="Out of range float"), desk.store.writing() as session:
        add_rows(session, LedgerEntry, [entry])
