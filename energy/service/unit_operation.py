"""How a city's units run over a day, and what they are in its accounts: sources, uses, tanks, costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from energy.domain.city import Profiles, SiteUnit
from energy.domain.network import FloatArray
from energy.domain.schedule import AssetSchedule
from energy.domain.time import TimeGrid
from energy.service.city_day import CityDay
from energy.service.city_units import ROLES, parts_of, unit_documents
from optimizer.assets import ASSET_TYPES, Asset
from optimizer.assets.hydrogen_station import HydrogenStation
from optimizer.assets.swap_station import SwapStation

COST_PARTS = ("fuel", "start")
"""What units cost beside wear, which batteries cost too."""
USES: Mapping[str, str] = {
    "flexible_load": "flexible",
    "shiftable_load": "flexible",
    "hydrogen_station": "hydrogen",
    "swap_station": "battery",
}
"""What the power that a unit draws is used for."""


@dataclass(frozen=True)
class UnitTank:
    """A unit that stores electricity, as the carbon account has it: MW, MWh.

    `drive_mwh` leaves with vehicles. Hydrogen counts as the electricity that makes it: charging is lossless;
    `hydrogen_kg` is what vehicles take of it by step, None where it is electricity that is stored.
    """

    id: str
    bus: int
    technology: str
    charge_mw: FloatArray
    discharge_mw: FloatArray
    drive_mwh: FloatArray
    discharge_efficiency: float
    charge_efficiency: float
    e_start_mwh: float
    e_end_mwh: float
    hydrogen_kg: FloatArray | None = None


@dataclass(frozen=True)
class UnitOperation:
    """One day of all units; arrays have shape (steps, units) in the city's order, powers MW.

    Attributes:
        p_mw: by the sign rule of each type. drawn_mw, drawn_mvar: at the bus, consumer frame.
        series: what a unit reports beside its power, by ``unit/name``, shape (steps,).
        cost: by part, shape (steps,). What a day's fuel and starts cost is booked on the steps in which
            the unit moves power, in proportion to it.
        emitted_kg: what units emit themselves, heat of boilers included, booked likewise.
        unmet_kwh: needs that were not served.
    """

    units: tuple[SiteUnit, ...]
    time: TimeGrid
    p_mw: FloatArray
    drawn_mw: FloatArray
    drawn_mvar: FloatArray
    series: Mapping[str, FloatArray]
    cost: Mapping[str, FloatArray]
    emitted_kg: FloatArray
    unmet_kwh: float
    tanks: tuple[UnitTank, ...]

    def of_role(self, role: str) -> list[int]:
        """The columns of the units of that role in the carbon account."""
        return [k for k, unit in enumerate(self.units) if ROLES[unit.type] == role]

    def use_mw(self) -> dict[str, FloatArray]:
        """What is drawn by use, shape (steps,) each."""
        used: dict[str, FloatArray] = {}
        for k, unit in enumerate(self.units):
            if unit.type in USES:
                drawn = np.maximum(self.drawn_mw[:, k], 0.0)
                used[USES[unit.type]] = used.get(USES[unit.type], 0.0) + drawn
        return used


def run_units(day: CityDay, schedules: Mapping[str, AssetSchedule], profiles: Profiles) -> UnitOperation:
    """The units as `schedules` has them on the day; prices are those of `profiles`.

    What they serve (heat, hydrogen, swaps) is as planned: a day that comes otherwise moves setpoints only
    when it is planned again.
    """
    city, time = day.city, day.time
    steps, count = time.steps, len(city.units)
    p_mw, drawn_mw, drawn_mvar = (np.zeros((steps, count)) for _ in range(3))
    series: dict[str, FloatArray] = {}
    cost = {part: np.zeros(steps) for part in (*COST_PARTS, "wear")}
    emitted_kg, unmet_kwh, tanks = np.zeros(steps), 0.0, []
    assets = _assets(day, profiles, time)
    of_horizon = _assets(day, day.known, day.horizon)
    for k, unit in enumerate(city.units):
        for key in parts_of(unit):
            if key not in assets or key not in schedules:
                continue
            asset, own = assets[key], _first(schedules[key], steps)
            drawn_kw = asset.drawn_kw(own.p_kw)
            p_mw[:, k] += own.p_kw / 1000
            drawn_mw[:, k] += drawn_kw / 1000
            drawn_mvar[:, k] += asset.reactive_kvar(drawn_kw) / 1000
            for name, values in own.series.items():
                if values.ndim == 1 and key == unit.id:
                    series[f"{unit.id}/{name}"] = values
            for part, amount in asset.costs(own, time).items():
                cost[part] += _booked(amount, own.p_kw)
            emitted_kg += _booked(asset.emissions_kg(own, time), own.p_kw)
            # a need is due in the day or later: only the horizon tells which
            unmet_kwh += sum(
                shortfall.amount_kwh
                for shortfall in of_horizon[key].unmet(schedules[key], day.horizon)
                if shortfall.at <= time.end
            )
            if ROLES[unit.type] == "tank":
                tanks.append(_tank(unit, asset, own, time))
    return UnitOperation(
        city.units, time, p_mw, drawn_mw, drawn_mvar, series, cost, emitted_kg, unmet_kwh, tuple(tanks)
    )


def _tank(unit: SiteUnit, asset: Asset, own: AssetSchedule, time: TimeGrid) -> UnitTank:
    if isinstance(asset, HydrogenStation):
        made = asset.electrolyser.kwh_per_kg
        cell = own.series.get("fuel_cell_kw", np.zeros(time.steps))
        back = 1.0 if asset.fuel_cell is None else asset.fuel_cell.kwh_per_kg / made
        served_kg = np.maximum(asset.wanted_kg(time.steps) - own.series["unmet_kg"], 0.0)
        return UnitTank(
            unit.id,
            unit.bus,
            "hydrogen",
            charge_mw=np.maximum(own.series["electrolyser_kw"], 0.0) / 1000,
            discharge_mw=np.maximum(cell, 0.0) / 1000,
            drive_mwh=served_kg * made / 1000,
            discharge_efficiency=back,
            charge_efficiency=1.0,
            e_start_mwh=asset.tank.start_kg * made / 1000,
            e_end_mwh=float(own.series["tank_kg"][-1]) * made / 1000,
            hydrogen_kg=served_kg,
        )
    assert isinstance(asset, SwapStation), f"no tank is known for {unit.type}"
    slots = own.series["slot_kw"]
    return UnitTank(
        unit.id,
        unit.bus,
        "battery",
        charge_mw=np.maximum(slots, 0.0).sum(axis=1) / 1000,
        discharge_mw=np.maximum(-slots, 0.0).sum(axis=1) / 1000,
        drive_mwh=own.series["swaps_served"] * asset.swap_kwh / 1000,
        discharge_efficiency=asset.battery.discharge_efficiency,
        charge_efficiency=asset.battery.charge_efficiency,
        e_start_mwh=float(asset.starts_kwh().sum()) / 1000,
        e_end_mwh=float(own.series["e_kwh"][-1]) / 1000,
    )


def _assets(day: CityDay, profiles: Profiles, time: TimeGrid) -> dict[str, Asset]:
    """The units over `time`, which begins with the day."""
    city = day.city
    return {
        document["id"]: ASSET_TYPES[document["type"]].model_validate(document)
        for document in unit_documents(city.units, profiles, time, city.zone, day.units_before)
    }


def _first(schedule: AssetSchedule, steps: int) -> AssetSchedule:
    return AssetSchedule(
        schedule.p_kw[:steps], {name: values[:steps] for name, values in schedule.series.items()}
    )


def _booked(amount: float, p_kw: FloatArray) -> FloatArray:
    """`amount` over the steps in proportion to the power moved; evenly where none is."""
    weight = np.abs(p_kw)
    total = float(weight.sum())
    return amount * weight / total if total > 0 else np.full(len(p_kw), amount / len(p_kw))
