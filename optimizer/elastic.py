"""Limits of a program as rows that give way, and the least by which they must.

An elastic linear program in which every limit has one slack over all its steps (Chinneck, Feasibility and
Infeasibility in Optimization, 2008, ch. 6). The weighted sum of slacks is minimised; the weights are 1 per kW
and per kWh, and `KWH_PER_KG` per kg. Then, with the slacks held, what lies beyond each limit summed over its
steps: where nothing need be beyond, nothing is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from energy.domain.errors import DeadlineError
from energy.domain.network import FloatArray, IntArray
from optimizer.assets.base import HardLimit
from optimizer.solver import Solution, Solver
from optimizer.unmet_needs import DECIMALS

if TYPE_CHECKING:
    from optimizer.stages import Stages

RELAXED = 1e-6
"""A slack below this is the solver's tolerance."""
KWH_PER_KG = 33.33
"""Lower heating value of hydrogen."""
HELD = 5e-7
"""How much more than the least, relative and absolute, a later stage may leave: above the tolerance of an
integer program, below what counts. What is nothing stays nothing."""
LOST = 1e-4
"""The weight of a kW of losses in a step: enough to be avoided, too little to count."""
WEIGHT = {"kW": 1.0, "kWh": 1.0, "kg": KWH_PER_KG}
Terms = Sequence[tuple[IntArray, FloatArray | float]]


@dataclass(frozen=True)
class Widened:
    """A limit that a solution exceeds, and by how much in each step, shape (steps of the horizon,)."""

    limit: HardLimit
    by_step: FloatArray

    @property
    def steps(self) -> IntArray:
        return np.flatnonzero(self.by_step)

    @property
    def relaxation(self) -> float:
        return float(self.by_step.max())

    @property
    def used(self) -> tuple[float, ...]:
        """What it takes in each step from the first to the last that takes something."""
        return tuple(self.by_step[self.steps[0] : self.steps[-1] + 1].tolist())


def widened(limits: Sequence[HardLimit], x: FloatArray) -> list[Widened]:
    """The limits that a solution exceeds."""
    found = []
    for limit in limits:
        stated = limit.bounds if limit.allowed is None else limit.bounds - limit.allowed
        beyond = limit.sense * (limit.bounds - x[limit.columns]) > RELAXED
        if beyond.any():
            by_step, steps = np.zeros(int(limit.steps.max()) + 1), limit.steps[beyond]
            excess = limit.sense * (stated - x[limit.columns])[beyond]
            # a step stands several times where the limit is one on each phase
            np.maximum.at(by_step, steps, np.round(excess, DECIMALS))
            found.append(Widened(limit, by_step))
    return found


class Elastic:
    """Limits of one program as rows that give way: of each a slack, and what is beyond it in every step.

    The bounds of the columns themselves are the caller's to lift.

    Attributes:
        rows: all that was added.
    """

    def __init__(self, solver: Solver, limits: Sequence[HardLimit], most_kw: float = 0.0) -> None:
        """No flow is ever above `most_kw`; needed where a limit is exceeded already."""
        sizes = [len(limit.columns) for limit in limits]
        every, bounds = joined([limit.columns for limit in limits]), joined([one.bounds for one in limits])
        sense = np.repeat([float(limit.sense) for limit in limits], sizes)
        allowed = joined(
            [np.zeros(len(one.columns)) if one.allowed is None else one.allowed for one in limits]
        )
        slack = solver.add_columns("limit_slack", np.zeros(len(limits)), np.full(len(limits), np.inf))
        excess = solver.add_columns("limit_excess", np.zeros(len(every)), np.full(len(every), np.inf))
        over = np.flatnonzero(allowed > 0)
        # a raised limit takes the overrun's place, it does not add to it: one of the two holds
        raised = solver.add_columns("raised", np.zeros(len(over)), np.ones(len(over)), integer=True)
        beyond = _rows(solver, [(every, 1.0), (excess, sense)])
        beyond = beyond + sp.csr_array((allowed[over], (over, raised)), shape=beyond.shape)
        within = _rows(solver, [(excess, 1.0), (np.repeat(slack, sizes), -1.0)])
        below = np.full(len(every), -np.inf)
        self.rows = [
            solver.add_rows(
                "limit_excess",
                beyond,
                np.where(sense > 0, bounds, -np.inf),
                np.where(sense < 0, bounds, np.inf),
            ),
            solver.add_rows("limit_slack", within, below, np.zeros(len(every))),
        ]
        if len(over):
            kept = _rows(solver, [(every[over], 1.0), (raised, -most_kw)])
            self.rows.append(solver.add_rows("kept_overrun", kept, below[over], bounds[over]))
        weights = np.array([WEIGHT[limit.unit] for limit in limits])
        self._slack, self._slack_weights = slack, weights
        self._excess, self._excess_weights = excess, np.repeat(weights, sizes)

    def release(self, solver: Solver) -> None:
        """Let slacks be as large as it takes."""
        solver.set_bounds(self._slack, np.zeros(len(self._slack)), np.full(len(self._slack), np.inf))

    def least(self, stages: Stages) -> FloatArray | None:
        """The solution with the least slacks, and with those the least beyond each limit in its steps; None
        where the solver finds nothing."""
        self.release(stages.solver)
        found = self._minimised(stages, self._slack, self._slack_weights)
        if found is None:
            return None
        most = found[self._slack]
        most = np.where(most > RELAXED, most * (1 + HELD) + HELD, 0.0)
        stages.solver.set_bounds(self._slack, np.zeros(len(most)), most)
        try:
            narrow = self._minimised(stages, self._excess, self._excess_weights)
        except DeadlineError:
            # what helps is known; only in which steps it is used may be less than said
            return found
        return found if narrow is None else narrow

    def _minimised(self, stages: Stages, columns: IntArray, weights: FloatArray) -> FloatArray | None:
        cost = np.zeros(stages.solver.columns)
        cost[columns] = weights
        return least(stages, cost).x


def least(stages: Stages, cost: FloatArray) -> Solution:
    """The least of `cost`, and that without burning energy in losses that cost nothing."""
    if stages.grid.some:
        cost[stages.program.connections.losses] = LOST
    return stages.minimise(cost, feasible=True)


def least_highest(stages: Stages, groups: Sequence[IntArray]) -> tuple[FloatArray | None, IntArray]:
    """The solution with the least sum of the highest column of each group, and the rows added for that."""
    solver = stages.solver
    highest = solver.add_columns("highest", np.zeros(len(groups)), np.full(len(groups), np.inf))
    every = joined(groups)
    of = np.repeat(highest, [len(group) for group in groups])
    matrix = _rows(solver, [(every, 1.0), (of, -1.0)])
    rows = solver.add_rows("highest", matrix, np.full(len(every), -np.inf), np.zeros(len(every)))
    cost = np.zeros(solver.columns)
    # below its highest, none is above zero to no end
    cost[every], cost[highest] = LOST, 1.0
    return least(stages, cost).x, rows


def joined(arrays: Sequence[Any]) -> Any:
    """The arrays one after the other; of none, an empty one."""
    return np.concatenate(arrays) if arrays else np.zeros(0, np.int64)


def _rows(solver: Solver, terms: Terms) -> sp.csr_array:
    """Σ value · column, one row for each position of the terms."""
    count = len(terms[0][0])
    row = np.tile(np.arange(count), len(terms))
    column = np.concatenate([columns for columns, _ in terms])
    value = np.concatenate([np.broadcast_to(value, count) for _, value in terms])
    return sp.csr_array((value, (row, column)), shape=(count, solver.columns))
