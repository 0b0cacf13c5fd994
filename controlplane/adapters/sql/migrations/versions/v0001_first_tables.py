"""The first tables."""

import sqlalchemy as sa
from alembic import op

from controlplane.adapters.sql.types import NAME, UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make every table, and the log at its beginning."""
    op.create_table(
        "change",
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("request_id", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("diff", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("epoch", "revision"),
    )
    op.create_table(
        "device",
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("spiffe_id", sa.String(), nullable=False),
        sa.Column("registered_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("fingerprint"),
        sa.UniqueConstraint("spiffe_id"),
    )
    op.create_table(
        "fleet_group",
        sa.Column("name", NAME, nullable=False),
        sa.Column("precedence", sa.Integer(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "join_token",
        sa.Column("id", NAME, nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("spiffe_id", sa.String(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("used_at", UtcDateTime(), nullable=True),
        sa.Column("device_key", sa.LargeBinary(), nullable=True),
        sa.Column("csr_key", sa.LargeBinary(), nullable=True),
        sa.Column("refused_attempts", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_join_token_spiffe_id"), "join_token", ["spiffe_id"], unique=False)
    op.create_table(
        "log_head",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "operator",
        sa.Column("name", NAME, nullable=False),
        sa.Column("spiffe_id", sa.String(), nullable=False),
        sa.Column("role", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        sa.UniqueConstraint("spiffe_id"),
    )
    op.create_table(
        "request",
        sa.Column("actor", NAME, nullable=False),
        sa.Column("request_id", NAME, nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("answer", sa.JSON(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("actor", "request_id"),
    )
    op.create_index(op.f("ix_request_at"), "request", ["at"], unique=False)
    op.create_table(
        "resource_body",
        sa.Column("version", sa.LargeBinary(), nullable=False),
        sa.Column("kind", sa.Integer(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("version"),
    )
    op.create_table(
        "rule",
        sa.Column("kind", sa.Integer(), nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("serial", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "name"),
    )
    op.create_table(
        "rule_scope",
        sa.Column("kind", sa.Integer(), nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("scope", NAME, nullable=False),
        sa.PrimaryKeyConstraint("kind", "name", "scope"),
    )
    op.create_index(op.f("ix_rule_scope_scope"), "rule_scope", ["scope"], unique=False)
    op.create_table(
        "satellite",
        sa.Column("name", NAME, nullable=False),
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("spiffe_id", sa.String(), nullable=False),
        sa.Column("standing", sa.String(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        sa.UniqueConstraint("spiffe_id"),
    )
    op.create_index(op.f("ix_satellite_standing"), "satellite", ["standing"], unique=False)
    op.create_table(
        "scope",
        sa.Column("name", NAME, nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "scope_generation",
        sa.Column("scope", NAME, nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("scope", "generation"),
    )
    op.create_index("ix_scope_generation_digest", "scope_generation", ["scope", "digest"], unique=False)
    op.create_table(
        "source",
        sa.Column("name", NAME, nullable=False),
        sa.Column("local_prefix", sa.String(), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("version", sa.LargeBinary(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("name"),
        sa.UniqueConstraint("local_prefix"),
    )
    op.create_table(
        "takeover",
        sa.Column("worker", NAME, nullable=False),
        sa.Column("satellite", NAME, nullable=False),
        sa.Column("boot_id", sa.LargeBinary(), nullable=False),
        sa.Column("session", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("worker", "satellite", "boot_id", "session"),
    )
    op.create_table(
        "worker",
        sa.Column("id", NAME, nullable=False),
        sa.Column("seen_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "artifact",
        sa.Column("name", NAME, nullable=False),
        sa.Column("source", NAME, nullable=False),
        sa.Column("repository", sa.String(), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("version", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["source"],
            ["source.name"],
        ),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_index(op.f("ix_artifact_source"), "artifact", ["source"], unique=False)
    op.create_table(
        "health",
        sa.Column("satellite", NAME, nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["satellite"],
            ["satellite.name"],
        ),
        sa.PrimaryKeyConstraint("satellite"),
    )
    op.create_table(
        "membership",
        sa.Column("satellite", NAME, nullable=False),
        sa.Column("group", NAME, nullable=False),
        sa.Column("owner", NAME, nullable=False),
        sa.ForeignKeyConstraint(
            ["group"],
            ["fleet_group.name"],
        ),
        sa.ForeignKeyConstraint(
            ["satellite"],
            ["satellite.name"],
        ),
        sa.PrimaryKeyConstraint("satellite", "group", "owner"),
    )
    op.create_index(op.f("ix_membership_group"), "membership", ["group"], unique=False)
    op.create_table(
        "presence",
        sa.Column("satellite", NAME, nullable=False),
        sa.Column("agent_version", sa.String(), nullable=False),
        sa.Column("boot_id", sa.LargeBinary(), nullable=False),
        sa.Column("session", sa.BigInteger(), nullable=False),
        sa.Column("earlier_boots", sa.JSON(), nullable=False),
        sa.Column("worker", sa.String(), nullable=False),
        sa.Column("last_seen_at", UtcDateTime(), nullable=True),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.Column("duplicate_at", UtcDateTime(), nullable=True),
        sa.Column("behind", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["satellite"],
            ["satellite.name"],
        ),
        sa.PrimaryKeyConstraint("satellite"),
    )
    op.create_index(op.f("ix_presence_changed_at"), "presence", ["changed_at"], unique=False)
    op.create_table(
        "report",
        sa.Column("satellite", NAME, nullable=False),
        sa.Column("boot_id", sa.LargeBinary(), nullable=False),
        sa.Column("session", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=True),
        sa.Column("revision", sa.BigInteger(), nullable=True),
        sa.Column("held_digest", sa.LargeBinary(), nullable=False),
        sa.Column("enforced_digest", sa.LargeBinary(), nullable=False),
        sa.Column("desired", sa.Integer(), nullable=False),
        sa.Column("published", sa.Integer(), nullable=False),
        sa.Column("waiting", sa.Integer(), nullable=False),
        sa.Column("refused", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("exceptions_omitted", sa.Integer(), nullable=False),
        sa.Column("foreign_withdrawn", sa.Integer(), nullable=False),
        sa.Column("registry_kind", sa.String(), nullable=False),
        sa.Column("registry_exclusive", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["satellite"],
            ["satellite.name"],
        ),
        sa.PrimaryKeyConstraint("satellite"),
    )
    op.create_table(
        "scope_resource",
        sa.Column("scope", NAME, nullable=False),
        sa.Column("kind", sa.Integer(), nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("from_generation", sa.BigInteger(), nullable=False),
        sa.Column("to_generation", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["version"],
            ["resource_body.version"],
        ),
        sa.PrimaryKeyConstraint("scope", "kind", "name", "from_generation"),
    )
    op.create_index("ix_scope_resource_from", "scope_resource", ["scope", "from_generation"], unique=False)
    op.create_index("ix_scope_resource_to", "scope_resource", ["scope", "to_generation"], unique=False)
    op.create_table(
        "assignment",
        sa.Column("scope", NAME, nullable=False),
        sa.Column("artifact", NAME, nullable=False),
        sa.Column("owner", NAME, nullable=False),
        sa.ForeignKeyConstraint(
            ["artifact"],
            ["artifact.name"],
        ),
        sa.PrimaryKeyConstraint("scope", "artifact", "owner"),
    )
    op.create_index(op.f("ix_assignment_artifact"), "assignment", ["artifact"], unique=False)
    op.create_table(
        "report_exception",
        sa.Column("satellite", NAME, nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("state", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("since", UtcDateTime(), nullable=True),
        sa.Column("serving_digest", sa.String(), nullable=False),
        sa.Column("done_bytes", sa.BigInteger(), nullable=False),
        sa.Column("total_bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["satellite"],
            ["report.satellite"],
        ),
        sa.PrimaryKeyConstraint("satellite", "ordinal"),
    )
    op.execute("INSERT INTO log_head (id, epoch, revision) VALUES (1, 1, 0)")
