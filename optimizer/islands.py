"""Islands: connections that run on their own for a while, and what is served in them meanwhile.

In every step that an island touches, nothing flows through its connection. Load below it that cannot be
served is shed by priority. Where the island outlasts the horizon, its stores keep energy for the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

import numpy as np

from energy.domain.network import BoolArray, FloatArray
from energy.domain.schedule import AssetSchedule
from energy.domain.time import TimeGrid, format_duration
from optimizer.assets.base import Asset, HardLimit
from optimizer.assets.load import Load
from optimizer.documents import Connection, above, below, from_roots

DAY = timedelta(days=1)
BORDERS = ("island", "island_return_ramp_kw_per_h")
"""The names under which conflicts list the hard limits of islands."""


class Islands:
    """The islands of one problem."""

    def __init__(
        self, connections: Mapping[str, Connection], assets: Sequence[Asset], time: TimeGrid
    ) -> None:
        self._connections, self._assets, self._time = connections, assets, time
        self._from_roots = from_roots(connections)
        self._islanded = [key for key, connection in connections.items() if connection.island]

    def __bool__(self) -> bool:
        return bool(self._islanded)

    @cached_property
    def exchange_kw(self) -> Mapping[str, FloatArray]:
        """What may flow through each connection at most, either way, shape (steps,)."""
        return {key: c.exchange_kw(self._time) for key, c in self._connections.items()}

    @cached_property
    def sheds(self) -> Mapping[str, BoolArray]:
        """The steps in which load at a connection may go unserved: through it, or one above, flows less
        than the load below that one, for the sake of an island."""
        found: dict[str, BoolArray] = {}
        for key in self._from_roots:
            parent = self._connections[key].parent
            outer = np.zeros(self._time.steps, bool) if parent is None else found[parent]
            short = np.zeros(self._time.steps, bool)
            if key in self._islanded:
                firm = [load.firm_kw(self._time.steps) for load in self._loads(self.below(key))]
                short = self.exchange_kw[key] < np.clip(firm, 0.0, None).sum(axis=0)
            found[key] = outer | short
        return found

    def below(self, key: str) -> set[str]:
        """A connection and all below it."""
        return set(below(self._connections, key))

    def _loads(self, connections: set[str]) -> list[Load]:
        assets = self._assets
        return [asset for asset in assets if isinstance(asset, Load) and asset.connection in connections]

    @cached_property
    def rests(self) -> Sequence[Rest]:
        """What islands that outlast the horizon will need after it."""
        ends = {key: self._connections[key].island_steps(self._time) for key in self._islanded}
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
        fed = [asset.feeding_kw(time.steps)[-period:] for asset in self._assets if asset.connection in area]
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
        for key in reversed(self._from_roots):
            if key not in self._islanded:
                continue
            for load in sorted(self._loads(self.below(key)), key=lambda load: (load.priority, load.id)):
                excess = np.clip(net[key] - self.exchange_kw[key], 0.0, None)
                cut = np.minimum(excess, np.clip(found[load.id].p_kw, 0.0, None))
                if cut.any():
                    found[load.id] = load.unserved(found[load.id], cut)
                    for other in above(self._connections, key):
                        net[other] = net[other] - cut
        return found

    def notices(self) -> Iterator[str]:
        """What of the islands is clipped, or assumed."""
        for key in self._islanded:
            begin, end = self._connections[key].island_steps(self._time)
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


def border_message(limit: HardLimit, assets: Sequence[str], span: str, kw: float) -> str:
    """A conflict at the border of an island, in words."""
    whose = ", ".join(repr(key) for key in assets) or "its assets"
    while_doing = "it is an island" if limit.limit == "island" else "it returns from an island"
    return (
        f"connection {limit.connection!r}: {span} {whose} would have to exchange {kw:.4g} kW more with the "
        f"grid than it may while {while_doing}. Let generation be curtailed, ease what they must do, or "
        "change the island."
    )
