"""How the city's assets run over a day: setpoints and curtailment caps against the day's series."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from energy.domain.city import City, Profiles, buses_of
from energy.domain.network import FloatArray, IntArray, NodalPower
from energy.domain.schedule import Schedule
from energy.domain.time import TimeGrid
from energy.service.city_day import CityDay, site_series, stays_in
from energy.service.unit_operation import UnitOperation, run_units

CAPPED_KW = 1e-6
"""Less curtailment than this is the solver's tolerance, not a cap."""


@dataclass(frozen=True)
class Operation:
    """One day of all assets. Powers in MW, energies in MWh, arrays of shape (steps, assets) in the
    city's order; batteries and vehicles ``+`` draw, their energy is that at the end of the step.

    Attributes:
        driven_mwh, driven_km: booked in the step in which the vehicle arrives, at the battery.
        unmet_kwh: what trips and departures of the day lacked, over all vehicles, and what units did
            not serve.
    """

    city: City
    time: TimeGrid
    load_mw: FloatArray
    load_mvar: FloatArray
    available_mw: FloatArray
    generation_mw: FloatArray
    battery_mw: FloatArray
    battery_mwh: FloatArray
    vehicle_mw: FloatArray
    vehicle_mwh: FloatArray
    driven_mwh: FloatArray
    driven_km: FloatArray
    unmet_kwh: float
    units: UnitOperation

    @property
    def curtailed_mw(self) -> FloatArray:
        """What could have been generated and was not, shape (steps, renewables)."""
        return self.available_mw - self.generation_mw

    @cached_property
    def buses(self) -> IntArray:
        """The bus of every column of `nodal_power`: loads, renewables, batteries, vehicles, units."""
        city = self.city
        return buses_of(city.loads, city.renewables, city.batteries, city.vehicles, city.units)

    def nodal_power(self) -> NodalPower:
        """What all assets draw at their buses; only loads and units draw reactive power."""
        p_mw = np.hstack(
            [self.load_mw, -self.generation_mw, self.battery_mw, self.vehicle_mw, self.units.drawn_mw]
        )
        q_mvar = np.zeros_like(p_mw)
        q_mvar[:, : self.load_mvar.shape[1]] = self.load_mvar
        q_mvar[:, p_mw.shape[1] - len(self.units.units) :] = self.units.drawn_mvar
        return NodalPower(self.time, self.buses, p_mw, q_mvar)

    def e_end_mwh(self) -> float:
        """What batteries, vehicles and units that store hold at the end of the day."""
        held = sum(tank.e_end_mwh for tank in self.units.tanks)
        return float(self.battery_mwh[-1].sum() + self.vehicle_mwh[-1].sum() + held)


def operate(day: CityDay, schedule: Schedule, profiles: Profiles) -> Operation:
    """Run `schedule` on the day as `profiles` has it.

    Batteries and vehicles follow their setpoints. A renewable that is curtailed in a step may not
    exceed its planned power; otherwise it generates what there is. Demand is what it is. Units follow
    their setpoints.
    """
    city, time = day.city, day.time
    steps = time.steps
    available = np.maximum(site_series(profiles, [unit.available for unit in city.renewables], time), 0.0)
    caps = np.full_like(available, np.inf)
    for k, unit in enumerate(city.renewables):
        planned = schedule.assets[unit.id]
        capped = planned.series["curtailed_kw"][:steps] > CAPPED_KW
        caps[capped, k] = planned.p_kw[:steps][capped] / 1000
    ids = [battery.id for battery in city.batteries]
    battery_mw, battery_mwh = _storages(day, schedule, ids)
    vehicle_mw, vehicle_mwh = _storages(day, schedule, [vehicle.id for vehicle in city.vehicles])
    driven_mwh, driven_km, unmet_kwh = _drives(day, vehicle_mw, vehicle_mwh)
    units = run_units(day, schedule.assets, profiles)
    return Operation(
        city=city,
        time=time,
        load_mw=site_series(profiles, [load.p for load in city.loads], time),
        load_mvar=site_series(profiles, [load.q for load in city.loads], time),
        available_mw=available,
        generation_mw=np.clip(available, 0.0, np.maximum(caps, 0.0)),
        battery_mw=battery_mw,
        battery_mwh=battery_mwh,
        vehicle_mw=vehicle_mw,
        vehicle_mwh=vehicle_mwh,
        driven_mwh=driven_mwh,
        driven_km=driven_km,
        unmet_kwh=unmet_kwh + units.unmet_kwh,
        units=units,
    )


def _storages(day: CityDay, schedule: Schedule, ids: list[str]) -> tuple[FloatArray, FloatArray]:
    """Power and energy of the assets; one that the schedule leaves out keeps what it has."""
    steps = day.time.steps
    p_mw = np.zeros((steps, len(ids)))
    e_mwh = np.tile([day.tanks[key].e_kwh / 1000 for key in ids], (steps, 1)).reshape(steps, len(ids))
    for k, key in enumerate(ids):
        if key in schedule.assets:
            p_mw[:, k] = schedule.assets[key].p_kw[:steps] / 1000
            e_mwh[:, k] = schedule.assets[key].series["e_kwh"][:steps] / 1000
    return p_mw, e_mwh


def _drives(day: CityDay, p_mw: FloatArray, e_mwh: FloatArray) -> tuple[FloatArray, FloatArray, float]:
    """Energy and distance that trips took, and what they and the departures of the day lacked (kWh)."""
    hours = day.time.hours
    driven_mwh, driven_km, unmet_kwh = np.zeros_like(e_mwh), np.zeros_like(e_mwh), 0.0
    for k, vehicle in enumerate(day.city.vehicles):
        start_mwh = day.tanks[vehicle.id].e_kwh / 1000
        for stay in stays_in(vehicle, day.time):
            if stay.session.arrival >= day.time.start:
                step = day.time.step_at(stay.session.arrival)
                before = e_mwh[step - 1, k] if step else start_mwh
                p = p_mw[step, k]
                gained = max(p, 0.0) * vehicle.charge_efficiency + min(p, 0.0) / vehicle.discharge_efficiency
                # what the battery really gave: less than the trip asked for where it held too little
                driven_mwh[step, k] = max(0.0, before + gained * hours - e_mwh[step, k])
                driven_km[step, k] = stay.session.distance_km
                unmet_kwh += _beyond_rounding(stay.session.energy_kwh - driven_mwh[step, k] * 1000)
            if stay.session.departure <= day.time.end:
                last = int(np.ceil(day.time.position(stay.session.departure))) - 1
                unmet_kwh += _beyond_rounding(vehicle.e_max_kwh - e_mwh[last, k] * 1000)
    return driven_mwh, driven_km, float(unmet_kwh)


def _beyond_rounding(amount_kwh: float, tolerance_kwh: float = 1e-3) -> float:
    return amount_kwh if amount_kwh > tolerance_kwh else 0.0
