"""Clean sets and jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make both tables."""
    op.create_table(
        "clean_sets",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("gateway", sa.String(64), nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("created_s", sa.Float, nullable=False),
    )
    op.create_table(
        "jobs",
        sa.Column("job", sa.String(32), primary_key=True),
        sa.Column("clean_set", sa.String(64), sa.ForeignKey("clean_sets.sha256"), nullable=False, unique=True),
        sa.Column("environment", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False, index=True),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("owner", sa.String(64)),
        sa.Column("leased_until_s", sa.Float, nullable=False),
        sa.Column("created_s", sa.Float, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("version", sa.Integer),
        sa.Column("bundle_sha256", sa.String(64)),
        sa.Column("scorecard", sa.Text),
    )


def downgrade() -> None:
    """Drop both tables."""
    op.drop_table("jobs")
    op.drop_table("clean_sets")
