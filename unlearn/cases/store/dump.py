"""Rows out of a database as JSON, and back into another: the shapes of our tables as the database has them.

Moments are ISO 8601 in UTC and bytes hexadecimal, so that the same lines fit SQLite and PostgreSQL. Knows what no table
means.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Literal

from sqlalchemy import (
    JSON,
    Connection,
    DateTime,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    bindparam,
    column,
    delete,
    insert,
    inspect,
    select,
    table,
    text,
)
from sqlalchemy.exc import SQLAlchemyError

from unlearn.cases.store.engine import Store
from unlearn.cases.tables import Table as Ours
from unlearn.errors import Unavailable

State = Literal["empty", "full", "unreadable"]
VERSION = "alembic_version"
AT_ONCE = 1000


def revision(connection: Connection) -> str | None:
    """The revision of the tables; None where there are none."""
    if not inspect(connection).has_table(VERSION):
        return None
    found = connection.execute(select(column("version_num")).select_from(table(VERSION))).scalar_one_or_none()
    return None if found is None else str(found)


def state(store: Store) -> State:
    """What is in a database. Unavailable if it is a server's, and does not answer."""
    try:
        with store.reading() as session:
            return "empty" if is_empty(session.connection()) else "full"
    except (Unavailable, SQLAlchemyError, sqlite3.DatabaseError):
        if store.engine.dialect.name != "sqlite":
            raise
        return "unreadable"


def is_empty(connection: Connection) -> bool:
    """Does the database hold nothing that anybody would miss?"""
    return all(
        connection.execute(select(one).limit(1)).first() is None
        for one in tables(connection)
        if one.name in ("adapters", "requests", "ledger")  # the first controller comes with the tables
    )


def tables(connection: Connection, names: Iterable[str] = Ours.metadata.tables) -> list[Table]:
    """Those of these tables that are there, as the database has them, each behind those that it refers to."""
    found = MetaData()
    found.reflect(connection, only=sorted({*names} & {*inspect(connection).get_table_names()}))
    return found.sorted_tables


def rows(connection: Connection, of: Table) -> Iterator[dict[str, Any]]:
    """Every row as JSON types, by primary key."""
    query = select(of).order_by(*of.primary_key.columns)
    for row in connection.execute(query.execution_options(yield_per=AT_ONCE)).mappings():
        yield {name: _plain(value) for name, value in row.items()}


def load(connection: Connection, names: Iterable[str], lines: Callable[[str], Iterable[Mapping[str, Any]]]) -> int:
    """Fill each of these tables with the rows that `lines` has for it, in the place of what its migrations put there.

    Returns:
        How many rows there are.
    """
    there, count = tables(connection, names), 0
    for one in reversed(there):
        if connection.execute(select(one).limit(1)).first() is not None:  # some may not be deleted from at all
            connection.execute(delete(one))
    for one in there:
        typed = {c.name: bindparam(c.name, type_=_type(c.type)) for c in one.columns}
        moments = [c.name for c in one.columns if isinstance(c.type, DateTime)]
        blobs = [c.name for c in one.columns if isinstance(c.type, LargeBinary)]
        zone = UTC if connection.dialect.name == "postgresql" else None
        given = iter(lines(one.name))
        while some := list(islice(given, AT_ONCE)):
            connection.execute(insert(one).values(typed), [_typed(row, moments, blobs, zone) for row in some])
            count += len(some)
        _continue_numbers(connection, one)
    return count


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return (value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)).isoformat()
    return bytes(value).hex() if isinstance(value, bytes | memoryview) else value


def _typed(row: Mapping[str, Any], moments: list[str], blobs: list[str], zone: Any) -> dict[str, Any]:
    made = dict(row)
    for name in moments:
        if row[name] is not None:
            made[name] = datetime.fromisoformat(row[name]).replace(tzinfo=zone)
    for name in blobs:
        if row[name] is not None:
            made[name] = bytes.fromhex(row[name])
    return made


def _type(given: Any) -> Any:
    """Nothing is NULL, also where a column holds JSON."""
    return JSON(none_as_null=True) if isinstance(given, JSON) else given


def _continue_numbers(connection: Connection, of: Table) -> None:
    """Let PostgreSQL number the next row behind the last; SQLite does so itself."""
    columns = list(of.primary_key.columns)
    if connection.dialect.name != "postgresql" or len(columns) != 1 or not isinstance(columns[0].type, Integer):
        return
    name = columns[0].name
    highest = text(
        f'SELECT setval(pg_get_serial_sequence(:table, :column), max("{name}")) FROM "{of.name}" '  # noqa: S608
        f'HAVING max("{name}") IS NOT NULL AND pg_get_serial_sequence(:table, :column) IS NOT NULL'
    )
    connection.execute(highest, {"table": of.name, "column": name})
