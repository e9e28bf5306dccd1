"""Statements that PostgreSQL gets before it has answered those before them: psycopg's pipeline mode.

A statement that is marked `UNREAD` waits for no answer; any other waits for its own and those of all before it, so that
nothing changes but who waits how often. Knows no table.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

UNREAD = {"unread": True}
"""Execution options of a statement whose answer nobody reads."""
PIPELINE = "pipeline"


@contextmanager
def ahead(session: Session) -> Iterator[None]:
    """On PostgreSQL, send the block's unread statements ahead; at its end all are answered. Does nothing on SQLite.

    Raises:
        DBAPIError: what a statement met, at the next one that waits or at the end.
    """
    connection = session.connection()
    if connection.dialect.name != "postgresql":
        yield
        return
    driver: Any = connection.connection.driver_connection
    failed: type[Exception] = connection.dialect.loaded_dbapi.Error
    try:
        with driver.pipeline() as pipeline:
            connection.info[PIPELINE] = pipeline
            try:
                yield
            finally:
                del connection.info[PIPELINE]
    except failed as error:
        raise DBAPIError.instance(None, None, error, failed, dialect=connection.dialect) from error


def wait_in_line(engine: Engine) -> None:
    """See to it that whatever is read was answered."""

    @event.listens_for(engine, "after_cursor_execute")
    def answered(connection: Connection, _cursor: Any, _sql: str, _given: Any, context: Any, _many: bool) -> None:
        pipeline = connection.info.get(PIPELINE)
        if pipeline is not None and not context.execution_options.get("unread"):
            pipeline.sync()
