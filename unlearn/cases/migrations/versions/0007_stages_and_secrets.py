"""stages and secrets: the seconds a job spent in each stage; a second secret of an address while they change"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("jobs", sa.Column("stages", sa.JSON(), nullable=True))
    op.add_column("jobs", sa.Column("stage_since", MOMENT, nullable=True))
    op.add_column("endpoints", sa.Column("sealed_old_secret", sa.Text(), nullable=True))
    op.add_column("endpoints", sa.Column("old_secret_until", MOMENT, nullable=True))


def downgrade() -> None:
    op.drop_column("endpoints", "old_secret_until")
    op.drop_column("endpoints", "sealed_old_secret")
    op.drop_column("jobs", "stage_since")
    op.drop_column("jobs", "stages")
