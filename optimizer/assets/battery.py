"""A stationary battery."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from energy.domain.documents import Items
from energy.domain.errors import Fault
from energy.domain.network import BoolArray, FloatArray, IntArray, Terminal
from energy.domain.schedule import AssetSchedule, Conflict
from energy.domain.time import TimeGrid
from optimizer.assets.base import (
    Asset,
    AssetRows,
    Control,
    Controllable,
    Flexibility,
    HardLimit,
    InverterPower,
    Kept,
    Source,
    Store,
    StorePlan,
    TerminalPower,
)
from optimizer.assets.charging import SERVED_KWH, Charging
from optimizer.assets.reach import battery_out_of_reach, relaxed_battery
from optimizer.assets.wear import WearStep, curve_faults, depth_wear, segment_rows
from optimizer.quantities import Efficiency, Positive

if TYPE_CHECKING:
    from optimizer.assets.ev import ElectricVehicle, Session
    from optimizer.site import Site


class Battery(Controllable, Asset):
    """A store of energy; `p_kw` ``+`` charges. Efficiencies are one-way, energies are in the battery.

    e' = e · (1 − self_discharge_per_hour)^h
         + charge_efficiency · p_charge · h − p_discharge · h / discharge_efficiency

    Each power is nothing, or at least its minimum (`charge_min_kw`, `discharge_min_kw`). Discharging wears
    it at `wear_cost_per_mwh`, or by depth along `wear_curve`.
    """

    has_inverter: ClassVar[bool] = True

    type: Literal["battery"]
    charge_max_kw: Positive
    discharge_max_kw: Positive
    charge_min_kw: Positive = 0.0
    discharge_min_kw: Positive = 0.0
    e_min_kwh: Positive = 0.0
    e_max_kwh: Positive
    e_start_kwh: Positive
    e_end_min_kwh: Positive | None = None
    charge_efficiency: Efficiency = 1.0
    discharge_efficiency: Efficiency = 1.0
    self_discharge_per_hour: Annotated[float, Field(ge=0, lt=1)] = 0.0
    wear_cost_per_mwh: Positive = 0.0
    wear_curve: Items[WearStep] = ()

    def faults(self, path: str) -> Iterator[Fault]:
        yield from super().faults(path)
        yield from least_power_faults(path, self)
        yield from curve_faults(path, self.wear_curve, self.wear_cost_per_mwh)
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
        return battery_out_of_reach(self, time)

    def relaxed(self, conflicts: Sequence[Conflict], time: TimeGrid) -> Battery:
        del time
        return relaxed_battery(self, conflicts)

    def due_kwh(self, time: TimeGrid) -> Mapping[int, tuple[datetime, float]]:
        return {time.steps - 1: (time.end, self.e_end_min_kwh)} if self.e_end_min_kwh else {}

    def state_after(self, schedule: AssetSchedule, time: TimeGrid) -> Mapping[str, Any]:
        del time
        last = float(schedule.series["e_kwh"][-1])
        return {"e_start_kwh": min(max(last, self.e_min_kwh), self.e_max_kwh)}

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


def store_flexibility(
    store: Battery | ElectricVehicle,
    charging: tuple[IntArray, FloatArray],
    discharging: tuple[IntArray, FloatArray],
    energy: IntArray,
    least_kwh: FloatArray,
    plans: tuple[StorePlan, ...] = (),
) -> Iterator[Flexibility]:
    """What a store can hold: columns and largest powers each way, energies and their lower bounds.

    "up" stops charging (a kWh called is charge_efficiency less in the store), then discharges. For "down"
    the energy after a call is bounded by charge_efficiency × net power, which is exact from there on where
    the store no longer discharges, and on the safe side where it does.
    """
    (charge, charge_max), (discharge, discharge_max) = charging, discharging
    gain, loss = store.charge_efficiency, 1.0 / store.discharge_efficiency
    none = np.zeros(len(energy))
    up = Source(none, ((1.0, charge),), gain), Source(discharge_max, ((-1.0, discharge),), loss)
    lowest = Store(energy, least_kwh, 1, plans=plans)
    yield Flexibility(store.id, store.connection, "up", up, lowest)
    down = (Source(charge_max, ((-1.0, charge), (1.0, discharge)), gain),)
    highest = Store(energy, np.full(len(energy), store.e_max_kwh), -1, also=(loss - gain, discharge))
    yield Flexibility(store.id, store.connection, "down", down, highest)


def stored_kwh(
    p_kw: FloatArray,
    charge_efficiency: float | FloatArray,
    discharge_efficiency: float | FloatArray,
    hours: float,
) -> FloatArray:
    """What each step's power adds to the energy in a store, kWh."""
    charge, discharge = np.clip(p_kw, 0, None), np.clip(-p_kw, 0, None)
    return (charge * charge_efficiency - discharge / discharge_efficiency) * hours


def wear_cost(p_kw: FloatArray, wear_cost_per_mwh: float, time: TimeGrid) -> float:
    """What discharging costs, per MWh at the connection."""
    if wear_cost_per_mwh == 0:
        return 0.0
    return float(np.clip(-p_kw, 0, None).sum()) * time.hours / 1000 * wear_cost_per_mwh


def least_power_faults(path: str, powers: Battery | Session) -> Iterator[Fault]:
    """Least powers above the largest."""
    for way in ("charge", "discharge"):
        least, most = getattr(powers, f"{way}_min_kw"), getattr(powers, f"{way}_max_kw")
        if least > most:
            yield Fault(f"{path}.{way}_min_kw", f"{least:g} kW is above {way}_max_kw {most:g}; lower it")


def energy_faults(
    path: str,
    e_min_kwh: float,
    e_start_kwh: float,
    e_max_kwh: float,
    e_end_min_kwh: float | None = None,
) -> Iterator[Fault]:
    """Energies of a store that contradict each other."""
    if e_min_kwh > e_max_kwh:
        yield Fault(
            f"{path}.e_min_kwh", f"{e_min_kwh:g} kWh is above e_max_kwh {e_max_kwh:g}; swap or correct them"
        )
    if e_start_kwh > e_max_kwh:
        yield Fault(
            f"{path}.e_start_kwh",
            f"{e_start_kwh:g} kWh is above e_max_kwh {e_max_kwh:g}; correct one of the two",
        )
    if e_start_kwh < e_min_kwh:
        yield Fault(
            f"{path}.e_start_kwh",
            f"{e_start_kwh:g} kWh is below e_min_kwh {e_min_kwh:g}; raise it, or lower e_min_kwh",
        )
    if e_end_min_kwh is not None and e_end_min_kwh > e_max_kwh:
        yield Fault(
            f"{path}.e_end_min_kwh", f"{e_end_min_kwh:g} kWh is above e_max_kwh {e_max_kwh:g}; lower it"
        )
