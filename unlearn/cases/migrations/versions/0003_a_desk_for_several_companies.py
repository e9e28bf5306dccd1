"""a desk for several companies: controllers, keys, idempotency; the statutory clock, holds and decisions of requests"""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

from unlearn.cases.clock import months_after

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

HERE = "ctl_default"
MOMENT = sa.DateTime(timezone=True)
OPEN = sa.text("state IN ('pending', 'in_progress')")
NAMING = {"uq": "%(table_name)s_%(column_0_name)s_key", "fk": "%(table_name)s_%(column_0_name)s_fkey"}


def upgrade() -> None:
    op.create_table(
        "controllers",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    controllers = sa.table("controllers", sa.column("id"), sa.column("name"), sa.column("created_at", MOMENT))
    op.execute(controllers.insert().values(id=HERE, name="default", created_at=datetime.now(UTC)))
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("controller_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("secret_sha256", sa.String(length=64), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("created_by", sa.String(length=80), nullable=False),
        sa.Column("expires_at", MOMENT, nullable=True),
        sa.Column("revoked_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["controller_id"], ["controllers.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_api_keys_controller_id", "api_keys", ["controller_id"])
    op.create_table(
        "idempotency",
        sa.Column("controller_id", sa.String(length=40), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("body_sha256", sa.String(length=64), nullable=False),
        sa.Column("request_ids", sa.JSON(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["controller_id"], ["controllers.id"]),
        sa.PrimaryKeyConstraint("controller_id", "key"),
    )
    op.create_index("ix_idempotency_created_at", "idempotency", ["created_at"])
    with op.batch_alter_table("adapters", naming_convention=NAMING) as adapters:
        adapters.add_column(sa.Column("controller_id", sa.String(length=40), server_default=HERE, nullable=False))
        adapters.add_column(sa.Column("retired_at", MOMENT, nullable=True))
        adapters.drop_constraint("adapters_name_key", type_="unique")
        adapters.create_foreign_key("adapters_controller_id_fkey", "controllers", ["controller_id"], ["id"])
        adapters.create_index("one_adapter_of_a_name", ["controller_id", "name"], unique=True)
    op.add_column("jobs", sa.Column("due_at", MOMENT, nullable=True))
    op.add_column("jobs", sa.Column("ready_at", MOMENT, nullable=True))
    op.add_column("jobs", sa.Column("policy", sa.JSON(), nullable=True))
    op.add_column("jobs", sa.Column("candidate", sa.Text(), nullable=True))
    op.drop_index("one_open_request_per_subject", table_name="requests")
    op.drop_index("requests_by_arrival", table_name="requests")
    columns: list[sa.Column[Any]] = [
        sa.Column("controller_id", sa.String(length=40), server_default=HERE, nullable=False),
        sa.Column("external_id", sa.String(length=64), nullable=True),
        sa.Column("regulation", sa.String(length=10), server_default="gdpr", nullable=False),
        sa.Column("submitted_by", sa.String(length=80), server_default="operator", nullable=False),
        sa.Column("due_at", MOMENT, nullable=True),
        sa.Column("confirm_by", MOMENT, nullable=True),
        sa.Column("extended_at", MOMENT, nullable=True),
        sa.Column("extension_reason", sa.Text(), nullable=True),
        sa.Column("held_at", MOMENT, nullable=True),
        sa.Column("hold_reason", sa.Text(), nullable=True),
        sa.Column("decision", sa.JSON(), nullable=True),
        sa.Column("created_at", MOMENT, nullable=True),
    ]
    for column in columns:
        op.add_column("requests", column)
    _start_clocks()
    with op.batch_alter_table("requests", naming_convention=NAMING) as requests:
        requests.alter_column("due_at", existing_type=MOMENT, nullable=False)
        requests.alter_column("created_at", existing_type=MOMENT, nullable=False)
        requests.create_foreign_key("requests_controller_id_fkey", "controllers", ["controller_id"], ["id"])
    op.create_index(
        "one_open_request_per_subject",
        "requests",
        ["controller_id", "subject_hash"],
        unique=True,
        sqlite_where=OPEN,
        postgresql_where=OPEN,
    )
    op.create_index("requests_by_arrival", "requests", ["controller_id", "created_at", "id"])
    op.create_index("requests_by_due_date", "requests", ["controller_id", "due_at", "id"])
    op.create_index("one_request_of_an_external_id", "requests", ["controller_id", "external_id"], unique=True)
    for table, name, length in (
        ("adapters", "controller_id", 40),
        ("requests", "controller_id", 40),
        ("requests", "regulation", 10),
        ("requests", "submitted_by", 80),
    ):
        with op.batch_alter_table(table) as batch:
            batch.alter_column(name, existing_type=sa.String(length=length), server_default=None)


def _start_clocks() -> None:
    """Requests of before were received when they came, and are due a month later."""
    requests = sa.table(
        "requests",
        sa.column("id"),
        sa.column("received_at", MOMENT),
        sa.column("due_at", MOMENT),
        sa.column("created_at", MOMENT),
    )
    connection = op.get_bind()
    for id_, received_at in connection.execute(sa.select(requests.c.id, requests.c.received_at)).all():
        due_at = months_after(received_at, 1)
        connection.execute(requests.update().where(requests.c.id == id_).values(due_at=due_at, created_at=received_at))


def downgrade() -> None:
    for index in (
        "one_open_request_per_subject",
        "requests_by_arrival",
        "requests_by_due_date",
        "one_request_of_an_external_id",
    ):
        op.drop_index(index, table_name="requests")
    with op.batch_alter_table("requests", naming_convention=NAMING) as requests:
        requests.drop_constraint("requests_controller_id_fkey", type_="foreignkey")
        for column in (
            "controller_id",
            "external_id",
            "regulation",
            "submitted_by",
            "due_at",
            "confirm_by",
            "extended_at",
            "extension_reason",
            "held_at",
            "hold_reason",
            "decision",
            "created_at",
        ):
            requests.drop_column(column)
    op.create_index("requests_by_arrival", "requests", ["received_at", "id"])
    op.create_index(
        "one_open_request_per_subject",
        "requests",
        ["subject_hash"],
        unique=True,
        sqlite_where=OPEN,
        postgresql_where=OPEN,
    )
    op.drop_column("jobs", "candidate")
    op.drop_column("jobs", "policy")
    op.drop_column("jobs", "ready_at")
    op.drop_column("jobs", "due_at")
    op.drop_index("one_adapter_of_a_name", table_name="adapters")
    with op.batch_alter_table("adapters", naming_convention=NAMING) as adapters:
        adapters.drop_constraint("adapters_controller_id_fkey", type_="foreignkey")
        adapters.drop_column("controller_id")
        adapters.drop_column("retired_at")
        adapters.create_unique_constraint("adapters_name_key", ["name"])
    op.drop_table("idempotency")
    op.drop_table("api_keys")
    op.drop_table("controllers")
