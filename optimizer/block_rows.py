"""Surcharges by blocks of imported energy as rows: convex while prices rise, binaries where they fall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from energy.domain.network import FloatArray
from optimizer.documents import Connection
from optimizer.site import Columns, Site, linear


class BlockRows:
    """The energy of every billing period, in blocks: Σ block_kwh = energy imported."""

    def __init__(
        self, site: Site, connections: Sequence[Connection], imports: Columns, most_kw: FloatArray
    ) -> None:
        """`most_kw` bounds what each connection can import in each step, shape (connections, steps)."""
        self._hours, self._shape = site.time.hours, most_kw.shape
        self._periods = [
            (number, blocks, period)
            for number, connection in enumerate(connections)
            if (blocks := connection.import_blocks) is not None
            for period in blocks.billing_periods(site.time)
        ]
        labels: list[str] = []
        upper: list[float] = []
        price: list[float] = []
        self._edges = [0]
        for position, (number, blocks, period) in enumerate(self._periods):
            most_kwh = self._hours * float(period.share @ most_kw[number, period.steps])
            labels += [f"{connections[number].id}.{position}.{k}" for k in range(len(blocks.blocks))]
            upper += np.minimum(period.widths_kwh, most_kwh).tolist()
            # a column of 1 kWh costs hours times less than one of 1 kW through the step
            price += (blocks.prices / self._hours).tolist()
            self._edges.append(len(labels))
        columns = site.columns(
            "block_kwh",
            labels,
            steps=1,
            upper=np.reshape(upper, (-1, 1)),
            price=np.reshape(price, (-1, 1)),
        )
        kwh = columns.variable

        def block_energy(_: Any, position: int) -> Any:
            number, _blocks, period = self._periods[position]
            terms = [(1.0, kwh[k, 0]) for k in range(self._edges[position], self._edges[position + 1])]
            terms += [
                (-self._hours * float(share), imports.variable[number, period.first + offset])
                for offset, share in enumerate(period.share)
                if share > 0
            ]
            return linear(terms) == 0.0

        self._rows = site.rows("block_energy", len(self._periods), rule=block_energy)
        self._fill_in_order(site, kwh, upper)

    def _fill_in_order(self, site: Site, kwh: Any, upper: Sequence[float]) -> None:
        """Where a block is cheaper than the one before, it opens only once that one is full."""
        steps = [
            step
            for position, (_, blocks, _) in enumerate(self._periods)
            if not blocks.rising
            for step in pairwise(range(self._edges[position], self._edges[position + 1]))
        ]
        opened = site.columns(
            "block_open", [str(after) for _, after in steps], steps=1, upper=1.0, integer=True
        )

        def block_full(_: Any, number: int) -> Any:
            before, _after = steps[number]
            return linear([(1.0, kwh[before, 0]), (-upper[before], opened.variable[number, 0])]) >= 0.0

        def block_order(_: Any, number: int) -> Any:
            _before, after = steps[number]
            return linear([(1.0, kwh[after, 0]), (-upper[after], opened.variable[number, 0])]) <= 0.0

        site.rows("block_full", len(steps), rule=block_full)
        site.rows("block_order", len(steps), rule=block_order)

    def place(self, row_number: Mapping[Any, int]) -> None:
        """Learn the row numbers of the compiled model."""
        self._numbers = [row_number[self._rows[position]] for position in range(len(self._periods))]

    def prices(self, dual: FloatArray) -> FloatArray:
        """What blocks add to the next MWh imported, shape (connections, steps)."""
        found = np.zeros(self._shape)
        for (number, _, period), row in zip(self._periods, self._numbers, strict=True):
            found[number, period.steps] += period.share * dual[row] * self._hours
        return found
