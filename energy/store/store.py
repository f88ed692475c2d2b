"""The store: plans and what is kept beside them, in SQLite or PostgreSQL."""

from __future__ import annotations

import functools
import json
import zlib
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, Table, delete, func, insert, select

from energy.domain.errors import Fault, InputError, StoreError
from energy.domain.network import FloatArray
from energy.domain.period import DayRun
from energy.domain.plan import Plan, SeriesTable
from energy.domain.records import (
    AssetSeries,
    CarryOver,
    DayAccounts,
    DistrictSeries,
    PlanSummary,
    RunRecord,
    StoredAccounts,
)
from energy.domain.time import TimeGrid, format_duration, format_instant
from energy.store.database import Database
from energy.store.packing import float64, packed_accounts, packed_document, stored_accounts, unpacked_sources
from energy.store.reports import ReportShelf
from energy.store.schema import (
    asset_hours,
    carry_overs,
    day_accounts,
    district_hours,
    district_steps,
    plan_tables,
    plans,
    runs,
)

HOUR = timedelta(hours=1)
PERFECT = "perfect"
_ACCOUNTS = ("energy_mwh", "emissions_kg", "loss_emissions_kg", "renewable_mwh")


class Store:
    """Stored plans. One plan per city, day and information; storing it again replaces it as a whole.

    Rows and rollups account the day as it came: the case ``actual`` where a plan has one (day-ahead
    information), else ``planned``. All methods raise `StoreError`; all are safe to call from threads.

    Attributes:
        reports: the versions of reports.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.reports = ReportShelf(database)

    @staticmethod
    def open(url: str) -> Store:
        """The store at `url` (``sqlite:///FILE`` or ``postgresql://…``), made and migrated as needed."""
        return Store(Database(url))

    def close(self) -> None:
        """Close all connections."""
        self._database.close()

    def check(self) -> None:
        """`StoreError` unless the store can be read now."""
        with self._database.reading() as connection:
            connection.execute(select(func.max(plans.c.id)))

    def save_plan(self, plan: Plan, run: RunRecord, carry: CarryOver, accounts: DayAccounts) -> None:
        """Store `plan` with its run and tanks, its hourly accounts, rows and rollups, in one transaction.

        A process killed at any moment leaves the plan that was there before.
        """
        case = _accounted_case(plan)
        document = plan.document
        packed = packed_document(document)  # before the lock is taken: it takes longer than the writing
        hourly = packed_accounts(accounts)
        tables = [
            {"name": name, "columns": list(series.columns), "float64": float64(series.values)}
            for name, series in plan.tables.items()
        ]
        key = {"city": plan.city, "day": plan.day, "information": plan.information}
        with self._database.writing() as connection:
            connection.execute(
                delete(plans).where(*(plans.c[column] == value for column, value in key.items()))
            )
            run_id = connection.execute(
                insert(runs)
                .values(
                    **key,
                    started=run.started,
                    finished=run.finished,
                    code_version=run.code_version,
                    input_hash=run.input_hash,
                    status=run.status,
                    seconds=dict(run.seconds),
                )
                .returning(runs.c.id)
            ).scalar_one()
            plan_id = connection.execute(
                insert(plans)
                .values(
                    **key,
                    run_id=run_id,
                    stored=run.finished,
                    status=document["status"],
                    rounds=document["rounds"],
                    violations=len(document["violations"]),
                    input_hash=document["input_hash"],
                    start=plan.time.start,
                    end=plan.time.end,
                    steps=plan.time.steps,
                    peak_import_mw=float(
                        np.nanmax(plan.tables[f"{case}.totals"].column("import_mw"), initial=0.0)
                    ),
                    document=packed,
                )
                .returning(plans.c.id)
            ).scalar_one()

            def add(table: Table, rows: Iterable[Mapping[str, Any]]) -> None:
                rows = [{"plan_id": plan_id, **row} for row in rows]
                if rows:
                    connection.execute(insert(table), rows)

            add(plan_tables, tables)
            add(day_accounts, [hourly])
            add(
                carry_overs,
                (
                    {
                        "asset": asset,
                        "energy_kwh": energy,
                        "carbon_kg": carry.carbon_kg[asset],
                        "renewable_kwh": carry.renewable_kwh[asset],
                        "carbon_low_kg": carry.carbon_range_kg.get(asset, (None, None))[0],
                        "carbon_high_kg": carry.carbon_range_kg.get(asset, (None, None))[1],
                    }
                    for asset, energy in carry.energy_kwh.items()
                ),
            )
            by_district = _district_accounts(plan, case)
            add(district_steps, _district_rows(by_district))
            add(district_hours, _district_rows(_hourly_accounts(by_district)))
            add(asset_hours, _asset_rows(plan, case))

    def plan(self, city: str, day: str, information: str = PERFECT) -> Plan | None:
        """The stored plan with all its series, bit for bit as it was stored."""
        with self._database.reading() as connection:
            row = connection.execute(select(plans).where(*_is(city, day, information))).one_or_none()
            if row is None:
                return None
            series = connection.execute(
                select(plan_tables).where(plan_tables.c.plan_id == row.id).order_by(plan_tables.c.name)
            ).all()
        return Plan(
            city=city,
            day=day,
            information=information,
            time=TimeGrid(row.start, (row.end - row.start) / row.steps, row.steps),
            document=json.loads(self._unpacked(row.document, f"plan {city} {day}")),
            tables={
                table.name: SeriesTable(
                    tuple(table.columns),
                    np.frombuffer(self._unpacked(table.float64, table.name), dtype="<f8").reshape(
                        row.steps, len(table.columns)
                    ),
                )
                for table in series
            },
        )

    def plans(self, city: str) -> tuple[PlanSummary, ...]:
        """The city's plans by day."""
        columns = (*PlanSummary.__dataclass_fields__,)
        with self._database.reading() as connection:
            rows = connection.execute(
                select(*(plans.c[name] for name in columns))
                .where(plans.c.city == city)
                .order_by(plans.c.day, plans.c.information)
            ).all()
        return tuple(PlanSummary(**row._mapping) for row in rows)

    def carry_over(self, city: str, day: str, information: str = PERFECT) -> CarryOver | None:
        """What the day before `day` left: None where it has no stored plan."""
        before = (date.fromisoformat(day) - timedelta(days=1)).isoformat()
        with self._database.reading() as connection:
            row = connection.execute(
                select(plans.c.id, plans.c.end).where(*_is(city, before, information))
            ).one_or_none()
            if row is None:
                return None
            tanks = connection.execute(select(carry_overs).where(carry_overs.c.plan_id == row.id)).all()
        return CarryOver(
            at=row.end,
            energy_kwh={tank.asset: tank.energy_kwh for tank in tanks},
            carbon_kg={tank.asset: tank.carbon_kg for tank in tanks},
            renewable_kwh={tank.asset: tank.renewable_kwh for tank in tanks},
            carbon_range_kg={
                tank.asset: (tank.carbon_low_kg, tank.carbon_high_kg)
                for tank in tanks
                if tank.carbon_low_kg is not None and tank.carbon_high_kg is not None
            },
        )

    def month_peak_mw(self, city: str, day: str, information: str = PERFECT) -> float | None:
        """The highest import of the stored days of `day`'s month before `day`, MW; None without any."""
        with self._database.reading() as connection:
            return connection.execute(
                select(func.max(plans.c.peak_import_mw)).where(
                    plans.c.city == city,
                    plans.c.information == information,
                    plans.c.day >= f"{day[:7]}-01",
                    plans.c.day < day,
                )
            ).scalar_one()

    def runs(self, city: str, day: str) -> tuple[RunRecord, ...]:
        """Every run that planned `day`, oldest first; also those whose plan was replaced."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(runs).where(runs.c.city == city, runs.c.day == day).order_by(runs.c.id)
            ).all()
        return tuple(
            RunRecord(row.started, row.finished, row.code_version, row.input_hash, row.status, row.seconds)
            for row in rows
        )

    def district_series(
        self,
        city: str,
        start: datetime,
        end: datetime,
        *,
        information: str = PERFECT,
        resolution: timedelta = HOUR,
    ) -> DistrictSeries:
        """District accounts from `start` to `end` in intervals of `resolution`; NaN where they are not
        wholly covered by stored plans.

        Raises `InputError` where the intervals do not hold whole steps of the stored plans.
        """
        time = _grid(start, end, resolution)
        table = district_hours if _in_hours(time) else district_steps
        with self._database.reading() as connection:
            covering = _covering(connection, city, information, time)
            rows = connection.execute(_rows_of(table, covering, time)).all()
        covered = _covered(covering, time)
        districts = tuple(sorted({row.district for row in rows}))
        position = {district: k for k, district in enumerate(districts)}
        sums = np.zeros((len(_ACCOUNTS), time.steps, len(districts)))
        sums[:, ~covered] = np.nan
        for row in rows:
            values = [np.nan if getattr(row, name) is None else getattr(row, name) for name in _ACCOUNTS]
            sums[:, time.step_at(row.time), position[row.district]] += values
        return DistrictSeries(time, districts, **dict(zip(_ACCOUNTS, sums, strict=True)))

    def asset_series(
        self,
        city: str,
        asset: str,
        start: datetime,
        end: datetime,
        *,
        information: str = PERFECT,
        resolution: timedelta = HOUR,
    ) -> AssetSeries:
        """Energy of one asset from `start` to `end`, whole hours; NaN where no plan is stored or no
        stored plan has the asset. Raises `InputError` for intervals that are not whole hours.
        """
        time = _grid(start, end, resolution)
        if not _in_hours(time):
            raise InputError(
                Fault("resolution", "assets are kept by the hour; start at a full hour, ask for whole hours")
            )
        with self._database.reading() as connection:
            covering = _covering(connection, city, information, time)
            rows = connection.execute(
                _rows_of(asset_hours, covering, time).where(asset_hours.c.asset == asset)
            ).all()
        energy = np.where(_covered(covering, time), 0.0, np.nan) if rows else np.full(time.steps, np.nan)
        for row in rows:
            energy[time.step_at(row.time)] += row.energy_kwh
        return AssetSeries(time, energy)

    def day_accounts(
        self, city: str, first_day: str, last_day: str, information: str = PERFECT
    ) -> list[StoredAccounts]:
        """The hourly accounts of the stored days from `first_day` to `last_day`, by day, all of one state of
        the store. Days stored by a version that kept no hourly accounts are left out.
        """
        with self._database.reading() as connection:
            rows = connection.execute(
                select(
                    plans.c.day,
                    plans.c.information,
                    plans.c.status,
                    plans.c.input_hash,
                    plans.c.run_id,
                    runs.c.code_version,
                    runs.c.finished,
                    day_accounts.c.document,
                    day_accounts.c.float64,
                )
                .join(runs, runs.c.id == plans.c.run_id)
                .join(day_accounts, day_accounts.c.plan_id == plans.c.id)
                .where(
                    plans.c.city == city,
                    plans.c.information == information,
                    plans.c.day >= first_day,
                    plans.c.day <= last_day,
                )
                .order_by(plans.c.day)
            ).all()
        found: list[StoredAccounts] = []
        for row in rows:
            unpacked = functools.partial(self._unpacked, what=f"hourly accounts of {city} {row.day}")
            document = json.loads(unpacked(row.document))
            run = DayRun(
                day=row.day,
                run=row.run_id,
                information=row.information,
                status=row.status,
                input_hash=row.input_hash,
                code_version=row.code_version,
                factors_version=document["factors_version"],
                finished=row.finished,
                sources=unpacked_sources(document.get("sources", "[]")),
            )
            found.append(stored_accounts(run, document, row.float64, unpacked, found[-1] if found else None))
        return found

    def _unpacked(self, packed: bytes, what: str) -> bytes:
        try:
            return zlib.decompress(packed)
        except zlib.error as error:
            raise StoreError(
                f"store {self._database.name}: {what} is damaged ({error}); plan the day again, or "
                "restore the store from a backup"
            ) from None


def _is(city: str, day: str, information: str) -> tuple[Any, ...]:
    return (plans.c.city == city, plans.c.information == information, plans.c.day == day)


def _accounted_case(plan: Plan) -> str:
    return "actual" if "actual.totals" in plan.tables else "planned"


_Accounts = tuple[tuple[str, ...], list[datetime], FloatArray]
"""Districts, interval starts, and values of shape (accounts, steps, districts)."""


def _district_accounts(plan: Plan, case: str) -> _Accounts:
    energy, emissions, losses, share = (
        plan.tables[f"{case}.district.{name}"]
        for name in ("energy_mwh", "emissions_kg", "loss_emissions_kg", "renewable_share")
    )
    # no energy, no renewable energy: a share that is unknown there hides nothing
    renewable = np.where(energy.values == 0.0, 0.0, share.values * energy.values)
    values = np.stack([energy.values, emissions.values, losses.values, renewable])
    return energy.columns, list(plan.time), values


def _hourly_accounts(accounts: _Accounts) -> _Accounts:
    districts, times, values = accounts
    hours, first = _hours(times)
    return districts, hours, np.add.reduceat(values, first, axis=1)


def _hours(times: list[datetime]) -> tuple[list[datetime], list[int]]:
    """The hours that `times` fall into, and the first step of each."""
    of_step = [time.replace(minute=0, second=0, microsecond=0) for time in times]
    first = [k for k, hour in enumerate(of_step) if k == 0 or hour != of_step[k - 1]]
    return [of_step[k] for k in first], first


def _district_rows(accounts: _Accounts) -> Iterable[dict[str, Any]]:
    districts, times, values = accounts
    for step, time in enumerate(times):
        for column, district in enumerate(districts):
            yield {
                "district": district,
                "time": time,
                **{
                    name: None if np.isnan(value) else value
                    for name, value in zip(_ACCOUNTS, values[:, step, column].tolist(), strict=True)
                },
            }


def _asset_rows(plan: Plan, case: str) -> Iterable[dict[str, Any]]:
    power = plan.tables[f"{case}.asset_p_kw"]
    hours, first = _hours(list(plan.time))
    energy = np.add.reduceat(power.values * plan.time.hours, first, axis=0)
    for column, asset in enumerate(power.columns):
        for hour, value in zip(hours, energy[:, column].tolist(), strict=True):
            yield {"asset": asset, "time": hour, "energy_kwh": value}


def _grid(start: datetime, end: datetime, resolution: timedelta) -> TimeGrid:
    """The intervals from `start` to `end`."""
    steps = (end - start) / resolution
    if steps < 1 or steps != int(steps):
        raise InputError(
            Fault(
                "to",
                f"{format_instant(start)} to {format_instant(end)} is not a whole number of intervals of "
                f"{format_duration(resolution)}, at least one",
            )
        )
    return TimeGrid(start, resolution, int(steps))


def _in_hours(time: TimeGrid) -> bool:
    return time.resolution % HOUR == timedelta(0) and (time.start.minute, time.start.second) == (0, 0)


def _covering(connection: Connection, city: str, information: str, time: TimeGrid) -> list[Row]:
    return list(
        connection.execute(
            select(plans.c.id, plans.c.start, plans.c.end, plans.c.steps).where(
                plans.c.city == city,
                plans.c.information == information,
                plans.c.start < time.end,
                plans.c.end > time.start,
            )
        )
    )


def _rows_of(table: Table, covering: list[Row], time: TimeGrid) -> Any:
    return select(table).where(
        table.c.plan_id.in_([plan.id for plan in covering]),
        table.c.time >= time.start,
        table.c.time < time.end,
    )


def _covered(covering: list[Row], time: TimeGrid) -> Any:
    """Which intervals stored plans cover wholly, shape (steps,)."""
    share = np.zeros(time.steps)
    edges = np.arange(time.steps)
    for plan in covering:
        step = (plan.end - plan.start) / plan.steps
        if not _in_hours(time) and (time.resolution % step or (time.start - plan.start) % step):
            raise InputError(
                Fault(
                    "resolution",
                    f"intervals of {format_duration(time.resolution)} from {format_instant(time.start)} do "
                    f"not hold whole steps of {format_duration(step)}",
                )
            )
        share += np.clip(time.position(plan.end), edges, edges + 1)
        share -= np.clip(time.position(plan.start), edges, edges + 1)
    return share > 1 - 1e-9
