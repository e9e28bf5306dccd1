"""callbacks of requests: the addresses that want to hear of a request's states"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("requests", sa.Column("callback_urls", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("requests", "callback_urls")
