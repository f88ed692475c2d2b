"""Combined heat and power: a generator whose heat serves a demand, with a store and a boiler beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from energy.domain.documents import Document, expand
from energy.domain.errors import Fault
from energy.domain.network import FloatArray, IntArray
from energy.domain.schedule import AssetSchedule, Shortfall
from energy.domain.time import TimeGrid
from optimizer.assets.base import AssetRows, Control, HardLimit, TerminalPower
from optimizer.assets.commitment import CommitmentRows, CommittedUnit
from optimizer.assets.heat import (
    NO_STORE,
    HeatNode,
    HeatRows,
    HeatStore,
    broken_heat,
    stored_heat,
    unmet_heat,
)
from optimizer.quantities import Efficiency, NumberSeries, Positive, PositiveSeries

if TYPE_CHECKING:
    from optimizer.site import Site


class Boiler(Document):
    """Heat from fuel: `p_max_kw` of heat; price and carbon are per MWh and kWh of fuel."""

    p_max_kw: Positive
    efficiency: Efficiency = 1.0
    fuel_cost_per_mwh: NumberSeries = 0.0
    carbon_g_per_kwh: Positive = 0.0


class CombinedHeatAndPower(CommittedUnit):
    """A `CommittedUnit` that makes `heat_per_power` kWh of heat with each kWh of electricity.

    `heat_demand_kw` is served by it, by the boiler and from the store; what is not served is a shortfall.
    Heat beyond that is dumped where `heat_dump` allows it. Its marginal cost is that of all its fuel.
    """

    series_fields: ClassVar[Sequence[str]] = (*CommittedUnit.series_fields, "heat_demand_kw")
    nested_series: ClassVar[Sequence[str]] = ("boiler.fuel_cost_per_mwh",)

    type: Literal["chp"]
    heat_per_power: Annotated[float, Field(gt=0, le=100)]
    heat_demand_kw: PositiveSeries
    heat_store: HeatStore | None = None
    boiler: Boiler | None = None
    heat_dump: bool = True

    def faults(self, path: str) -> Iterator[Fault]:
        yield from super().faults(path)
        if self.heat_store is not None:
            yield from self.heat_store.faults(f"{path}.heat_store")

    def baseline(self, time: TimeGrid) -> AssetSchedule:
        """Heat-led: the unit follows the heat demand and the losses of the store, the boiler makes up for
        what it cannot, and the store is used where both are too small."""
        store, demand = self.heat_store or NO_STORE, expand(self.heat_demand_kw, time.steps)
        retained = store.retained(time.hours)
        lost = store.e_start_kwh * (1.0 - retained) / time.hours
        p_kw, on = self.limits(time).follow((demand + lost) / self.heat_per_power)
        target = max(store.e_start_kwh, store.e_end_min_kwh or 0.0)
        boiler_max = 0.0 if self.boiler is None else self.boiler.p_max_kw
        boiler, energies, unmet, dumped = (np.zeros(time.steps) for _ in range(4))
        energy = store.e_start_kwh
        for step in range(time.steps):
            kept = energy * retained + (p_kw[step] * self.heat_per_power - demand[step]) * time.hours
            boiler[step] = min(max(target - kept, 0.0) / time.hours, boiler_max)
            kept += boiler[step] * time.hours
            unmet[step] = min(max(store.e_min_kwh - kept, 0.0) / time.hours, demand[step])
            energy = kept + unmet[step] * time.hours
            dumped[step] = max(energy - store.e_max_kwh, 0.0) / time.hours
            energy -= dumped[step] * time.hours
            energies[step] = energy
        held = {} if self.heat_store is None else {"heat_store_kwh": energies}
        wasted = {"dumped_heat_kw": dumped} if self.heat_dump or dumped.any() else {}
        return self._schedule(p_kw, on, boiler, {**held, **wasted, "unmet_heat_kw": unmet})

    def _schedule(
        self, p_kw: FloatArray, on: FloatArray, boiler_kw: FloatArray, heat: Mapping[str, FloatArray]
    ) -> AssetSchedule:
        boiler = {} if self.boiler is None else {"boiler_heat_kw": boiler_kw}
        made = {"on": on, "heat_kw": p_kw * self.heat_per_power}
        return AssetSchedule(p_kw, {**made, **boiler, **heat})

    def broken(self, schedule: AssetSchedule, time: TimeGrid) -> Iterator[str]:
        del time
        yield from broken_heat(self.id, self.heat_store, self.heat_dump, schedule.series)

    def unmet(self, schedule: AssetSchedule, time: TimeGrid) -> Iterator[Shortfall]:
        return unmet_heat(self.id, schedule.series["unmet_heat_kw"], time)

    def costs(self, schedule: AssetSchedule, time: TimeGrid) -> Mapping[str, float]:
        parts = self.unit_costs(schedule, time)
        if self.boiler is not None:
            burnt = schedule.series["boiler_heat_kw"] / self.boiler.efficiency
            price = expand(self.boiler.fuel_cost_per_mwh, time.steps)
            parts["fuel"] += float(price @ burnt) * time.hours / 1000
        return parts

    def state_after(self, schedule: AssetSchedule, time: TimeGrid) -> Mapping[str, Any]:
        return {**super().state_after(schedule, time), **stored_heat("heat_store", self.heat_store, schedule)}

    def emissions_kg(self, schedule: AssetSchedule, time: TimeGrid) -> float:
        emitted = self.unit_emissions_kg(schedule, time)
        if self.boiler is not None:
            burnt = float(schedule.series["boiler_heat_kw"].sum()) / self.boiler.efficiency
            emitted += burnt * time.hours * self.boiler.carbon_g_per_kwh / 1000
        return emitted

    @classmethod
    def rows(cls, site: Site, assets: Sequence[CombinedHeatAndPower]) -> AssetRows:
        return ChpRows(site, assets)


class ChpRows(AssetRows):
    """The commitment of every unit, its boiler and its heat balance."""

    def __init__(self, site: Site, plants: Sequence[CombinedHeatAndPower]) -> None:
        self._plants, self._time, steps = plants, site.time, site.time.steps
        boilers = [(plant.id, plant.boiler) for plant in plants if plant.boiler is not None]
        carbon = np.array([b.carbon_g_per_kwh / b.efficiency / 1000 for _, b in boilers])[:, None]
        fuel = [expand(b.fuel_cost_per_mwh, steps) / b.efficiency for _, b in boilers]
        self._boiler_of = {key: row for row, (key, _) in enumerate(boilers)}
        with site.block("chp"):
            self._units = CommitmentRows(site, plants)
            self._boilers = site.columns(
                "boiler_heat_kw",
                [key for key, _ in boilers],
                upper=np.array([boiler.p_max_kw for _, boiler in boilers])[:, None],
                price=np.array(fuel).reshape(len(boilers), steps) + carbon * site.carbon_price_per_t,
            )
            self._heat = HeatRows(site, [self._node(number, steps) for number in range(len(plants))])
        columns, kg_per_kwh = self._units.emitting
        self.emitting = (
            np.concatenate([columns, self._boilers.index.ravel()]),
            np.concatenate([kg_per_kwh, np.repeat(carbon, steps)]),
        )
        self.needs, self.need_weights = self._heat.needs, self._heat.need_weights

    def _node(self, number: int, steps: int) -> HeatNode:
        plant = self._plants[number]
        made = [(np.full(steps, plant.heat_per_power), self._units.power, number)]
        if plant.id in self._boiler_of:
            made.append((np.ones(steps), self._boilers, self._boiler_of[plant.id]))
        return HeatNode(
            plant.id,
            plant.connection,
            plant.priority,
            expand(plant.heat_demand_kw, steps),
            plant.heat_store,
            plant.heat_dump,
            made,
        )

    @property
    def hard_limits(self) -> Sequence[HardLimit]:
        return self._heat.hard_limits

    @property
    def surplus(self) -> tuple[IntArray, IntArray]:
        return self._heat.surplus

    def stated_controls(self) -> Iterator[Control]:
        steps = np.arange(self._time.steps)
        for number, plant in enumerate(self._plants):
            yield Control(plant.id, "p_kw", steps, self._units.power.index[number])
            if plant.id in self._boiler_of:
                boiler = self._boilers.index[self._boiler_of[plant.id]]
                yield Control(plant.id, "boiler_heat_kw", steps, boiler)

    def controls(self, steps: int) -> IntArray:
        return np.concatenate([self._units.controls(steps), self._boilers.before(steps)])

    def going_on(
        self, known: Mapping[str, AssetSchedule], until: int
    ) -> Iterator[tuple[IntArray, IntArray, FloatArray]]:
        return self._units.going_on(known, until)

    def terminal_powers(self) -> Iterator[TerminalPower]:
        return self._units.terminal_powers()

    def schedules(self, x: FloatArray) -> Iterator[tuple[str, AssetSchedule]]:
        for number, (p_kw, on) in enumerate(self._units.operation(x)):
            plant, row = self._plants[number], self._boiler_of.get(self._plants[number].id)
            boiler = np.zeros(len(p_kw)) if row is None else x[self._boilers.index[row]]
            yield plant.id, plant._schedule(p_kw, on, boiler, self._heat.series(x, number))

    def shortfalls(self, x: FloatArray) -> Iterator[Shortfall]:
        for number, plant in enumerate(self._plants):
            yield from unmet_heat(plant.id, self._heat.series(x, number)["unmet_heat_kw"], self._time)
