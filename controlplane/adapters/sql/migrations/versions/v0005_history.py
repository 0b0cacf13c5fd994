"""What names a payload is found without reading every interval, so that payloads can go."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Index the intervals by version."""
    op.create_index("ix_scope_resource_version", "scope_resource", ["version"])
