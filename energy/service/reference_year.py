"""``make reference-year``: how often the reference city breaches a limit, uncontrolled and planned.

Uncontrolled is the whole year: every EV at full power on arrival until it has what it needs, storage
idle, nothing curtailed. Planned is every tenth day, each from the declared start of its storages.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from energy.domain.city import City
from energy.domain.network import (
    SECURE_LOADING_PERCENT,
    SECURE_VM_PU,
    BoolArray,
    FloatArray,
    IntArray,
    NodalPower,
)
from energy.domain.time import TimeGrid
from energy.service.cities import city_twin, open_city, reference_city_directory
from energy.service.factors import city_factors
from energy.service.planning import plan_day

if TYPE_CHECKING:
    from grid_models.twin import Twin

BLOCK_STEPS = 2928
"""Steps solved at once: a month of quarter-hours, some 50 MB of voltages."""
SEASONS = {"winter": (12, 1, 2), "spring": (3, 4, 5), "summer": (6, 7, 8), "autumn": (9, 10, 11)}
EVENING = range(16, 23)
NOON = range(10, 16)
KINDS = ("undervoltage", "overload", "overvoltage")


@dataclass(frozen=True)
class Breaches:
    """Steps in which a limit is breached, with their local day, month and hour: `found` has shape
    (steps, 3), columns as `KINDS`."""

    found: BoolArray
    day: IntArray
    month: IntArray
    hour: IntArray

    @staticmethod
    def of(city: City, instants: Iterable[datetime], found: BoolArray) -> Breaches:
        """Of the steps that begin at these instants."""
        local = [instant.astimezone(city.zone) for instant in instants]
        return Breaches(
            found,
            np.array([instant.toordinal() for instant in local]),
            np.array([instant.month for instant in local]),
            np.array([instant.hour for instant in local]),
        )

    def days(
        self, kinds: Sequence[str], months: Sequence[int] = range(1, 13), hours: Sequence[int] = range(24)
    ) -> int:
        """Local days with one of `kinds` in these months and hours."""
        breached = self.found[:, [KINDS.index(kind) for kind in kinds]].any(axis=1)
        chosen = breached & np.isin(self.month, list(months)) & np.isin(self.hour, list(hours))
        return len(np.unique(self.day[chosen]))

    def lines(self) -> Iterator[str]:
        """The figures as a text table."""
        yield f"{'days with':<14}" + "".join(f"{season:>9}" for season in ("year", *SEASONS))
        for kind in KINDS:
            counts = [self.days([kind]), *(self.days([kind], months) for months in SEASONS.values())]
            yield f"{kind:<14}" + "".join(f"{count:>9}" for count in counts)
        yield f"{'any of these':<14}{self.days(KINDS):>9}"
        yield "quarter-hours by local hour " + "".join(f"{hour:>5}" for hour in range(24))
        for column, kind in enumerate(KINDS):
            counts = np.bincount(self.hour[self.found[:, column]], minlength=24).tolist()
            yield f"{kind:<28}" + "".join(f"{count:>5}" for count in counts)


def uncontrolled_power(city: City) -> NodalPower:
    """What the city draws at each bus in every step of its data, without any control."""
    time, profiles = city.profiles.time, city.profiles
    column = {name: k for k, name in enumerate(profiles.columns)}
    buses = sorted(city.bus_names)
    position = {bus: k for k, bus in enumerate(buses)}
    p_mw = np.zeros((time.steps, len(buses)))
    q_mvar = np.zeros_like(p_mw)
    for load in city.loads:
        p_mw[:, position[load.bus]] += load.p.factor * profiles.values[:, column[load.p.column]]
        if load.q is not None:
            q_mvar[:, position[load.bus]] += load.q.factor * profiles.values[:, column[load.q.column]]
    for site in city.renewables:
        available = site.available
        p_mw[:, position[site.bus]] -= available.factor * profiles.values[:, column[available.column]]
    p_mw += charging_on_arrival(city, position)
    return NodalPower(time, np.array(buses), p_mw, q_mvar)


def charging_on_arrival(city: City, position: dict[int, int]) -> FloatArray:
    """Charging power by bus column in MW, shape (steps, buses): full power from arrival to the need."""
    time = city.profiles.time
    p_mw = np.zeros((time.steps, len(position)))
    for vehicle in city.vehicles:
        column = position[vehicle.bus]
        for session in vehicle.sessions:
            begin = max(0.0, time.position(session.arrival))
            steps = session.energy_kwh / vehicle.charge_efficiency / session.charge_max_kw / time.hours
            end = min(begin + steps, float(time.steps), time.position(session.departure))
            first, last = int(begin), int(np.ceil(end))
            covered = np.ones(max(0, last - first))
            if len(covered):
                covered[0] -= begin - first
                covered[-1] -= last - end
            p_mw[first:last, column] += covered * session.charge_max_kw / 1000
    return p_mw


def beyond(
    city: City, twin: Twin, buses: Sequence[str], vm_pu: FloatArray, loading_percent: FloatArray
) -> BoolArray:
    """Whether each step has a bus (but the slack) or branch beyond its true limit, shape (steps, 3).

    A step without solution (NaN everywhere) is beyond all of them.
    """
    free = ~np.isin([int(bus) for bus in buses], twin.slack_buses)
    limits = city.limits
    return np.stack(
        [
            (vm_pu[:, free] < limits.vm_min_pu - SECURE_VM_PU).any(axis=1),
            (loading_percent > limits.loading_max_percent + SECURE_LOADING_PERCENT).any(axis=1),
            (vm_pu[:, free] > limits.vm_max_pu + SECURE_VM_PU).any(axis=1),
        ],
        axis=1,
    ) | np.isnan(vm_pu).all(axis=1, keepdims=True)


def uncontrolled_breaches(city: City, twin: Twin) -> Breaches:
    """The whole year without control, solved AC."""
    power = uncontrolled_power(city)
    found = []
    for first in range(0, power.time.steps, BLOCK_STEPS):
        time = power.time.window(first, min(BLOCK_STEPS, power.time.steps - first))
        block = slice(first, first + time.steps)
        state = twin.solve(NodalPower(time, power.buses, power.p_mw[block], power.q_mvar[block]))
        buses = [str(bus.index) for bus in state.buses]
        found.append(beyond(city, twin, buses, state.vm_pu, state.loading_percent))
    return Breaches.of(city, power.time, np.concatenate(found))


def balance_lines(city: City) -> Iterator[str]:
    """Use and generation of the year in GWh."""
    profiles = city.profiles
    hours = profiles.time.hours
    mean = dict(zip(profiles.columns, profiles.values.sum(axis=0) * hours / 1000, strict=True))
    load = sum(site.p.factor * mean[site.p.column] for site in city.loads)
    charged = sum(
        session.energy_kwh / vehicle.charge_efficiency
        for vehicle in city.vehicles
        for session in vehicle.sessions
    )
    generation: dict[str, float] = {}
    for site in city.renewables:
        generation[site.technology] = (
            generation.get(site.technology, 0.0) + site.available.factor * mean[site.available.column]
        )
    use = load + charged / 1e6
    yield f"use {use:.1f} GWh: load {load:.1f}, EVs {charged / 1e6:.1f}"
    parts = ", ".join(f"{name} {gwh:.1f}" for name, gwh in sorted(generation.items()))
    total = sum(generation.values())
    yield f"generation {total:.1f} GWh ({total / use:.0%} of use): {parts}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures of a city's year."""
    parser = argparse.ArgumentParser(prog="reference-year", description=__doc__)
    parser.add_argument("--city", type=Path, default=reference_city_directory(), help="the city's directory")
    parser.add_argument("--every", type=int, default=10, help="plan each N-th day; 0 plans none")
    options = parser.parse_args(arguments)

    def tell(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    city = open_city(options.city)
    twin = city_twin(city)
    tell(f"{city.name}: {len(city.bus_names)} buses, {len(city.vehicles)} EVs (synthetic)")
    for line in balance_lines(city):
        tell(line)
    tell("\nuncontrolled, whole year")
    uncontrolled = uncontrolled_breaches(city, twin)
    for line in uncontrolled.lines():
        tell(line)
    evenings = uncontrolled.days(KINDS[:2], SEASONS["winter"], EVENING)
    noons = uncontrolled.days(KINDS[2:], SEASONS["spring"], NOON)
    tell(f"winter evenings with undervoltage or overload: {evenings} days")
    tell(f"spring noons with overvoltage: {noons} days")
    if options.every:
        _tell_planned(city, twin, options.every, tell)


def _tell_planned(city: City, twin: Twin, every: int, tell: Callable[[str], None]) -> None:
    """Plan each `every`-th day with the day's real series and say what remains beyond a limit."""
    factors = city_factors(city)
    first = city.profiles.time.start.astimezone(city.zone).date()
    last = city.profiles.time.instant(city.profiles.time.steps - 1).astimezone(city.zone).date()
    days = [first + timedelta(days=k) for k in range(0, (last - first).days + 1, every)]
    tell(f"\nplanned, every {every}th day")
    secure, longest, found = 0, 0.0, np.zeros((0, len(KINDS)), dtype=bool)
    times: list[TimeGrid] = []
    for day in days:
        planned = plan_day(city, day, "perfect", twin=twin, factors=factors, carry=None, metered_peak_mw=None)
        seconds = sum(planned.seconds.values())
        longest = max(longest, seconds)
        status = planned.plan.document["status"]
        secure += status == "secure"
        tables = planned.plan.tables
        kept = beyond(
            city,
            twin,
            tables["planned.vm_pu"].columns,
            tables["planned.vm_pu"].values,
            tables["planned.loading_percent"].values,
        )
        found = np.concatenate([found, kept])
        times.append(planned.plan.time)
        tell(f"{day} {status:<10} {planned.plan.document['rounds']} rounds, {seconds:.1f} s")
    instants = [instant for time in times for instant in time]
    for line in Breaches.of(city, instants, found).lines():
        tell(line)
    tell(f"planned secure: {secure} of {len(days)} days ({secure / len(days):.0%}), longest {longest:.1f} s")


if __name__ == "__main__":
    main()
