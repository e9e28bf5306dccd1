"""The PostgreSQL that UNLEARN_TEST_DATABASE_URL names, if it names one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import create_engine, make_url, text

SERVER = os.environ.get("UNLEARN_TEST_DATABASE_URL")


@contextmanager
def empty_schema(server: str) -> Iterator[str]:
    """The URL of a schema of its own, which is dropped at the end."""
    schema = f"test_{secrets.token_hex(6)}"
    engine = create_engine(server)
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    url = make_url(server).update_query_dict({"options": f"-csearch_path={schema}"})
    yield url.render_as_string(hide_password=False)
    with engine.begin() as connection:
        connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
    engine.dispose()
