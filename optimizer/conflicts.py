"""Why a problem is infeasible: the hard limits that contradict each other, and the smallest relaxation.

Every hard limit gets one slack of its own (kW for the limits of connections, kWh for energies); the sum
of slacks is minimised. What stays above zero is the conflict.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from energy.domain.errors import DeadlineError, SolverError
from energy.domain.network import FloatArray, IntArray
from energy.domain.schedule import Conflict
from optimizer.assets.base import HardLimit
from optimizer.problem import DispatchProblem
from optimizer.solver import Solver

if TYPE_CHECKING:
    from optimizer.model import Program

RELAXED = 1e-6
"""A slack below this is the solver's tolerance."""


def find_conflicts(
    problem: DispatchProblem, program: Program, solver: Solver, seconds: float | None
) -> tuple[Conflict, ...]:
    """The conflicts of an infeasible problem. Uses up `solver`: its bounds and costs are changed."""
    declared = [*program.connections.hard_limits, *(h for rows in program.assets for h in rows.hard_limits)]
    limits = [limit for limit in declared if len(limit.columns)]
    slacks = solver.add_columns("relaxation", np.zeros(len(limits)), np.full(len(limits), np.inf))
    lower, upper = program.linear.lower.copy(), program.linear.upper.copy()
    for limit, slack in zip(limits, slacks, strict=True):
        _soften(solver, limit, int(slack), lower, upper)
    cost = np.zeros(solver.columns)
    cost[slacks] = 1.0
    solver.set_cost(cost)
    solution = solver.run(seconds)
    if solution.status == "no_solution":
        raise DeadlineError("the deadline passed before the conflicts were found; allow more time")
    if solution.x is None:
        raise SolverError("no relaxation of the hard limits makes the problem feasible")
    conflicts = []
    for limit, slack in zip(limits, slacks, strict=True):
        relaxation = float(solution.x[slack])
        if relaxation > RELAXED:
            beyond = limit.sense * (limit.bounds - solution.x[limit.columns]) > RELAXED
            conflicts.append(_conflict(problem, limit, limit.steps[beyond], relaxation))
    return tuple(conflicts)


def _soften(solver: Solver, limit: HardLimit, slack: int, lower: FloatArray, upper: FloatArray) -> None:
    """Turn the bounds of a limit into rows with a slack."""
    if limit.sense > 0:
        lower[limit.columns] = -np.inf
    else:
        upper[limit.columns] = np.inf
    solver.set_bounds(limit.columns, lower[limit.columns], upper[limit.columns])
    count = len(limit.columns)
    rows = np.arange(count)
    matrix = sp.csr_array(
        (
            np.concatenate([np.ones(count), np.full(count, float(limit.sense))]),
            (np.concatenate([rows, rows]), np.concatenate([limit.columns, np.full(count, slack)])),
        ),
        shape=(count, solver.columns),
    )
    infinite = np.full(count, np.inf)
    if limit.sense > 0:
        solver.add_rows("relaxed_limit", matrix, limit.bounds, infinite)
    else:
        solver.add_rows("relaxed_limit", matrix, -infinite, limit.bounds)


def _conflict(problem: DispatchProblem, limit: HardLimit, steps: IntArray, relaxation: float) -> Conflict:
    assets = limit.assets or _assets_behind(problem, limit)
    # a store is filled over all the time before its content is due
    first = 0 if limit.unit in ("kWh", "kg") else int(steps.min())
    return Conflict(
        assets,
        limit.connection,
        problem.time.instant(first),
        problem.time.instant(int(steps.max()) + 1),
        limit.limit,
        relaxation,
        limit.unit,
    )


def _assets_behind(problem: DispatchProblem, limit: HardLimit) -> tuple[str, ...]:
    """The assets at or below the connection that press against its limit and cannot give way."""
    below = {limit.connection}
    for key in problem.from_roots:
        if problem.connections[key].parent in below:
            below.add(key)
    return tuple(
        asset.id for asset in problem.assets if asset.connection in below and asset.presses(limit.limit)
    )
