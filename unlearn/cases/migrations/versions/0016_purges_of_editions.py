"""when the purge of replaced corpora began"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("corpora", sa.Column("purging_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("corpora", "purging_at")
