"""Stored days joined to a period: the way from the store to every ledger and report."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import date, timedelta

import numpy as np

from energy.domain.city import City
from energy.domain.errors import Fault, InputError, UnknownError
from energy.domain.network import FloatArray
from energy.domain.period import (
    Account,
    AccountedDay,
    AssetEntry,
    End,
    Ends,
    Period,
    TracedCarbon,
    end_name,
)
from energy.domain.records import StoredAccounts
from energy.domain.time import TimeGrid
from energy.service.city_day import INFORMATION, ROOT
from energy.store import Store

HOUR = timedelta(hours=1)
_AT_MARGIN = "bus_marginal_g_per_kwh"
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
    _check_alike(stored)
    days = [first + timedelta(days=k) for k in range((last - first).days + 1)]
    return _period(city, label, days, _Days(_hours(city, days), stored))


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
                f"{label!r} is not a period; write a year (2016), a month (2016-06), a day (2016-06-21) or "
                "first and last day (2016-06-01/2016-06-15)",
            )
        ) from None
    if last < first:
        raise InputError(Fault("period", f"{last} is before {first}; swap the first and the last day"))
    if (last - first).days >= _LONGEST_DAYS:
        raise InputError(Fault("period", f"{label} is longer than ten years; check the dates"))
    return first, last


def _check_alike(stored: Sequence[StoredAccounts]) -> None:
    faults = []
    for what in ("coupling", "losses"):
        chosen: dict[str, list[str]] = {}
        for day in stored:
            chosen.setdefault(getattr(day, what), []).append(day.run.day)
        if len(chosen) > 1:
            groups = ", ".join(f"{value!r} on {_listed(chosen[value])}" for value in sorted(chosen))
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
                    f"is not a whole number of hours by the clocks of {city.zone.key}; report the days "
                    "before and after it separately",
                )
                for day in uneven
            ]
        )
    start, end = spans[0].start, spans[-1].end
    return TimeGrid(start, HOUR, round((end - start) / HOUR))


def _listed(days: Sequence[str]) -> str:
    return ", ".join(days) if len(days) <= 3 else f"{len(days)} days from {days[0]} to {days[-1]}"


class _Days:
    """The stored days of a period, unpacked one after the other, their columns in the period's places."""

    def __init__(self, time: TimeGrid, stored: Sequence[StoredAccounts]) -> None:
        self.time, self.stored = time, stored
        entries: dict[str, AssetEntry] = {}
        self._keys: list[tuple[str, ...]] = []
        for k, day in enumerate(stored):
            if k and day.assets is stored[k - 1].assets:
                self._keys.append(self._keys[-1])
                continue
            self._keys.append(tuple(_key(entry) for entry in day.assets))
            for key, entry in zip(self._keys[-1], day.assets, strict=True):
                entries.setdefault(key, entry)
        self.assets, self._entries = tuple(entries.values()), tuple(entries)
        self.storages = self.columns("tank_mwh")
        self.buses = tuple(sorted(map(int, self.columns("bus_carbon_g_per_kwh"))))

    def columns(self, table: str) -> tuple[str, ...]:
        """The columns of a table over all days, in the order of their first day."""
        return tuple(dict.fromkeys(name for day in self.stored for name in day.columns.get(table, ())))

    def __iter__(self) -> Iterator[AccountedDay]:
        for day, keys in zip(self.stored, self._keys, strict=True):
            yield self._accounted(day, keys)

    def _accounted(self, day: StoredAccounts, keys: tuple[str, ...]) -> AccountedDay:
        tables, columns, buses = day.unpack(), day.columns, tuple(map(str, self.buses))

        def of_assets(name: str) -> FloatArray:
            return _placed(tables[name], keys, self._entries)

        def of_storages(name: str) -> FloatArray:
            return _placed(tables[name], columns[name], self.storages)

        def at_end(end: End, opening_kg: FloatArray) -> TracedCarbon:
            return TracedCarbon(
                drawn_kg=of_assets(end_name("drawn_kg", end)),
                injected_kg=of_assets(end_name("injected_kg", end)),
                driven_kg=of_storages(end_name("driven_kg", end)),
                tank_kg=of_storages(end_name("tank_kg", end)),
                opening_kg=opening(opening_kg),
            )

        def ends() -> Ends | None:
            held = day.opening_range_kg
            return None if held is None else (at_end("low", held[0]), at_end("high", held[1]))

        def opening(held: FloatArray) -> FloatArray:
            return _placed(held[None], columns["tank_mwh"], self.storages)[0]

        def of_buses(name: str) -> FloatArray:
            return _placed(tables[name], columns[name], buses, absent=np.nan)

        return AccountedDay(
            hours=self._hours(day),
            drawn_mwh=of_assets("drawn_mwh"),
            drawn_kg=of_assets("drawn_kg"),
            injected_mwh=of_assets("injected_mwh"),
            injected_kg=of_assets("injected_kg"),
            driven_mwh=of_storages("driven_mwh"),
            driven_kg=of_storages("driven_kg"),
            distance_km=of_storages("distance_km"),
            tank_mwh=of_storages("tank_mwh"),
            tank_kg=of_storages("tank_kg"),
            opening_mwh=opening(day.opening_mwh),
            opening_kg=opening(day.opening_kg),
            bus_carbon_g_per_kwh=of_buses("bus_carbon_g_per_kwh"),
            marginal_kg=of_assets("marginal_kg") if "marginal_kg" in tables else None,
            marginal_at_bus=of_buses(_AT_MARGIN) if _AT_MARGIN in tables else None,
            hydrogen_kg=of_storages("hydrogen_kg") if "hydrogen_kg" in tables else None,
            read_ends=ends,
        )

    def joined(self, wanted: Mapping[str, Sequence[str]]) -> dict[str, FloatArray]:
        """Columns of small tables over all hours, shape (hours, columns): NaN where a day is not stored or
        has no such table or quantity, 0 where a quantity it has is not of that place."""
        found = {name: np.full((self.time.steps, len(columns)), np.nan) for name, columns in wanted.items()}
        for day in self.stored:
            tables = day.unpack()
            for name, columns in wanted.items():
                if name in tables:
                    found[name][self._hours(day)] = _of_places(
                        tables[name], day.columns[name], tuple(columns)
                    )
        return found

    def _hours(self, day: StoredAccounts) -> slice:
        first = round(self.time.position(day.time.start))
        return slice(first, first + day.time.steps)


def _period(city: City, label: str, days: Sequence[date], by_day: _Days) -> Period:
    stored = by_day.stored
    found = {day.run.day for day in stored}
    districts = tuple(sorted({name.split("/", 1)[1] for name in by_day.columns("planned.district")}))
    happened = "actual" if "actual.city" in stored[0].columns else "planned"
    cases = tuple(dict.fromkeys((happened, "planned", "uncontrolled")))
    wanted = {name: sorted(by_day.columns(name)) for name in ("upstream", "prices")}
    wanted |= {f"{case}.city": sorted(by_day.columns(f"{case}.city")) for case in cases}
    for case in cases:
        quantities = dict.fromkeys(
            name.split("/", 1)[0] for name in sorted(by_day.columns(f"{case}.district"))
        )
        wanted[f"{case}.district"] = [f"{quantity}/{name}" for quantity in quantities for name in districts]
    at_margin = bool(by_day.columns(_AT_MARGIN))
    wanted |= {_AT_MARGIN: [ROOT]} if at_margin else {}
    tables = by_day.joined(wanted)

    def series(name: str) -> dict[str, FloatArray]:
        return {column: tables[name][:, k] for k, column in enumerate(wanted[name])}

    def account(case: str) -> Account:
        of, wide = wanted[f"{case}.district"], tables[f"{case}.district"]
        width = len(districts)
        return Account(
            districts={of[k].split("/", 1)[0]: wide[:, k : k + width] for k in range(0, len(of), width)},
            city=series(f"{case}.city"),
        )

    accounts, prices = {case: account(case) for case in cases}, series("prices")
    return Period(
        city=city.id,
        label=label,
        zone=city.zone,
        time=by_day.time,
        days=tuple(day.run for day in stored),
        missing=tuple(day.isoformat() for day in days if day.isoformat() not in found),
        districts=districts,
        actual=accounts[happened],
        planned=accounts["planned"],
        uncontrolled=accounts["uncontrolled"],
        assets=by_day.assets,
        storages=by_day.storages,
        buses=by_day.buses,
        by_day=by_day,
        upstream=series("upstream"),
        import_price_per_mwh=prices["import_price_per_mwh"],
        export_price_per_mwh=prices["export_price_per_mwh"],
        coupling=stored[0].coupling,
        losses=stored[0].losses,
        marginal_at_root=tables[_AT_MARGIN][:, 0] if at_margin else None,
        without_ends=tuple(
            day.run.day
            for day in stored
            if end_name("end_use_kg", "low") not in day.columns[f"{happened}.city"]
        ),
    )


def _placed(
    values: FloatArray, found: tuple[str, ...], columns: tuple[str, ...], absent: float = 0.0
) -> FloatArray:
    """`values` with the columns `found` in the places of `columns`; `absent` where there is no such one."""
    if found == columns:
        return values
    position = {column: k for k, column in enumerate(columns)}
    kept = [k for k, column in enumerate(found) if column in position]
    placed = np.full((len(values), len(columns)), absent)
    placed[:, [position[found[k]] for k in kept]] = values[:, kept]
    return placed


def _of_places(values: FloatArray, found: tuple[str, ...], columns: tuple[str, ...]) -> FloatArray:
    """As `_placed`; columns ``QUANTITY/PLACE`` (or ``QUANTITY``) of a quantity not found at all are NaN."""
    if found == columns:
        return values
    placed, known = _placed(values, found, columns), {name.split("/", 1)[0] for name in found}
    placed[:, [name.split("/", 1)[0] not in known for name in columns]] = np.nan
    return placed


def _key(entry: AssetEntry) -> str:
    return json.dumps(asdict(entry), sort_keys=True)
