"""A stationary battery."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from energy.domain.errors import Fault
from energy.domain.network import BoolArray, FloatArray, IntArray, Terminal
from energy.domain.schedule import AssetSchedule, Conflict
from energy.domain.time import TimeGrid
from optimizer.assets.base import (
    AssetRows,
    Control,
    Flexibility,
    HardLimit,
    InverterPower,
    Kept,
    TerminalPower,
)
from optimizer.assets.charging import SERVED_KWH, Charging
from optimizer.assets.reach import REACHED_KWH, kwh
from optimizer.assets.store import (
    EnergyStore,
    energy_faults,
    least_power_faults,
    store_flexibility,
    stored_kwh,
    wear_cost,
)
from optimizer.assets.wear import depth_wear, segment_rows
from optimizer.quantities import Positive

if TYPE_CHECKING:
    from optimizer.site import Site


class Battery(EnergyStore):
    """A store of energy; `p_kw` ``+`` charges. Efficiencies are one-way, energies are in the battery.

    e' = e · (1 − self_discharge_per_hour)^h
         + charge_efficiency · p_charge · h − p_discharge · h / discharge_efficiency

    Each power is nothing, or at least its minimum (`charge_min_kw`, `discharge_min_kw`). Discharging wears
    it at `wear_cost_per_mwh`, or by depth along `wear_curve`.
    """

    type: Literal["battery"]
    charge_max_kw: Positive
    discharge_max_kw: Positive
    charge_min_kw: Positive = 0.0
    discharge_min_kw: Positive = 0.0
    e_end_min_kwh: Positive | None = None
    self_discharge_per_hour: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def faults(self, path: str) -> Iterator[Fault]:
        yield from super().faults(path)
        yield from least_power_faults(path, self)
        yield from energy_faults(path, self.e_min_kwh, self.e_start_kwh, self.e_max_kwh, self.e_end_min_kwh)

    def terminals(self) -> tuple[Terminal, ...]:
        return tuple(dict.fromkeys((self.terminal(1), self.terminal(-1))))

    def retained(self, hours: float) -> float:
        """The share of its energy that is left after that long."""
        return float((1.0 - self.self_discharge_per_hour) ** hours)

    def energies(self, p_kw: FloatArray, time: TimeGrid) -> FloatArray:
        """Energy at the end of each step, kWh, from its power alone."""
        gained = stored_kwh(p_kw, self.charge_efficiency, self.discharge_efficiency, time.hours)
        retained, energy = self.retained(time.hours), self.e_start_kwh
        energies = np.empty(len(p_kw))
        for step, gain in enumerate(gained):
            energies[step] = energy = energy * retained + gain
        return energies

    def baseline(self, time: TimeGrid) -> AssetSchedule:
        idle = np.zeros(time.steps)
        return AssetSchedule(idle, {"e_kwh": self.energies(idle, time)})

    def charging(self, time: TimeGrid) -> Charging:
        """Idle, but for what its least energies ask for."""
        steps, least = time.steps, max(self.e_min_kwh, self.e_end_min_kwh or 0.0)
        return Charging(
            e_start_kwh=self.e_start_kwh,
            e_min_kwh=self.e_min_kwh,
            e_max_kwh=self.e_max_kwh,
            efficiency=self.charge_efficiency,
            retained=self.retained(time.hours),
            most_kw=np.full(steps, self.charge_max_kw),
            least_kw=np.full(steps, self.charge_min_kw),
            target_kwh=np.full(steps, least),
            drives_kwh=np.zeros(steps),
            due=np.full(steps, steps - 1),
            priority=np.full(steps, self.priority),
        )

    def broken(self, schedule: AssetSchedule, time: TimeGrid) -> Iterator[str]:
        del time
        energies = schedule.series["e_kwh"]
        for name, reached, least in (
            ("e_min_kwh", float(energies.min()), self.e_min_kwh),
            ("e_end_min_kwh", float(energies[-1]), self.e_end_min_kwh or 0.0),
        ):
            if reached < least - SERVED_KWH:
                yield f"battery {self.id!r} falls to {reached:.4g} kWh, below its {name} of {least:g}"

    def can_draw(self, time: TimeGrid) -> BoolArray:
        return np.full(time.steps, self.charge_max_kw > 0)

    def presses(self, limit: str) -> bool:
        return limit != "export_limit_kw"

    def out_of_reach(self, time: TimeGrid) -> Iterator[Conflict]:
        """Least energies above what full charging gives."""
        gain = self.charge_efficiency * self.charge_max_kw * time.hours
        retained, energy, missing, last = self.retained(time.hours), self.e_start_kwh, 0.0, 0
        end_min = self.e_end_min_kwh or 0.0
        for step in range(time.steps):
            energy = min(self.e_max_kwh, energy * retained + gain)
            if step < time.steps - 1 or end_min <= self.e_min_kwh:
                short = self.e_min_kwh - energy
                missing, last = max(missing, short), step if short > REACHED_KWH else last
        hours = time.steps * time.hours
        by_hand = f"{self.charge_max_kw:g} kW × {hours:g} h"
        if self.charge_efficiency < 1:
            by_hand += f" × {self.charge_efficiency:g}"
        at_end = end_min - energy if end_min > self.e_min_kwh else 0.0
        for limit, need, amount, end in (
            ("e_min_kwh", self.e_min_kwh, missing, time.instant(last + 1)),
            ("e_end_min_kwh", end_min, at_end, time.end),
        ):
            if amount > REACHED_KWH:
                at = "at the end" if limit == "e_end_min_kwh" else "at all times"
                needs, most = kwh(need, need - amount)
                yield Conflict(
                    (self.id,),
                    self.connection,
                    time.start,
                    end,
                    limit,
                    amount,
                    "kWh",
                    f"asset {self.id!r}: needs {needs} {at} but can hold at most {most} "
                    f"(from {self.e_start_kwh:g} kWh, {by_hand}). Lower {limit}, start fuller, or raise "
                    "charge_max_kw.",
                )

    def relaxed(self, conflicts: Sequence[Conflict], time: TimeGrid) -> Battery:
        """The battery with its least energies lowered."""
        del time
        lowered = {
            conflict.limit: max(0.0, getattr(self, conflict.limit) - conflict.relaxation)
            for conflict in conflicts
        }
        return self.model_copy(update=lowered)

    def due_kwh(self, time: TimeGrid) -> Mapping[int, tuple[datetime, float]]:
        return {time.steps - 1: (time.end, self.e_end_min_kwh)} if self.e_end_min_kwh else {}

    def costs(self, schedule: AssetSchedule, time: TimeGrid) -> Mapping[str, float]:
        if self.wear_curve:
            return {"wear": depth_wear(self, schedule.p_kw, time.hours)}
        return {"wear": wear_cost(schedule.p_kw, self.wear_cost_per_mwh, time)}

    @classmethod
    def rows(cls, site: Site, assets: Sequence[Battery]) -> AssetRows:
        return BatteryRows(site, assets)


class BatteryRows(AssetRows):
    """Charge, discharge and energy of every battery and step, in Pyomo."""

    def __init__(self, site: Site, batteries: Sequence[Battery]) -> None:
        self._batteries = batteries
        self._time = site.time
        self._steps = np.arange(site.time.steps)

        def each(name: str) -> FloatArray:
            return np.array([getattr(battery, name) for battery in batteries], float)[:, None]

        ids, hours = [battery.id for battery in batteries], site.time.hours
        self._charge = site.columns("charge_kw", ids, upper=each("charge_max_kw"))
        self._discharge = site.columns(
            "discharge_kw", ids, upper=each("discharge_max_kw"), price=each("wear_cost_per_mwh")
        )
        self._deepest = segment_rows(site, batteries, self._charge, self._discharge)
        self._lowest = np.repeat(each("e_min_kwh"), site.time.steps, axis=1)
        for position, battery in enumerate(batteries):
            self._lowest[position, -1] = max(self._lowest[position, -1], battery.e_end_min_kwh or 0.0)
        self._energy = site.columns("e_kwh", ids, lower=self._lowest, upper=each("e_max_kwh"))
        charge, discharge, energy = self._charge.variable, self._discharge.variable, self._energy.variable

        def storage_balance(_: Any, number: int, step: int) -> Any:
            battery = batteries[number]
            gained = (
                battery.charge_efficiency * hours * charge[number, step]
                - hours / battery.discharge_efficiency * discharge[number, step]
            )
            retained = battery.retained(hours)
            if step == 0:
                return energy[number, step] - gained == retained * battery.e_start_kwh
            return energy[number, step] - retained * energy[number, step - 1] - gained == 0.0

        site.rows("storage_balance", len(batteries), site.time.steps, rule=storage_balance)
        for number, battery in enumerate(batteries):
            site.draw(battery.connection, self._charge, number, 1.0)
            site.draw(battery.connection, self._discharge, number, -1.0)
        self.exclusive = np.column_stack([self._charge.index.ravel(), self._discharge.index.ravel()])
        columns = np.concatenate([self._charge.index, self._discharge.index])
        least = np.concatenate([each("charge_min_kw"), each("discharge_min_kw")])[:, 0]
        self.semicontinuous = columns[least > 0].ravel()
        self.semicontinuous_min = np.repeat(least[least > 0], site.time.steps)

    @property
    def hard_limits(self) -> Sequence[HardLimit]:
        limits = []
        for number, battery in enumerate(self._batteries):
            end_min = battery.e_end_min_kwh or 0.0
            # both hold at the end: what ends below e_min_kwh needs that limit eased as well
            named = [("e_min_kwh", self._steps, battery.e_min_kwh)]
            if end_min > battery.e_min_kwh:
                named.append(("e_end_min_kwh", self._steps[-1:], end_min))
            limits += [
                HardLimit(
                    (battery.id,),
                    battery.connection,
                    name,
                    "kWh",
                    steps,
                    self._energy.index[number, steps],
                    np.full(len(steps), least),
                    1,
                )
                for name, steps, least in named
            ]
        return limits

    @property
    def states(self) -> tuple[IntArray, IntArray]:
        states = np.concatenate([self._energy.index, self._deepest])
        return states.ravel(), np.tile(self._steps, len(states))

    def stated_controls(self) -> Iterator[Control]:
        for number, battery in enumerate(self._batteries):
            yield Control(battery.id, "p_kw", self._steps, self._charge.index[number])
            yield Control(battery.id, "p_kw", self._steps, self._discharge.index[number], -1)

    def terminal_powers(self) -> Iterator[TerminalPower]:
        ones = np.ones(len(self._steps))
        for number, battery in enumerate(self._batteries):
            yield TerminalPower(battery.terminal(1), self._steps, self._charge.index[number], ones)
            yield TerminalPower(battery.terminal(-1), self._steps, self._discharge.index[number], -ones)

    def inverter_powers(self, kva: Mapping[str, float]) -> Iterator[InverterPower]:
        count = len(self._steps)
        for number, battery in enumerate(self._batteries):
            if battery.id in kva:
                yield InverterPower(
                    battery.id,
                    self._steps,
                    np.full(count, kva[battery.id]),
                    np.zeros(count),
                    np.tile(self._steps, 2),
                    np.concatenate([self._charge.index[number], self._discharge.index[number]]),
                    np.repeat([1.0, -1.0], count),
                )

    def controls(self, steps: int) -> IntArray:
        return np.concatenate([self._charge.before(steps), self._discharge.before(steps)])

    def flexibility(self) -> Iterator[Flexibility]:
        """Of every battery without least powers: between those a call could not stop."""
        for number, battery in enumerate(self._batteries):
            if battery.charge_min_kw > 0 or battery.discharge_min_kw > 0:
                continue
            charge, discharge = self._charge.index[number], self._discharge.index[number]
            yield from store_flexibility(
                battery,
                (charge, np.full(len(charge), battery.charge_max_kw)),
                (discharge, np.full(len(charge), battery.discharge_max_kw)),
                self._energy.index[number],
                self._lowest[number],
            )

    def stores(self) -> Iterator[Kept]:
        for number, battery in enumerate(self._batteries):
            yield Kept(
                battery.id,
                battery.connection,
                self._energy.variable[number, int(self._steps[-1])],
                battery.e_min_kwh,
                battery.discharge_efficiency,
                battery.discharge_max_kw,
                battery.retained(1.0),
            )

    def schedules(self, x: FloatArray) -> Iterator[tuple[str, AssetSchedule]]:
        for number, battery in enumerate(self._batteries):
            p_kw = x[self._charge.index[number]] - x[self._discharge.index[number]]
            energies = np.clip(battery.energies(p_kw, self._time), battery.e_min_kwh, battery.e_max_kwh)
            yield battery.id, AssetSchedule(p_kw, {"e_kwh": energies})
