"""Fairness between districts: what it costs to spread curtailment and unmet charging evenly.

A district's share is what it bears over what it could bear: curtailed over available energy, unmet over
needed energy. The objective pays a weight for the spread, the largest share less the smallest. The needs
that stay unmet are held in total first, so that fairness moves them and never adds to them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from energy.domain.documents import Document
from energy.domain.errors import Fault
from energy.domain.network import FloatArray, IntArray
from energy.domain.schedule import AssetSchedule, Shortfall
from energy.domain.time import TimeGrid
from optimizer.assets.base import BURDENS, Asset, AssetRows, Burden, Positive, SparseBlock

if TYPE_CHECKING:
    from optimizer.problem import DispatchProblem
    from optimizer.stages import Stages

Shares = dict[str, float | None]
"""Share by district; None where there is nothing to bear."""


class Fairness(Document):
    """What a spread of 1 between the largest and the smallest share of the districts costs, in the
    problem's currency."""

    curtailment: Positive = 0.0
    charging: Positive = 0.0

    @property
    def weights(self) -> dict[Burden, float]:
        """The weights above zero."""
        return {burden: weight for burden in BURDENS if (weight := getattr(self, burden)) > 0}


def fairness_faults(fairness: Fairness | None, assets: Sequence[Asset | None]) -> Iterator[Fault]:
    """Assets that would have to share and belong to no district."""
    weights = fairness.weights if fairness is not None else {}
    for number, asset in enumerate(assets):
        if asset is not None and asset.bears in weights and asset.district is None:
            yield Fault(
                f"assets[{number}].district",
                f"is missing, but objective.fairness.{asset.bears} is {weights[asset.bears]:g}; "
                "say whose share it counts to",
            )


def _stakes(assets: Sequence[Asset], burden: Burden, time: TimeGrid) -> dict[str, float]:
    """kWh that each district could bear."""
    stakes: dict[str, float] = defaultdict(float)
    for asset in assets:
        if asset.bears == burden and asset.district is not None:
            stakes[asset.district] += asset.at_stake_kwh(time)
    return dict(sorted(stakes.items()))


def _shares(
    problem: DispatchProblem,
    burden: Burden,
    schedules: Mapping[str, AssetSchedule],
    shortfalls: Sequence[Shortfall],
) -> Shares:
    stakes = _stakes(problem.assets, burden, problem.time)
    borne = dict.fromkeys(stakes, 0.0)
    for asset in problem.assets:
        if asset.bears == burden and asset.district is not None:
            own = [shortfall for shortfall in shortfalls if shortfall.asset == asset.id]
            borne[asset.district] += asset.borne_kwh(schedules[asset.id], own, problem.time)
    return {district: borne[district] / kwh if kwh > 0 else None for district, kwh in stakes.items()}


def _spread(shares: Shares) -> float:
    some = [share for share in shares.values() if share is not None]
    return max(some) - min(some) if some else 0.0


def fairness_report(
    problem: DispatchProblem, schedules: Mapping[str, AssetSchedule], shortfalls: Sequence[Shortfall]
) -> dict[str, dict[str, Any]]:
    """By burden: `shares` of the districts, their `spread`, and its `price`, which only a solve can tell."""
    fairness = problem.objective.fairness
    report: dict[str, dict[str, Any]] = {}
    for burden in fairness.weights if fairness is not None else ():
        shares = _shares(problem, burden, schedules, shortfalls)
        report[burden] = {"shares": shares, "spread": _spread(shares), "price": None}
    return report


def fairness_cost(problem: DispatchProblem, report: Mapping[str, Mapping[str, Any]]) -> float:
    """Σ weight × spread, in the problem's currency."""
    fairness = problem.objective.fairness
    weights = fairness.weights if fairness is not None else {}
    return sum((weight * float(report[burden]["spread"]) for burden, weight in weights.items()), 0.0)


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
        own: list[tuple[int, int, float]] = []
        links: list[tuple[IntArray, IntArray, FloatArray]] = []
        for burden, weight in problem.objective.fairness.weights.items():
            stakes = {d: kwh for d, kwh in _stakes(problem.assets, burden, problem.time).items() if kwh > 0}
            if len(stakes) < 2:
                continue
            unit = min(stakes.values())
            largest, smallest = len(cost), len(cost) + 1
            self.spreads[burden] = first_column + np.array([largest, smallest])
            per_kwh = weight / unit / (problem.time.hours / 1000)
            cost += [per_kwh, -per_kwh]
            names += [f"largest_share_kwh({burden})", f"smallest_share_kwh({burden})"]
            for where, stake in stakes.items():
                row = len(row_names)
                row_names += [f"share_most({burden},{where})", f"share_least({burden},{where})"]
                own += [(row, largest, 1.0), (row + 1, smallest, -1.0)]
                for columns, kwh in borne[burden, where]:
                    of_share = np.full(len(columns), kwh * unit / stake)
                    links.append((np.full(len(columns), row), columns, -of_share))
                    links.append((np.full(len(columns), row + 1), columns, of_share))
        count, rows_count = len(cost), len(row_names)
        row_of, column_of, value = (np.array([entry[k] for entry in own]) for k in range(3))
        none: tuple[IntArray, IntArray, FloatArray] = (
            np.zeros(0, np.int64),
            np.zeros(0, np.int64),
            np.zeros(0),
        )
        tied = [none, *links]
        self.sparse = SparseBlock(
            entries=[(row_of.astype(np.int64), column_of.astype(np.int64), value.astype(float))],
            links=(
                np.concatenate([link[0] for link in tied]),
                np.concatenate([link[1] for link in tied]),
                np.concatenate([link[2] for link in tied]),
            ),
            lower=[np.zeros(count)],
            upper=[np.full(count, np.inf)],
            cost=[np.array(cost)],
            row_lower=[np.zeros(rows_count)],
            row_upper=[np.full(rows_count, np.inf)],
            column_names=lambda: names,
            row_names=lambda: row_names,
        )

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
