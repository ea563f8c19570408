"""The key of each clean set's faces, sealed."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column; faces of older sets were not sealed, and are erased as no key is theirs."""
    op.add_column("clean_sets", sa.Column("sealed_key", sa.Text))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("clean_sets", "sealed_key")
