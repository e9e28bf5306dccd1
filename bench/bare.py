"""The least that takes a request and keeps it: one endpoint, one row, one transaction. What `intake.py` compares with.

    python bench/bare.py PORT URL           URL: a file for SQLite, or postgresql://...

As durable as the service: on SQLite WAL and synchronous=FULL, a transaction of its own for each row. Nothing is checked,
hashed, chained or answered beyond the row's id.
"""

from __future__ import annotations

import secrets
import sqlite3
import sys
import threading
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

TABLE = "CREATE TABLE IF NOT EXISTS bare (id TEXT PRIMARY KEY, subject TEXT NOT NULL)"


class Subject(BaseModel):
    """As the service's."""

    type: str
    value: str


class Given(BaseModel):
    """What is sent."""

    subject: Subject


class Kept(BaseModel):
    """What is answered."""

    id: str


def bare_app(url: str) -> FastAPI:
    """The app; each thread has a connection of its own."""
    own = threading.local()
    app = FastAPI()
    postgres = url.startswith("postgresql")
    insert = (
        "INSERT INTO bare (id, subject) VALUES (%s, %s)" if postgres else "INSERT INTO bare (id, subject) VALUES (?, ?)"
    )

    def connection() -> Any:
        if not hasattr(own, "connection"):
            own.connection = _connect(url)
        return own.connection

    start = _connect(url)
    start.execute(TABLE)
    start.close()

    @app.post("/v1/requests", status_code=201)
    def keep(body: Given) -> Kept:
        id_ = f"req_{secrets.token_hex(12)}"
        connection().execute("BEGIN" if postgres else "BEGIN IMMEDIATE")
        connection().execute(insert, (id_, f"{body.subject.type}:{body.subject.value}"))
        connection().execute("COMMIT")
        return Kept(id=id_)

    return app


def _connect(url: str) -> Any:
    if url.startswith("postgresql"):
        import psycopg

        return psycopg.connect(url.replace("+psycopg", ""), autocommit=True)
    connection = sqlite3.connect(url, timeout=30, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL").close()
    connection.execute("PRAGMA synchronous=FULL").close()
    return connection


if __name__ == "__main__":
    uvicorn.run(bare_app(sys.argv[2]), host="127.0.0.1", port=int(sys.argv[1]), log_config=None, access_log=False)
