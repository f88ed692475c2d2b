"""Runs, plans and what belongs to a plan: series tables, tanks, district rows, hourly rollups."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)


def _of_plan(name: str, *columns: sa.Column) -> None:
    plan = sa.ForeignKey("plans.id", name=op.f(f"fk_{name}_plan_id"), ondelete="CASCADE")
    op.create_table(
        name,
        sa.Column("plan_id", sa.Integer, plan, primary_key=True, autoincrement=False),
        *columns,
        sqlite_with_rowid=False,
    )


def _district_rows(name: str) -> None:
    _of_plan(
        name,
        sa.Column("district", sa.String, primary_key=True),
        sa.Column("time", INSTANT, primary_key=True),
        sa.Column("energy_mwh", sa.Float, nullable=True),
        sa.Column("emissions_kg", sa.Float, nullable=True),
        sa.Column("loss_emissions_kg", sa.Float, nullable=True),
        sa.Column("renewable_mwh", sa.Float, nullable=True),
    )


def upgrade() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("city", sa.String, nullable=False),
        sa.Column("day", sa.String, nullable=False),
        sa.Column("information", sa.String, nullable=False),
        sa.Column("started", INSTANT, nullable=False),
        sa.Column("finished", INSTANT, nullable=False),
        sa.Column("code_version", sa.String, nullable=False),
        sa.Column("input_hash", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("seconds", sa.JSON, nullable=False),
    )
    op.create_table(
        "plans",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("city", sa.String, nullable=False),
        sa.Column("day", sa.String, nullable=False),
        sa.Column("information", sa.String, nullable=False),
        sa.Column(
            "run_id", sa.Integer, sa.ForeignKey("runs.id", name=op.f("fk_plans_run_id")), nullable=False
        ),
        sa.Column("stored", INSTANT, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("rounds", sa.Integer, nullable=False),
        sa.Column("violations", sa.Integer, nullable=False),
        sa.Column("input_hash", sa.String, nullable=False),
        sa.Column("start", INSTANT, nullable=False),
        sa.Column("end", INSTANT, nullable=False),
        sa.Column("steps", sa.Integer, nullable=False),
        sa.Column("peak_import_mw", sa.Float, nullable=False),
        sa.Column("document", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("city", "information", "day", name=op.f("uq_plans_city")),
    )
    _of_plan(
        "plan_tables",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("columns", sa.JSON, nullable=False),
        sa.Column("float64", sa.LargeBinary, nullable=False),
    )
    _of_plan(
        "carry_overs",
        sa.Column("asset", sa.String, primary_key=True),
        sa.Column("energy_kwh", sa.Float, nullable=False),
        sa.Column("carbon_kg", sa.Float, nullable=False),
        sa.Column("renewable_kwh", sa.Float, nullable=False),
    )
    _district_rows("district_steps")
    _district_rows("district_hours")
    _of_plan(
        "asset_hours",
        sa.Column("asset", sa.String, primary_key=True),
        sa.Column("time", INSTANT, primary_key=True),
        sa.Column("energy_kwh", sa.Float, nullable=False),
    )


def downgrade() -> None:
    for name in ("asset_hours", "district_hours", "district_steps", "carry_overs", "plan_tables"):
        op.drop_table(name)
    op.drop_table("plans")
    op.drop_table("runs")
