"""When rules expire, who has signed them, and the signatures beside the payloads that they were made for."""

import sqlalchemy as sa
from alembic import op

from controlplane.adapters.sql.types import UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Widen rules and payloads; what is there was written here, unsigned, and does not expire."""
    op.add_column("rule", sa.Column("expires_at", UtcDateTime(), nullable=True))
    op.add_column("rule", sa.Column("signed_by", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("resource_body", sa.Column("signatures", sa.JSON(), nullable=False, server_default="[]"))
