"""Fairness between districts in the model, and what each of its weights costs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from energy.domain.network import FloatArray, IntArray
from energy.domain.schedule import AssetSchedule
from optimizer.assets.base import AssetRows, Burden, Entries, SparseBlock
from optimizer.fairness import stakes
from optimizer.problem import DispatchProblem
from optimizer.stages import Stages


class FairnessRows(AssetRows):
    """The largest and the smallest share of each burden, as columns in kWh of the smallest stake:

    largest ≥ stake · share of every district ≥ smallest.
    """

    def __init__(self, problem: DispatchProblem, assets: Sequence[AssetRows]) -> None:
        self._problem, self._assets = problem, assets
        self.spreads: dict[Burden, IntArray] = {}

    def place(self, first_column: int) -> None:
        problem = self._problem
        assert problem.objective.fairness is not None
        district = {asset.id: asset.district for asset in problem.assets}
        borne: dict[tuple[Burden, str], list[tuple[IntArray, float]]] = defaultdict(list)
        for rows in self._assets:
            for burden, asset, columns, kwh in rows.burdens():
                borne[burden, district[asset] or ""].append((columns, kwh))
        names: list[str] = []
        row_names: list[str] = []
        cost: list[float] = []
        entries: list[Entries] = []
        for burden, weight in problem.objective.fairness.weights.items():
            some = {d: kwh for d, kwh in stakes(problem.assets, burden, problem.time).items() if kwh > 0}
            if len(some) < 2:
                continue
            unit = min(some.values())
            largest, smallest = len(cost), len(cost) + 1
            self.spreads[burden] = first_column + np.array([largest, smallest])
            per_kwh = weight / unit / (problem.time.hours / 1000)
            cost += [per_kwh, -per_kwh]
            names += [f"largest_share_kwh({burden})", f"smallest_share_kwh({burden})"]
            for where, stake in some.items():
                row = len(row_names)
                row_names += [f"share_most({burden},{where})", f"share_least({burden},{where})"]
                most, least = np.array([row]), np.array([row + 1])
                entries.append((most, self.spreads[burden][:1], 1.0))
                entries.append((least, self.spreads[burden][1:], -1.0))
                for columns, kwh in borne[burden, where]:
                    of_share = kwh * unit / stake
                    entries.append((most.repeat(len(columns)), columns, -of_share))
                    entries.append((least.repeat(len(columns)), columns, of_share))
        count, rows_count = len(cost), len(row_names)
        self._block = SparseBlock(
            entries=entries,
            lower=[np.zeros(count)],
            upper=[np.full(count, np.inf)],
            cost=[np.array(cost)],
            row_lower=[np.zeros(rows_count)],
            row_upper=[np.full(rows_count, np.inf)],
            column_names=lambda: names,
            row_names=lambda: row_names,
        )

    def block(self) -> SparseBlock:
        return self._block

    def controls(self, steps: int) -> IntArray:
        """None: shares follow from what happens."""
        del steps
        return np.zeros(0, np.int64)

    def schedules(self, x: FloatArray) -> Iterator[tuple[str, AssetSchedule]]:
        del x
        yield from ()


def fairness_prices(stages: Stages, x: FloatArray) -> dict[str, float]:
    """What each weight adds to everything else that `x` costs, against the optimum without that weight;
    of a problem with scenarios in expectation.

    Solves once per weight. Raises `DeadlineError`.
    """
    program = stages.program
    prices: dict[str, float] = {}
    spreads: dict[Burden, list[IntArray]] = defaultdict(list)
    for part in program.parts:
        for rows in part.assets:
            for burden, own in rows.spreads.items() if isinstance(rows, FairnessRows) else ():
                spreads[burden].append(own + part.columns.start)
    for burden, found in spreads.items():
        columns, cost = np.concatenate(found), program.linear.cost.copy()
        cost[columns] = 0.0
        free = stages.solve(without=columns)
        if free.x is None:
            continue
        more = float(cost @ (x[: len(cost)] - free.x[: len(cost)])) * program.cost_scale
        prices[burden] = max(0.0, more)
    stages.restore_costs()
    return prices
