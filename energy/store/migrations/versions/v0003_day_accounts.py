"""The hourly accounts of each day; the ends of the carbon that tanks hold."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    plan = sa.ForeignKey("plans.id", name=op.f("fk_day_accounts_plan_id"), ondelete="CASCADE")
    op.create_table(
        "day_accounts",
        sa.Column("plan_id", sa.Integer, plan, primary_key=True, autoincrement=False),
        sa.Column("document", sa.LargeBinary, nullable=False),
        sa.Column("float64", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    op.add_column("carry_overs", sa.Column("carbon_low_kg", sa.Float, nullable=True))
    op.add_column("carry_overs", sa.Column("carbon_high_kg", sa.Float, nullable=True))


def downgrade() -> None:
    op.drop_column("carry_overs", "carbon_high_kg")
    op.drop_column("carry_overs", "carbon_low_kg")
    op.drop_table("day_accounts")
