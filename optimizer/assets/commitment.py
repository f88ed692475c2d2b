"""Units that are on or off: what generators and combined heat and power share.

The rows are the tight formulation with three binaries per unit and step: minimum up and down times after
Rajan and Takriti (IBM Research Report RC23628, 2005), output and ramp limits around starts and stops
after Morales-España, Latorre and Ramos (IEEE Transactions on Power Systems 28(4), 2013). Where the
on-states are whole, starts and stops are so of themselves: only on-states are declared integer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from energy.domain.documents import Duration, expand
from energy.domain.errors import Fault
from energy.domain.network import FloatArray, IntArray, Terminal
from energy.domain.schedule import AssetSchedule
from energy.domain.time import TimeGrid, format_duration
from optimizer.assets.base import Asset, Flexibility, TerminalPower
from optimizer.assets.spinning import Unit
from optimizer.quantities import NumberSeries, Positive, PositiveSeries, crossed

if TYPE_CHECKING:
    from optimizer.site import Site

RUNNING_KW = 1e-6
"""A unit without on-states counts as on above this power."""
REACHED_KW = 1e-9
"""Powers that differ by less are the same."""


class CommittedUnit(Asset):
    """A unit that is off, or on between `p_min_kw` and `p_max_kw`; `p_kw` ``+`` injects.

    `ramp_kw_per_h` limits the change of mean power from step to step while it is on, upwards and
    downwards; `ramp_down_kw_per_h`, where given, replaces it downwards. The first step after a start
    reaches at most `start_ramp_kw`, the last before a stop has at most `stop_ramp_kw`; null is
    unlimited. Times are rounded up to whole steps.

    Before the horizon it has been on (`on_at_start`) or off for `time_in_state` (null: long enough), with
    `p_start_kw` in the last step (null: not known, and the first step's ramp is free).

    Without a minimum, costs and limits of being on, starting and stopping it needs no on-state: then it
    is always on, and its ramp holds from and to zero.
    """

    series_fields: ClassVar[Sequence[str]] = ("p_min_kw", "p_max_kw", "marginal_cost_per_mwh")

    p_min_kw: PositiveSeries = 0.0
    p_max_kw: PositiveSeries
    marginal_cost_per_mwh: NumberSeries = 0.0
    no_load_cost_per_h: Positive = 0.0
    start_cost: Positive = 0.0
    stop_cost: Positive = 0.0
    min_up: Duration = timedelta(0)
    min_down: Duration = timedelta(0)
    ramp_kw_per_h: Positive | None = None
    ramp_down_kw_per_h: Positive | None = None
    start_ramp_kw: Positive | None = None
    stop_ramp_kw: Positive | None = None
    carbon_g_per_kwh: Positive = 0.0
    on_at_start: bool = False
    p_start_kw: Positive | None = None
    time_in_state: Duration | None = None

    @property
    def commits(self) -> bool:
        """Whether being on is a decision of its own."""
        return (
            bool(np.any(np.asarray(self.p_min_kw) > 0))
            or max(self.no_load_cost_per_h, self.start_cost, self.stop_cost) > 0
            or max(self.min_up, self.min_down) > timedelta(0)
            or self.start_ramp_kw is not None
            or self.stop_ramp_kw is not None
        )

    def faults(self, path: str) -> Iterator[Fault]:
        yield from super().faults(path)
        yield from crossed(path, "p_min_kw", self.p_min_kw, "p_max_kw", self.p_max_kw, "kW")
        least = float(np.min(self.p_min_kw))
        for name in ("start_ramp_kw", "stop_ramp_kw"):
            value = getattr(self, name)
            if value is not None and value < least:
                what = name.partition("_")[0]
                yield Fault(
                    f"{path}.{name}",
                    f"{value:g} kW is below p_min_kw {least:g}: it could never {what}; raise it",
                )
        if self.commits and not self.on_at_start and self.p_start_kw:
            yield Fault(
                f"{path}.p_start_kw",
                f"is {self.p_start_kw:g} kW, but on_at_start is false; correct one of the two",
            )

    def faults_in(self, path: str, time: TimeGrid) -> Iterator[Fault]:
        yield from super().faults_in(path, time)
        if self.limits(time).way_out() is None:
            stated = "on_at_start" if self.p_start_kw is None else "p_start_kw"
            yield Fault(
                f"{path}.{stated}",
                "leaves no way to run: minimum times, ramps, p_min_kw and p_max_kw contradict each other in "
                "the first steps; correct the state before the horizon, or one of them",
            )

    def limits(self, time: TimeGrid) -> UnitLimits:
        """Its limits per step."""

        def whole(duration: timedelta) -> int:
            return max(-(-duration // time.resolution), 0)

        up = np.inf if self.ramp_kw_per_h is None else self.ramp_kw_per_h * time.hours
        down = up if self.ramp_down_kw_per_h is None else self.ramp_down_kw_per_h * time.hours
        passed = self.time_in_state
        bound = 0
        if passed is not None:
            bound = min(whole((self.min_up if self.on_at_start else self.min_down) - passed), time.steps)
        before = self.p_start_kw if self.on_at_start or not self.commits else 0.0
        return UnitLimits(
            least=expand(self.p_min_kw, time.steps),
            most=expand(self.p_max_kw, time.steps),
            up=up,
            down=down,
            start_most=np.inf if self.start_ramp_kw is None else self.start_ramp_kw,
            stop_most=np.inf if self.stop_ramp_kw is None else self.stop_ramp_kw,
            min_up=max(whole(self.min_up), 1),
            min_down=max(whole(self.min_down), 1),
            commits=self.commits,
            was_on=self.on_at_start or not self.commits,
            before=before,
            bound=bound,
        )

    def terminals(self) -> tuple[Terminal, ...]:
        return (self.terminal(-1),)

    def drawn_kw(self, p_kw: FloatArray) -> FloatArray:
        return -p_kw

    def feeding_kw(self, steps: int) -> FloatArray:
        return expand(self.p_max_kw, steps)

    def presses(self, limit: str) -> bool:
        """It gives way by stopping, unless its minimum up time still runs at the start."""
        passed = self.time_in_state
        return limit == "export_limit_kw" and self.on_at_start and passed is not None and passed < self.min_up

    def unit_costs(self, schedule: AssetSchedule, time: TimeGrid) -> dict[str, float]:
        """Fuel, and starts and stops, of the unit itself."""
        on = schedule.series["on"]
        prices = expand(self.marginal_cost_per_mwh, time.steps)
        fuel = float(prices @ schedule.p_kw) * time.hours / 1000
        if not self.commits:
            return {"fuel": fuel, "start": 0.0}
        change = np.diff(np.concatenate([[float(self.on_at_start)], on]))
        return {
            "fuel": fuel + self.no_load_cost_per_h * time.hours * float(on.sum()),
            "start": self.start_cost * int(np.sum(change > 0)) + self.stop_cost * int(np.sum(change < 0)),
        }

    def state_after(self, schedule: AssetSchedule, time: TimeGrid) -> Mapping[str, Any]:
        """`time_in_state` is null where the state is that of all of `time`: then it is older."""
        on = schedule.series["on"] > 0
        changes = np.flatnonzero(on[1:] != on[:-1])
        lasted = None if not len(changes) else (len(on) - 1 - int(changes[-1])) * time.resolution
        return {
            "on_at_start": bool(on[-1]),
            "p_start_kw": max(float(schedule.p_kw[-1]), 0.0) if on[-1] or not self.commits else None,
            "time_in_state": None if lasted is None else format_duration(lasted),
        }

    def unit_emissions_kg(self, schedule: AssetSchedule, time: TimeGrid) -> float:
        """What the unit's own fuel emits."""
        return float(schedule.p_kw.sum()) * time.hours * self.carbon_g_per_kwh / 1000


@dataclass(frozen=True)
class UnitLimits:
    """What a unit may do, in kW and steps: `least` and `most` when on, changes `up` and `down` per step,
    `start_most` in the first step on, `stop_most` in the last.

    It `was_on` before the horizon with power `before` (None: not known), and its state is fixed for
    the first `bound` steps. One that does not `commits` is always on.
    """

    least: FloatArray
    most: FloatArray
    up: float
    down: float
    start_most: float
    stop_most: float
    min_up: int
    min_down: int
    commits: bool
    was_on: bool
    before: float | None
    bound: int

    @property
    def steps(self) -> int:
        """Length of the horizon."""
        return len(self.least)

    def way_out(self) -> FloatArray | None:
        """The lowest powers from the first step until the unit may first stop; None where there are none.

        Reachable powers are an interval in each step: forwards it is found where the unit may stop,
        backwards the lowest way there.
        """
        if not self.was_on:
            return np.zeros(0)
        low, high = (0.0, np.inf) if self.before is None else (self.before, self.before)
        lows: list[float] = []
        for step in range(self.steps):
            if self.commits and step >= self.bound and low <= self.stop_most + REACHED_KW:
                break
            low = max(low - self.down, float(self.least[step]))
            high = min(high + self.up, float(self.most[step]))
            if low > high + REACHED_KW:
                return None
            lows.append(low)
        powers = np.array(lows)
        for step in range(len(powers) - 2, -1, -1):
            powers[step] = max(powers[step], powers[step + 1] - self.up)
        return powers

    def follow(self, wanted_kw: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Powers and on-states that come up to `wanted_kw` as far as limits allow, and nowhere exceed it
        but on the way out of the state before the horizon.

        The unit runs for as long as its minimum is wanted, where that is long enough.
        """
        power, on = np.zeros(self.steps), np.zeros(self.steps)
        wanted = np.minimum(wanted_kw, self.most)
        if self.was_on:
            run = self._run(0, wanted)
            if run is None or (self.commits and len(run) < min(self.bound, self.steps)):
                run = self.way_out()
                assert run is not None, "refused with the problem"
            power[: len(run)], on[: len(run)] = run, 1.0
            first = len(run) + self.min_down
        else:
            first = self.bound
        while first < self.steps:
            run = self._run(first, wanted)
            if run is None or (len(run) < self.min_up and first + len(run) < self.steps):
                first += 1
                continue
            power[first : first + len(run)], on[first : first + len(run)] = run, 1.0
            first += len(run) + self.min_down
        return power, on

    def _run(self, first: int, wanted: FloatArray) -> FloatArray | None:
        """Powers of a run from step `first`, as long as the minimum is wanted; None where there is none."""
        short = np.flatnonzero(wanted[first:] < self.least[first:] - REACHED_KW)
        last = first + int(short[0]) if len(short) else self.steps
        if last == first:
            return None
        ceiling = wanted[first:last].copy()
        if last < self.steps:
            ceiling[-1] = min(ceiling[-1], self.stop_most)
        for step in range(len(ceiling) - 2, -1, -1):
            ceiling[step] = min(ceiling[step], ceiling[step + 1] + self.down)
        continues = first == 0 and self.was_on
        if continues and self.before is not None:
            if ceiling[0] < self.before - self.down - REACHED_KW:
                return None
            ceiling[0] = min(ceiling[0], self.before + self.up)
        elif not continues:
            ceiling[0] = min(ceiling[0], self.start_most)
        for step in range(1, len(ceiling)):
            ceiling[step] = min(ceiling[step], ceiling[step - 1] + self.up)
        return ceiling if (ceiling >= self.least[first:last] - REACHED_KW).all() else None


class CommitmentRows:
    """Power, on-states, starts and stops of units of one type, in Pyomo.

    Attributes:
        power: columns, kW, shape (units, steps).
        emitting: the same and kg per kWh of each.
    """

    def __init__(self, site: Site, units: Sequence[CommittedUnit]) -> None:
        self._units, self._time = units, site.time
        self._limits = [unit.limits(site.time) for unit in units]
        self._committed = [number for number, unit in enumerate(units) if unit.commits]
        steps, ids = site.time.steps, [unit.id for unit in units]
        lower, upper = (np.zeros((len(units), steps)) for _ in range(2))
        for number, limits in enumerate(self._limits):
            upper[number] = limits.most
            if limits.was_on and limits.before is not None:
                upper[number, 0] = min(upper[number, 0], limits.before + limits.up)
                if not limits.commits:
                    lower[number, 0] = max(0.0, limits.before - limits.down)
        carbon = np.array([unit.carbon_g_per_kwh for unit in units])[:, None] / 1000
        prices = np.array([expand(unit.marginal_cost_per_mwh, steps) for unit in units])
        self.power = site.columns(
            "unit_kw",
            ids,
            lower=lower,
            upper=np.maximum(upper, lower),
            price=prices + carbon * site.carbon_price_per_t,
        )
        self.emitting = self.power.index.ravel(), np.repeat(carbon, steps)
        for number, unit in enumerate(units):
            site.draw(unit.connection, self.power, number, -1.0)
        self._states(site)
        self._outputs(site)
        self._ramps(site)

    def _states(self, site: Site) -> None:
        """On-states, starts and stops, and how long each must last."""
        units = [self._units[number] for number in self._committed]
        limits = [self._limits[number] for number in self._committed]
        ids, steps = [unit.id for unit in units], site.time.steps

        def each(name: str, per: float) -> FloatArray:
            return np.array([getattr(unit, name) for unit in units], float)[:, None] / per

        first = np.arange(steps) < np.array([item.bound for item in limits], float)[:, None]
        was_on = np.array([item.was_on for item in limits], bool)[:, None]
        # from too much power it cannot stop at once
        held = np.array([item.was_on and (item.before or 0.0) > item.stop_most for item in limits], bool)
        most_stops = np.ones((len(units), steps))
        most_stops[held, 0] = 0.0
        self.on = site.columns(
            "unit_on",
            ids,
            lower=np.where(first & was_on, 1.0, 0.0),
            upper=np.where(first & ~was_on, 0.0, 1.0),
            price=each("no_load_cost_per_h", 1e-3),
            integer=True,
        )
        starts = site.columns("unit_start", ids, upper=1.0, price=each("start_cost", site.mwh_per_kw))
        stops = site.columns("unit_stop", ids, upper=most_stops, price=each("stop_cost", site.mwh_per_kw))
        self._turns = np.array([self.on.index, starts.index, stops.index])
        on, start, stop = self.on.variable, starts.variable, stops.variable
        self._start, self._stop = start, stop

        def unit_state(_: Any, row: int, step: int) -> Any:
            change = on[row, step] - start[row, step] + stop[row, step]
            return change == float(limits[row].was_on) if step == 0 else change - on[row, step - 1] == 0.0

        def unit_min_up(_: Any, row: int, step: int) -> Any:
            recent = range(max(step - limits[row].min_up + 1, 0), step + 1)
            return sum(start[row, k] for k in recent) - on[row, step] <= 0.0

        def unit_min_down(_: Any, row: int, step: int) -> Any:
            recent = range(max(step - limits[row].min_down + 1, 0), step + 1)
            return sum(stop[row, k] for k in recent) + on[row, step] <= 1.0

        site.rows("unit_state", len(units), steps, rule=unit_state)
        site.rows("unit_min_up", len(units), steps, rule=unit_min_up)
        site.rows("unit_min_down", len(units), steps, rule=unit_min_down)

    def _outputs(self, site: Site) -> None:
        """Power between its limits when on, and what the steps beside a start and a stop allow."""
        power, on, start, stop = self.power.variable, self.on.variable, self._start, self._stop
        steps, committed = site.time.steps, self._committed
        limits = [self._limits[number] for number in committed]

        def beyond(row: int, step: int, most: float) -> float:
            return max(float(limits[row].most[step]) - most, 0.0)

        def unit_least(_: Any, row: int, step: int) -> Any:
            least = float(limits[row].least[step])
            return power[committed[row], step] - least * on[row, step] >= 0.0

        def unit_most(_: Any, row: int, step: int) -> Any:
            used = power[committed[row], step] + beyond(row, step, limits[row].start_most) * start[row, step]
            # only a unit that runs two steps or longer cannot start and stop around one step
            if limits[row].min_up > 1 and step + 1 < steps:
                used += beyond(row, step, limits[row].stop_most) * stop[row, step + 1]
            return used - float(limits[row].most[step]) * on[row, step] <= 0.0

        brief = [
            row for row, item in enumerate(limits) if item.min_up == 1 and item.stop_most < item.most.max()
        ]

        def unit_stopping(_: Any, position: int, step: int) -> Any:
            row = brief[position]
            held = beyond(row, step, limits[row].stop_most) * stop[row, step + 1]
            most = float(limits[row].most[step]) * on[row, step]
            return power[committed[row], step] + held - most <= 0.0

        site.rows("unit_least", len(limits), steps, rule=unit_least)
        site.rows("unit_most", len(limits), steps, rule=unit_most)
        site.rows("unit_stopping", len(brief), steps - 1, rule=unit_stopping)

    def _ramps(self, site: Site) -> None:
        """Changes of power between steps; a start and a stop have limits of their own."""
        power, on, start, stop = self.power.variable, self.on.variable, self._start, self._stop
        row_of = {number: row for row, number in enumerate(self._committed)}
        rising, falling = (
            [number for number, item in enumerate(self._limits) if np.isfinite(getattr(item, name))]
            for name in ("up", "down")
        )

        def unit_ramp_up(_: Any, position: int, before: int) -> Any:
            number, step = rising[position], before + 1
            limits = self._limits[number]
            change = power[number, step] - power[number, before]
            if number not in row_of:
                return change <= limits.up
            row, start_most = row_of[number], min(limits.start_most, float(limits.most[step]))
            return change - limits.up * on[row, before] - start_most * start[row, step] <= 0.0

        def unit_ramp_down(_: Any, position: int, before: int) -> Any:
            number, step = falling[position], before + 1
            limits = self._limits[number]
            change = power[number, before] - power[number, step]
            if number not in row_of:
                return change <= limits.down
            row, stop_most = row_of[number], min(limits.stop_most, float(limits.most[before]))
            return change - limits.down * on[row, step] - stop_most * stop[row, step] <= 0.0

        site.rows("unit_ramp_up", len(rising), site.time.steps - 1, rule=unit_ramp_up)
        site.rows("unit_ramp_down", len(falling), site.time.steps - 1, rule=unit_ramp_down)
        known = [
            (number, limits.before - limits.down)
            for number, limits in enumerate(self._limits)
            if number in row_of and number in falling and limits.was_on and limits.before is not None
        ]

        def unit_ramp_from_start(_: Any, position: int) -> Any:
            number, least = known[position]
            return power[number, 0] - least * on[row_of[number], 0] >= 0.0

        site.rows("unit_ramp_from_start", len(known), rule=unit_ramp_from_start)

    def going_on(
        self, known: Mapping[str, AssetSchedule], until: int
    ) -> Iterator[tuple[IntArray, IntArray, FloatArray]]:
        """Powers, on-states, starts and stops: as they were, then as in the last step before `until`.

        A unit was on where it had power, and where it is said to have been on and may be so without power.
        """
        steps = np.arange(self._time.steps)
        row_of = {number: row for row, number in enumerate(self._committed)}
        for number, (unit, limits) in enumerate(zip(self._units, self._limits, strict=True)):
            if unit.id not in known or not until:
                continue
            power = np.clip(known[unit.id].p_kw, 0.0, limits.most)
            on = np.ones(len(steps))
            if number in row_of:
                idle = (known[unit.id].series.get("on", np.zeros(len(steps))) > 0) & (limits.least <= 0)
                on = ((power > RUNNING_KW) | idle).astype(float)
                on[until:] = on[until - 1]
                change = np.diff(on, prepend=float(limits.was_on))
                turns = on, np.clip(change, 0.0, None), np.clip(-change, 0.0, None)
                for columns, values in zip(self._turns[:, row_of[number]], turns, strict=True):
                    yield columns, steps, values
            power[until:] = on[until:] * np.clip(power[until - 1], limits.least, limits.most)[until:]
            yield self.power.index[number], steps, power

    def controls(self, steps: int) -> IntArray:
        """Power and on-states of the first steps."""
        return np.concatenate([self.power.before(steps), self.on.before(steps)])

    def flexibility(self) -> Iterator[Flexibility]:
        """What the units hold that may start and stop at any power."""
        row_of = {number: row for row, number in enumerate(self._committed)}
        for number, (unit, limits) in enumerate(zip(self._units, self._limits, strict=True)):
            if unit.start_ramp_kw is None and unit.stop_ramp_kw is None:
                states = self._turns[:, row_of[number]] if number in row_of else None
                before = limits.before if limits.was_on else None
                yield from Unit(
                    unit.id,
                    unit.connection,
                    limits.least,
                    limits.most,
                    limits.up,
                    limits.down,
                    before,
                    self.power.index[number],
                    states,
                ).flexibility()

    def terminal_powers(self) -> Iterator[TerminalPower]:
        """Where the units inject."""
        steps = np.arange(self._time.steps)
        for number, unit in enumerate(self._units):
            yield TerminalPower(unit.terminal(-1), steps, self.power.index[number], np.full(len(steps), -1.0))

    def operation(self, x: FloatArray) -> Iterator[tuple[FloatArray, FloatArray]]:
        """Power and on-state of each unit in the solution."""
        row_of: Mapping[int, int] = {number: row for row, number in enumerate(self._committed)}
        for number, limits in enumerate(self._limits):
            p_kw = x[self.power.index[number]]
            if number not in row_of:
                yield p_kw, (p_kw > RUNNING_KW).astype(float)
                continue
            on = np.round(x[self.on.index[row_of[number]]])
            near = np.clip(p_kw, limits.least, limits.most)
            # what was metered before now may be below the minimum: only noise is clipped
            yield np.where(on > 0, np.where(np.abs(p_kw - near) <= RUNNING_KW, near, p_kw), 0.0), on
