"""kinds of jobs"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("kind", sa.String(length=20), server_default="erasure", nullable=False))


def downgrade() -> None:
    op.drop_column("jobs", "kind")
