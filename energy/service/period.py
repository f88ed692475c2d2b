"""Stored days joined to a period: the way from the store to every ledger and report."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta

import numpy as np

from energy.domain.city import City
from energy.domain.errors import Fault, InputError, UnknownError
from energy.domain.network import FloatArray
from energy.domain.period import Account, AssetEntry, DayRun, Period
from energy.domain.records import DayAccounts
from energy.domain.time import TimeGrid
from energy.service.city_day import INFORMATION, ROOT
from energy.store import Store

HOUR = timedelta(hours=1)
_LONGEST_DAYS = 3700
"""About ten years: more is a slip of the keyboard, not a report."""


def load_period(store: Store, city: City, label: str, information: str = "perfect") -> Period:
    """The hours of the local days of `label` (``2016``, ``2016-06``, ``2016-06-21``, or first and last day,
    ``2016-06-01/2016-06-15``) as their stored plans account them.

    Days without a stored plan are NaN and listed. What a city no longer has, or not yet, is 0 on the days
    it was not there (NaN where it is an intensity). An asset whose entry changed stands once per entry.

    Raises:
        InputError: a label that is none, unknown information, days of different coupling or losses (the
            message names them), days that are no whole number of hours.
        UnknownError: no day of the period is stored.
    """
    first, last = days_of(label)
    if information not in INFORMATION:
        known = ", ".join(INFORMATION)
        raise InputError(Fault("information", f"{information!r} is not known; give one of {known}"))
    stored = store.day_accounts(city.id, first.isoformat(), last.isoformat(), information)
    if not stored:
        raise UnknownError(
            f"{city.id} has no stored day in {label} with {information} information; fill the store with "
            f"`wattshed operate --from {first} --to {last}`"
        )
    _check_alike([accounts for _, accounts in stored], [run.day for run, _ in stored])
    days = [first + timedelta(days=k) for k in range((last - first).days + 1)]
    return _Joined(city, label, _hours(city, days), days, stored).period()


def days_of(label: str) -> tuple[date, date]:
    """The first and last local day of a label of `load_period`; `InputError` for what is none."""
    try:
        if re.fullmatch(r"\d{4}", label):
            return date(int(label), 1, 1), date(int(label), 12, 31)
        if re.fullmatch(r"\d{4}-\d{2}", label):
            first = date.fromisoformat(f"{label}-01")
            following = (first + timedelta(days=31)).replace(day=1)
            return first, following - timedelta(days=1)
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}(/\d{4}-\d{2}-\d{2})?", label):
            raise ValueError(label)
        first, last = (date.fromisoformat(day) for day in (label.split("/") * 2)[:2])
    except ValueError:
        raise InputError(
            Fault(
                "period",
                f"{label!r} is no period; write a year (2016), a month (2016-06), a day (2016-06-21) or "
                "first and last day (2016-06-01/2016-06-15)",
            )
        ) from None
    if last < first:
        raise InputError(Fault("period", f"{last} is before {first}; swap the first and the last day"))
    if (last - first).days >= _LONGEST_DAYS:
        raise InputError(Fault("period", f"{label} is longer than ten years; check the dates"))
    return first, last


def _check_alike(accounts: Sequence[DayAccounts], days: Sequence[str]) -> None:
    faults = []
    for what, chosen in (
        ("coupling", [of.coupling for of in accounts]),
        ("losses", [of.losses for of in accounts]),
    ):
        if len(set(chosen)) > 1:
            groups = ", ".join(
                f"{value!r} on {_listed([day for day, of in zip(days, chosen, strict=True) if of == value])}"
                for value in sorted(set(chosen))
            )
            faults.append(
                Fault(
                    f"carbon.{what}",
                    f"differs between the stored days: {groups}; plan the days again with one setting, or "
                    "report them apart",
                )
            )
    if faults:
        raise InputError(faults)


def _hours(city: City, days: Sequence[date]) -> TimeGrid:
    """The hours from the start of the first local day to the end of the last."""
    spans = [TimeGrid.local_day(day, city.zone, timedelta(minutes=1)) for day in days]
    uneven = [day for day, span in zip(days, spans, strict=True) if span.steps % 60]
    if uneven:
        raise InputError(
            [
                Fault(
                    f"day {day}",
                    f"is no whole number of hours by the clocks of {city.zone.key}; report the days before "
                    "and after it apart",
                )
                for day in uneven
            ]
        )
    start, end = spans[0].start, spans[-1].end
    return TimeGrid(start, HOUR, round((end - start) / HOUR))


def _listed(days: Sequence[str]) -> str:
    return ", ".join(days) if len(days) <= 3 else f"{len(days)} days from {days[0]} to {days[-1]}"


@dataclass(frozen=True)
class _Joined:
    city: City
    label: str
    time: TimeGrid
    days: Sequence[date]
    stored: Sequence[tuple[DayRun, DayAccounts]]

    def period(self) -> Period:
        stored = [accounts for _, accounts in self.stored]
        found = {run.day for run, _ in self.stored}
        districts = tuple(sorted({name for of in stored for name in _districts(of)}))
        storages = self._columns("tank_mwh")
        buses = tuple(sorted({int(bus) for bus in self._columns("bus_carbon_g_per_kwh")}))
        actual_name = "actual" if "actual.city" in stored[0].tables else "planned"
        actual, planned, uncontrolled = (
            self._account(case, districts) for case in (actual_name, "planned", "uncontrolled")
        )
        assets, by_asset = self._assets()
        upstream, prices = self._series("upstream"), self._series("prices")
        at_root = self._at_margin((ROOT,))
        return Period(
            city=self.city.id,
            label=self.label,
            zone=self.city.zone,
            time=self.time,
            days=tuple(run for run, _ in self.stored),
            missing=tuple(day.isoformat() for day in self.days if day.isoformat() not in found),
            districts=districts,
            actual=actual,
            planned=actual if actual_name == "planned" else planned,
            uncontrolled=uncontrolled,
            assets=assets,
            drawn_mwh=by_asset["drawn_mwh"],
            drawn_kg=by_asset["drawn_kg"],
            injected_mwh=by_asset["injected_mwh"],
            injected_kg=by_asset["injected_kg"],
            storages=storages,
            driven_mwh=self._table("driven_mwh", storages),
            driven_kg=self._table("driven_kg", storages),
            distance_km=self._table("distance_km", storages),
            tank_mwh=self._table("tank_mwh", storages),
            tank_kg=self._table("tank_kg", storages),
            opening_mwh=np.array([[of.opening_mwh.get(key, 0.0) for key in storages] for of in stored]),
            opening_kg=np.array([[of.opening_kg.get(key, 0.0) for key in storages] for of in stored]),
            buses=buses,
            bus_carbon_g_per_kwh=self._table("bus_carbon_g_per_kwh", tuple(map(str, buses)), absent=np.nan),
            upstream=upstream,
            import_price_per_mwh=prices["import_price_per_mwh"],
            export_price_per_mwh=prices["export_price_per_mwh"],
            coupling=stored[0].coupling,
            losses=stored[0].losses,
            hydrogen_kg=self._table("hydrogen_kg", storages) if self._any("hydrogen_kg") else None,
            marginal_kg=by_asset.get("marginal_kg"),
            marginal_at_bus=self._at_margin(tuple(map(str, buses))),
            marginal_at_root=None if at_root is None else at_root[:, 0],
        )

    def _at_margin(self, columns: Sequence[str]) -> FloatArray | None:
        """The marginal rates of some places; None where no day has any."""
        known = self._any("bus_marginal_g_per_kwh")
        return self._table("bus_marginal_g_per_kwh", columns, absent=np.nan) if known else None

    def _any(self, table: str) -> bool:
        """Whether any day has that table."""
        return any(table in accounts.tables for _, accounts in self.stored)

    def _columns(self, table: str) -> tuple[str, ...]:
        """The columns of a table over all days."""
        return tuple(sorted({name for _, of in self.stored for name in of.tables[table].columns}))

    def _table(
        self,
        name: str,
        columns: Sequence[str],
        absent: float = 0.0,
        names: Sequence[Sequence[str]] | None = None,
    ) -> FloatArray:
        """A table over all hours, shape (hours, columns); `absent` where a day has no such column, NaN where
        it has no such table.

        `names` are what the columns of each day are called here, in place of their own names.
        """
        position = {column: k for k, column in enumerate(columns)}
        filled = np.full((self.time.steps, len(columns)), np.nan)
        for k, (_, accounts) in enumerate(self.stored):
            if name not in accounts.tables:
                continue
            first = round(self.time.position(accounts.time.start))
            hours = slice(first, first + accounts.time.steps)
            table = accounts.tables[name]
            found = names[k] if names else table.columns
            kept = [number for number, key in enumerate(found) if key in position]
            filled[hours] = absent
            filled[hours, [position[found[number]] for number in kept]] = table.values[:, kept]
        return filled

    def _series(self, name: str) -> Mapping[str, FloatArray]:
        columns = self._columns(name)
        values = self._table(name, columns)
        return {column: values[:, k] for k, column in enumerate(columns)}

    def _account(self, case: str, districts: Sequence[str]) -> Account:
        name = f"{case}.district"
        quantities = list(dict.fromkeys(column.split("/", 1)[0] for column in self._columns(name)))
        columns = [f"{quantity}/{district}" for quantity in quantities for district in districts]
        values = self._table(name, columns).reshape(self.time.steps, len(quantities), len(districts))
        return Account(
            districts={quantity: values[:, k] for k, quantity in enumerate(quantities)},
            city=self._series(f"{case}.city"),
        )

    def _assets(self) -> tuple[tuple[AssetEntry, ...], dict[str, FloatArray]]:
        """All entries in the order of their first day, and their tables."""
        entries: dict[str, AssetEntry] = {}
        keys = []
        for _, accounts in self.stored:
            keys.append([_key(entry) for entry in accounts.assets])
            for key, entry in zip(keys[-1], accounts.assets, strict=True):
                entries.setdefault(key, entry)
        names = ["drawn_mwh", "drawn_kg", "injected_mwh", "injected_kg"]
        names += ["marginal_kg"] if self._any("marginal_kg") else []
        tables = {name: self._table(name, tuple(entries), names=keys) for name in names}
        return tuple(entries.values()), tables


def _districts(accounts: DayAccounts) -> set[str]:
    return {column.split("/", 1)[1] for column in accounts.tables["planned.district"].columns}


def _key(entry: AssetEntry) -> str:
    return json.dumps(asdict(entry), sort_keys=True)
