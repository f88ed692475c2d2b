"""A load that runs once, uninterrupted, at a time of its own choice in a window."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import ceil, floor
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from energy.domain.documents import Instant, Items
from energy.domain.errors import Fault
from energy.domain.network import FloatArray, IntArray, Terminal
from energy.domain.schedule import AssetSchedule, Shortfall
from energy.domain.time import TimeGrid, format_duration, format_instant
from optimizer.assets.base import Asset, AssetRows, Control, TerminalPower
from optimizer.quantities import Positive

if TYPE_CHECKING:
    from optimizer.site import Site

ON_GRID = 1e-9
"""A time this close to the edge of a step, in steps, is on it."""


class ShiftableLoad(Asset):
    """Draws `profile_kw` once (``+`` draws), one value per step from the step it starts in.

    It starts with a step, not before `earliest_start`, and has ended by `latest_end`. A run that fits
    nowhere is a shortfall of its whole energy, unless its window goes on after the horizon long enough
    for it: then it is left to the next horizon.
    """

    type: Literal["shiftable_load"]
    profile_kw: Annotated[Items[Positive], Field(min_length=1)]
    earliest_start: Instant
    latest_end: Instant

    def faults(self, path: str) -> Iterator[Fault]:
        yield from super().faults(path)
        if not any(self.profile_kw):
            yield Fault(f"{path}.profile_kw", "draws nothing; leave the asset out, or correct it")
        if self.latest_end <= self.earliest_start:
            yield Fault(
                f"{path}.latest_end",
                f"{format_instant(self.latest_end)} is not after earliest_start "
                f"{format_instant(self.earliest_start)}; swap or correct them",
            )

    def faults_in(self, path: str, time: TimeGrid) -> Iterator[Fault]:
        yield from super().faults_in(path, time)
        length, window = len(self.profile_kw) * time.resolution, self.latest_end - self.earliest_start
        if length > window:
            yield Fault(
                f"{path}.latest_end",
                f"leaves a window of {format_duration(window)}, but profile_kw lasts "
                f"{format_duration(length)} ({len(self.profile_kw)} steps); widen it, or shorten the profile",
            )

    def notices(self, time: TimeGrid) -> Iterator[str]:
        span = f"the window {format_instant(self.earliest_start)} to {format_instant(self.latest_end)}"
        if self.latest_end <= time.start or self.earliest_start >= time.end:
            yield f"asset {self.id!r}: {span} is outside the horizon, and its run is left out"
            return
        if self.earliest_start < time.start or self.latest_end > time.end:
            yield f"asset {self.id!r}: {span} is clipped to the horizon"
        if not len(self.starts(time)):
            why = (
                "no start in the horizon lets its run end inside the window"
                if self.is_due(time)
                else "the horizon ends too early for its run, which can follow later"
            )
            yield f"asset {self.id!r}: {why}"

    @property
    def profile(self) -> FloatArray:
        """Power in each step of a run, kW."""
        return np.array(self.profile_kw, float)

    def energy_kwh(self, time: TimeGrid) -> float:
        """What a run takes."""
        return float(self.profile.sum()) * time.hours

    def starts(self, time: TimeGrid) -> IntArray:
        """The steps it may start in."""
        first = max(ceil(time.position(self.earliest_start) - ON_GRID), 0)
        end = min(floor(time.position(self.latest_end) + ON_GRID), time.steps)
        return np.arange(first, max(end - len(self.profile_kw), first - 1) + 1)

    def is_due(self, time: TimeGrid) -> bool:
        """Whether it must run in this horizon, or not at all."""
        later = self.latest_end - max(self.earliest_start, time.end)
        inside = self.latest_end > time.start and self.earliest_start < time.end
        return inside and (len(self.starts(time)) > 0 or later < len(self.profile_kw) * time.resolution)

    def schedule(self, start: int | None, time: TimeGrid) -> AssetSchedule:
        """Its run from step `start`, or none."""
        p_kw, starts = np.zeros(time.steps), np.zeros(time.steps)
        if start is not None:
            p_kw[start : start + len(self.profile_kw)] = self.profile
            starts[start] = 1.0
        return AssetSchedule(p_kw, {"start": starts})

    def terminals(self) -> tuple[Terminal, ...]:
        return (self.terminal(1),)

    def baseline(self, time: TimeGrid) -> AssetSchedule:
        """It starts as early as it may."""
        starts = self.starts(time)
        return self.schedule(int(starts[0]) if len(starts) else None, time)

    def unmet(self, schedule: AssetSchedule, time: TimeGrid) -> Iterator[Shortfall]:
        if self.is_due(time) and not schedule.series["start"].any():
            due = min(self.latest_end, time.end)
            energy_kwh = self.energy_kwh(time)
            yield Shortfall("unserved_run", due, energy_kwh, asset=self.id, since=self.earliest_start)

    def costs(self, schedule: AssetSchedule, time: TimeGrid) -> Mapping[str, float]:
        del schedule, time
        return {}

    @classmethod
    def rows(cls, site: Site, assets: Sequence[ShiftableLoad]) -> AssetRows:
        return ShiftableRows(site, assets)


class ShiftableRows(AssetRows):
    """One binary per load and step it may start in: Σ start + unserved = 1, and the power that follows."""

    def __init__(self, site: Site, loads: Sequence[ShiftableLoad]) -> None:
        self._loads, self._time = loads, site.time
        steps, ids = site.time.steps, [load.id for load in loads]
        allowed, highest = (np.zeros((len(loads), steps)) for _ in range(2))
        for number, load in enumerate(loads):
            allowed[number, load.starts(site.time)] = 1.0
            highest[number] = np.convolve(allowed[number], load.profile)[:steps]
            highest[number] = np.minimum(highest[number], load.profile.max())
        due = np.array([[float(load.is_due(site.time))] for load in loads])
        starts = site.columns("run_start", ids, upper=allowed, integer=True)
        unserved = site.columns("run_unserved", ids, steps=1, upper=due)
        power = site.columns("run_kw", ids, upper=highest)
        self._starts, self._power = starts.index, power.index

        def run_once(_: Any, number: int) -> Any:
            ways = sum(starts.variable[number, step] for step in np.flatnonzero(allowed[number]).tolist())
            return ways + unserved.variable[number, 0] == float(due[number, 0])

        def run_power(_: Any, number: int, step: int) -> Any:
            profile = loads[number].profile_kw
            drawn = sum(
                kw * starts.variable[number, step - k]
                for k, kw in enumerate(profile)
                if step >= k and allowed[number, step - k]
            )
            return power.variable[number, step] - drawn == 0.0

        site.rows("run_once", len(loads), rule=run_once)
        site.rows("run_power", len(loads), steps, rule=run_power)
        for number, load in enumerate(loads):
            site.draw(load.connection, power, number, 1.0)
        self.needs = unserved.index.ravel()
        self.need_weights = np.array([load.energy_kwh(site.time) * load.priority for load in loads])

    def stated_controls(self) -> Iterator[Control]:
        steps = np.arange(self._time.steps)
        for number, load in enumerate(self._loads):
            yield Control(load.id, "start", steps, self._starts[number])

    def terminal_powers(self) -> Iterator[TerminalPower]:
        steps = np.arange(self._time.steps)
        for number, load in enumerate(self._loads):
            yield TerminalPower(load.terminal(1), steps, self._power[number], np.ones(len(steps)))

    def controls(self, steps: int) -> IntArray:
        return self._starts[:, :steps].ravel()

    def schedules(self, x: FloatArray) -> Iterator[tuple[str, AssetSchedule]]:
        for load, columns in zip(self._loads, self._starts, strict=True):
            started = np.flatnonzero(np.round(x[columns]))
            yield load.id, load.schedule(int(started[0]) if len(started) else None, self._time)

    def shortfalls(self, x: FloatArray) -> Iterator[Shortfall]:
        for load, (_, schedule) in zip(self._loads, self.schedules(x), strict=True):
            yield from load.unmet(schedule, self._time)
