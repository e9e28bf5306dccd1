"""The database itself: what its tables are, and what is said when it is not there or not ours."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import bindparam, create_engine, event, text

from unlearn.cases.desk import Desk
from unlearn.cases.rights import HERE
from unlearn.cases.store import engine, requests
from unlearn.cases.store.engine import Store
from unlearn.cases.tables import Table
from unlearn.errors import BadInput, Unavailable


def test_the_revisions_make_the_tables_that_the_code_describes(desk):
    with desk.store.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Table.metadata) == []


def test_migrating_again_changes_nothing(desk, adapter):
    desk.migrate()
    assert desk.adapters() == [adapter]


def test_tables_of_a_newer_program_are_refused_and_left_alone(desk, adapter):
    with desk.store.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(BadInput, match="newer version"):
        desk.migrate()
    assert desk.adapters() == [adapter]


def test_a_database_that_does_not_answer_is_unavailable_whatever_is_asked(settings):
    unprepared = Desk(settings)
    for ask in (unprepared.check, unprepared.adapters, unprepared.sweep, lambda: unprepared.submit("customer:c-1")):
        with pytest.raises(Unavailable, match="does not answer"):
            ask()
    unprepared.close()


def test_a_file_that_is_no_database_is_unavailable_and_stays_as_it_is(tmp_path):
    file = tmp_path / "note.db"
    file.write_text("this is no database, and somebody may need it" * 100)
    store = Store(f"sqlite:///{file}")
    with pytest.raises(Unavailable):
        store.migrate()
    assert file.read_text().startswith("this is no database")


@pytest.mark.parametrize("url", ["nonsense", "oracle+nothing://x", "ftp://x/y"])
def test_a_url_of_no_database_is_bad_input(url):
    with pytest.raises(BadInput, match="UNLEARN_DATABASE_URL"):
        Store(url)


def test_threads_of_one_process_wait_for_each_other_and_not_for_sqlite_to_look_again(settings, monkeypatch):
    monkeypatch.setattr(engine, "BUSY_MILLISECONDS", 0)  # SQLite says no at once where another thread writes
    desk = Desk(settings)
    desk.migrate()

    def submit(number):
        for turn in range(5):
            desk.submit(f"customer:nobody-{number}-{turn}")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(submit, range(8)))
    assert len(desk.requests(limit=100)) == 40
    desk.inspect_ledger()
    desk.close()


def test_whether_a_subject_is_busy_is_asked_of_an_index_however_many_requests_there_are(desk):
    if desk.store.engine.dialect.name != "sqlite":
        pytest.skip("asks SQLite for its plan; PostgreSQL chooses by size")
    asked = []
    event.listen(desk.store.engine, "before_cursor_execute", lambda _c, _u, sql, given, *_: asked.append((sql, given)))
    with desk.store.reading() as session:
        requests.open_for(session, [(HERE, "0" * 64), ("ctl_2", "1" * 64)])
        sql, given = asked[-1]
        plan = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", given).all()
    assert [row[-1] for row in plan] == [
        "SEARCH requests USING INDEX one_open_request_per_subject (controller_id=? AND subject_hash=?)"
    ]


def test_a_connection_that_was_lost_while_it_waited_is_replaced_and_nobody_notices(desk, adapter):
    if desk.store.engine.dialect.name != "postgresql":
        pytest.skip("a file is not lost")
    cut = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid IN :pids").bindparams(
        bindparam("pids", expanding=True)
    )
    for ask in (desk.adapters, lambda: desk.submit("customer:nobody")):
        ask()
        with desk.store.reading() as first, desk.store.reading() as second:  # two that wait in the pool
            pids = [one.scalar(text("SELECT pg_backend_pid()")) for one in (first, second)]
        other = create_engine(desk.store.engine.url)
        with other.connect() as connection:
            connection.execute(cut, {"pids": pids})
            while connection.scalar(
                text("SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(:pids)"), {"pids": pids}
            ):
                connection.rollback()
        other.dispose()
        assert ask()
