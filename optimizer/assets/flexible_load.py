"""A load that may draw when it likes within windows of energy; or a heat pump, with what it heats."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from energy.domain.documents import Document, Instant, Items, expand
from energy.domain.errors import Fault
from energy.domain.network import BoolArray, FloatArray, IntArray, Terminal
from energy.domain.schedule import AssetSchedule, Shortfall
from energy.domain.time import TimeGrid, format_instant
from optimizer.assets.base import Asset, AssetRows, Control, Controllable, HardLimit, TerminalPower
from optimizer.assets.charging import SERVED_KWH
from optimizer.assets.comfort import Room, RoomRows
from optimizer.assets.heat import HeatNode, HeatRows, HeatStore, broken_heat, stored_heat, unmet_heat
from optimizer.assets.thermostat import thermostat
from optimizer.quantities import Positive, PositiveSeries, crossed

if TYPE_CHECKING:
    from optimizer.site import Site


class EnergyWindow(Document):
    """What is drawn from `start` to `end`: at least `e_min_kwh`, a need, and at most `e_max_kwh`."""

    start: Instant
    end: Instant
    e_min_kwh: Positive = 0.0
    e_max_kwh: Positive | None = None


class HeatUse(Document):
    """What a heat pump makes of its power: `cop` kWh of heat per kWh, for a demand, a store and a room."""

    cop: PositiveSeries
    heat_demand_kw: PositiveSeries = 0.0
    store: HeatStore | None = None
    dump: bool = False


class FlexibleLoad(Controllable, Asset):
    """Draws between `p_min_kw` and `p_max_kw` (``+`` draws), as `energy_windows` and `heat` ask for.

    Windows may overlap; a step that a window covers partly counts with that share. The least energy of a
    window that goes on after the horizon counts as far as the time that remains could not serve it.
    """

    series_fields: ClassVar[Sequence[str]] = ("p_min_kw", "p_max_kw")
    nested_series: ClassVar[Sequence[str]] = (
        "heat.cop",
        "heat.heat_demand_kw",
        "room.temp_min_c",
        "room.temp_max_c",
        "room.outdoor_c",
        "room.gains_kw",
    )

    type: Literal["flexible_load"]
    p_min_kw: PositiveSeries = 0.0
    p_max_kw: PositiveSeries
    energy_windows: Items[EnergyWindow] = ()
    heat: HeatUse | None = None
    room: Room | None = None

    def faults(self, path: str) -> Iterator[Fault]:
        yield from super().faults(path)
        yield from crossed(path, "p_min_kw", self.p_min_kw, "p_max_kw", self.p_max_kw, "kW")
        for number, window in enumerate(self.energy_windows):
            where = f"{path}.energy_windows[{number}]"
            if window.end <= window.start:
                yield Fault(
                    f"{where}.end",
                    f"{format_instant(window.end)} is not after the start {format_instant(window.start)}; "
                    "swap or correct them",
                )
            if window.e_max_kwh is not None:
                yield from crossed(where, "e_min_kwh", window.e_min_kwh, "e_max_kwh", window.e_max_kwh, "kWh")
        if self.heat is not None and self.heat.store is not None:
            yield from self.heat.store.faults(f"{path}.heat.store")
        if self.room is not None:
            yield from self.room.faults(f"{path}.room")
            if self.heat is None:
                yield Fault(f"{path}.heat", "is missing, but there is a room; say what heats it")

    def faults_in(self, path: str, time: TimeGrid) -> Iterator[Fault]:
        yield from super().faults_in(path, time)
        least = expand(self.p_min_kw, time.steps) * time.hours
        for number, window in enumerate(self.energy_windows):
            drawn = float(covered(window, time) @ least)
            if window.e_max_kwh is not None and drawn > window.e_max_kwh + SERVED_KWH:
                yield Fault(
                    f"{path}.energy_windows[{number}].e_max_kwh",
                    f"{window.e_max_kwh:g} kWh is below the {drawn:g} kWh that p_min_kw draws there; raise "
                    "it, or lower p_min_kw",
                )

    def notices(self, time: TimeGrid) -> Iterator[str]:
        for window in self.energy_windows:
            span = f"the energy window {format_instant(window.start)} to {format_instant(window.end)}"
            if window.end <= time.start or window.start >= time.end:
                yield f"asset {self.id!r}: {span} is outside the horizon and left out"
            elif window.start < time.start or window.end > time.end:
                yield f"asset {self.id!r}: {span} is clipped to the horizon"

    def need_kwh(self, window: EnergyWindow, time: TimeGrid) -> float:
        """What must be drawn inside the horizon."""
        if not covered(window, time).any():
            return 0.0
        later_hours = max(time.position(window.end) - time.steps, 0.0) * time.hours
        last = float(expand(self.p_max_kw, time.steps)[-1])
        return max(window.e_min_kwh - later_hours * last, 0.0)

    def can_draw(self, time: TimeGrid) -> BoolArray:
        return expand(self.p_max_kw, time.steps) > 0

    def terminals(self) -> tuple[Terminal, ...]:
        return (self.terminal(1),)

    def baseline(self, time: TimeGrid) -> AssetSchedule:
        """Each window's least energy as early as possible, the first to end first; a thermostat then adds
        what the heat asks for."""
        p_kw, most = expand(self.p_min_kw, time.steps).copy(), expand(self.p_max_kw, time.steps)
        shares = [covered(window, time) for window in self.energy_windows]

        def spare_kw(power: FloatArray, step: int) -> float:
            left = float(most[step] - power[step])
            for window, share in zip(self.energy_windows, shares, strict=True):
                if window.e_max_kwh is not None and share[step] > 0:
                    drawn = float(share @ power) * time.hours
                    left = min(left, max(window.e_max_kwh - drawn, 0.0) / (share[step] * time.hours))
            return left

        for number in sorted(range(len(shares)), key=lambda k: self.energy_windows[k].end):
            share = shares[number]
            left = self.need_kwh(self.energy_windows[number], time) - float(share @ p_kw) * time.hours
            for step in np.flatnonzero(share):
                if left <= 0:
                    break
                added = min(spare_kw(p_kw, int(step)), left / (share[step] * time.hours))
                p_kw[step] += added
                left -= added * share[step] * time.hours
        return self._heating(p_kw, spare_kw, time)

    def relief_kw(self, time: TimeGrid) -> tuple[FloatArray, FloatArray]:
        return self.baseline(time).p_kw - expand(self.p_min_kw, time.steps), np.zeros(time.steps)

    def relieved(self, less_kw: FloatArray, time: TimeGrid) -> AssetSchedule:
        return self._heating(self.baseline(time).p_kw - less_kw, _no_more_kw, time)

    def _heating(
        self, p_kw: FloatArray, spare_kw: Callable[[FloatArray, int], float], time: TimeGrid
    ) -> AssetSchedule:
        """What it heats with that power, and as much more as a thermostat asks for and `spare_kw` gives."""
        heat = self.heat
        if heat is None:
            return AssetSchedule(p_kw)
        p_kw, series = thermostat(
            p_kw,
            spare_kw,
            cop=expand(heat.cop, time.steps),
            demand_kw=expand(heat.heat_demand_kw, time.steps),
            store=heat.store,
            room=self.room,
            dump=heat.dump,
            time=time,
        )
        return AssetSchedule(p_kw, series)

    def unmet(self, schedule: AssetSchedule, time: TimeGrid) -> Iterator[Shortfall]:
        for window in self.energy_windows:
            drawn = float(covered(window, time) @ schedule.p_kw) * time.hours
            short = self.need_kwh(window, time) - drawn
            if short > SERVED_KWH:
                due = min(window.end, time.end)
                yield Shortfall("energy_window", due, short, asset=self.id, since=window.start)
        if self.heat is not None:
            yield from unmet_heat(self.id, schedule.series["unmet_heat_kw"], time)
        if self.room is not None:
            yield from self.room.unmet(self.id, schedule.series["room_c"], time)

    def broken(self, schedule: AssetSchedule, time: TimeGrid) -> Iterator[str]:
        del time
        if self.heat is not None:
            yield from broken_heat(self.id, self.heat.store, self.heat.dump, schedule.series)

    def state_after(self, schedule: AssetSchedule, time: TimeGrid) -> Mapping[str, Any]:
        del time
        state: dict[str, float] = {}
        if self.heat is not None:
            state |= stored_heat("heat.store", self.heat.store, schedule)
        if self.room is not None:
            state["room.temp_start_c"] = float(schedule.series["room_c"][-1])
        return state

    def costs(self, schedule: AssetSchedule, time: TimeGrid) -> Mapping[str, float]:
        del schedule, time
        return {}

    @classmethod
    def rows(cls, site: Site, assets: Sequence[FlexibleLoad]) -> AssetRows:
        return FlexibleRows(site, assets)


def _no_more_kw(power: FloatArray, step: int) -> float:
    del power, step
    return 0.0


def covered(window: EnergyWindow, time: TimeGrid) -> FloatArray:
    """The share of each step that a window covers."""
    steps = np.arange(time.steps)
    begin, end = time.position(window.start), time.position(window.end)
    return np.clip(np.minimum(steps + 1.0, end) - np.maximum(steps, begin), 0.0, 1.0)


class FlexibleRows(AssetRows):
    """Power of every load, the energy of its windows, and the heat it makes."""

    def __init__(self, site: Site, loads: Sequence[FlexibleLoad]) -> None:
        self._loads, self._time, steps = loads, site.time, site.time.steps
        ids = [load.id for load in loads]
        self._power = site.columns(
            "flexible_kw",
            ids,
            lower=np.array([expand(load.p_min_kw, steps) for load in loads]),
            upper=np.array([expand(load.p_max_kw, steps) for load in loads]),
        )
        for number, load in enumerate(loads):
            site.draw(load.connection, self._power, number, 1.0)
            site.must_draw(load.connection, expand(load.p_min_kw, steps))
        self._windows(site)
        rooms = [load for load in loads if load.room is not None]
        self._room_of = {load.id: row for row, load in enumerate(rooms)}
        with site.block("flexible_load"):
            self._rooms = RoomRows(
                site, [(load.id, load.priority, load.room) for load in rooms if load.room is not None]
            )
            self._heated = [number for number, load in enumerate(loads) if load.heat is not None]
            self._heat = HeatRows(site, [self._node(number, steps) for number in self._heated])
        self.needs = np.concatenate([self._short.index.ravel(), self._heat.needs, self._rooms.needs])
        self.need_weights = np.concatenate(
            [
                np.array([loads[number].priority for number, _ in self._pieces], float),
                self._heat.need_weights,
                self._rooms.need_weights,
            ]
        )

    def _windows(self, site: Site) -> None:
        """The energy of each window, and what it goes short of."""
        loads, time, power = self._loads, site.time, self._power.variable
        self._pieces = [
            (number, window) for number, load in enumerate(loads) for window in load.energy_windows
        ]
        needs = np.array([[loads[number].need_kwh(window, time)] for number, window in self._pieces])
        labels = [f"{loads[number].id}.{k}" for k, (number, _) in enumerate(self._pieces)]
        self._short = site.columns(
            "window_short_kwh", labels, steps=1, upper=needs.reshape(len(self._pieces), 1)
        )
        short = self._short.variable

        def drawn(piece: int) -> Any:
            number, window = self._pieces[piece]
            share = covered(window, time) * time.hours
            return sum(float(share[step]) * power[number, step] for step in np.flatnonzero(share).tolist())

        needed = np.flatnonzero(needs.ravel() > 0).tolist()
        capped = [
            piece
            for piece, (_, window) in enumerate(self._pieces)
            if window.e_max_kwh is not None and covered(window, time).any()
        ]

        def window_least(_: Any, row: int) -> Any:
            piece = needed[row]
            return drawn(piece) + short[piece, 0] >= float(needs[piece, 0])

        def window_most(_: Any, row: int) -> Any:
            return drawn(capped[row]) <= self._pieces[capped[row]][1].e_max_kwh

        site.rows("window_least", len(needed), rule=window_least)
        site.rows("window_most", len(capped), rule=window_most)

    def _node(self, number: int, steps: int) -> HeatNode:
        load = self._loads[number]
        heat, row = load.heat, self._room_of.get(load.id)
        assert heat is not None
        return HeatNode(
            load.id,
            load.connection,
            load.priority,
            expand(heat.heat_demand_kw, steps),
            heat.store,
            heat.dump,
            made=[(expand(heat.cop, steps), self._power, number)],
            drawn=[] if row is None else [(self._rooms.heat, row)],
        )

    @property
    def hard_limits(self) -> Sequence[HardLimit]:
        return self._heat.hard_limits

    @property
    def surplus(self) -> tuple[IntArray, IntArray]:
        return self._heat.surplus

    def stated_controls(self) -> Iterator[Control]:
        steps = np.arange(self._time.steps)
        for number, load in enumerate(self._loads):
            yield Control(load.id, "p_kw", steps, self._power.index[number])

    def controls(self, steps: int) -> IntArray:
        return self._power.before(steps)

    def terminal_powers(self) -> Iterator[TerminalPower]:
        steps = np.arange(self._time.steps)
        for number, load in enumerate(self._loads):
            yield TerminalPower(load.terminal(1), steps, self._power.index[number], np.ones(len(steps)))

    def schedules(self, x: FloatArray) -> Iterator[tuple[str, AssetSchedule]]:
        node_of = {number: node for node, number in enumerate(self._heated)}
        for number, load in enumerate(self._loads):
            p_kw, series = x[self._power.index[number]], {}
            if load.heat is not None:
                made = p_kw * expand(load.heat.cop, len(p_kw))
                series = {"heat_kw": made, **self._heat.series(x, node_of[number])}
            row = self._room_of.get(load.id)
            if row is not None:
                series["room_heat_kw"] = x[self._rooms.heat.index[row]]
                series["room_c"] = x[self._rooms.temperature.index[row]]
            yield load.id, AssetSchedule(p_kw, series)

    def shortfalls(self, x: FloatArray) -> Iterator[Shortfall]:
        for load, (_, schedule) in zip(self._loads, self.schedules(x), strict=True):
            yield from load.unmet(schedule, self._time)
