"""A generator that burns fuel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from energy.domain.network import FloatArray, IntArray
from energy.domain.schedule import AssetSchedule
from energy.domain.time import TimeGrid
from optimizer.assets.base import AssetRows, Control, Flexibility, TerminalPower
from optimizer.assets.commitment import CommitmentRows, CommittedUnit

if TYPE_CHECKING:
    from optimizer.site import Site


class Generator(CommittedUnit):
    """Generation at a cost (``+`` injects), off or between its limits; see `CommittedUnit`."""

    type: Literal["generator"]

    def baseline(self, time: TimeGrid) -> AssetSchedule:
        """Off; a generator that is on stops as soon as its minimum time and ramps let it."""
        p_kw, on = np.zeros(time.steps), np.zeros(time.steps)
        running = self.limits(time).way_out()
        assert running is not None, "refused with the problem"
        p_kw[: len(running)] = running
        on[: len(running)] = 1.0
        return AssetSchedule(p_kw, {"on": on})

    def costs(self, schedule: AssetSchedule, time: TimeGrid) -> Mapping[str, float]:
        return self.unit_costs(schedule, time)

    def emissions_kg(self, schedule: AssetSchedule, time: TimeGrid) -> float:
        return self.unit_emissions_kg(schedule, time)

    @classmethod
    def rows(cls, site: Site, assets: Sequence[Generator]) -> AssetRows:
        return GeneratorRows(site, assets)


class GeneratorRows(AssetRows):
    """The commitment of every generator."""

    def __init__(self, site: Site, generators: Sequence[Generator]) -> None:
        self._generators = generators
        with site.block("generator"):
            self._units = CommitmentRows(site, generators)
        self.emitting = self._units.emitting

    def stated_controls(self) -> Iterator[Control]:
        steps = np.arange(self._units.power.index.shape[1])
        for number, generator in enumerate(self._generators):
            yield Control(generator.id, "p_kw", steps, self._units.power.index[number])

    def going_on(
        self, known: Mapping[str, AssetSchedule], until: int
    ) -> Iterator[tuple[IntArray, IntArray, FloatArray]]:
        return self._units.going_on(known, until)

    def terminal_powers(self) -> Iterator[TerminalPower]:
        return self._units.terminal_powers()

    def flexibility(self) -> Iterator[Flexibility]:
        return self._units.flexibility()

    def controls(self, steps: int) -> IntArray:
        return self._units.controls(steps)

    def schedules(self, x: FloatArray) -> Iterator[tuple[str, AssetSchedule]]:
        for generator, (p_kw, on) in zip(self._generators, self._units.operation(x), strict=True):
            yield generator.id, AssetSchedule(p_kw, {"on": on})
