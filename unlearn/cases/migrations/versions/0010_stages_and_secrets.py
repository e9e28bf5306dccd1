"""stages: the seconds a job spent in each stage"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0005"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("jobs", sa.Column("stages", sa.JSON(), nullable=True))
    op.add_column("jobs", sa.Column("stage_since", MOMENT, nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "stage_since")
    op.drop_column("jobs", "stages")
