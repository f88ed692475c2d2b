"""Heat behind an asset: a demand, a store, and what is left unmet or dumped; for all that makes heat.

In each step, with powers in kW and energies in kWh of heat:

    e = e_before · (1 − loss_per_hour)^h + h · (made + unmet − demand − dumped − drawn)

Without a store e is zero. The store takes and gives any power; it loses a share of its content.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from energy.domain.documents import Document
from energy.domain.errors import Fault
from energy.domain.network import FloatArray, IntArray
from energy.domain.schedule import AssetSchedule, Shortfall
from energy.domain.time import TimeGrid
from optimizer.assets.base import HardLimit
from optimizer.assets.charging import SERVED_KWH
from optimizer.assets.store import energy_faults
from optimizer.quantities import Positive

if TYPE_CHECKING:
    from optimizer.site import Columns, Site


class HeatStore(Document):
    """A store of heat: energies in it, at the start, after the last step (hard), and the share it loses."""

    e_min_kwh: Positive = 0.0
    e_max_kwh: Positive
    e_start_kwh: Positive
    e_end_min_kwh: Positive | None = None
    loss_per_hour: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def faults(self, path: str) -> Iterator[Fault]:
        """Energies that contradict each other."""
        yield from energy_faults(path, self.e_min_kwh, self.e_start_kwh, self.e_max_kwh, self.e_end_min_kwh)

    def retained(self, hours: float) -> float:
        """The share of its energy that is left after that long."""
        return float((1.0 - self.loss_per_hour) ** hours)


NO_STORE = HeatStore(e_max_kwh=0.0, e_start_kwh=0.0)


@dataclass(frozen=True)
class HeatNode:
    """Where the heat of one asset meets: `demand_kw` per step, and whether heat may be dumped.

    `made` and `drawn` are columns that make and draw heat: kW of heat per unit in each step, the columns,
    and their number among them.
    """

    asset: str
    connection: str
    priority: float
    demand_kw: FloatArray
    store: HeatStore | None
    dump: bool
    made: Sequence[tuple[FloatArray, Columns, int]]
    drawn: Sequence[tuple[Columns, int]] = ()


class HeatRows:
    """The heat balance of several nodes, in Pyomo.

    Attributes:
        needs, need_weights: as in `AssetRows`: unmet heat in kW, and kWh of it times priority.
    """

    def __init__(self, site: Site, nodes: Sequence[HeatNode]) -> None:
        self._nodes, self._time = nodes, site.time
        steps, hours = site.time.steps, site.time.hours
        ids = [node.asset for node in nodes]
        stores = [node.store or NO_STORE for node in nodes]
        lowest = np.array([[store.e_min_kwh] * steps for store in stores]).reshape(len(nodes), steps)
        for number, store in enumerate(stores):
            lowest[number, -1] = max(lowest[number, -1], store.e_end_min_kwh or 0.0)
        demand = np.array([node.demand_kw for node in nodes]).reshape(len(nodes), steps)
        highest = np.array([[store.e_max_kwh] for store in stores]).reshape(len(nodes), 1)
        dumps = np.array([[np.inf if node.dump else 0.0] for node in nodes]).reshape(len(nodes), 1)
        self._energy = site.columns("heat_store_kwh", ids, lower=lowest, upper=highest)
        self._unmet = site.columns("heat_unmet_kw", ids, upper=demand)
        self._dumped = site.columns("heat_dumped_kw", ids, upper=dumps)
        energy, unmet, dumped = self._energy.variable, self._unmet.variable, self._dumped.variable

        def heat_balance(_: Any, number: int, step: int) -> Any:
            node, retained = nodes[number], stores[number].retained(hours)
            surplus = unmet[number, step] - dumped[number, step]
            surplus += sum(kw[step] * columns.variable[row, step] for kw, columns, row in node.made)
            surplus -= sum(columns.variable[row, step] for columns, row in node.drawn)
            change = energy[number, step] - hours * surplus
            given = -hours * float(demand[number, step])
            if step == 0:
                return change == given + retained * stores[number].e_start_kwh
            return change - retained * energy[number, step - 1] == given

        site.rows("heat_balance", len(nodes), steps, rule=heat_balance)
        self.needs = self._unmet.index.ravel()
        self.need_weights = np.repeat([node.priority * hours for node in nodes], steps)

    @property
    def hard_limits(self) -> list[HardLimit]:
        """What the store must hold, and that no heat may be dumped."""
        every, limits = np.arange(self._time.steps), []
        for number, node in enumerate(self._nodes):
            if not node.dump:
                columns = self._dumped.index[number]
                none = np.zeros(len(every))
                asset, connection = (node.asset,), node.connection
                limits.append(HardLimit(asset, connection, "heat_dump", "kW", every, columns, none, -1))
            if node.store is not None:
                # both hold at the end: what ends below e_min_kwh needs that limit eased as well
                least, end_min = node.store.e_min_kwh, node.store.e_end_min_kwh or 0.0
                limits.append(self._least(node, "e_min_kwh", number, every, least))
                if end_min > least:
                    limits.append(self._least(node, "e_end_min_kwh", number, every[-1:], end_min))
        return limits

    @property
    def surplus(self) -> tuple[IntArray, IntArray]:
        """Heat in store and heat dumped, and the step of each."""
        columns = np.concatenate([self._energy.index, self._dumped.index])
        return columns.ravel(), np.tile(np.arange(self._time.steps), len(columns))

    def _least(self, node: HeatNode, name: str, number: int, steps: IntArray, least: float) -> HardLimit:
        columns, bounds = self._energy.index[number, steps], np.full(len(steps), least)
        return HardLimit((node.asset,), node.connection, name, "kWh", steps, columns, bounds, 1)

    def series(self, x: FloatArray, number: int) -> dict[str, FloatArray]:
        """What becomes of the heat of a node in the solution."""
        node = self._nodes[number]
        store = node.store
        held = {} if store is None else {"heat_store_kwh": x[self._energy.index[number]]}
        dumped_kw = x[self._dumped.index[number]]
        dumped = {"dumped_heat_kw": dumped_kw} if node.dump or dumped_kw.any() else {}
        return {**held, **dumped, "unmet_heat_kw": x[self._unmet.index[number]]}


def unmet_heat(asset: str, unmet_kw: FloatArray, time: TimeGrid) -> Iterator[Shortfall]:
    """A shortfall for each step in which heat is unmet."""
    for step in np.flatnonzero(unmet_kw * time.hours > SERVED_KWH):
        amount = float(unmet_kw[step]) * time.hours
        yield Shortfall("heat_demand", time.instant(int(step)), amount, asset=asset)


def stored_heat(path: str, store: HeatStore | None, schedule: AssetSchedule) -> dict[str, float]:
    """The start energy, by path, of a store that stands as at the end of `schedule`."""
    if store is None:
        return {}
    last = float(schedule.series["heat_store_kwh"][-1])
    return {f"{path}.e_start_kwh": min(max(last, store.e_min_kwh), store.e_max_kwh)}


def broken_heat(
    asset: str, store: HeatStore | None, dump: bool, series: Mapping[str, FloatArray]
) -> Iterator[str]:
    """What a schedule without control breaks of the limits of the heat side, in words."""
    dumped = series.get("dumped_heat_kw")
    if not dump and dumped is not None:
        yield f"asset {asset!r} makes up to {dumped.max():.4g} kW of heat that may not be dumped"
    if store is None:
        return
    energies = series["heat_store_kwh"]
    for name, reached, least in (
        ("e_min_kwh", float(energies.min()), store.e_min_kwh),
        ("e_end_min_kwh", float(energies[-1]), store.e_end_min_kwh or 0.0),
    ):
        if reached < least - SERVED_KWH:
            yield f"the heat store of {asset!r} falls to {reached:.4g} kWh, below its {name} of {least:g}"
