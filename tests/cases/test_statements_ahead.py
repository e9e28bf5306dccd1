"""Statements that go to PostgreSQL before it answered those before them: what was met comes to whoever waits next."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from unlearn.cases.store.ahead import UNREAD, ahead

ADD = "INSERT INTO controllers (id, name, created_at) VALUES (:id, :id, CURRENT_TIMESTAMP)"


def add(session, id_):
    session.connection().execute(text(ADD), {"id": id_}, execution_options=UNREAD)


def names(session):
    return set(session.scalars(text("SELECT id FROM controllers WHERE id LIKE 'ctl_ahead%'")))


def test_what_was_sent_ahead_is_there_for_whoever_reads_and_after_the_block(desk):
    with desk.store.writing() as session:
        with ahead(session):
            add(session, "ctl_ahead_1")
            assert names(session) == {"ctl_ahead_1"}
            add(session, "ctl_ahead_2")
        assert names(session) == {"ctl_ahead_1", "ctl_ahead_2"}
    with desk.store.reading() as session:
        assert names(session) == {"ctl_ahead_1", "ctl_ahead_2"}


@pytest.mark.parametrize("then", [lambda session: None, names], ids=["the end of the block", "who reads next"])
def test_an_error_comes_at_the_latest_at(desk, then):
    def twice():
        with desk.store.writing() as session, ahead(session):
            add(session, "ctl_ahead_1")
            add(session, "ctl_ahead_1")
            add(session, "ctl_ahead_2")
            then(session)

    with pytest.raises(IntegrityError):
        twice()
    with desk.store.reading() as session:
        assert names(session) == set()


def test_an_error_of_the_block_itself_is_what_is_raised_and_nothing_is_written(desk):
    def breaks():
        with desk.store.writing() as session, ahead(session):
            add(session, "ctl_ahead_1")
            if desk.store.engine.dialect.name == "postgresql":  # SQLite would tell of it at once
                add(session, "ctl_ahead_1")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        breaks()
    with desk.store.writing() as session:
        assert names(session) == set()
        add(session, "ctl_ahead_1")
    with desk.store.reading() as session:
        assert names(session) == {"ctl_ahead_1"}
