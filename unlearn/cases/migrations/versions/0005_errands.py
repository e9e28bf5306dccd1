"""errands: callbacks and deployments; who is told that a request is due"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
WAITING = sa.text("state = 'waiting'")


def upgrade() -> None:
    op.create_table(
        "endpoints",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("controller_id", sa.String(length=40), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("sealed_secret", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("created_by", sa.String(length=80), nullable=False),
        sa.Column("disabled_at", MOMENT, nullable=True),
        sa.Column("disabled_reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["controller_id"], ["controllers.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_endpoints_controller_id", "endpoints", ["controller_id"])
    op.create_table(
        "errands",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("controller_id", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("target", sa.String(length=200), nullable=False),
        sa.Column("event", sa.String(length=40), nullable=False),
        sa.Column("about", sa.String(length=40), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("first_attempt_at", MOMENT, nullable=True),
        sa.Column("next_at", MOMENT, nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["controller_id"], ["controllers.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_errands_about", "errands", ["about"])
    op.create_index("errands_due", "errands", ["next_at"], sqlite_where=WAITING, postgresql_where=WAITING)
    op.create_index("errands_by_age", "errands", ["controller_id", "created_at", "id"])
    op.add_column("requests", sa.Column("told_soon_at", MOMENT, nullable=True))
    op.add_column("requests", sa.Column("told_overdue_at", MOMENT, nullable=True))


def downgrade() -> None:
    op.drop_column("requests", "told_overdue_at")
    op.drop_column("requests", "told_soon_at")
    op.drop_table("errands")
    op.drop_table("endpoints")
