"""Revisions, up and down with rows in the tables, on both databases."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime

import pytest
import rfc8785
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from unlearn.cases.desk import Desk
from unlearn.cases.store import salts
from unlearn.cases.tables import Table
from unlearn.errors import BadInput
from unlearn.evidence.ledger import LedgerBroken

RECEIVED = datetime(2026, 1, 31, 9, tzinfo=UTC)
ROWS = """
INSERT INTO adapters (id, name, base, base_sha256, train, train_sha256, train_records, holdout, holdout_sha256,
    holdout_records, policy, current, created_at)
  VALUES ('adp_1', 'bot', '/b', 'b', '/t', 't', 1, '/h', 'h', 1, '{}', 1, :at);
INSERT INTO adapter_versions (adapter_id, number, sha256, path, created_at) VALUES ('adp_1', 1, 's', '/v1', :at);
INSERT INTO adapter_subjects (subject_hash, adapter_id, records) VALUES ('s', 'adp_1', 3);
INSERT INTO requests (id, subject_hash, state, received_at, updated_at) VALUES ('req_1', 's', 'pending', :at, :at);
INSERT INTO jobs (id, adapter_id, state, attempt, fence, created_at) VALUES ('job_1', 'adp_1', 'queued', 0, 0, :at);
INSERT INTO job_requests (job_id, request_id, records) VALUES ('job_1', 'req_1', 3);
INSERT INTO outbox (job_id, created_at) VALUES ('job_1', :at)
"""


@pytest.fixture
def old(settings, clock):
    """A database as it was before companies, with a request in it."""
    desk = Desk(settings, clock)
    desk.store.migrate("0002")
    with desk.store.writing() as session:
        at = RECEIVED if desk.store.engine.dialect.name == "postgresql" else RECEIVED.replace(tzinfo=None)
        for statement in ROWS.split(";"):
            session.execute(text(statement), {"at": at} if ":at" in statement else {})
    yield desk
    desk.close()


def test_rows_of_before_belong_to_the_default_company_and_their_clock_runs(old, clock):
    old.migrate()
    request = old.request("req_1")
    assert (request.received_at, request.created_at) == (RECEIVED, RECEIVED)
    assert request.due_at == datetime(2026, 2, 28, 9, tzinfo=UTC)
    assert (request.regulation, request.submitted_by) == ("gdpr", "operator")
    assert old.adapter("bot").id == "adp_1"
    assert old.claim("job_1", "w") is not None
    with old.store.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Table.metadata) == []


def test_down_and_up_again_keeps_what_both_have_a_place_for(old):
    old.migrate()
    old.store.migrate_down("0002")
    with old.store.reading() as session:
        assert session.execute(text("SELECT id, subject_hash FROM requests")).all() == [("req_1", "s")]
        assert session.execute(text("SELECT name FROM adapters")).scalars().all() == ["bot"]
    old.migrate()
    assert old.request("req_1").jobs[0].id == "job_1"


def test_all_the_way_down_nothing_is_left(old):
    old.migrate()
    old.store.migrate_down("base")
    with old.store.engine.connect() as connection:
        left = compare_metadata(MigrationContext.configure(connection), Table.metadata)
    assert {kind for kind, *_ in left} <= {"add_table", "add_index"}
    with pytest.raises(BadInput, match="taken back"):
        old.store.migrate_down("9999")


def test_foreign_keys_hold_after_a_migration(old):
    old.migrate()
    with pytest.raises(Exception, match=r"(?i)foreign key"), old.store.writing() as session:
        session.execute(text("UPDATE requests SET controller_id = 'ctl_nobody'"))


def chained(entries):
    """Rows of the chain that the ledger was: each holds the hash of the one before."""
    before, rows = "0" * 64, []
    for seq, (action, facts) in enumerate(entries, 1):
        body = {"seq": seq, "at": f"2026-01-01T00:00:0{seq}.000Z", "action": action, "facts": facts, "previous": before}
        before = hashlib.sha256(rfc8785.dumps(body)).hexdigest()
        rows.append(body | {"facts": json.dumps(facts), "hash": before})
    return rows


CHAIN = chained(
    [
        ("adapter_registered", {"adapter": "adp_1"}),
        ("request_accepted", {"request": "req_1", "subject_hash": "s", "by": "operator"}),
        ("job_planned", {"job": "job_1", "adapter": "adp_1"}),
    ]
)
INTO_CHAIN = text(
    "INSERT INTO ledger (seq, at, action, facts, previous, hash) VALUES (:seq, :at, :action, :facts, :previous, :hash)"
)


def put_chain(desk, rows=CHAIN):
    with desk.store.writing() as session:
        session.execute(INTO_CHAIN, rows)


def test_a_chain_becomes_a_tree_that_names_its_head_and_no_subject(old):
    put_chain(old)
    old.migrate()
    assert old.inspect_ledger().entries == 4
    entries = old.entries()
    assert [e.action for e in entries][:3] == [row["action"] for row in CHAIN]
    assert (entries[3].action, entries[3].facts) == ("ledger_converted", {"entries": 3, "head": CHAIN[-1]["hash"]})
    with old.store.reading() as session:
        name = salts.known_pseudonym(session, "ctl_default", "s")
    assert entries[1].facts == {"request": "req_1", "subject": name, "by": "operator"}
    assert old.checkpoint()
    assert old.inspect_ledger().entries == 5


def test_back_in_a_chain_every_link_holds_and_it_converts_again(old):
    put_chain(old)
    old.migrate()
    old.checkpoint()
    old.store.migrate_down("0007")
    with old.store.reading() as session:
        rows = session.execute(text("SELECT action, facts FROM ledger ORDER BY seq")).all()
        hashes = session.execute(text("SELECT previous, hash FROM ledger ORDER BY seq")).all()
    facts = [json.loads(told) if isinstance(told, str) else told for _, told in rows]
    assert facts[1] == {"request": "req_1", "subject_hash": "s", "by": "operator"}
    assert [before for before, _ in hashes] == ["0" * 64, *(one for _, one in hashes[:-1])]
    assert [one for _, one in hashes[:3]] == [row["hash"] for row in CHAIN]
    old.migrate()
    assert old.inspect_ledger().entries == 6


@pytest.mark.parametrize("wrong", [{"action": "verdict"}, {"previous": "f" * 64}, {"seq": 9}, {"hash": "e" * 64}])
def test_a_chain_that_was_changed_is_not_converted(old, wrong):
    put_chain(old, [CHAIN[0], CHAIN[1] | wrong, CHAIN[2]])
    with pytest.raises(LedgerBroken, match="not converted"):
        old.migrate()
    with old.store.reading() as session:
        assert session.execute(text("SELECT count(*) FROM ledger WHERE previous IS NOT NULL")).scalar_one() == 3
