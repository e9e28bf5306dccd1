"""Many rows into a table by one statement. Knows neither what they mean nor who writes them.

SQLite adds them one by one at next to no cost. PostgreSQL gets them as one JSON document: one parameter instead of one
for every cell, and always the same words, whose plan it keeps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

from sqlalchemy import Dialect, Insert, LargeBinary, Text, bindparam, column, func, insert, literal_column, select
from sqlalchemy.orm import Session

from unlearn.cases.store.ahead import UNREAD
from unlearn.cases.store.engine import as_json
from unlearn.cases.tables import Table


def add_rows(session: Session, table: type[Table], rows: Sequence[Mapping[str, Any]]) -> None:
    """Add rows, which all name the same columns, in this order; what the session holds is written before."""
    if not rows:
        return
    session.flush()
    connection = session.connection()
    if connection.dialect.name == "postgresql":
        words = _from_json(connection.dialect, table, tuple(rows[0]))
        connection.exec_driver_sql(words, {"rows": as_json([_plain(row) for row in rows])}, execution_options=UNREAD)
    else:
        connection.execute(_insert(table), rows)


def day_of(moment: datetime) -> datetime:
    """Its day in UTC, at the beginning."""
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


@cache
def _insert(table: type[Table]) -> Insert:
    return insert(table)


@cache
def _from_json(dialect: Dialect, table: type[Table], names: tuple[str, ...]) -> str:
    """An insert of what the document `rows` (see `_plain`) says of these columns; its null is NULL."""
    columns = [table.__table__.c[name] for name in names]
    binary = {one.name for one in columns if isinstance(one.type, LargeBinary)}
    typed = [column(one.name, Text() if one.name in binary else one.type) for one in columns]
    given = func.json_to_recordset(bindparam("rows")).table_valued(*typed).render_derived("given", with_types=True)
    said = [func.decode(given.c[n], literal_column("'hex'")) if n in binary else given.c[n] for n in names]
    return str(insert(table).from_select(list(names), select(*said)).compile(dialect=dialect))


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row in JSON's types: moments by RFC 3339, bytes in hexadecimal."""
    return {
        name: value.isoformat() if isinstance(value, datetime) else value.hex() if isinstance(value, bytes) else value
        for name, value in row.items()
    }
