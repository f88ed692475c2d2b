"""Islands in the model: what stores keep for the time after the horizon, and what nothing may break."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from energy.domain.network import FloatArray, IntArray
from energy.domain.schedule import AssetSchedule, Shortfall
from optimizer.assets.base import AssetRows, HardLimit
from optimizer.connections import ConnectionRows
from optimizer.islands import BORDERS
from optimizer.problem import DispatchProblem
from optimizer.site import Site

UNSERVED_KWH = 1e-6
"""Unserved energy below this is the solver's tolerance."""


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
