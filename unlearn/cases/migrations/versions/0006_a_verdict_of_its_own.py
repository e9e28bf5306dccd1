"""a verdict of its own for each request of a shared job"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("job_requests", sa.Column("verdict", sa.String(20), nullable=True))
    op.add_column("job_requests", sa.Column("findings", sa.JSON(), nullable=True))
    op.add_column("job_requests", sa.Column("erased", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.execute("UPDATE job_requests SET verdict = (SELECT verdict FROM jobs WHERE jobs.id = job_id)")
    op.execute(
        "UPDATE job_requests SET erased = true "
        "WHERE EXISTS (SELECT 1 FROM adapter_versions WHERE adapter_versions.job_id = job_requests.job_id)"
    )


def downgrade() -> None:
    for name in ("erased", "findings", "verdict"):
        op.drop_column("job_requests", name)
