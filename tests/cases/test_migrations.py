"""Revisions, up and down with rows in the tables, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from unlearn.cases.desk import Desk
from unlearn.cases.tables import Table
from unlearn.errors import BadInput

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
