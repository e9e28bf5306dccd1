"""digests of versions' configs; how adapters were trained"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("adapter_versions", sa.Column("config_sha256", sa.String(64), nullable=True))
    op.add_column("adapters", sa.Column("recipe", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("adapters", "recipe")
    op.drop_column("adapter_versions", "config_sha256")
