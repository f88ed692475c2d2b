"""A hydrogen station: an electrolyser fills a tank, a fuel cell feeds back from it, vehicles draw from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from energy.domain.documents import Document, expand
from energy.domain.errors import Fault
from energy.domain.network import BoolArray, FloatArray, IntArray, Terminal
from energy.domain.schedule import AssetSchedule, Shortfall
from energy.domain.time import TimeGrid
from optimizer.assets.base import Asset, AssetRows, Control, HardLimit, Kept, TerminalPower
from optimizer.quantities import Positive, PositiveSeries

if TYPE_CHECKING:
    from optimizer.site import Site

RUNNING_KW = 1e-6
"""A power below this is the solver's tolerance."""
SERVED_KG = 1e-6
"""Unserved hydrogen below this is the solver's tolerance."""


class Machine(Document):
    """An electrolyser or a fuel cell: off, or between `p_min_kw` and `p_max_kw`.

    `kwh_per_kg` is electricity drawn per kg made, or delivered per kg used. `start_cost` is paid
    whenever it is on in a step and was not in the one before; `on_at_start` is its state before the first.
    """

    p_min_kw: Positive = 0.0
    p_max_kw: Positive
    kwh_per_kg: Annotated[float, Field(ge=0.1, le=1e4)]
    start_cost: Positive = 0.0
    on_at_start: bool = False


class Tank(Document):
    """Hydrogen in store, kg: at the start, its limits, and what must be there after the last step."""

    start_kg: Positive
    min_kg: Positive = 0.0
    max_kg: Positive
    end_min_kg: Positive | None = None


class HydrogenStation(Asset):
    """Electrolyser, tank and fuel cell; `p_kw` = electrolyser − fuel cell, ``+`` draws.

    tank' = tank + p_electrolyser · h / kwh_per_kg − p_fuel_cell · h / kwh_per_kg − demand + unmet

    Never both machines in one step. Hydrogen that vehicles want and the tank cannot give is a shortfall.
    """

    series_fields: ClassVar[Sequence[str]] = ("demand_kg",)

    type: Literal["hydrogen_station"]
    electrolyser: Machine
    fuel_cell: Machine | None = None
    tank: Tank
    demand_kg: PositiveSeries = 0.0

    def faults(self, path: str) -> Iterator[Fault]:
        yield from super().faults(path)
        for name, machine in (("electrolyser", self.electrolyser), ("fuel_cell", self.fuel_cell)):
            if machine is not None and machine.p_min_kw > machine.p_max_kw:
                yield Fault(
                    f"{path}.{name}.p_min_kw",
                    f"{machine.p_min_kw:g} kW is above p_max_kw {machine.p_max_kw:g}; swap or correct them",
                )
        yield from self._tank_faults(f"{path}.tank")
        if self.fuel_cell is None:
            return
        if self.fuel_cell.kwh_per_kg > self.electrolyser.kwh_per_kg:
            yield Fault(
                f"{path}.fuel_cell.kwh_per_kg",
                f"{self.fuel_cell.kwh_per_kg:g} kWh from a kg is more than the electrolyser's "
                f"{self.electrolyser.kwh_per_kg:g} that made it; energy from nothing: correct one of the two",
            )
        if self.electrolyser.on_at_start and self.fuel_cell.on_at_start:
            yield Fault(
                f"{path}.fuel_cell.on_at_start",
                "and electrolyser.on_at_start are both true; they never run together: correct one of the two",
            )

    def _tank_faults(self, path: str) -> Iterator[Fault]:
        tank = self.tank
        if tank.min_kg > tank.max_kg:
            yield Fault(
                f"{path}.min_kg", f"{tank.min_kg:g} kg is above max_kg {tank.max_kg:g}; swap or correct them"
            )
        if tank.start_kg > tank.max_kg:
            yield Fault(
                f"{path}.start_kg",
                f"{tank.start_kg:g} kg is above max_kg {tank.max_kg:g}; correct one of the two",
            )
        if tank.start_kg < tank.min_kg:
            yield Fault(
                f"{path}.start_kg",
                f"{tank.start_kg:g} kg is below min_kg {tank.min_kg:g}; raise it, or lower min_kg",
            )
        if tank.end_min_kg is not None and tank.end_min_kg > tank.max_kg:
            yield Fault(
                f"{path}.end_min_kg",
                f"{tank.end_min_kg:g} kg is above max_kg {tank.max_kg:g}; lower it",
            )

    @property
    def machines(self) -> dict[str, Machine]:
        """The electrolyser and, where there is one, the fuel cell."""
        cells = {} if self.fuel_cell is None else {"fuel_cell": self.fuel_cell}
        return {"electrolyser": self.electrolyser, **cells}

    def wanted_kg(self, steps: int) -> FloatArray:
        """Hydrogen that vehicles want in each step, kg, shape (steps,)."""
        return expand(self.demand_kg, steps)

    def terminals(self) -> tuple[Terminal, ...]:
        both = (self.terminal(1),) if self.fuel_cell is None else (self.terminal(1), self.terminal(-1))
        return tuple(dict.fromkeys(both))

    def presses(self, limit: str) -> bool:
        return limit == "import_limit_kw" and self.tank.end_min_kg is not None

    def baseline(self, time: TimeGrid) -> AssetSchedule:
        """The electrolyser replaces what vehicles took as soon as it can; the fuel cell stands still."""
        power, unmet = np.zeros(time.steps), np.zeros(time.steps)
        machine, kg = self.electrolyser, self.tank.start_kg
        for step, wanted in enumerate(self.wanted_kg(time.steps)):
            missing_kw = (self.tank.start_kg - kg + wanted) * machine.kwh_per_kg / time.hours
            power[step] = min(missing_kw, machine.p_max_kw) if missing_kw >= machine.p_min_kw else 0.0
            kg += power[step] * time.hours / machine.kwh_per_kg - wanted
            unmet[step] = max(self.tank.min_kg - kg, 0.0)
            kg += unmet[step]
        idle = np.zeros(time.steps)
        return self.schedule({"electrolyser": power, "fuel_cell": idle}, {}, unmet, time)

    def schedule(
        self,
        power_kw: Mapping[str, FloatArray],
        on: Mapping[str, BoolArray],
        unmet_kg: FloatArray,
        time: TimeGrid,
    ) -> AssetSchedule:
        """What the station does when its machines run with `power_kw`; where `on` does not say so, a
        machine is on that has power."""
        made, net = -self.wanted_kg(time.steps) + unmet_kg, np.zeros(time.steps)
        series: dict[str, FloatArray] = {}
        for (name, machine), direction in zip(self.machines.items(), (1, -1), strict=False):
            running = on.get(name, power_kw[name] > RUNNING_KW)
            power = np.where(running, power_kw[name], 0.0)
            made = made + direction * power * time.hours / machine.kwh_per_kg
            net = net + direction * power
            series |= {f"{name}_kw": power, f"{name}_on": running.astype(float)}
        tank = np.clip(self.tank.start_kg + np.cumsum(made), self.tank.min_kg, self.tank.max_kg)
        return AssetSchedule(net, {"tank_kg": tank, **series, "unmet_kg": unmet_kg})

    def unmet(self, schedule: AssetSchedule, time: TimeGrid) -> Iterator[Shortfall]:
        yield from self.unserved(schedule.series["unmet_kg"], time)

    def unserved(self, unmet_kg: FloatArray, time: TimeGrid) -> Iterator[Shortfall]:
        """Vehicle demand that is not met, kg per step, as shortfalls."""
        for step in np.flatnonzero(unmet_kg > SERVED_KG).tolist():
            kg = float(unmet_kg[step])
            yield Shortfall(
                "hydrogen_demand",
                time.instant(step),
                kg * self.electrolyser.kwh_per_kg,
                asset=self.id,
                amount=kg,
                unit="kg",
            )

    def state_after(self, schedule: AssetSchedule, time: TimeGrid) -> Mapping[str, Any]:
        del time
        last = float(schedule.series["tank_kg"][-1])
        return {
            "tank.start_kg": min(max(last, self.tank.min_kg), self.tank.max_kg),
            **{f"{name}.on_at_start": bool(schedule.series[f"{name}_on"][-1]) for name in self.machines},
        }

    def costs(self, schedule: AssetSchedule, time: TimeGrid) -> Mapping[str, float]:
        del time
        cost = 0.0
        for name, machine in self.machines.items():
            states = np.concatenate([[float(machine.on_at_start)], schedule.series[f"{name}_on"]])
            cost += machine.start_cost * int(np.sum(np.diff(states) > 0))
        return {"start": cost}

    @classmethod
    def rows(cls, site: Site, assets: Sequence[HydrogenStation]) -> AssetRows:
        return HydrogenRows(site, assets)


@dataclass(frozen=True)
class _Machine:
    """A machine of station `station`; `direction` is +1 where it draws, −1 where it feeds."""

    station: int
    name: str
    machine: Machine
    direction: Literal[1, -1]


class HydrogenRows(AssetRows):
    """Power of every machine, the tank, and on-states where a start costs something.

    Elsewhere a minimum power is semicontinuous and the machines exclude each other: binaries enter only
    once a linear answer breaks one of the two.
    """

    def __init__(self, site: Site, stations: Sequence[HydrogenStation]) -> None:
        self._stations, self._time = stations, site.time
        self._machines = [
            _Machine(number, name, machine, 1 if name == "electrolyser" else -1)
            for number, station in enumerate(stations)
            for name, machine in station.machines.items()
        ]
        self._committed = [
            k
            for k, item in enumerate(self._machines)
            if any(machine.start_cost > 0 for machine in stations[item.station].machines.values())
        ]
        labels = [f"{stations[item.station].id}.{item.name}" for item in self._machines]
        most = np.array([item.machine.p_max_kw for item in self._machines])
        self._power = site.columns("hydrogen_kw", labels, upper=most[:, None])
        ids, steps = [station.id for station in stations], site.time.steps
        wanted = np.array([station.wanted_kg(steps) for station in stations])
        self._unmet = site.columns("hydrogen_unmet_kg", ids, upper=wanted)
        lowest = np.array([[station.tank.min_kg] * steps for station in stations])
        lowest[:, -1] = np.maximum(lowest[:, -1], [station.tank.end_min_kg or 0.0 for station in stations])
        self._lowest = lowest
        self._tank = site.columns(
            "hydrogen_tank_kg",
            ids,
            lower=lowest,
            upper=np.array([[station.tank.max_kg] for station in stations]),
        )
        for row, item in enumerate(self._machines):
            site.draw(stations[item.station].connection, self._power, row, float(item.direction))
        self._fill(site, wanted)
        self._commit(site, [labels[row] for row in self._committed])
        self._exclude()
        self.needs = self._unmet.index.ravel()
        worth = np.array([station.electrolyser.kwh_per_kg * station.priority for station in stations])
        self.need_weights = np.repeat(worth, steps)

    def _fill(self, site: Site, wanted_kg: FloatArray) -> None:
        """The tank from step to step."""
        hours = site.time.hours
        power, unmet, tank = self._power.variable, self._unmet.variable, self._tank.variable
        of_station: list[list[tuple[int, float]]] = [[] for _ in self._stations]
        for row, item in enumerate(self._machines):
            of_station[item.station].append((row, item.direction * hours / item.machine.kwh_per_kg))

        def hydrogen_tank(_: Any, number: int, step: int) -> Any:
            made = sum(kg_per_kw * power[row, step] for row, kg_per_kw in of_station[number])
            change = made + unmet[number, step] - wanted_kg[number, step]
            if step == 0:
                return tank[number, step] - change == self._stations[number].tank.start_kg
            return tank[number, step] - tank[number, step - 1] - change == 0.0

        site.rows("hydrogen_tank", len(self._stations), site.time.steps, rule=hydrogen_tank)

    def _commit(self, site: Site, labels: Sequence[str]) -> None:
        """On-states and starts of the machines of stations where a start costs something."""
        machines = [self._machines[row] for row in self._committed]
        steps, power = site.time.steps, self._power.variable
        prices = np.array([item.machine.start_cost for item in machines]) / site.mwh_per_kw
        self._on = site.columns("machine_on", labels, upper=1.0, integer=True)
        self._starts = site.columns("machine_starts", labels, upper=1.0, price=prices[:, None])
        on, start = self._on.variable, self._starts.variable

        def machine_most(_: Any, number: int, step: int) -> Any:
            most = machines[number].machine.p_max_kw
            return power[self._committed[number], step] - most * on[number, step] <= 0.0

        def machine_least(_: Any, number: int, step: int) -> Any:
            least = machines[number].machine.p_min_kw
            return power[self._committed[number], step] - least * on[number, step] >= 0.0

        def machine_start(_: Any, number: int, step: int) -> Any:
            if step == 0:
                was_on = float(machines[number].machine.on_at_start)
                return start[number, step] - on[number, step] >= -was_on
            return start[number, step] - on[number, step] + on[number, step - 1] >= 0.0

        site.rows("machine_most", len(machines), steps, rule=machine_most)
        site.rows("machine_least", len(machines), steps, rule=machine_least)
        site.rows("machine_start", len(machines), steps, rule=machine_start)
        pairs = [k for k in range(1, len(machines)) if machines[k].station == machines[k - 1].station]

        def one_machine(_: Any, number: int, step: int) -> Any:
            return on[pairs[number] - 1, step] + on[pairs[number], step] <= 1.0

        site.rows("one_machine", len(pairs), steps, rule=one_machine)

    def _exclude(self) -> None:
        """What the stations without on-states must not do."""
        free = [row for row in range(len(self._machines)) if row not in set(self._committed)]
        pairs = [
            (row, row + 1)
            for row in free
            if row + 1 < len(self._machines)
            and self._machines[row].station == self._machines[row + 1].station
        ]
        columns = self._power.index
        self.exclusive = np.concatenate(
            [np.zeros((0, 2), np.int64), *(columns[list(pair)].T for pair in pairs)]
        )
        stepped = [row for row in free if self._machines[row].machine.p_min_kw > 0]
        least = np.array([self._machines[row].machine.p_min_kw for row in stepped])
        self.semicontinuous = columns[stepped].ravel()
        self.semicontinuous_min = np.repeat(least, self._time.steps)

    @property
    def hard_limits(self) -> Sequence[HardLimit]:
        last = np.array([self._time.steps - 1])
        return [
            HardLimit(
                (station.id,),
                station.connection,
                "tank.end_min_kg",
                "kg",
                last,
                self._tank.index[number, last],
                self._lowest[number, last],
                1,
            )
            for number, station in enumerate(self._stations)
            if (station.tank.end_min_kg or 0.0) > station.tank.min_kg
        ]

    def terminal_powers(self) -> Iterator[TerminalPower]:
        steps = np.arange(self._time.steps)
        for row, item in enumerate(self._machines):
            terminal = self._stations[item.station].terminal(item.direction)
            sign = np.full(len(steps), float(item.direction))
            yield TerminalPower(terminal, steps, self._power.index[row], sign)

    def controls(self, steps: int) -> IntArray:
        return np.concatenate([self._power.before(steps), self._on.before(steps)])

    def stated_controls(self) -> Iterator[Control]:
        steps = np.arange(self._power.index.shape[1])
        for row, item in enumerate(self._machines):
            station = self._stations[item.station].id
            yield Control(station, f"{item.name}_kw", steps, self._power.index[row])
        for k, row in enumerate(self._committed):
            item = self._machines[row]
            station = self._stations[item.station].id
            yield Control(station, f"{item.name}_on", steps, self._on.index[k])

    def going_on(
        self, known: Mapping[str, AssetSchedule], until: int
    ) -> Iterator[tuple[IntArray, IntArray, FloatArray]]:
        """Powers, on-states and starts of the machines that have on-states.

        A machine was on where it had power, and where it is said to have been on and may be so without power.
        """
        steps = np.arange(self._time.steps)
        for k, row in enumerate(self._committed):
            item = self._machines[row]
            machine, own = item.machine, known.get(self._stations[item.station].id)
            if own is None or f"{item.name}_kw" not in own.series or not until:
                continue
            series = own.series
            power = np.clip(series[f"{item.name}_kw"], 0.0, machine.p_max_kw)
            idle = series.get(f"{item.name}_on", np.zeros(len(steps))) > 0
            on = ((power > RUNNING_KW) | (idle & (machine.p_min_kw <= 0))).astype(float)
            on[until:] = on[until - 1]
            power[until:] = on[until - 1] * np.clip(power[until - 1], machine.p_min_kw, machine.p_max_kw)
            starts = np.clip(np.diff(on, prepend=float(machine.on_at_start)), 0.0, None)
            yield self._on.index[k], steps, on
            yield self._starts.index[k], steps, starts
            yield self._power.index[row], steps, power

    def stores(self) -> Iterator[Kept]:
        for number, station in enumerate(self._stations):
            cell = station.fuel_cell
            if cell is not None:
                content = self._tank.variable[number, self._time.steps - 1]
                yield Kept(
                    station.id,
                    station.connection,
                    content,
                    station.tank.min_kg,
                    cell.kwh_per_kg,
                    cell.p_max_kw,
                )

    def schedules(self, x: FloatArray) -> Iterator[tuple[str, AssetSchedule]]:
        power: list[dict[str, FloatArray]] = [{} for _ in self._stations]
        on: list[dict[str, BoolArray]] = [{} for _ in self._stations]
        states = {row: x[self._on.index[k]] > 0.5 for k, row in enumerate(self._committed)}
        for row, item in enumerate(self._machines):
            power[item.station][item.name] = x[self._power.index[row]]
            if row in states:
                on[item.station][item.name] = states[row]
        for number, station in enumerate(self._stations):
            unmet = x[self._unmet.index[number]]
            yield station.id, station.schedule(power[number], on[number], unmet, self._time)

    def shortfalls(self, x: FloatArray) -> Iterator[Shortfall]:
        for number, station in enumerate(self._stations):
            unmet = x[self._unmet.index[number]]
            yield from station.unserved(unmet, self._time)
