"""${message}"""

import sqlalchemy as sa
from alembic import op

from controlplane.adapters.sql.types import NAME, UtcDateTime

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Upgrade."""
    ${upgrades if upgrades else "pass"}
