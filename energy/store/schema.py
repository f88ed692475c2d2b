"""The tables, as SQLAlchemy Core. Migrations create them; this module is what queries are written in.

One plan per city, day and information; its series tables, district rows, hourly rollups and tanks belong
to it and go with it. Natural keys lead every primary key, so that one asset's year is read by key.
"""

from __future__ import annotations

from datetime import UTC as UTC_ZONE
from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    TypeDecorator,
    UniqueConstraint,
)


class UTC(TypeDecorator[datetime]):
    """An aware time, stored and read in UTC; naive times are refused on the way in."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone; the store takes aware times only")
        return value.astimezone(UTC_ZONE)

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        # SQLite keeps no offset: what was written is UTC
        return value.replace(tzinfo=UTC_ZONE) if value.tzinfo is None else value.astimezone(UTC_ZONE)


metadata = MetaData(
    naming_convention={
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)


def _of_plan(name: str, *columns: Column[Any]) -> Table:
    """A table whose rows belong to a plan and are deleted with it."""
    plan: Column[int] = Column("plan_id", ForeignKey("plans.id", ondelete="CASCADE"), primary_key=True)
    # rows clustered by their key: no second index to keep
    return Table(name, metadata, plan, *columns, sqlite_with_rowid=False)


def _district_rows(name: str) -> Table:
    return _of_plan(
        name,
        Column("district", String, primary_key=True),
        Column("time", UTC, primary_key=True),
        # null: the step has no AC solution, or the renewable share of some of the energy is unknown
        *(
            Column(name, Float, nullable=True)
            for name in ("energy_mwh", "emissions_kg", "loss_emissions_kg", "renewable_mwh")
        ),
    )


runs = Table(
    "runs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("city", String, nullable=False),
    Column("day", String, nullable=False),
    Column("information", String, nullable=False),
    Column("started", UTC, nullable=False),
    Column("finished", UTC, nullable=False),
    Column("code_version", String, nullable=False),
    Column("input_hash", String, nullable=False),
    Column("status", String, nullable=False),
    Column("seconds", JSON, nullable=False),
)

plans = Table(
    "plans",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("city", String, nullable=False),
    Column("day", String, nullable=False),
    Column("information", String, nullable=False),
    Column("run_id", ForeignKey("runs.id"), nullable=False),
    Column("stored", UTC, nullable=False),
    Column("status", String, nullable=False),
    Column("rounds", Integer, nullable=False),
    Column("violations", Integer, nullable=False),
    Column("input_hash", String, nullable=False),
    Column("start", UTC, nullable=False),
    Column("end", UTC, nullable=False),
    Column("steps", Integer, nullable=False),
    Column("peak_import_mw", Float, nullable=False),
    Column("document", LargeBinary, nullable=False),
    UniqueConstraint("city", "information", "day"),
)

plan_tables = _of_plan(
    "plan_tables",
    Column("name", String, primary_key=True),
    Column("columns", JSON, nullable=False),
    Column("float64", LargeBinary, nullable=False),
)

carry_overs = _of_plan(
    "carry_overs",
    Column("asset", String, primary_key=True),
    Column("energy_kwh", Float, nullable=False),
    Column("carbon_kg", Float, nullable=False),
    Column("renewable_kwh", Float, nullable=False),
    # null: the range of a source is unknown
    Column("carbon_low_kg", Float, nullable=True),
    Column("carbon_high_kg", Float, nullable=True),
)

district_steps = _district_rows("district_steps")
"""The raw rows, one per district and step."""
district_hours = _district_rows("district_hours")
"""Their hourly rollup."""

asset_hours = _of_plan(
    "asset_hours",
    Column("asset", String, primary_key=True),
    Column("time", UTC, primary_key=True),
    Column("energy_kwh", Float, nullable=False),
)
"""Energy of each asset per hour, kWh by the sign rule of its power."""

reports = Table(
    "reports",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("city", String, nullable=False),
    Column("name", String, nullable=False),
    Column("period", String, nullable=False),
    Column("variant", String, nullable=False),
    Column("number", Integer, nullable=False),
    Column("content", String, nullable=False),
    Column("state", String, nullable=False),
    Column("stored", UTC, nullable=False),
    Column("changes", JSON, nullable=False),
    Column("approved_by", String, nullable=True),
    Column("approved", UTC, nullable=True),
    Column("published", UTC, nullable=True),
    Column("document", LargeBinary, nullable=False),
    UniqueConstraint("city", "name", "period", "variant", "number"),
)
"""Versions of reports. No row is ever deleted; only `state` and who approved when are ever updated."""

report_figures = Table(
    "report_figures",
    metadata,
    Column("id", String, primary_key=True),
    Column("report_id", ForeignKey("reports.id"), nullable=False),
    Column("key", String, nullable=False),
    sqlite_with_rowid=False,
)
"""Where the figure of an id stands."""

day_accounts = _of_plan(
    "day_accounts",
    Column("document", LargeBinary, nullable=False),
    Column("float64", LargeBinary, nullable=False),
)
"""The hourly accounts of each day, whole: what they are of as JSON, their tables one after the other."""
