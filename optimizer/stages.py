"""Shortfalls first, then cost: the stages of one program, with exclusions and grid limits as needed."""

from __future__ import annotations

import time as clock
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from energy.domain.errors import DeadlineError
from energy.domain.network import FloatArray, GridLimits, IntArray
from optimizer.documents import Options
from optimizer.exclusions import Exclusions
from optimizer.grid_rows import GridRows
from optimizer.solver import Solution, Solver

if TYPE_CHECKING:
    from optimizer.model import Program

UNSERVED_KWH = 1e-6
"""Total shortfall below this is the solver's rounding."""
HELD = 1e-12
"""How much more than the least shortfall, relative, the cost stage may leave."""


class Stages:
    """One program and its solver: solved as often as rows are added to it.

    `until` is the clock time after which runs raise `DeadlineError`.
    """

    def __init__(self, program: Program, options: Options) -> None:
        time = program.parts[0].problem.time
        self.program, self._hours, self._mip_gap = program, time.hours, options.mip_gap
        self.solver = Solver(program.linear, mip_gap=options.mip_gap)
        self.exclusions = Exclusions(program, self.solver)
        self.grid = GridRows(program, self.solver, time.steps)
        self.until: float | None = None
        self._held: IntArray | None = None

    def add(self, limits: GridLimits) -> None:
        """Add linear grid limits and loss linearisations; those that are there stay."""
        self.grid.add(limits, self._dearest)

    @property
    def _dearest(self) -> float:
        """A price per MWh above all that energy could cost or earn, peaks included."""
        return 3.0 * max(1.0, float(np.abs(self.program.linear.cost).max(initial=0.0)))

    def remaining(self) -> float | None:
        """Seconds until the deadline; None without one."""
        if self.until is None:
            return None
        remaining = self.until - clock.monotonic()
        if remaining <= 0:
            raise DeadlineError("the deadline passed before a schedule was found; allow more time")
        return remaining

    def solve(self) -> Solution:
        """Shortfalls priced above everything; where some remain, exactly minimal first, then cost."""
        if self._held is not None:
            self.solver.set_row_bounds(self._held, np.array([-np.inf]), np.array([np.inf]))
        per_kwh = self._dearest / self._hours
        solution = self.minimise(self._costs() + per_kwh * self._unserved())
        if (
            solution.x is None
            or solution.status == "feasible"
            or self._unserved() @ solution.x <= UNSERVED_KWH
        ):
            return solution
        try:
            return self._least_shortfall(per_kwh)
        except DeadlineError:
            if len(solution.x) < self.solver.columns:  # it breaks an exclusion that was found since
                raise
            return replace(solution, status="feasible")

    def _least_shortfall(self, per_kwh: float) -> Solution:
        """The cheapest of all schedules with the least shortfall."""
        self.solver.set_mip_gap(0.0)
        least = self.minimise(self._unserved() + self.grid.slack_costs() / per_kwh)
        self.solver.set_mip_gap(self._mip_gap)
        if least.x is None:
            return least
        self._hold_shortfall(float(self._unserved() @ least.x))
        return self.minimise(self._costs())

    def _hold_shortfall(self, amount: float) -> None:
        """No solution may leave more unserved from now on."""
        self._held = self.solver.add_rows(
            "held_shortfall",
            sp.csr_array(self._unserved()[None, :]),
            np.array([-np.inf]),
            np.array([amount + HELD * max(1.0, amount)]),
        )

    def _costs(self) -> FloatArray:
        """Prices of all columns, grid slack included."""
        costs = self.grid.slack_costs()
        costs[: len(self.program.linear.cost)] += self.program.linear.cost
        return costs

    def _unserved(self) -> FloatArray:
        """What is unserved, in kWh times priority, as coefficients on all columns there are by now."""
        coefficients = np.zeros(self.solver.columns)
        coefficients[: len(self.program.unserved)] = self.program.unserved
        return coefficients

    def minimise(self, cost: FloatArray) -> Solution:
        """Minimise `cost` (columns added meanwhile are free) within all exclusions.

        Where sides were chosen instead of optimised, `bound` is that of the program before.
        """
        exclusions, exact, bound = self.exclusions, not self.grid.some, -np.inf
        exclusions.reopen()
        while True:
            self.solver.set_cost(np.concatenate([cost, np.zeros(self.solver.columns - len(cost))]))
            solution = self.solver.run(self.remaining())
            if solution.status == "no_solution":
                raise DeadlineError("the deadline passed before a schedule was found; allow more time")
            if solution.x is None and exclusions.chosen:
                # a chosen side made it infeasible: only binaries can tell
                exclusions.reopen()
                exact = True
                continue
            if not exclusions.chosen:
                bound = solution.bound
            if solution.x is None or not (
                self.grid.enter_broken(solution.x)
                or exclusions.enforce(solution.x, exact=exact) | self.grid.hold_burnt_losses()
            ):
                return replace(solution, bound=min(bound, solution.bound))
