"""lists of the adapters that were searched, where an entry has a digest alone"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "searched_lists",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("adapters", sa.Text(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("searched_lists")
