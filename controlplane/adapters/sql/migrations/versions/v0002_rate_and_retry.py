"""How fast an artifact comes, and when one that failed is tried again."""

import sqlalchemy as sa
from alembic import op

from controlplane.adapters.sql.types import UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Widen the exceptions of reports; those at hand have no rate until the next report replaces them."""
    op.add_column("report_exception", sa.Column("retry_at", UtcDateTime(), nullable=True))
    op.add_column(
        "report_exception", sa.Column("rate_bytes_per_s", sa.BigInteger(), nullable=False, server_default="0")
    )
