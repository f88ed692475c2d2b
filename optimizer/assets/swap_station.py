"""A battery-swap station: vehicles leave an empty battery and drive away with a full one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import AfterValidator, Field

from energy.domain.documents import Document, expand
from energy.domain.errors import Fault
from energy.domain.network import FloatArray, IntArray, Terminal
from energy.domain.schedule import AssetSchedule, Shortfall
from energy.domain.time import TimeGrid
from optimizer.assets.base import Asset, AssetRows, Control, TerminalPower
from optimizer.assets.store import stored_kwh
from optimizer.quantities import Efficiency, Positive, PositiveSeries

if TYPE_CHECKING:
    from optimizer.site import Site

FULL_KWH = 1e-6
"""A battery that lacks less than this is full."""
SLOTS_MAX = 500


def _whole(value: Any) -> Any:
    values = value if isinstance(value, tuple) else (value,)
    for position, item in enumerate(values):
        if item != round(item):
            where = f"value {position} is " if isinstance(value, tuple) else ""
            raise ValueError(f"{where}{item:g}; swaps are counted in whole numbers")
    return value


class RackBattery(Document):
    """What stands in every slot: energies in the battery, powers at the connection, one-way efficiencies."""

    e_full_kwh: Positive
    e_empty_kwh: Positive = 0.0
    charge_max_kw: Positive
    discharge_max_kw: Positive = 0.0
    charge_efficiency: Efficiency = 1.0
    discharge_efficiency: Efficiency = 1.0


class SwapStation(Asset):
    """`slots` identical batteries; `p_kw` ``+`` charges.

    A swap in a step takes a battery that was full at the end of the step before and puts an empty one in
    its slot, which may charge from that step on. Swaps that are wanted and find no full battery are
    shortfalls; the vehicle does not wait.
    """

    series_fields: ClassVar[Sequence[str]] = ("swaps",)

    type: Literal["swap_station"]
    slots: Annotated[int, Field(ge=1, le=SLOTS_MAX)]
    battery: RackBattery
    e_start_kwh: PositiveSeries
    swaps: Annotated[PositiveSeries, AfterValidator(_whole)] = 0.0
    p_max_kw: Positive | None = None
    wear_cost_per_mwh: Positive = 0.0

    def faults(self, path: str) -> Iterator[Fault]:
        yield from super().faults(path)
        empty, full = self.battery.e_empty_kwh, self.battery.e_full_kwh
        if empty >= full:
            yield Fault(
                f"{path}.battery.e_empty_kwh",
                f"{empty:g} kWh is not below e_full_kwh {full:g}; swap or correct them",
            )
            return
        starts = self.e_start_kwh
        if isinstance(starts, tuple) and len(starts) != self.slots:
            yield Fault(
                f"{path}.e_start_kwh",
                f"has {len(starts)} values, but slots is {self.slots}; give one for each slot, or one number",
            )
        for number, start in enumerate(starts if isinstance(starts, tuple) else (starts,)):
            if not empty <= start <= full:
                where = f"[{number}]" if isinstance(starts, tuple) else ""
                yield Fault(
                    f"{path}.e_start_kwh{where}",
                    f"{start:g} kWh is outside battery.e_empty_kwh {empty:g} to e_full_kwh {full:g}; "
                    "correct one of them",
                )

    @property
    def swap_kwh(self) -> float:
        """What leaves the station with every swap."""
        return self.battery.e_full_kwh - self.battery.e_empty_kwh

    @property
    def interchangeable(self) -> bool:
        """Whether moving energy between slots is neither possible at a loss nor worth anything."""
        battery = self.battery
        lossless = battery.charge_efficiency == battery.discharge_efficiency == 1.0
        return battery.discharge_max_kw == 0 or lossless

    def wanted(self, steps: int) -> FloatArray:
        """Swaps wanted in each step, shape (steps,)."""
        return expand(self.swaps, steps)

    def starts_kwh(self) -> FloatArray:
        """Energy in each slot before the first step, shape (slots,)."""
        return expand(self.e_start_kwh, self.slots)

    def terminals(self) -> tuple[Terminal, ...]:
        one_way = self.battery.discharge_max_kw == 0
        both = (self.terminal(1),) if one_way else (self.terminal(1), self.terminal(-1))
        return tuple(dict.fromkeys(both))

    def baseline(self, time: TimeGrid) -> AssetSchedule:
        """Every battery at full power until it is full, the fullest first; swaps as far as any is full."""
        battery, wanted = self.battery, self.wanted(time.steps)
        per_kw = battery.charge_efficiency * time.hours
        power, swapped = np.zeros((time.steps, self.slots)), np.zeros((time.steps, self.slots))
        energy = self.starts_kwh()
        for step in range(time.steps):
            full = np.flatnonzero(energy >= battery.e_full_kwh - FULL_KWH)[: int(wanted[step])]
            swapped[step, full] = 1.0
            energy[full] = battery.e_empty_kwh
            left = np.inf if self.p_max_kw is None else self.p_max_kw
            for slot in np.argsort(-energy, kind="stable").tolist():
                room = (battery.e_full_kwh - energy[slot]) / per_kw
                power[step, slot] = min(battery.charge_max_kw, room, left)
                left -= power[step, slot]
                energy[slot] += power[step, slot] * per_kw
        return self.schedule(power, swapped, time)

    def schedule(self, slot_kw: FloatArray, swapped: FloatArray, time: TimeGrid) -> AssetSchedule:
        """What the station does with these powers and swaps, shape (steps, slots) each."""
        battery = self.battery
        stored = stored_kwh(slot_kw, battery.charge_efficiency, battery.discharge_efficiency, time.hours)
        energy = self.starts_kwh() + np.cumsum(stored - self.swap_kwh * swapped, axis=0)
        energy = np.clip(energy, battery.e_empty_kwh, battery.e_full_kwh)
        served = swapped.sum(axis=1)
        return AssetSchedule(
            slot_kw.sum(axis=1),
            {
                "e_kwh": energy.sum(axis=1),
                "swaps_served": served,
                "unmet_swaps": self.wanted(time.steps) - served,
                "slots_full": (energy >= battery.e_full_kwh - FULL_KWH).sum(axis=1).astype(float),
                "slot_kw": slot_kw,
                "slot_e_kwh": energy,
                "slot_swaps": swapped,
            },
        )

    def unmet(self, schedule: AssetSchedule, time: TimeGrid) -> Iterator[Shortfall]:
        yield from self.unserved(schedule.series["unmet_swaps"], time)

    def unserved(self, unmet_swaps: FloatArray, time: TimeGrid) -> Iterator[Shortfall]:
        """Swaps that are not met in each step, as shortfalls."""
        for step in np.flatnonzero(unmet_swaps).tolist():
            swaps = float(unmet_swaps[step])
            yield Shortfall(
                "unmet_swap",
                time.instant(step),
                swaps * self.swap_kwh,
                asset=self.id,
                amount=swaps,
                unit="swaps",
            )

    def state_after(self, schedule: AssetSchedule, time: TimeGrid) -> Mapping[str, Any]:
        del time
        return {"e_start_kwh": schedule.series["slot_e_kwh"][-1].tolist()}

    def costs(self, schedule: AssetSchedule, time: TimeGrid) -> Mapping[str, float]:
        discharged_kw = float(np.clip(-schedule.series["slot_kw"], 0, None).sum())
        return {"wear": discharged_kw * time.hours / 1000 * self.wear_cost_per_mwh}

    @classmethod
    def rows(cls, site: Site, assets: Sequence[SwapStation]) -> AssetRows:
        return SwapRows(site, assets)


class SwapRows(AssetRows):
    """Charge, energy and swaps of every slot and step; discharge where batteries may.

    Slots are identical, so whose turn it is would be a tie for every swap. It is decided: the slots of a
    station take turns, the fullest at the start first. Where another order serves, exchanging the
    futures of two slots at the step in which their energies cross gives one with turns: for convex
    losses it draws no more, and exactly as much where nothing is lost on the way from slot to slot. With
    lossy discharging an answer may want to burn energy, and only the first turn of equal slots is fixed.
    """

    def __init__(self, site: Site, stations: Sequence[SwapStation]) -> None:
        self._stations, self._time = stations, site.time
        self._turns = [np.argsort(-station.starts_kwh(), kind="stable") for station in stations]
        edges = np.concatenate([[0], np.cumsum([station.slots for station in stations])])
        # slot k of a station is the row `rows[k]`, in the order in which slots take turns
        self._rows = [np.arange(a, b) for a, b in pairwise(edges)]
        self._of = [number for number, station in enumerate(stations) for _ in range(station.slots)]
        self._starts = np.concatenate(
            [station.starts_kwh()[turn] for station, turn in zip(stations, self._turns, strict=True)]
        )
        batteries = [stations[number].battery for number in self._of]
        self._labels = labels = [
            f"{station.id}.{slot}"
            for station, turn in zip(stations, self._turns, strict=True)
            for slot in turn.tolist()
        ]
        steps = site.time.steps
        self._wanted = np.array([station.wanted(steps) for station in stations])

        def each(name: str) -> FloatArray:
            return np.array([getattr(battery, name) for battery in batteries])[:, None]

        self._charge = site.columns("slot_charge_kw", labels, upper=each("charge_max_kw"))
        self._two_way = [row for row, battery in enumerate(batteries) if battery.discharge_max_kw > 0]
        wear = np.array([stations[self._of[row]].wear_cost_per_mwh for row in self._two_way])
        self._discharge = site.columns(
            "slot_discharge_kw",
            [labels[row] for row in self._two_way],
            upper=each("discharge_max_kw")[self._two_way],
            price=wear[:, None],
        )
        self._energy = site.columns("slot_e_kwh", labels, lower=each("e_empty_kwh"), upper=each("e_full_kwh"))
        self._swap = site.columns("swap", labels, upper=np.minimum(self._wanted[self._of], 1.0), integer=True)
        self._unmet = site.columns("unmet_swaps", [station.id for station in stations], upper=self._wanted)
        for row, number in enumerate(self._of):
            site.draw(stations[number].connection, self._charge, row, 1.0)
        for position, row in enumerate(self._two_way):
            site.draw(stations[self._of[row]].connection, self._discharge, position, -1.0)
        self._state(site)
        self._serve(site)
        self._take_turns(site)
        charge = self._charge.index[self._two_way]
        self.exclusive = np.column_stack([charge.ravel(), self._discharge.index.ravel()])
        self.needs = self._unmet.index.ravel()
        worth = np.array([station.swap_kwh * station.priority for station in stations])
        self.need_weights = np.repeat(worth, steps)

    def _state(self, site: Site) -> None:
        """Energy of each slot from step to step, and that only full batteries leave."""
        hours, batteries = site.time.hours, [self._stations[number].battery for number in self._of]
        charge, discharge = self._charge.variable, self._discharge.variable
        energy, swap = self._energy.variable, self._swap.variable
        back = {row: position for position, row in enumerate(self._two_way)}

        def slot_balance(_: Any, row: int, step: int) -> Any:
            battery = batteries[row]
            gained = battery.charge_efficiency * hours * charge[row, step]
            if row in back:
                gained -= hours / battery.discharge_efficiency * discharge[back[row], step]
            gained -= (battery.e_full_kwh - battery.e_empty_kwh) * swap[row, step]
            if step == 0:
                return energy[row, step] - gained == float(self._starts[row])
            return energy[row, step] - energy[row, step - 1] - gained == 0.0

        def swap_full(_: Any, row: int, step: int) -> Any:
            battery = batteries[row]
            taken = (battery.e_full_kwh - battery.e_empty_kwh) * swap[row, step]
            if step == 0:
                return taken <= float(self._starts[row]) - battery.e_empty_kwh
            return taken - energy[row, step - 1] <= -battery.e_empty_kwh

        site.rows("slot_balance", len(self._of), site.time.steps, rule=slot_balance)
        site.rows("swap_full", len(self._of), site.time.steps, rule=swap_full)

    def _serve(self, site: Site) -> None:
        """Every wanted swap is served or unmet, within the power of the station."""
        charge, discharge = self._charge.variable, self._discharge.variable
        swap, unmet = self._swap.variable, self._unmet.variable
        back = {row: position for position, row in enumerate(self._two_way)}
        limited = [k for k, station in enumerate(self._stations) if station.p_max_kw is not None]

        def swaps_served(_: Any, number: int, step: int) -> Any:
            served = sum(swap[row, step] for row in self._rows[number].tolist())
            return served + unmet[number, step] == float(self._wanted[number, step])

        def station_power(_: Any, number: int, step: int, direction: int) -> Any:
            rows, sign = self._rows[limited[number]].tolist(), 1.0 if direction == 0 else -1.0
            power = sum(sign * charge[row, step] for row in rows)
            power += sum(-sign * discharge[back[row], step] for row in rows if row in back)
            return power <= self._stations[limited[number]].p_max_kw

        site.rows("swaps_served", len(self._stations), site.time.steps, rule=swaps_served)
        site.rows("station_power", len(limited), site.time.steps, 2, rule=station_power)

    def _take_turns(self, site: Site) -> None:
        """Swaps done by a slot ≥ those of the slot after it ≥ those of the first − 1."""
        swap, steps = self._swap.variable, site.time.steps
        self._done = site.columns("swaps_done", self._labels)
        done, of = self._done.variable, self._of
        in_turn = [station.interchangeable for station in self._stations]
        pairs = [
            row
            for row in range(len(of) - 1)
            if of[row] == of[row + 1] and (in_turn[of[row]] or self._starts[row] == self._starts[row + 1])
        ]
        rounds = [rows for rows, always in zip(self._rows, in_turn, strict=True) if always and len(rows) > 1]

        def swap_count(_: Any, row: int, step: int) -> Any:
            before = done[row, step - 1] if step else 0.0
            return done[row, step] - before - swap[row, step] == 0.0

        def swap_turn(_: Any, number: int, step: int) -> Any:
            row = pairs[number]
            later = done if in_turn[of[row]] else swap
            return done[row, step] - later[row + 1, step] >= 0.0

        def swap_round(_: Any, number: int, step: int) -> Any:
            return done[rounds[number][0], step] - done[rounds[number][-1], step] <= 1.0

        site.rows("swap_count", len(of), steps, rule=swap_count)
        site.rows("swap_turn", len(pairs), steps, rule=swap_turn)
        site.rows("swap_round", len(rounds), steps, rule=swap_round)

    def terminal_powers(self) -> Iterator[TerminalPower]:
        steps, ones = np.arange(self._time.steps), np.ones(self._time.steps)
        for row, number in enumerate(self._of):
            yield TerminalPower(self._stations[number].terminal(1), steps, self._charge.index[row], ones)
        for position, row in enumerate(self._two_way):
            terminal = self._stations[self._of[row]].terminal(-1)
            yield TerminalPower(terminal, steps, self._discharge.index[position], -ones)

    def stated_controls(self) -> Iterator[Control]:
        steps = np.arange(self._time.steps)
        discharge = dict(zip(self._two_way, self._discharge.index, strict=True))
        for station, turn, rows in zip(self._stations, self._turns, self._rows, strict=True):
            for slot, row in zip(turn.tolist(), rows.tolist(), strict=True):
                yield Control(station.id, "slot_kw", steps, self._charge.index[row], slot=slot)
                yield Control(station.id, "slot_swaps", steps, self._swap.index[row], slot=slot)
                if row in discharge:
                    yield Control(station.id, "slot_kw", steps, discharge[row], -1, slot=slot)

    def controls(self, steps: int) -> IntArray:
        return np.concatenate([self._charge.before(steps), self._discharge.before(steps)])

    def schedules(self, x: FloatArray) -> Iterator[tuple[str, AssetSchedule]]:
        power = x[self._charge.index]
        power[self._two_way] -= x[self._discharge.index]
        swaps = np.round(x[self._swap.index])
        for station, turn, rows in zip(self._stations, self._turns, self._rows, strict=True):
            slot_kw, swapped = (np.zeros((self._time.steps, station.slots)) for _ in range(2))
            slot_kw[:, turn], swapped[:, turn] = power[rows].T, swaps[rows].T
            yield station.id, station.schedule(slot_kw, swapped, self._time)

    def shortfalls(self, x: FloatArray) -> Iterator[Shortfall]:
        for number, station in enumerate(self._stations):
            yield from station.unserved(np.round(x[self._unmet.index[number]]), self._time)
