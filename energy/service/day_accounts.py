"""The hourly accounts of a day: what is stored beside its plan for ledgers and reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from energy.carbon.inventory import references_of
from energy.carbon.participants import Range
from energy.domain.city import BOUNDARY, UNCLASSIFIED, City
from energy.domain.network import FloatArray
from energy.domain.period import ENDS, AssetEntry, UserClass, end_name
from energy.domain.plan import SeriesTable
from energy.domain.records import DayAccounts
from energy.domain.time import TimeGrid
from energy.service.upstream import INTENSITY

if TYPE_CHECKING:
    from energy.domain.schedule import Schedule
    from energy.service.cases import Case
    from energy.service.city_day import CityDay

HOUR = timedelta(hours=1)
T = TypeVar("T")
_GENERATION: Mapping[UserClass, float] = {"energy_industries": 1.0}
_CHARGING: Mapping[UserClass, float] = {"transport": 1.0}
_UNIT_CLASSES: Mapping[str, Mapping[UserClass, float]] = {
    "generator": _GENERATION,
    "chp": _GENERATION,
    "hydrogen_station": _CHARGING,
    "swap_station": _CHARGING,
}
"""Whose demand a unit is, by type; heat pumps and other flexible loads say nothing of their users."""


def marginal_table(day: CityDay, schedule: Schedule) -> SeriesTable | None:
    """What a kWh more emits at the connection and at every bus with an asset, g/kWh by step of the day, NaN
    where it is not estimated; None where `schedule` does not tell."""
    ((root, connection),) = schedule.connections.items()
    if connection.marginal is None:
        return None
    at_buses = sorted(schedule.marginal_at_buses.items())
    found = {root: connection.marginal} | {str(bus): at for bus, at in at_buses}
    grams = np.column_stack([at.g_per_kwh[: day.time.steps] for at in found.values()])
    return SeriesTable(tuple(found), grams)


def day_accounts(
    day: CityDay,
    cases: Mapping[str, Case],
    start_hash: str,
    factors_version: str,
    marginal: SeriesTable | None = None,
) -> DayAccounts:
    """The accounts of every case by the hour, and of the case that happened by asset, storage and bus;
    with `marginal`, that of `marginal_table`, also what the assets cause at the margin."""
    happened = cases.get("actual", cases["planned"])
    hourly = _Hourly(day.time)
    tables = {}
    for name, case in cases.items():
        tables[f"{name}.district"] = _districts(hourly, case)
        tables[f"{name}.city"] = _city(hourly, case)
    storages, (start_kg, *start_ends_kg) = happened.account.storage_ids, happened.storage.carbon_start_ends_kg
    low_kg, high_kg = (dict(zip(storages, end.tolist(), strict=True)) for end in start_ends_kg)
    return DayAccounts(
        time=hourly.time,
        start_hash=start_hash,
        coupling=happened.account.coupling,
        losses=happened.account.losses,
        factors_version=factors_version,
        assets=asset_entries(day.city, happened),
        tables=tables
        | _assets(hourly, happened)
        | ({} if marginal is None else _at_margin(hourly, happened, marginal))
        | _storages(hourly, happened)
        | _market(hourly, day, happened),
        opening_mwh=dict(zip(storages, happened.storage.e_start_mwh.tolist(), strict=True)),
        opening_kg=dict(zip(storages, start_kg.tolist(), strict=True)),
        opening_range_kg=None if happened.account.tank_carbon_range_kg is None else (low_kg, high_kg),
        sources=day.city.sources,
    )


class _Hourly:
    """The hours of a day from its start; what remains of a day that is no whole number of hours is one."""

    def __init__(self, time: TimeGrid) -> None:
        self._per_hour = round(1 / time.hours)
        self._first = np.arange(0, time.steps, self._per_hour)
        self._last = np.minimum(self._first + self._per_hour, time.steps) - 1
        self.time = TimeGrid(time.start, HOUR, len(self._first))

    def total(self, values: FloatArray) -> FloatArray:
        """Sums over the steps of each hour; NaN where one is."""
        return np.add.reduceat(values, self._first, axis=0)

    def mean(self, values: FloatArray) -> FloatArray:
        count = self._last - self._first + 1
        return self.total(values) / count.reshape(-1, *([1] * (values.ndim - 1)))

    def highest(self, values: FloatArray) -> FloatArray:
        return np.maximum.reduceat(values, self._first, axis=0)

    def ending(self, values: FloatArray) -> FloatArray:
        """States at the end of each hour."""
        return values[self._last]


def asset_entries(city: City, case: Case) -> tuple[AssetEntry, ...]:
    """Everything that draws or injects in `case`: end use, generation, storages, in this order."""
    known = _known(city)
    taking_part = (
        *zip(case.use.ids, case.use.buses.tolist(), strict=True),
        *zip(case.supply.ids, case.supply.buses.tolist(), strict=True),
        *zip(case.storage.ids, case.storage.buses.tolist(), strict=True),
    )
    entries = []
    for key, bus in taking_part:
        name, kind, classes, technology, group = known[key]
        district = city.district_of_bus.get(bus, BOUNDARY)
        entries.append(AssetEntry(key, name, kind, bus, district, dict(classes), technology, group))
    return tuple(entries)


def fed_references(city: City) -> tuple[str, ...]:
    """The references of the GPC that the assets of `city` fill with electricity, as it is now."""
    known = _known(city).values()
    seen = {user for _, _, classes, _, _ in known for user, share in classes.items() if share > 0}
    return references_of(seen, generation=any(technology for *_, technology, _ in known))


def _known(city: City) -> dict[str, tuple[str, str, Mapping[UserClass, float], str, str]]:
    """By id: name, kind, user classes, technology and fleet of everything that draws or injects."""
    known: dict[str, tuple[str, str, Mapping[UserClass, float], str, str]] = {
        load.id: (load.name, "load", load.classes, "", "") for load in city.loads
    }
    known |= {site.id: (site.name, "renewable", _GENERATION, site.technology, "") for site in city.renewables}
    known |= {battery.id: (battery.name, "battery", _GENERATION, "", "") for battery in city.batteries}
    known |= {vehicle.id: (vehicle.id, "ev", _CHARGING, "", vehicle.fleet) for vehicle in city.vehicles}
    known |= {
        unit.id: (unit.name, unit.type, _UNIT_CLASSES.get(unit.type, UNCLASSIFIED), unit.technology, "")
        for unit in city.units
    }
    return known


def _districts(hourly: _Hourly, case: Case) -> SeriesTable:
    sums = case.account.district_sums
    return SeriesTable(
        tuple(f"{name}/{district}" for name, table in sums.items() for district in table.columns),
        hourly.total(np.hstack([table.values for table in sums.values()])),
    )


def _city(hourly: _Hourly, case: Case) -> SeriesTable:
    account, hours = case.account, case.account.time.hours
    steps = account.steps
    carbon = (
        "sources_kg",
        "end_use_kg",
        "losses_kg",
        "exports_kg",
        "ev_driven_kg",
        "storage_change_kg",
        "residual_kg",
        "import_kg",
    )
    names = (*carbon, *(end_name(name, end) for end in ENDS for name in carbon))
    stored = account.tank_e_mwh.sum(axis=1)
    change = np.diff(stored, prepend=float(case.storage.e_start_mwh.sum()))
    series = {name: hourly.total(steps[name]) for name in names}
    series |= {
        "storage_change_mwh": hourly.total(change),
        "import_mwh": hourly.total(steps["import_mw"] * hours),
        "export_mwh": hourly.total(steps["export_mw"] * hours),
        "losses_mwh": hourly.total(steps["losses_mw"] * hours),
        "cost": hourly.total(np.sum(list(case.cost.values()), axis=0)),
        "peak_import_mw": hourly.highest(steps["import_mw"]),
    }
    return SeriesTable(tuple(series), np.column_stack(list(series.values())))


def _assets(hourly: _Hourly, case: Case) -> dict[str, SeriesTable]:
    """What each asset draws from the network and injects, columns as `asset_entries`."""
    account, use, supply, storage = case.account, case.use, case.supply, case.storage
    hours, at = account.time.hours, account.at_buses
    # without an AC solution nothing is known to have flowed
    solved = np.where(case.state.converged, 1.0, np.nan)[:, None]
    nodes = at.nodes(use.buses)
    used, generated = use.p_mw * solved * hours, supply.p_mw * solved * hours
    nothing = np.zeros_like
    values: dict[str, tuple[FloatArray, ...]] = {
        "drawn_mwh": (used, nothing(generated), storage.charge_mw * solved * hours),
        "injected_mwh": (nothing(used), generated, storage.discharge_mw * solved * hours),
    }

    def carbon(
        use_g_per_kwh: FloatArray, supply_g_per_kwh: FloatArray, charged: FloatArray, discharged: FloatArray
    ) -> dict[str, tuple[FloatArray, ...]]:
        return {
            "drawn_kg": (used * use_g_per_kwh[:, nodes], nothing(generated), charged * solved),
            "injected_kg": (nothing(used), generated * supply_g_per_kwh, discharged * solved),
        }

    values |= carbon(at.use_g_per_kwh, supply.carbon_g_per_kwh, account.charged_kg, account.discharged_kg)
    ranges = (
        at.use_range_g_per_kwh,
        supply.carbon_range,
        account.charged_range_kg,
        account.discharged_range_kg,
    )
    values |= _at_ends(ranges, carbon)
    ids = (*use.ids, *supply.ids, *storage.ids)
    return {name: SeriesTable(ids, hourly.total(np.hstack(parts))) for name, parts in values.items()}


def _at_ends(ranges: Sequence[Range | None], carbon: Callable[..., Mapping[str, T]]) -> dict[str, T]:
    """What `carbon` makes of the low ends of all `ranges`, and of the high ones; nothing where one has
    none."""
    known = [ends for ends in ranges if ends is not None]
    if len(known) < len(ranges):
        return {}
    return {
        end_name(name, end): made
        for k, end in enumerate(ENDS)
        for name, made in carbon(*(ends[k] for ends in known)).items()
    }


def _at_margin(hourly: _Hourly, case: Case, rates: SeriesTable) -> dict[str, SeriesTable]:
    """What the net draw of each asset causes at the rates of its bus, step by step, and the rates' means."""
    use, supply, storage = case.use, case.supply, case.storage
    solved = np.where(case.state.converged, 1.0, np.nan)[:, None]
    net_mw = np.hstack([use.p_mw, -supply.p_mw, storage.charge_mw - storage.discharge_mw])
    column = {bus: k for k, bus in enumerate(rates.columns)}
    unknown = np.full((len(net_mw), 1), np.nan)
    at_bus = np.hstack([rates.values, unknown])
    buses = np.concatenate([use.buses, supply.buses, storage.buses])
    per_mwh = at_bus[:, [column.get(str(bus), -1) for bus in buses.tolist()]]
    kg = np.where(net_mw == 0, 0.0, net_mw * per_mwh) * solved * case.account.time.hours
    return {
        "marginal_kg": SeriesTable((*use.ids, *supply.ids, *storage.ids), hourly.total(kg)),
        "bus_marginal_g_per_kwh": SeriesTable(rates.columns, hourly.mean(rates.values)),
    }


def _storages(hourly: _Hourly, case: Case) -> dict[str, SeriesTable]:
    account = case.account

    def carbon(driven: FloatArray, held: FloatArray) -> dict[str, FloatArray]:
        return {"driven_kg": hourly.total(driven), "tank_kg": hourly.ending(held)}

    values = {
        "driven_mwh": hourly.total(account.driven_mwh),
        "distance_km": hourly.total(account.distance_km),
        "tank_mwh": hourly.ending(account.tank_e_mwh),
        **carbon(account.driven_kg, account.tank_carbon_kg),
        **_at_ends((account.driven_range_kg, account.tank_carbon_range_kg), carbon),
    }
    tables = {name: SeriesTable(account.storage_ids, table) for name, table in values.items()}
    hydrogen = {
        tank.id: hourly.total(tank.hydrogen_kg)
        for tank in case.operation.units.tanks
        if tank.hydrogen_kg is not None
    }
    if hydrogen:
        tables["hydrogen_kg"] = SeriesTable(tuple(hydrogen), np.column_stack(list(hydrogen.values())))
    return tables


def _market(hourly: _Hourly, day: CityDay, case: Case) -> dict[str, SeriesTable]:
    """Intensity of each bus weighted by what flows through it; upstream and prices as means of the hour."""
    terms, real, time, at = day.city.market, day.city.profiles, day.time, case.account.at_buses
    buses = sorted(at.node_of_bus)
    nodes = [at.node_of_bus[bus] for bus in buses]
    through = hourly.total(at.through_mw)
    carried = hourly.total(at.carbon_g_per_kwh * at.through_mw)
    carbon = np.divide(carried, through, out=np.full_like(carried, np.nan), where=through > 0)
    estimated = [source.estimated_share for source in day.city.sources if source.series == INTENSITY]
    ends = zip(ENDS, (terms.carbon_low, terms.carbon_high), strict=True)
    upstream = {
        "carbon_g_per_kwh": real.window(terms.carbon, time),
        **{
            end_name("carbon_g_per_kwh", end): np.full(time.steps, np.nan)
            if column is None
            else real.window(column, time)
            for end, column in ends
        },
        "marginal_g_per_kwh": real.window(terms.marginal_carbon, time),
        "renewable_share": real.window(terms.upstream_renewable_share, time),
        "estimated_share": np.full(time.steps, max(estimated, default=1.0)),
    }
    prices = {
        "import_price_per_mwh": real.window(terms.import_price, time),
        "export_price_per_mwh": real.window(terms.export_price, time),
    }
    return {
        "bus_carbon_g_per_kwh": SeriesTable(tuple(map(str, buses)), carbon[:, nodes]),
        "upstream": SeriesTable(tuple(upstream), hourly.mean(np.column_stack(list(upstream.values())))),
        "prices": SeriesTable(tuple(prices), hourly.mean(np.column_stack(list(prices.values())))),
    }
