"""the data itself: stored corpora, quarantine and purge, fingerprints of erased records"""

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
ENDINGS = {
    "adapter_versions": ("quarantined_at", "purge_after", "purging_at", "purged_at"),
    "jobs": ("purging_at", "purged_at"),
}
GRACE = timedelta(days=30)


def upgrade() -> None:
    for table, columns in ENDINGS.items():
        for column in columns:
            op.add_column(table, sa.Column(column, MOMENT, nullable=True))
    op.add_column("jobs", sa.Column("erased", sa.JSON(), nullable=True))
    op.add_column("adapters", sa.Column("admitted", sa.JSON(), nullable=True))
    op.create_index("ix_adapter_versions_purge_after", "adapter_versions", ["purge_after"])
    _quarantine_what_serves_no_more()
    op.create_table(
        "corpora",
        sa.Column("adapter_id", sa.String(length=40), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("edition", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("records", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sealed_key", sa.Text(), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("quarantined_at", MOMENT, nullable=True),
        sa.Column("purge_after", MOMENT, nullable=True),
        sa.Column("purged_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["adapter_id", "number"], ["adapter_versions.adapter_id", "adapter_versions.number"]),
        sa.PrimaryKeyConstraint("adapter_id", "number", "edition", "kind"),
    )
    op.create_table(
        "erased_fingerprints",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("controller_id", sa.String(length=40), nullable=False),
        sa.Column("exact", sa.String(length=64), nullable=False),
        sa.Column("sketch", sa.LargeBinary(), nullable=False),
        sa.Column("floor", sa.Float(), nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["controller_id"], ["controllers.id"]),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("one_fingerprint_of_a_text", "erased_fingerprints", ["controller_id", "exact"], unique=True)
    op.create_table(
        "fingerprint_bands",
        sa.Column("controller_id", sa.String(length=40), nullable=False),
        sa.Column("band", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("fingerprint_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.ForeignKeyConstraint(["controller_id"], ["controllers.id"]),
        sa.ForeignKeyConstraint(["fingerprint_id"], ["erased_fingerprints.id"]),
        sa.PrimaryKeyConstraint("controller_id", "band", "fingerprint_id"),
    )


def _quarantine_what_serves_no_more() -> None:
    """Versions of before have their grace from now on."""
    now = datetime.now(UTC)
    if op.get_bind().dialect.name == "sqlite":
        now = now.replace(tzinfo=None)
    moments = {"now": now, "later": now + GRACE}
    op.get_bind().execute(
        sa.text(
            "UPDATE adapter_versions SET quarantined_at = :now, purge_after = :later WHERE NOT EXISTS (SELECT 1 FROM "
            "adapters a WHERE a.id = adapter_id AND a.current = number AND a.retired_at IS NULL)"
        ).bindparams(sa.bindparam("now", type_=MOMENT), sa.bindparam("later", type_=MOMENT)),
        moments,
    )


def downgrade() -> None:
    for table in ("fingerprint_bands", "erased_fingerprints", "corpora"):
        op.drop_table(table)
    op.drop_index("ix_adapter_versions_purge_after", "adapter_versions")
    op.drop_column("adapters", "admitted")
    op.drop_column("jobs", "erased")
    for table, columns in ENDINGS.items():
        for column in columns:
            op.drop_column(table, column)
