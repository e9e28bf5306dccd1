"""subjects under a legal hold, found at once"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

HELD = sa.text("held_at IS NOT NULL")


def upgrade() -> None:
    op.create_index(
        "held_requests", "requests", ["controller_id", "subject_hash"], sqlite_where=HELD, postgresql_where=HELD
    )


def downgrade() -> None:
    op.drop_index("held_requests", "requests")
