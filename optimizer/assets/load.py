"""Inflexible demand, of which a fraction may be shed at a price."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from energy.domain.documents import expand
from energy.domain.errors import Fault
from energy.domain.network import FloatArray, IntArray, Terminal
from energy.domain.schedule import AssetSchedule, Shortfall
from energy.domain.time import TimeGrid
from optimizer.assets.base import Asset, AssetRows, Control, Flexibility, Source, TerminalPower
from optimizer.assets.charging import SERVED_KWH
from optimizer.quantities import Fraction, Number, NumberSeries

if TYPE_CHECKING:
    from optimizer.site import Site


class Load(Asset):
    """Demand `p_kw` (``+`` draws) and `q_kvar`; up to `shed_limit_fraction` of it may be shed.

    Where the load does not say how much and at what price, its connection does: see `optimizer.shedding`.
    """

    series_fields: ClassVar[Sequence[str]] = ("p_kw", "q_kvar")

    type: Literal["load"]
    p_kw: NumberSeries
    q_kvar: NumberSeries = 0.0
    shed_limit_fraction: Fraction | None = None
    shed_price_per_mwh: Number | None = None

    def faults(self, path: str) -> Iterator[Fault]:
        yield from super().faults(path)
        if self.power_factor is not None and np.any(np.asarray(self.q_kvar)):
            yield Fault(f"{path}.power_factor", "is given together with q_kvar; give only one of the two")

    @property
    def shed_fraction(self) -> float:
        """The share that may be shed."""
        return self.shed_limit_fraction or 0.0

    def terminals(self) -> tuple[Terminal, ...]:
        return (self.terminal(1),) if self.shed_fraction > 0 else ()

    def demand_kw(self, steps: int) -> FloatArray:
        """What would be drawn without shedding, shape (steps,)."""
        return expand(self.p_kw, steps)

    def firm_kw(self, steps: int) -> FloatArray:
        """What is drawn when all is shed that may be, shape (steps,)."""
        return self.demand_kw(steps) - self.sheddable_kw(steps)

    def baseline(self, time: TimeGrid) -> AssetSchedule:
        return self._schedule(self.demand_kw(time.steps), np.zeros(time.steps))

    def relief_kw(self, time: TimeGrid) -> tuple[FloatArray, FloatArray]:
        return self.sheddable_kw(time.steps), np.zeros(time.steps)

    def relieved(self, less_kw: FloatArray, time: TimeGrid) -> AssetSchedule:
        return self._schedule(self.demand_kw(time.steps), less_kw)

    def sheddable_kw(self, steps: int) -> FloatArray:
        """What may be shed, kW, shape (steps,)."""
        return np.clip(self.demand_kw(steps), 0, None) * self.shed_fraction

    def unmet(self, schedule: AssetSchedule, time: TimeGrid) -> Iterator[Shortfall]:
        """What an island leaves unserved."""
        kwh = schedule.series.get("unserved_kw", np.zeros(time.steps)) * time.hours
        for step in np.flatnonzero(kwh > SERVED_KWH).tolist():
            yield Shortfall("unserved_load", time.instant(step), float(kwh[step]), asset=self.id)

    def unserved(self, schedule: AssetSchedule, unserved_kw: FloatArray) -> AssetSchedule:
        """`schedule` with so much less drawn because an island cannot serve it."""
        total = schedule.series.get("unserved_kw", 0.0) + unserved_kw
        return AssetSchedule(schedule.p_kw - unserved_kw, {**schedule.series, "unserved_kw": total})

    def _schedule(self, demand_kw: FloatArray, shed_kw: FloatArray) -> AssetSchedule:
        series = {"shed_kw": shed_kw} if self.shed_fraction > 0 else {}
        return AssetSchedule(demand_kw - shed_kw, series)

    def presses(self, limit: str) -> bool:
        if limit == "export_limit_kw":
            return bool(np.min(self.p_kw) < 0)
        return limit == "phase_import_limit_kw" or (limit == "unbalance_limit_kw" and self.phases != "L123")

    def reactive_kvar(self, drawn_kw: FloatArray) -> FloatArray:
        # a load of negative demand is a net injection: its ratio keeps its sign, as its terminal has it
        return expand(self.q_kvar, len(drawn_kw)) + drawn_kw * self.q_per_power

    def costs(self, schedule: AssetSchedule, time: TimeGrid) -> Mapping[str, float]:
        if "shed_kw" not in schedule.series:
            return {}
        shed_mwh = float(schedule.series["shed_kw"].sum()) * time.hours / 1000
        return {"shed": shed_mwh * (self.shed_price_per_mwh or 0.0)}

    @classmethod
    def rows(cls, site: Site, assets: Sequence[Load]) -> AssetRows:
        return LoadRows(site, assets)


class LoadRows(AssetRows):
    """Demand is a constant of the balance; only what may be shed, or an island may leave unserved, is a
    variable."""

    def __init__(self, site: Site, loads: Sequence[Load]) -> None:
        self._loads = loads
        self._steps = site.time.steps
        self._sheddable = [load for load in loads if load.shed_fraction > 0]
        for load in loads:
            site.draw_constant(load.connection, load.demand_kw(self._steps), flexible=False)
        limits = np.array([load.sheddable_kw(self._steps) for load in self._sheddable])
        limits = limits.reshape(len(self._sheddable), self._steps)
        self._limits = limits
        prices = np.array([load.shed_price_per_mwh for load in self._sheddable], float)
        self._shed = site.columns(
            "shed_kw", [load.id for load in self._sheddable], upper=limits, price=prices[:, None]
        )
        for position, load in enumerate(self._sheddable):
            site.draw(load.connection, self._shed, position, -1.0)
        self._time = site.time
        self._islanded = [load for load in loads if site.sheds[load.connection].any()]
        firm = [load.firm_kw(self._steps) * site.sheds[load.connection] for load in self._islanded]
        self._unserved = site.columns(
            "unserved_kw",
            [load.id for load in self._islanded],
            upper=np.clip(firm, 0.0, None).reshape(len(firm), self._steps),
        )
        for position, load in enumerate(self._islanded):
            site.draw(load.connection, self._unserved, position, -1.0)
        self.needs = self._unserved.index.ravel()
        weights = np.array([load.priority * site.time.hours for load in self._islanded])
        self.need_weights = np.repeat(weights, self._steps)

    def terminal_powers(self) -> Iterator[TerminalPower]:
        steps = np.arange(self._steps)
        for position, load in enumerate(self._sheddable):
            yield TerminalPower(
                load.terminal(1), steps, self._shed.index[position], np.full(self._steps, -1.0)
            )

    def stated_controls(self) -> Iterator[Control]:
        steps = np.arange(self._steps)
        for position, load in enumerate(self._sheddable):
            yield Control(load.id, "shed_kw", steps, self._shed.index[position])
        for position, load in enumerate(self._islanded):
            unserved = self._unserved.index[position]
            yield Control(load.id, "unserved_kw", steps, unserved, promised=False)

    def constant_powers(self) -> Iterator[tuple[Terminal, FloatArray]]:
        for load in self._sheddable:
            yield load.terminal(1), load.demand_kw(self._steps)

    def controls(self, steps: int) -> IntArray:
        # what is shed follows from what happens
        del steps
        return np.zeros(0, np.int64)

    def flexibility(self) -> Iterator[Flexibility]:
        for position, load in enumerate(self._sheddable):
            shed = self._shed.index[position]
            source = Source(self._limits[position], ((-1.0, shed),))
            yield Flexibility(load.id, load.connection, "up", (source,))

    def schedules(self, x: FloatArray) -> Iterator[tuple[str, AssetSchedule]]:
        shed_row = {load.id: row for row, load in enumerate(self._sheddable)}
        unserved_row = {load.id: row for row, load in enumerate(self._islanded)}
        for load in self._loads:
            row = shed_row.get(load.id)
            shed = np.zeros(self._steps) if row is None else x[self._shed.index[row]]
            schedule = load._schedule(load.demand_kw(self._steps), shed)
            if load.id in unserved_row:
                schedule = load.unserved(schedule, x[self._unserved.index[unserved_row[load.id]]])
            yield load.id, schedule

    def shortfalls(self, x: FloatArray) -> Iterator[Shortfall]:
        schedules = dict(self.schedules(x))
        for load in self._islanded:
            yield from load.unmet(schedules[load.id], self._time)
