"""requests that an adapter from an old backup awaits before it serves"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("adapters", sa.Column("awaits", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("adapters", "awaits")
