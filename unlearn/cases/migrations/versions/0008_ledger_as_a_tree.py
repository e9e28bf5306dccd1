"""the ledger as a Merkle tree: nodes, checkpoints, subjects' salts; a chain that was is checked and converted

The facts stay as they were, but for subjects: their hashes become names under a salt. The head of the old chain is the
last thing the converted ledger says, so that whoever kept it can tell that nothing was lost on the way.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import rfc8785
import sqlalchemy as sa
from alembic import op

from unlearn.evidence.ledger import LedgerBroken

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

GENESIS = "0" * 64
OF_KEYS = sa.text("action IN ('ledger_key_added', 'ledger_key_retired')")
NAMING = {"uq": "%(table_name)s_%(column_0_name)s_key"}
KEPT = ("ledger", "ledger_nodes", "checkpoints")
"""Tables whose rows are only ever added."""

LEDGER = sa.table(
    "ledger",
    *(sa.column(name) for name in ("seq", "at", "action", "previous", "hash")),
    sa.column("facts", sa.JSON()),
)
NODES = sa.table("ledger_nodes", *(sa.column(name) for name in ("level", "index", "hash")))
REQUESTS = sa.table("requests", *(sa.column(name) for name in ("id", "controller_id", "subject_hash")))
SALTS = sa.table("subject_salts", *(sa.column(name) for name in ("controller_id", "subject_hash", "salt")))


def upgrade() -> None:
    op.create_table(
        "ledger_nodes",
        sa.Column("level", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("level", "index"),
    )
    op.create_table(
        "checkpoints",
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("size"),
    )
    op.create_table(
        "subject_salts",
        sa.Column("controller_id", sa.String(length=40), nullable=False),
        sa.Column("subject_hash", sa.String(length=64), nullable=False),
        sa.Column("salt", sa.LargeBinary(length=32), nullable=False),
        sa.ForeignKeyConstraint(["controller_id"], ["controllers.id"]),
        sa.PrimaryKeyConstraint("controller_id", "subject_hash"),
    )
    rows = _rows()
    head = _check_chain(rows)
    with op.batch_alter_table("ledger", naming_convention=NAMING) as ledger:
        ledger.drop_constraint("ledger_hash_key", type_="unique")
        ledger.drop_column("previous")
    op.create_index("ledger_keys", "ledger", ["seq"], sqlite_where=OF_KEYS, postgresql_where=OF_KEYS)
    _to_tree(rows, head)
    _keep_rows()


def downgrade() -> None:
    _let_rows_change()
    op.drop_index("ledger_keys", "ledger")
    rows = _rows()
    with op.batch_alter_table("ledger", naming_convention=NAMING) as ledger:
        ledger.add_column(sa.Column("previous", sa.String(length=64), server_default=GENESIS, nullable=False))
    _to_chain(rows)
    with op.batch_alter_table("ledger", naming_convention=NAMING) as ledger:
        ledger.alter_column("previous", existing_type=sa.String(length=64), server_default=None, nullable=False)
        ledger.create_unique_constraint("ledger_hash_key", ["hash"])
    for table in ("subject_salts", "checkpoints", "ledger_nodes"):
        op.drop_table(table)


def _rows() -> list[dict[str, Any]]:
    there = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("ledger")}
    columns = [column for column in LEDGER.columns if column.name in there]
    return [dict(row) for row in op.get_bind().execute(sa.select(*columns).order_by(LEDGER.c.seq)).mappings()]


def _check_chain(rows: Sequence[Mapping[str, Any]]) -> str:
    """The hash of the last entry, once every entry was found to be what it was."""
    before = GENESIS
    for place, row in enumerate(rows, 1):
        if row["seq"] != place or row["previous"] != before or _chained(row) != row["hash"]:
            raise LedgerBroken(
                f"entry {place} of the ledger is missing or was changed, so that the ledger is not converted; put a "
                "backup in its place, or go on with the version that made it"
            )
        before = row["hash"]
    return before


def _chained(row: Mapping[str, Any]) -> str:
    return hashlib.sha256(rfc8785.dumps({**_fact(row), "previous": row["previous"]})).hexdigest()


def _fact(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("seq", "at", "action", "facts")}


def _to_tree(rows: list[dict[str, Any]], head: str) -> None:
    bind = op.get_bind()
    names = _salted()
    for row in rows:
        known = row["facts"].get("request"), row["facts"].get("subject_hash")
        if known in names:
            kept = {key: value for key, value in row["facts"].items() if key != "subject_hash"}
            row["facts"] = {**kept, "subject": names[known]}
    if rows:
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        facts = {"entries": len(rows), "head": head}
        rows.append({"seq": len(rows) + 1, "at": at, "action": "ledger_converted", "facts": facts})
    hashes = [hashlib.sha256(b"\x00" + rfc8785.dumps(_fact(row))).digest() for row in rows]
    changes = [{"at_seq": r["seq"], "f": r["facts"], "h": h.hex()} for r, h in zip(rows, hashes, strict=True)]
    if rows:
        op.execute(LEDGER.insert().values(**_fact(rows[-1]), hash=changes.pop()["h"]))
    if changes:
        bind.execute(_change(facts=sa.bindparam("f"), hash=sa.bindparam("h")), changes)
    nodes = _nodes(hashes)
    if nodes:
        bind.execute(NODES.insert(), nodes)


def _salted() -> dict[tuple[Any, Any], str]:
    """What the ledger calls the subject of a request from now on, by request and subject hash."""
    bind = op.get_bind()
    requests = bind.execute(sa.select(REQUESTS.c.id, REQUESTS.c.controller_id, REQUESTS.c.subject_hash)).all()
    salts = {(controller, subject): secrets.token_bytes(32) for _, controller, subject in requests}
    if salts:
        made = [{"controller_id": c, "subject_hash": s, "salt": salt} for (c, s), salt in salts.items()]
        bind.execute(SALTS.insert(), made)
    return {
        (id_, subject): hmac.new(salts[controller, subject], subject.encode(), hashlib.sha256).hexdigest()
        for id_, controller, subject in requests
    }


def _nodes(hashes: list[bytes]) -> list[dict[str, Any]]:
    """Every complete subtree of more than one leaf (RFC 6962, section 2.1)."""
    nodes, level = [], 0
    while len(hashes) > 1:
        level += 1
        pairs = zip(hashes[::2], hashes[1::2], strict=False)
        hashes = [hashlib.sha256(b"\x01" + left + right).digest() for left, right in pairs]
        nodes += [{"level": level, "index": index, "hash": one} for index, one in enumerate(hashes)]
    return nodes


def _to_chain(rows: list[dict[str, Any]]) -> None:
    requests = op.get_bind().execute(sa.select(REQUESTS.c.id, REQUESTS.c.subject_hash))
    subjects = {request[0]: request[1] for request in requests}
    before, changes = GENESIS, []
    for row in rows:
        subject = subjects.get(row["facts"].get("request"))
        if "subject" in row["facts"] and subject is not None:
            kept = {key: value for key, value in row["facts"].items() if key != "subject"}
            row["facts"] = {**kept, "subject_hash": subject}
        row["previous"] = before
        change = {"at_seq": row["seq"], "f": row["facts"], "p": before, "h": _chained(row)}
        before = change["h"]
        changes.append(change)
    if changes:
        update = _change(facts=sa.bindparam("f"), previous=sa.bindparam("p"), hash=sa.bindparam("h"))
        op.get_bind().execute(update, changes)


def _change(**values: Any) -> sa.Update:
    return LEDGER.update().where(LEDGER.c.seq == sa.bindparam("at_seq")).values(**values)


def _keep_rows() -> None:
    """Let nobody who uses the tables change or delete what they hold."""
    if op.get_bind().dialect.name == "sqlite":
        for table in KEPT:
            for event in ("update", "delete"):
                op.execute(
                    f"CREATE TRIGGER {table}_no_{event} BEFORE {event.upper()} ON {table} "
                    f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
                )
        return
    op.execute(
        "CREATE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$"
    )
    for table in KEPT:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION append_only()"
        )


def _let_rows_change() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for table in KEPT:
            for event in ("update", "delete"):
                op.execute(f"DROP TRIGGER {table}_no_{event}")
        return
    for table in KEPT:
        op.execute(f"DROP TRIGGER {table}_append_only ON {table}")
    op.execute("DROP FUNCTION append_only()")
