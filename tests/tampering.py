"""Somebody who gets past the triggers that keep the ledger's rows."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.orm import Session

KEPT = ("ledger", "ledger_nodes", "checkpoints", "cosignatures")


def let_rows_change(session: Session) -> None:
    """Take the triggers away, until the end of the transaction on PostgreSQL, for good on SQLite."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SET LOCAL session_replication_role = replica"))
        return
    for table in KEPT:
        for event in ("update", "delete"):
            session.execute(text(f"DROP TRIGGER IF EXISTS {table}_no_{event}"))
