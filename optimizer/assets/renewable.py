"""Generation that follows the weather, curtailable or not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from energy.domain.documents import expand
from energy.domain.network import FloatArray, IntArray, Terminal
from energy.domain.schedule import AssetSchedule, Shortfall
from energy.domain.time import TimeGrid
from optimizer.assets.base import (
    Asset,
    AssetRows,
    Burden,
    Control,
    Flexibility,
    InverterPower,
    Source,
    TerminalPower,
)
from optimizer.quantities import Number, PositiveSeries

if TYPE_CHECKING:
    from optimizer.site import Site


class Renewable(Asset):
    """Generation of at most `available_kw` (``+`` injects); where not `curtailable`, exactly that."""

    series_fields: ClassVar[Sequence[str]] = ("available_kw",)
    has_inverter: ClassVar[bool] = True

    type: Literal["renewable"]
    technology: str = "unspecified"
    available_kw: PositiveSeries
    curtailable: bool = True
    curtailment_price_per_mwh: Number = 0.0
    marginal_cost_per_mwh: Number = 0.0

    def terminals(self) -> tuple[Terminal, ...]:
        return (self.terminal(-1),) if self.curtailable else ()

    def available(self, steps: int) -> FloatArray:
        """What the weather offers, kW, shape (steps,)."""
        return expand(self.available_kw, steps)

    def feeding_kw(self, steps: int) -> FloatArray:
        return self.available(steps)

    def baseline(self, time: TimeGrid) -> AssetSchedule:
        return AssetSchedule(self.available(time.steps), {"curtailed_kw": np.zeros(time.steps)})

    def relief_kw(self, time: TimeGrid) -> tuple[FloatArray, FloatArray]:
        nothing = np.zeros(time.steps)
        return nothing, self.available(time.steps) if self.curtailable else nothing

    def relieved(self, less_kw: FloatArray, time: TimeGrid) -> AssetSchedule:
        return AssetSchedule(self.available(time.steps) - less_kw, {"curtailed_kw": less_kw})

    def drawn_kw(self, p_kw: FloatArray) -> FloatArray:
        return -p_kw

    def presses(self, limit: str) -> bool:
        unbalances = limit == "unbalance_limit_kw" and self.phases != "L123"
        return (limit == "export_limit_kw" or unbalances) and not self.curtailable

    def costs(self, schedule: AssetSchedule, time: TimeGrid) -> Mapping[str, float]:
        mwh_per_kw = time.hours / 1000
        return {
            "fuel": float(schedule.p_kw.sum()) * mwh_per_kw * self.marginal_cost_per_mwh,
            "curtailment": float(schedule.series["curtailed_kw"].sum())
            * mwh_per_kw
            * self.curtailment_price_per_mwh,
        }

    @property
    def bears(self) -> Burden | None:
        return "curtailment" if self.curtailable else None

    def at_stake_kwh(self, time: TimeGrid) -> float:
        return float(self.available(time.steps).sum()) * time.hours

    def borne_kwh(self, schedule: AssetSchedule, shortfalls: Sequence[Shortfall], time: TimeGrid) -> float:
        del shortfalls
        return float(schedule.series["curtailed_kw"].sum()) * time.hours

    @classmethod
    def rows(cls, site: Site, assets: Sequence[Renewable]) -> AssetRows:
        return RenewableRows(site, assets)


class RenewableRows(AssetRows):
    """What is available is a constant of the balance; what is curtailed is a variable."""

    def __init__(self, site: Site, renewables: Sequence[Renewable]) -> None:
        self._renewables = renewables
        self._steps, self._hours = site.time.steps, site.time.hours
        self._curtailable = [asset for asset in renewables if asset.curtailable]
        for asset in renewables:
            site.draw_constant(asset.connection, -asset.available(self._steps), flexible=asset.curtailable)
        available = np.array([asset.available(self._steps) for asset in self._curtailable])
        prices = np.array(
            [asset.curtailment_price_per_mwh - asset.marginal_cost_per_mwh for asset in self._curtailable]
        )
        self._curtailed = site.columns(
            "curtailed_kw",
            [asset.id for asset in self._curtailable],
            upper=available.reshape(len(self._curtailable), self._steps),
            price=prices[:, None],
        )
        for position, asset in enumerate(self._curtailable):
            site.draw(asset.connection, self._curtailed, position, 1.0)

    def terminal_powers(self) -> Iterator[TerminalPower]:
        steps = np.arange(self._steps)
        for position, asset in enumerate(self._curtailable):
            yield TerminalPower(
                asset.terminal(-1), steps, self._curtailed.index[position], np.ones(self._steps)
            )

    def stated_controls(self) -> Iterator[Control]:
        steps = np.arange(self._steps)
        for position, asset in enumerate(self._curtailable):
            yield Control(asset.id, "curtailed_kw", steps, self._curtailed.index[position])

    def constant_powers(self) -> Iterator[tuple[Terminal, FloatArray]]:
        for asset in self._curtailable:
            yield asset.terminal(-1), -asset.available(self._steps)

    def inverter_powers(self, kva: Mapping[str, float]) -> Iterator[InverterPower]:
        steps = np.arange(self._steps)
        position = {asset.id: row for row, asset in enumerate(self._curtailable)}
        for asset in self._renewables:
            if asset.id in kva:
                curtailed = self._curtailed.index[position[asset.id]] if asset.curtailable else steps[:0]
                yield InverterPower(
                    asset.id,
                    steps,
                    np.full(self._steps, kva[asset.id]),
                    -asset.available(self._steps),
                    steps[: len(curtailed)],
                    curtailed,
                    np.ones(len(curtailed)),
                )

    def controls(self, steps: int) -> IntArray:
        # what is curtailed follows from what happens
        del steps
        return np.zeros(0, np.int64)

    def flexibility(self) -> Iterator[Flexibility]:
        for position, asset in enumerate(self._curtailable):
            source = Source(asset.available(self._steps), ((-1.0, self._curtailed.index[position]),))
            yield Flexibility(asset.id, asset.connection, "down", (source,))

    def burdens(self) -> Iterator[tuple[Burden, str, IntArray, float]]:
        for position, asset in enumerate(self._curtailable):
            yield "curtailment", asset.id, self._curtailed.index[position], self._hours

    def schedules(self, x: FloatArray) -> Iterator[tuple[str, AssetSchedule]]:
        position = {asset.id: row for row, asset in enumerate(self._curtailable)}
        for asset in self._renewables:
            curtailed = (
                x[self._curtailed.index[position[asset.id]]]
                if asset.id in position
                else np.zeros(self._steps)
            )
            yield (
                asset.id,
                AssetSchedule(asset.available(self._steps) - curtailed, {"curtailed_kw": curtailed}),
            )
