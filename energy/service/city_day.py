"""What the plan of a day starts from: what is known of the day, the tanks as the day before left them,
the month's peak so far, and the dispatch problem made of these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal

import numpy as np

from energy.domain.canonical import sha256
from energy.domain.city import ChargingSession, City, Profiles, Scaled, SiteBattery, Vehicle
from energy.domain.errors import Fault, InputError
from energy.domain.network import FloatArray
from energy.domain.records import CarryOver
from energy.domain.time import TimeGrid, format_instant
from energy.service.city_units import DayBefore, declared_kwh, unit_documents

Information = Literal["perfect", "day-ahead"]
INFORMATION: tuple[Information, ...] = ("perfect", "day-ahead")
ROOT = "grid"
"""The id of the city's one connection, in its problems and schedules."""
MIP_GAP = 1e-3
"""Of the day's cost: closing the rest for units that are on or off can take hours."""
ACCOUNTS_FORMAT = 2
"""Of the hourly accounts: a day that was stored with another one is planned again. 2: all carbon has ends."""


@dataclass(frozen=True, slots=True)
class Tank:
    """Energy in a battery at the start of the day, the carbon booked to it, and its renewable part.

    `carbon_range_kg`: the low and high ends of that carbon; None where they are not known: the day before
    has left none.
    """

    e_kwh: float
    carbon_kg: float
    renewable_kwh: float = 0.0
    carbon_range_kg: tuple[float, float] | None = None

    @staticmethod
    def declared(e_kwh: float, carbon_kg: float) -> Tank:
        """A tank whose carbon is declared: it is its own ends."""
        return Tank(e_kwh, carbon_kg, carbon_range_kg=(carbon_kg, carbon_kg))


@dataclass(frozen=True)
class CityDay:
    """One day of one city, as far as it is known when the day is planned.

    Attributes:
        time: the local day. horizon: from its start to noon of the next day, or to the end of the data.
        known: the series the plan is made with (those of the day itself, or a forecast of them).
        tanks: of every battery and vehicle by id, at the start of the day.
        carried: whether the tanks are those a stored plan of the day before left.
        metered_peak_mw: the highest import that stored days of the month reached; None without any.
        unavoidable_peak_mw: what inflexible demand less generation will reach in the month anyway.
        units_before: what a stored plan of the day before has units do; None where there is none.
    """

    city: City
    day: date
    information: Information
    time: TimeGrid
    horizon: TimeGrid
    known: Profiles
    tanks: Mapping[str, Tank]
    carried: bool
    metered_peak_mw: float | None
    unavoidable_peak_mw: float
    units_before: DayBefore | None = None

    @property
    def peak_so_far_mw(self) -> float:
        """The import that the month's demand charge is due for anyway: the day pays what goes beyond."""
        return max(self.metered_peak_mw or 0.0, self.unavoidable_peak_mw)

    @property
    def marginal_g_per_kwh(self) -> list[float] | None:
        """The upstream's marginal intensity over the horizon; None where the city does not want it at buses
        or where a step of it is not known."""
        known = self.known.window(self.city.market.marginal_carbon, self.horizon)
        wanted = self.city.carbon.marginal == "dispatch" and np.isfinite(known).all()
        return known.tolist() if wanted else None

    def problem_document(self) -> dict[str, Any]:
        """The ``wattshed.dispatch/1`` of the horizon.

        Inflexible loads at one bus are one load, since nothing tells them apart; EVs without a session
        in the horizon are left out. Every EV leaves full, so that each session's need is a full battery.
        """
        city, market, horizon = self.city, self.city.market, self.horizon

        def series(column: str) -> list[float]:
            return self.known.window(column, horizon).tolist()

        connection = {
            "id": ROOT,
            "import_limit_kw": _kilo(market.import_limit_mw),
            "export_limit_kw": _kilo(market.export_limit_mw),
            "import_price_per_mwh": series(market.import_price),
            "export_price_per_mwh": series(market.export_price),
            "carbon_g_per_kwh": series(market.carbon),
            "marginal_carbon_g_per_kwh": self.marginal_g_per_kwh,
            "peak_import_price_per_kw": market.peak_import_price_per_kw,
            "peak_import_so_far_kw": self.peak_so_far_mw * 1000,
        }
        limits = city.limits
        renewables = self._renewables()
        steered = [
            *(unit for unit in renewables if unit["curtailable"]),
            *self._batteries(),
            *self._vehicles(),
            *unit_documents(city.units, self.known, horizon, city.zone, self.units_before),
        ]
        given = [*self._loads(), *(unit for unit in renewables if not unit["curtailable"])]
        return {
            "schema": "wattshed.dispatch/1",
            "name": f"{city.id} {self.day}",
            "currency": market.currency,
            "time": horizon.document(),
            "connections": [{key: value for key, value in connection.items() if value is not None}],
            "assets": [*given, *steered],
            "objective": {"carbon_price_per_t": market.carbon_price_per_t},
            "network": {
                "grid": city.grid_source,
                "vm_min_pu": limits.vm_min_pu,
                "vm_max_pu": limits.vm_max_pu,
                "loading_max_percent": limits.loading_max_percent,
            },
            "options": {
                # what a kWh more emits is asked for at every bus with an asset, as prices are
                "bus_prices": self.marginal_g_per_kwh is not None,
                "explain": ["en", "ja"],
                "explain_assets": [asset["id"] for asset in steered],
                **({"mip_gap": MIP_GAP} if city.units else {}),
            },
        }

    @property
    def tanks_ranged(self) -> bool:
        """Whether the low and high ends of what every tank holds are known."""
        return all(tank.carbon_range_kg is not None for tank in self.tanks.values())

    def input_hash(self, problem_hash: str, factors_version: str) -> str:
        """SHA-256 over everything the plan is a function of: city, day, problem, tanks, factors."""
        inputs = {
            "city": self.city.fingerprint,
            "day": self.day.isoformat(),
            "information": self.information,
            "problem": problem_hash,
            "carbon_kg": {key: tank.carbon_kg for key, tank in self.tanks.items()},
            "carbon_range_kg": {key: tank.carbon_range_kg for key, tank in self.tanks.items()},
            "renewable_kwh": {key: tank.renewable_kwh for key, tank in self.tanks.items()},
            "factors": factors_version,
        }
        return sha256(inputs)

    def _loads(self) -> list[dict[str, Any]]:
        loads = self.city.loads
        p_kw = site_series(self.known, [load.p for load in loads], self.horizon) * 1000
        q_kvar = site_series(self.known, [load.q for load in loads], self.horizon) * 1000
        buses = sorted({load.bus for load in loads})
        at_bus = np.array([[load.bus == bus for bus in buses] for load in loads], dtype=float)
        at_bus = at_bus.reshape(len(loads), len(buses))
        return [
            {"type": "load", "id": load_id(bus), "connection": ROOT, "bus": bus, "p_kw": p, "q_kvar": q}
            for bus, p, q in zip(buses, (p_kw @ at_bus).T.tolist(), (q_kvar @ at_bus).T.tolist(), strict=True)
        ]

    def _renewables(self) -> list[dict[str, Any]]:
        units = self.city.renewables
        available = site_series(self.known, [unit.available for unit in units], self.horizon) * 1000
        return [
            {
                "type": "renewable",
                "id": unit.id,
                "connection": ROOT,
                "bus": unit.bus,
                "technology": unit.technology,
                "available_kw": np.maximum(available[:, k], 0.0).tolist(),
                "curtailable": unit.curtailable,
            }
            for k, unit in enumerate(units)
        ]

    def _batteries(self) -> list[dict[str, Any]]:
        return [
            {
                "type": "battery",
                "id": battery.id,
                "connection": ROOT,
                "bus": battery.bus,
                "charge_max_kw": battery.charge_max_mw * 1000,
                "discharge_max_kw": battery.discharge_max_mw * 1000,
                "e_min_kwh": battery.e_min_mwh * 1000,
                "e_max_kwh": battery.e_max_mwh * 1000,
                "e_start_kwh": self.tanks[battery.id].e_kwh,
                "e_end_min_kwh": self._idle_kwh(battery),
                "charge_efficiency": battery.charge_efficiency,
                "discharge_efficiency": battery.discharge_efficiency,
                "self_discharge_per_hour": battery.self_discharge_per_hour,
                "wear_cost_per_mwh": battery.wear_cost_per_mwh,
            }
            for battery in self.city.batteries
        ]

    def _idle_kwh(self, battery: SiteBattery) -> float:
        """What idling leaves in the battery at the horizon's end: a plan may not live on what it empties."""
        hours = self.horizon.steps * self.horizon.hours
        left = self.tanks[battery.id].e_kwh * (1.0 - battery.self_discharge_per_hour) ** hours
        return max(left, battery.e_min_mwh * 1000)

    def _vehicles(self) -> list[dict[str, Any]]:
        documents = []
        for vehicle in self.city.vehicles:
            stays = stays_in(vehicle, self.horizon)
            if not stays:
                continue
            documents.append(
                {
                    "type": "ev",
                    "id": vehicle.id,
                    "connection": ROOT,
                    "bus": vehicle.bus,
                    "e_min_kwh": vehicle.e_min_kwh,
                    "e_max_kwh": vehicle.e_max_kwh,
                    "e_start_kwh": self.tanks[vehicle.id].e_kwh,
                    "charge_efficiency": vehicle.charge_efficiency,
                    "discharge_efficiency": vehicle.discharge_efficiency,
                    "wear_cost_per_mwh": vehicle.wear_cost_per_mwh,
                    "sessions": [
                        {
                            "arrival": format_instant(stay.session.arrival),
                            "departure": format_instant(stay.session.departure),
                            "charge_max_kw": stay.session.charge_max_kw,
                            "discharge_max_kw": stay.session.discharge_max_kw if vehicle.v2g else 0.0,
                            "e_departure_min_kwh": vehicle.e_max_kwh,
                        }
                        for stay in stays
                    ],
                    "trips": [
                        {
                            "departure": format_instant(stay.left),
                            "arrival": format_instant(stay.session.arrival),
                            "energy_kwh": stay.session.energy_kwh,
                            "distance_km": stay.session.distance_km,
                        }
                        for stay in stays
                        if stay.session.arrival >= self.horizon.start
                    ],
                }
            )
        return documents


def check_day(city: City, day: str, information: str) -> tuple[date, Information]:
    """A local date with data and a known kind of information; `InputError` for what is neither.

    A date is written one way only (``2016-06-21``): plans are stored and found by it.
    """
    faults = []
    first, last = (
        city.profiles.time.instant(step).astimezone(city.zone).date()
        for step in (0, city.profiles.time.steps - 1)
    )
    wanted: date | None = None
    try:
        wanted = date.fromisoformat(day)
        if wanted.isoformat() != day:
            raise ValueError(day)
        city.day(wanted)
    except ValueError:
        faults.append(Fault("day", f"{day!r} is not a date; write it like {first}"))
    except IndexError:
        faults.append(
            Fault("day", f"{day} is outside the data of {city.name}; give a day from {first} to {last}")
        )
    known: Information | None = next((name for name in INFORMATION if name == information), None)
    if known is None:
        known_ones = ", ".join(INFORMATION)
        faults.append(Fault("information", f"{information!r} is not known; give one of {known_ones}"))
    if faults or wanted is None or known is None:
        raise InputError(faults)
    return wanted, known


@dataclass(frozen=True, slots=True)
class Stay:
    """A charging session and when the drive before it began."""

    session: ChargingSession
    left: datetime


def stays_in(vehicle: Vehicle, time: TimeGrid) -> list[Stay]:
    """The sessions of `vehicle` that overlap `time`, ascending."""
    stays = []
    for k, session in enumerate(vehicle.sessions):
        if session.arrival < time.end and session.departure > time.start:
            # before its first session a vehicle left at no known time: an hour's drive is as good as any
            before = vehicle.sessions[k - 1].departure if k else session.arrival - timedelta(hours=1)
            stays.append(Stay(session, before))
    return stays


def start_hash(
    city: City,
    day: date,
    information: Information,
    carry: CarryOver | None,
    metered_peak_mw: float | None,
    day_before: Mapping[str, Any] | None,
    factors_version: str,
) -> str:
    """SHA-256 over all that a day starts from: a stored plan with the same hash need not be made again."""
    tanks = None
    if carry is not None:
        tanks = {
            key: [energy, carry.carbon_kg[key], carry.renewable_kwh[key], *carry.carbon_range_kg.get(key, ())]
            for key, energy in carry.energy_kwh.items()
        }
    inputs = {
        "city": city.fingerprint,
        "day": day.isoformat(),
        "information": information,
        "tanks": tanks,
        "peak_mw": metered_peak_mw,
        "units_before": day_before,
        "factors": factors_version,
        "accounts": ACCOUNTS_FORMAT,
    }
    return sha256(inputs)


def load_id(bus: int) -> str:
    """The asset id of all inflexible load at a bus."""
    return f"load:{bus}"


def site_series(profiles: Profiles, sites: Sequence[Scaled | None], time: TimeGrid) -> FloatArray:
    """The series of sites over `time`, shape (steps, sites); zero where a site has none."""
    present = [k for k, scaled in enumerate(sites) if scaled is not None]
    scaled = [site for site in sites if site is not None]
    series = np.zeros((time.steps, len(sites)))
    series[:, present] = profiles.matrix(tuple(site.column for site in scaled), time) * np.array(
        [site.factor for site in scaled]
    )
    return series


def horizon_of(city: City, day: date) -> TimeGrid:
    """From the start of the local day to noon of the next, or to the end of the data."""
    today = city.day(day)
    noon = datetime.combine(day + timedelta(days=1), time(12), city.zone).astimezone(UTC)
    end = min(noon, city.profiles.time.end)
    return TimeGrid(today.start, today.resolution, int((end - today.start) / today.resolution))


def tanks_at(city: City, start: datetime, carry: CarryOver | None) -> dict[str, Tank]:
    """The tank of every battery, vehicle and unit that stores: as carried over, or as declared.

    Declared: batteries as the city says; vehicles full, except those plugged in at `start`, which have
    charged at full power since they arrived. Nothing of what is declared counts as renewable.
    """
    tanks = {
        battery.id: Tank.declared(
            battery.e_start_mwh * 1000, battery.e_start_mwh * battery.carbon_start_g_per_kwh
        )
        for battery in city.batteries
    }
    for vehicle in city.vehicles:
        e_kwh = _declared_kwh(vehicle, start)
        tanks[vehicle.id] = Tank.declared(e_kwh, e_kwh * vehicle.carbon_start_g_per_kwh / 1000)
    declared = declared_kwh(city.units)
    for unit in city.units:
        if unit.id in declared:
            e_kwh = declared[unit.id]
            tanks[unit.id] = Tank.declared(e_kwh, e_kwh * unit.carbon_start_g_per_kwh / 1000)
    if carry is not None:
        # an asset that joined the city since starts as declared, one that left leaves its tank behind
        known = tanks.keys() & carry.energy_kwh.keys()
        bounds = {
            battery.id: (battery.e_min_mwh * 1000, battery.e_max_mwh * 1000) for battery in city.batteries
        }
        bounds |= {vehicle.id: (vehicle.e_min_kwh, vehicle.e_max_kwh) for vehicle in city.vehicles}
        bounds |= dict.fromkeys(declared, (0.0, np.inf))
        for key in known:
            # the solver keeps bounds to its tolerance only, and a problem must start inside them
            e_kwh = float(np.clip(carry.energy_kwh[key], *bounds[key]))
            tanks[key] = Tank(
                e_kwh,
                carry.carbon_kg[key],
                min(carry.renewable_kwh[key], e_kwh),
                carry.carbon_range_kg.get(key),
            )
    return tanks


def unavoidable_peak_mw(city: City, known: Profiles, over: TimeGrid) -> float:
    """The highest net demand over `over` with every flexible asset idle and nothing curtailed, MW ≥ 0."""
    demand = site_series(known, [load.p for load in city.loads], over).sum(axis=1)
    generation = site_series(known, [unit.available for unit in city.renewables], over).sum(axis=1)
    return max(0.0, float((demand - generation).max()))


def month_of(city: City, day: date) -> TimeGrid:
    """The local month of `day`, as far as the city has data."""
    following = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
    data = city.profiles.time
    first, last = (
        datetime.combine(first, time(0), city.zone).astimezone(UTC)
        for first in (day.replace(day=1), following)
    )
    start, end = max(first, data.start), min(last, data.end)
    return TimeGrid(start, data.resolution, int((end - start) / data.resolution))


def _declared_kwh(vehicle: Vehicle, start: datetime) -> float:
    for session in vehicle.sessions:
        if session.arrival < start < session.departure:
            hours = (start - session.arrival) / timedelta(hours=1)
            charged = vehicle.charge_efficiency * session.charge_max_kw * hours
            return vehicle.e_max_kwh - max(0.0, session.energy_kwh - charged)
    return vehicle.e_max_kwh


def _kilo(mega: float | None) -> float | None:
    return None if mega is None else mega * 1000
