"""Synthetic EV fleets: vehicles at sites, and their sessions of a year, drawn with a given seed.

Sessions follow published distributions of arrival, connection time and energy (`energy.feeds.charging`);
depots follow their timetable. Everything drawn is synthetic and is called so wherever it shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from scipy.stats import norm

from energy.domain.city import ChargingSession, Vehicle
from energy.domain.network import FloatArray, IntArray
from energy.feeds.charging import QUARTERS, ChargingDistributions
from energy.feeds.city import EvSection, Fleet, Roster

TRIP_KM_PER_HOUR = 60.0
"""Between two sessions the car is away at least as long as its distance takes at this speed …"""
AWAY_MIN_HOURS = 0.5
"""… and at least this long."""
_DAYS = {
    "mon-fri": {0, 1, 2, 3, 4},
    "sat": {5},
    "sun": {6},
    "sat-sun": {5, 6},
    "daily": set(range(7)),
}


@dataclass(frozen=True)
class Site:
    """A place where EVs of a fleet may charge; `weight` is its share among the fleet's sites."""

    bus: int
    weight: float


def draw_fleets(
    section: EvSection,
    distributions: ChargingDistributions | None,
    sites_of_fleet: Mapping[str, Sequence[Site]],
    first_day: date,
    last_day: date,
    zone: ZoneInfo,
) -> tuple[tuple[Vehicle, ...], tuple[str, ...]]:
    """The vehicles of all fleets with their sessions, and what was capped or dropped, in words.

    `distributions` may be None where every fleet follows a timetable. The same arguments give the same
    vehicles; a fleet's draws depend on the seed and its own id alone.
    """
    days = [first_day + timedelta(days=k) for k in range((last_day - first_day).days + 1)]
    clock = _Clock(days, zone)
    vehicles: list[Vehicle] = []
    notices = [f"EVs are synthetic: drawn with seed {section.seed} from {section.source or 'distributions'}"]
    for fleet in section.fleets:
        rng = np.random.default_rng([section.seed, *fleet.id.encode()])
        sites = sites_of_fleet[fleet.id]
        weights = np.array([site.weight for site in sites])
        buses = rng.choice([site.bus for site in sites], size=fleet.vehicles, p=weights / weights.sum())
        v2g = rng.permutation(fleet.vehicles) < round(fleet.v2g_share * fleet.vehicles)
        e_max = rng.permutation(np.resize(fleet.battery_kwh, fleet.vehicles))
        if fleet.kind == "depot":
            drawn = _timetable(fleet, e_max, days, clock, section)
        else:
            assert distributions is not None
            drawn = _draw(fleet, e_max, section, distributions, days, clock, rng)
        notices += [f"fleet {fleet.id!r}: {text}" for text in drawn.told()]
        sessions = drawn.by_vehicle(fleet, v2g)
        vehicles += [
            Vehicle(
                id=f"{fleet.id}-{k + 1:03d}",
                fleet=fleet.id,
                bus=int(buses[k]),
                v2g=bool(v2g[k]),
                e_max_kwh=float(e_max[k]),
                e_min_kwh=float(fleet.reserve_fraction * e_max[k]),
                charge_efficiency=fleet.charge_efficiency,
                discharge_efficiency=fleet.discharge_efficiency,
                wear_cost_per_mwh=fleet.wear_cost_per_mwh,
                carbon_start_g_per_kwh=fleet.carbon_start_g_per_kwh,
                sessions=next(sessions),
            )
            for k in range(fleet.vehicles)
        ]
    return tuple(vehicles), tuple(notices)


class _Clock:
    """Local quarter-hours of the days as seconds since 1970 UTC; an hour that does not exist is the next."""

    def __init__(self, days: Sequence[date], zone: ZoneInfo) -> None:
        self.seconds = np.array(
            [
                [
                    datetime.combine(day, time(quarter // 4, quarter % 4 * 15), zone).timestamp()
                    for quarter in range(QUARTERS)
                ]
                for day in days
            ]
        ).astype(np.int64)


@dataclass(frozen=True)
class _Sessions:
    """Sessions of one fleet, sorted by vehicle and arrival; times in seconds since 1970 UTC."""

    vehicle: IntArray
    arrival: IntArray
    departure: IntArray
    energy_kwh: FloatArray
    capped_by_stay: int
    capped_by_battery: int
    dropped: int

    def told(self) -> Iterator[str]:
        count = len(self.vehicle)
        yield f"{count} sessions"
        for number, what in (
            (self.capped_by_stay, "had their energy capped by power × stay"),
            (self.capped_by_battery, "had their energy capped by the battery"),
            (self.dropped, "more were dropped: the car was still away"),
        ):
            if number:
                yield f"{number} of {count} {what}"

    def by_vehicle(self, fleet: Fleet, v2g: Any) -> Iterator[tuple[ChargingSession, ...]]:
        edges = np.searchsorted(self.vehicle, np.arange(fleet.vehicles + 1))
        arrivals, departures = (
            [datetime.fromtimestamp(second, UTC) for second in seconds.tolist()]
            for seconds in (self.arrival, self.departure)
        )
        energies = self.energy_kwh.tolist()
        for k in range(fleet.vehicles):
            discharge = fleet.charge_max_kw if v2g[k] else 0.0
            yield tuple(
                ChargingSession(
                    arrivals[row],
                    departures[row],
                    fleet.charge_max_kw,
                    discharge,
                    energies[row],
                    energies[row] / fleet.kwh_per_km,
                )
                for row in range(edges[k], edges[k + 1])
            )


def _draw(
    fleet: Fleet,
    e_max: FloatArray,
    section: EvSection,
    distributions: ChargingDistributions,
    days: Sequence[date],
    clock: _Clock,
    rng: np.random.Generator,
) -> _Sessions:
    """Sessions from the distributions of the fleet's kind of site.

    Energy and connection time share their rank in part (Gaussian copula), so that long stays tend to
    take more; what still does not fit is capped.
    """
    weekend = np.array([day.weekday() >= 5 for day in days])
    open_days = ~weekend if fleet.kind not in distributions.weekend else np.ones(len(days), dtype=bool)
    chance = min(1.0, section.sessions_per_day * len(days) / max(1, open_days.sum())) * open_days
    vehicle, day = np.nonzero(rng.random((fleet.vehicles, len(days))) < chance)
    count = len(day)
    quarter = np.where(
        weekend[day],
        rng.choice(QUARTERS, count, p=distributions.weekend.get(fleet.kind)),
        rng.choice(QUARTERS, count, p=distributions.weekday[fleet.kind]),
    )
    arrival = clock.seconds[day, quarter]
    normal = rng.standard_normal((2, count))
    mixed = section.energy_stay_correlation * normal[0] + normal[1] * np.sqrt(
        1 - section.energy_stay_correlation**2
    )
    ranks = np.linspace(0, 1, 101)
    stay = np.interp(norm.cdf(normal[0]), ranks, distributions.stay_hours[fleet.kind])
    stay = np.minimum(stay * distributions.stay_factor[fleet.kind][quarter], fleet.stay_max_hours)
    energy = np.interp(norm.cdf(mixed), ranks, distributions.energy_kwh[fleet.kind]) * fleet.charge_efficiency

    away = 3600 * np.maximum(AWAY_MIN_HOURS, energy / fleet.kwh_per_km / TRIP_KM_PER_HOUR)
    kept = np.arange(count)
    while True:  # dropping a session changes what its predecessor has to leave room for
        departure = arrival[kept] + 900 * np.maximum(1, np.round(stay[kept] * 4).astype(np.int64))
        latest = np.roll(arrival[kept] - away[kept], -1) // 900 * 900
        last_of_vehicle = vehicle[kept] != np.roll(vehicle[kept], -1)
        departure = np.where(last_of_vehicle, departure, np.minimum(departure, latest)).astype(np.int64)
        fits = departure > arrival[kept]
        if fits.all() or len(kept) < 2:
            break
        kept = kept[fits]
    return _capped(
        fleet,
        e_max,
        section,
        vehicle[kept],
        arrival[kept],
        departure,
        energy[kept],
        dropped=count - len(kept),
    )


def _timetable(
    fleet: Fleet, e_max: FloatArray, days: Sequence[date], clock: _Clock, section: EvSection
) -> _Sessions:
    """A vehicle recharges its last round from its return to the next departure."""
    rows: list[tuple[int, int, int, float]] = []
    first = 0
    for roster in fleet.timetable:
        runs = [k for k, day in enumerate(days) if day.weekday() in _DAYS[roster.days]]
        for this, following in zip(runs, [*runs[1:], None], strict=True):
            back = int(clock.seconds[this, _quarter(roster, "returns")])
            longest = back + round(3600 * fleet.stay_max_hours)
            leave = (
                longest if following is None else int(clock.seconds[following, _quarter(roster, "leaves")])
            )
            rows += [
                (vehicle, back, min(leave, longest), roster.distance_km * fleet.kwh_per_km)
                for vehicle in range(first, first + roster.vehicles)
            ]
        first += roster.vehicles
    rows.sort()
    vehicle, arrival, departure, energy = zip(*rows, strict=True) if rows else ((), (), (), ())
    return _capped(
        fleet,
        e_max,
        section,
        np.array(vehicle, dtype=np.int64),
        np.array(arrival, dtype=np.int64),
        np.array(departure, dtype=np.int64),
        np.array(energy, dtype=float),
        dropped=0,
    )


def _quarter(roster: Roster, when: str) -> int:
    hours, minutes = getattr(roster, when).split(":")
    return int(hours) * 4 + int(minutes) // 15


def _capped(
    fleet: Fleet,
    e_max: FloatArray,
    section: EvSection,
    vehicle: IntArray,
    arrival: IntArray,
    departure: IntArray,
    energy: FloatArray,
    dropped: int,
) -> _Sessions:
    hours = (departure - arrival) / 3600
    by_stay = section.fill_fraction * fleet.charge_max_kw * hours * fleet.charge_efficiency
    by_battery = (1 - fleet.reserve_fraction) * e_max[vehicle]
    return _Sessions(
        vehicle,
        arrival,
        departure,
        np.minimum(energy, np.minimum(by_stay, by_battery)),
        capped_by_stay=int((energy > by_stay).sum()),
        capped_by_battery=int(((energy > by_battery) & (by_battery < by_stay)).sum()),
        dropped=dropped,
    )
