"""fingerprints of whose job nothing is known any more"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("erased_fingerprints") as table:
        table.alter_column("job_id", existing_type=sa.String(40), nullable=True)


def downgrade() -> None:
    gone = "SELECT id FROM erased_fingerprints WHERE job_id IS NULL"
    op.execute(f"DELETE FROM fingerprint_bands WHERE fingerprint_id IN ({gone})")  # noqa: S608
    op.execute("DELETE FROM erased_fingerprints WHERE job_id IS NULL")
    with op.batch_alter_table("erased_fingerprints") as table:
        table.alter_column("job_id", existing_type=sa.String(40), nullable=False)
