"""Versions of reports, and the ids of their figures."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "reports",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("city", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("period", sa.String, nullable=False),
        sa.Column("variant", sa.String, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("content", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("stored", INSTANT, nullable=False),
        sa.Column("changes", sa.JSON, nullable=False),
        sa.Column("approved_by", sa.String, nullable=True),
        sa.Column("approved", INSTANT, nullable=True),
        sa.Column("published", INSTANT, nullable=True),
        sa.Column("document", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("city", "name", "period", "variant", "number", name=op.f("uq_reports_city")),
    )
    report = sa.ForeignKey("reports.id", name=op.f("fk_report_figures_report_id"))
    op.create_table(
        "report_figures",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("report_id", sa.Integer, report, nullable=False),
        sa.Column("key", sa.String, nullable=False),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("report_figures")
    op.drop_table("reports")
