"""How verdicts were reached, what is served with a warning, and which blocks a satellite enforces."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Widen reports and their exceptions; those at hand say nothing of it until the next report replaces them."""
    op.add_column("report", sa.Column("revocation_epoch", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("report", sa.Column("warned", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("report_exception", sa.Column("steps", sa.JSON(), nullable=True))
