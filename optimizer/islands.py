"""Islands: connections that run on their own for a while, and what is served in them meanwhile.

In every step that an island touches, nothing flows through its connection. Load below it that cannot be
served is shed by priority. Where the island outlasts the horizon, its stores keep energy for the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from math import ceil, floor
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from energy.domain.documents import Document, Duration, Instant
from energy.domain.errors import Fault
from energy.domain.network import BoolArray, FloatArray, IntArray
from energy.domain.schedule import AssetSchedule, Shortfall
from energy.domain.time import TimeGrid, format_duration
from optimizer.assets.base import AssetRows, HardLimit, Positive
from optimizer.assets.load import Load

if TYPE_CHECKING:
    from optimizer.connections import ConnectionRows
    from optimizer.problem import DispatchProblem
    from optimizer.site import Site

LONGEST = timedelta(days=366)
"""An island announced for longer than this is meant to have no end: `island_duration` null says so."""
DAY = timedelta(days=1)
UNSERVED_KWH = 1e-6
"""Unserved energy below this is the solver's tolerance."""
BORDERS = ("island", "island_return_ramp_kw_per_h")
"""The names under which conflicts list the hard limits of islands."""


class Islandable(Document):
    """A connection that can be told to run on its own.

    `island_from` null is the start of the horizon, `island_duration` null its end. After the island the
    power through the connection is at most `island_return_ramp_kw_per_h` times the time since, either
    way, counted to the end of a step; null is unlimited.
    """

    island: bool = False
    island_from: Instant | None = None
    island_duration: Duration | None = None
    island_return_ramp_kw_per_h: Annotated[Positive, Field(gt=0)] | None = None

    def island_faults(self, path: str, *, networked: bool) -> Iterator[Fault]:
        """What about the island contradicts itself, or the grid."""
        if not self.island:
            for name in ("island_from", "island_duration", "island_return_ramp_kw_per_h"):
                if getattr(self, name) is not None:
                    yield Fault(f"{path}.{name}", "stands without an island; set island to true or remove it")
            return
        duration = self.island_duration
        if duration is not None and duration <= timedelta(0):
            yield Fault(f"{path}.island_duration", "must be positive; null lasts to the horizon's end")
        elif duration is not None and duration > LONGEST:
            yield Fault(
                f"{path}.island_duration",
                f"is longer than {LONGEST.days} days; null lasts to the horizon's end",
            )
        if networked:
            yield Fault(
                f"{path}.island",
                "is true, but the AC power flow of a network has no source to form an island's voltage; "
                "dispatch the island without network",
            )

    def island_steps(self, time: TimeGrid) -> tuple[int, int]:
        """The first step that the island touches, and the first after it; either may be outside."""
        if not self.island:
            return 0, 0
        begin = 0.0 if self.island_from is None else time.position(self.island_from)
        if self.island_duration is None:
            return floor(begin), max(time.steps, floor(begin))
        return floor(begin), ceil(begin + self.island_duration / time.resolution)

    def exchange_kw(self, time: TimeGrid) -> FloatArray:
        """The most that may flow, either way, for the sake of an island; infinite where there is none."""
        limit, steps = np.full(time.steps, np.inf), np.arange(time.steps)
        begin, end = self.island_steps(time)
        if self.island and self.island_return_ramp_kw_per_h is not None:
            since_hours = (steps - end + 1) * time.hours
            limit = np.where(steps >= end, self.island_return_ramp_kw_per_h * since_hours, limit)
        limit[(steps >= begin) & (steps < end)] = 0.0
        return limit


class Islands:
    """The islands of one problem."""

    def __init__(self, problem: DispatchProblem) -> None:
        self._problem = problem
        self._time = problem.time
        self._islanded = [key for key, connection in problem.connections.items() if connection.island]

    def __bool__(self) -> bool:
        return bool(self._islanded)

    @cached_property
    def exchange_kw(self) -> Mapping[str, FloatArray]:
        """What may flow through each connection at most, either way, shape (steps,)."""
        return {key: c.exchange_kw(self._time) for key, c in self._problem.connections.items()}

    @cached_property
    def sheds(self) -> Mapping[str, BoolArray]:
        """The steps in which load at a connection may go unserved: through it, or one above, flows less
        than the load below that one, for the sake of an island."""
        found: dict[str, BoolArray] = {}
        for key in self._problem.from_roots:
            parent = self._problem.connections[key].parent
            above = np.zeros(self._time.steps, bool) if parent is None else found[parent]
            short = np.zeros(self._time.steps, bool)
            if key in self._islanded:
                firm = [load.firm_kw(self._time.steps) for load in self._loads(self.below(key))]
                short = self.exchange_kw[key] < np.clip(firm, 0.0, None).sum(axis=0)
            found[key] = above | short
        return found

    def below(self, key: str) -> set[str]:
        """A connection and all below it."""
        return set(self._problem.below(key))

    def _loads(self, connections: set[str]) -> list[Load]:
        assets = self._problem.assets
        return [asset for asset in assets if isinstance(asset, Load) and asset.connection in connections]

    @cached_property
    def rests(self) -> Sequence[Rest]:
        """What islands that outlast the horizon will need after it."""
        ends = {key: self._problem.connections[key].island_steps(self._time) for key in self._islanded}
        lasting = {key for key, (begin, end) in ends.items() if begin < self._time.steps < end}
        found = []
        for key in sorted(lasting):
            area = self.below(key)
            for inner in lasting & area - {key}:
                area = area - self.below(inner)
            found.append(self._rest(key, area, ends[key][1] - self._time.steps))
        return found

    def _rest(self, key: str, area: set[str], steps: int) -> Rest:
        """`steps` steps after the horizon, as if its last day repeated (the horizon, if it is shorter)."""
        time = self._time
        period = DAY // time.resolution
        if DAY % time.resolution or period > time.steps:
            period = time.steps
        times = steps // period + (np.arange(period) < steps % period)
        loads = self._loads(area)
        wanted = np.array([load.firm_kw(time.steps)[-period:] for load in loads]).reshape(-1, period)
        fed = [
            asset.feeding_kw(time.steps)[-period:]
            for asset in self._problem.assets
            if asset.connection in area
        ]
        lacking = np.clip(wanted.sum(axis=0) - np.sum(fed, axis=0), 0.0, None)
        load_kwh = np.clip(wanted, 0.0, None) @ times * time.hours
        return Rest(
            key, area, steps * time.hours, float(times @ lacking) * time.hours, loads, load_kwh.tolist()
        )

    def shed(
        self, schedules: Mapping[str, AssetSchedule], net_kw: Mapping[str, FloatArray]
    ) -> dict[str, AssetSchedule]:
        """`schedules` with load unserved, the lowest priority first, where islands draw what they may not.

        `net_kw` is what flows through each connection without that.
        """
        found, net = dict(schedules), {key: values.copy() for key, values in net_kw.items()}
        for key in reversed(self._problem.from_roots):
            if key not in self._islanded:
                continue
            above = self._problem.above(key)
            for load in sorted(self._loads(self.below(key)), key=lambda load: (load.priority, load.id)):
                excess = np.clip(net[key] - self.exchange_kw[key], 0.0, None)
                cut = np.minimum(excess, np.clip(found[load.id].p_kw, 0.0, None))
                if cut.any():
                    found[load.id] = load.unserved(found[load.id], cut)
                    for other in above:
                        net[other] = net[other] - cut
        return found

    def notices(self) -> Iterator[str]:
        """What of the islands is clipped, or assumed."""
        for key in self._islanded:
            begin, end = self._problem.connections[key].island_steps(self._time)
            if begin >= self._time.steps or end <= 0:
                yield f"connection {key!r}: its island is outside the horizon"
            elif begin < 0:
                yield f"connection {key!r}: its island began before the horizon"
        for rest in self.rests:
            yield (
                f"connection {rest.connection!r}: its island outlasts the horizon by "
                f"{format_duration(timedelta(hours=rest.hours))}; for that time it is taken to lack "
                f"{rest.lacking_kwh:.4g} kWh, as if what is known of its load and generation repeated"
            )


@dataclass(frozen=True)
class Rest:
    """The time of an island after the horizon.

    Attributes:
        connection, area: the island, and the connections in it.
        hours: how long it lasts.
        lacking_kwh: load beyond what is generated at the same time.
        loads, load_kwh: the loads in the area and what they want in that time.
    """

    connection: str
    area: set[str]
    hours: float
    lacking_kwh: float
    loads: Sequence[Load]
    load_kwh: Sequence[float]


class IslandRows(AssetRows):
    """What stores keep for the time of an island after the horizon, and the hard limits of islands."""

    def __init__(
        self, site: Site, problem: DispatchProblem, assets: Sequence[AssetRows], connections: ConnectionRows
    ) -> None:
        self._problem, self._connections = problem, connections
        rests = problem.islands.rests
        stores = [store for rows in assets for store in rows.stores()]
        fed = [
            (k, store) for k, rest in enumerate(rests) for store in stores if store.connection in rest.area
        ]
        loads = [
            (k, load, kwh)
            for k, rest in enumerate(rests)
            for load, kwh in zip(rest.loads, rest.load_kwh, strict=True)
        ]
        most = np.array([store.feed_max_kw * rests[k].hours for k, store in fed])
        feed = site.columns(
            "rest_feed_kwh", [store.asset for _, store in fed], steps=1, upper=most[:, None]
        ).variable
        wanted = np.array([kwh for *_, kwh in loads])
        unserved = site.columns(
            "rest_unserved_kwh", [load.id for _, load, _ in loads], steps=1, upper=wanted[:, None]
        )

        def island_feed(_: Any, number: int) -> Any:
            k, store = fed[number]
            kwh_per_unit = store.kwh_per_unit * store.retained_per_hour ** rests[k].hours
            return feed[number, 0] - kwh_per_unit * store.content <= -kwh_per_unit * store.least

        def island_rest(_: Any, number: int) -> Any:
            served = [feed[row, 0] for row, (k, _) in enumerate(fed) if k == number]
            shed = [unserved.variable[row, 0] for row, (k, *_) in enumerate(loads) if k == number]
            return sum(served) + sum(shed) >= rests[number].lacking_kwh

        lacking = [number for number, rest in enumerate(rests) if rest.lacking_kwh > 0]
        site.rows("island_feed", len(fed), rule=island_feed)
        site.rows("island_rest", len(lacking), rule=lambda _, row: island_rest(_, lacking[row]))
        self._loads = [load for _, load, _ in loads]
        self.needs = unserved.index.ravel()
        self.need_weights = np.array([load.priority for load in self._loads], float)

    @property
    def hard_limits(self) -> Sequence[HardLimit]:
        """No flow in an island, and a slow return."""
        problem, connections = self._problem, self._connections
        found = []
        for key, exchange_kw in problem.islands.exchange_kw.items():
            number = connections.ids.index(key)
            for way, columns in (
                ("import_limit_kw", connections.imports),
                ("export_limit_kw", connections.exports),
            ):
                binding = np.isfinite(exchange_kw)
                for name, held in zip(BORDERS, (exchange_kw == 0, exchange_kw > 0), strict=True):
                    steps = np.flatnonzero(binding & held)
                    if len(steps):
                        bounds = exchange_kw[steps]
                        found.append(
                            HardLimit(
                                self._behind(key, way),
                                key,
                                name,
                                "kW",
                                steps,
                                columns[number, steps],
                                bounds,
                                -1,
                            )
                        )
        return found

    def _behind(self, key: str, way: str) -> tuple[str, ...]:
        """The assets in an island that press against its border and cannot give way."""
        area = self._problem.islands.below(key)
        return tuple(a.id for a in self._problem.assets if a.connection in area and a.presses(way))

    def controls(self, steps: int) -> IntArray:
        """None: nothing here is set by anybody."""
        del steps
        return np.zeros(0, np.int64)

    def schedules(self, x: FloatArray) -> Iterator[tuple[str, AssetSchedule]]:
        """None: the rest of an island lies outside the horizon."""
        del x
        yield from ()

    def shortfalls(self, x: FloatArray) -> Iterator[Shortfall]:
        time = self._problem.time
        for load, column in zip(self._loads, self.needs.tolist(), strict=True):
            if x[column] > UNSERVED_KWH:
                short = float(x[column])
                yield Shortfall("unserved_load", time.end, short, asset=load.id, since=time.start)


def border_message(limit: HardLimit, assets: Sequence[str], span: str, kw: float) -> str:
    """A conflict at the border of an island, in words."""
    whose = ", ".join(repr(key) for key in assets) or "its assets"
    while_doing = "it is an island" if limit.limit == "island" else "it returns from an island"
    return (
        f"connection {limit.connection!r}: {span} {whose} would have to exchange {kw:.4g} kW more with the "
        f"grid than it may while {while_doing}. Let generation be curtailed, ease what they must do, or "
        "change the island."
    )
