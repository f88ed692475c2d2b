"""Shortfalls first, then cost: the stages of one program, with exclusions and grid limits as needed."""

from __future__ import annotations

import time as clock
from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from energy.domain.errors import DeadlineError
from energy.domain.network import BoolArray, FloatArray, GridLimits, IntArray
from optimizer.documents import Options
from optimizer.exclusions import EXACT_PAIRS, Exclusions
from optimizer.grid_rows import GridRows
from optimizer.program import Program
from optimizer.solver import Solution, Solver

UNSERVED_KWH = 1e-6
"""Total shortfall below this is the solver's rounding."""
HELD = 1e-12
"""How much more than the least shortfall, relative, the cost stage may leave."""
HELD_INTEGER, HELD_SHARE = 2e-6, 1e-8
"""What a held row may be exceeded by once there are integers, whose values HiGHS rounds: tighter, it misses
the best solution, or finds none where there is one. Absolutely, and as a share of the row's bound."""
EXACT_ON_GRID, SMALL_ON_GRID = 10, 1_000
"""So many broken pairs at most are optimised on a grid, where every round solves anew, and in programs of up
to so many columns."""


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
        self.limits: list[GridLimits] = []
        self.yielding = np.zeros(0, bool)
        self.until: float | None = None
        self._holding: dict[int, float] = {}
        self._without: IntArray = np.zeros(0, np.int64)
        self._emission_limit: IntArray | None = None

    def take_over(self, program: Program) -> bool:
        """Put the data of `program` in place of the present ones, and start from the basis there is.

        False, and nothing done, where the two differ in their columns, rows or matrix, or where rows or
        columns were added since: their coefficients follow from data that may have changed. Stages made
        anew then `continue_from` these.
        """
        before, after = self.program.linear, program.linear
        count = len(after.cost)
        if (self.solver.rows, self.solver.columns) != after.matrix.shape or not (
            before.matrix.shape == after.matrix.shape
            and np.array_equal(before.matrix.indptr, after.matrix.indptr)
            and np.array_equal(before.matrix.indices, after.matrix.indices)
            and np.array_equal(before.matrix.data, after.matrix.data)
            and np.array_equal(before.integer, after.integer)
        ):
            return False
        self.program = program
        self.solver.set_bounds(np.arange(count), after.lower, after.upper)
        self.solver.set_row_bounds(np.arange(self.solver.rows), after.row_lower, after.row_upper)
        self.exclusions = Exclusions(program, self.solver)
        self.grid = GridRows(program, self.solver, program.parts[0].problem.time.steps)
        return True

    def continue_from(self, before: Stages) -> bool:
        """Start from the basis that `before` came to, without the rows and columns that were added to it;
        False where the matrices of the two have their entries in other places, or there is no basis."""
        own, other = self.program.linear.matrix, before.program.linear.matrix
        return (
            own.shape == other.shape
            and np.array_equal(own.indptr, other.indptr)
            and np.array_equal(own.indices, other.indices)
            and self.solver.start_from_basis(before.solver)
        )

    def pursue(self, program: Program, emitted: FloatArray, most_kg: float) -> None:
        """Put the costs of `program` in the place of the present ones, and let `emitted`, kg per unit of each
        column, be at most `most_kg` in sum; grid limits and losses stay."""
        self.program = program
        self.grid.release_burnt_losses()
        lower, upper = np.array([-np.inf]), np.array([most_kg])
        if self._emission_limit is None:
            wide = sp.csr_array(self._wide(emitted)[None, :])
            self._emission_limit = self.solver.add_rows("emission_limit", wide, lower, upper)
        else:
            self.solver.set_row_bounds(self._emission_limit, lower, upper)

    @property
    def limits_emissions(self) -> bool:
        """Whether emissions have a limit."""
        return self._emission_limit is not None

    def add(self, limits: GridLimits) -> None:
        """Add linear grid limits and loss linearisations; those that are there stay."""
        self.limits.append(limits)
        self.grid.add(limits)

    def rebound(self, lower: FloatArray, upper: FloatArray) -> None:
        """Other bounds for all grid limits, in the order in which they were added."""
        self.grid.rebound(lower, upper)
        last = 0
        for number, limits in enumerate(self.limits):
            first, last = last, last + len(limits)
            self.limits[number] = replace(limits, lower=lower[first:last], upper=upper[first:last])

    def let_yield(self, limits: BoolArray) -> None:
        """Let grid limits, shape (limits,) in the order in which they were added, yield to needs."""
        self.yielding = limits
        self.grid.let_yield(limits)

    @property
    def dearest(self) -> float:
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

    def solve(self, *, without: IntArray | None = None) -> Solution:
        """Shortfalls priced above everything; where some remain, exactly minimal first, then cost.

        What the columns `without` cost is left out. A solution that is shorter than the program has columns
        was found before the last binaries entered, and breaks none of what they stand for.
        """
        self.release_all()
        self._without = np.zeros(0, np.int64) if without is None else without
        per_kwh = self.dearest / self._hours
        solution = self.minimise(self._costs() + per_kwh * self._unserved())
        if (
            solution.x is None
            or solution.status == "feasible"
            or _dot(self._unserved(), solution.x) <= UNSERVED_KWH * self._unit
        ):
            return solution
        return self._least_shortfall(per_kwh, solution)

    def release_all(self) -> None:
        """Let no held row bind any more, nor what slack is held to."""
        self.grid.release_slack()
        self.release(np.array(list(self._holding), np.int64))

    def unmet(self) -> FloatArray:
        """Needs of assets that are unserved, in kWh times priority, as coefficients on all columns; broken
        grid limits count as more than the needs that they could serve."""
        coefficients = self._unserved()
        for part in self.program.parts:
            coefficients[part.columns][part.connections.overruns] = 0.0
        return coefficients + self.grid_slack()

    def grid_slack(self) -> FloatArray:
        """How far limits of the grid that yield to no need are broken, as coefficients on all columns, in kWh
        of more needs than that could serve."""
        return self._slack_costs(of_needs=True) * self._hours / self.dearest

    def _least_shortfall(self, per_kwh: float, priced: Solution) -> Solution:
        """The cheapest of all schedules with the least shortfall; `priced` is that with a price on it.

        Where the deadline passes, or the tolerances leave nothing of what is held, the answer is the
        schedule before.
        """
        assert priced.x is not None
        try:
            self.solver.set_mip_gap(0.0)
            slack = self._slack_costs(of_needs=True) / per_kwh
            least = self.minimise((self._unserved() + slack) / self._unit)
        except DeadlineError:
            least = replace(priced, x=None)
        finally:
            self.restore_mip_gap()
        if least.x is None:
            whole = priced.dual is not None and len(priced.dual) == self.solver.rows
            return replace(priced, status="feasible", dual=priced.dual if whole else None)
        self.hold_shortfall(least.x)
        unserved, costs = self._unserved(), self._costs()
        left, most = (_dot(unserved[: len(x)], x) for x in (priced.x, least.x))
        # what is priced costs no less than its bound, whatever is unserved
        floor = priced.bound - per_kwh * most
        try:
            cheapest = self.minimise(costs, near=least.x)
        except DeadlineError:
            cheapest = Solution("no_solution", None, None, np.inf, -np.inf)
        if cheapest.x is not None:
            worth = per_kwh * self._unit * _room(most / self._unit)
            return self._confirmed(cheapest, floor, worth) if self.solver.is_integer else cheapest
        x = priced.x if left <= most + UNSERVED_KWH * self._unit else least.x
        cost = _dot(costs[: len(x)], x)
        return Solution("feasible", x, None, cost, min(cost, floor))

    def _confirmed(self, tight: Solution, floor: float, worth: float) -> Solution:
        """The cheapest with integers: HiGHS rounds them, and held tightly it may miss the best.

        No cost is below `floor`, nor below the bound of the program that is held loosely. Where the looser
        answer saves more than the `worth` of the unserved energy that it may leave, its integers are held
        tightly, for with these fixed nothing is rounded. Where they cannot be, it is the answer itself.
        """
        worth += self._mip_gap * abs(tight.objective)
        if tight.status == "feasible" or tight.objective - floor <= worth:
            return replace(tight, bound=min(tight.objective, floor))
        try:
            loose = self.minimise(self._costs(), near=tight.x, loose=True)
        except DeadlineError:
            return replace(tight, status="feasible", bound=floor)
        if loose.x is None or tight.objective <= loose.objective + worth:
            status = "feasible" if loose.x is None else loose.status
            return replace(tight, status=status, bound=min(tight.objective, max(floor, loose.bound)))
        self._hold_tightly()
        exact = self.solver.run_with_integers_fixed(loose.x, self.remaining())
        if exact.x is None:
            return loose
        if tight.objective <= exact.objective:
            return tight
        return replace(exact, status=loose.status, bound=min(exact.objective, max(floor, loose.bound)))

    def hold_shortfall(self, x: FloatArray) -> None:
        """No solution may leave more unserved than `x`, nor break limits of the grid further for the sake of
        its cost, until the next solve."""
        self.grid.hold_slack(x)
        unserved = self._unserved() / self._unit
        if unserved.any():
            amount = _dot(unserved[: len(x)], x)
            self.hold("held_shortfall", unserved, amount + HELD * max(1.0, amount))

    def hold(self, name: str, coefficients: FloatArray, most: float) -> IntArray:
        """One more row, coefficients · x ≤ most, until the next solve."""
        wide = sp.csr_array(self._wide(coefficients)[None, :])
        row = self.solver.add_rows(name, wide, np.array([-np.inf]), np.array([most]))
        self._holding[int(row[0])] = most
        return row

    def tighten(self, row: IntArray, most: float) -> None:
        """Another bound for a held row."""
        self._holding[int(row[0])] = most
        self.solver.set_row_bounds(row, np.array([-np.inf]), np.array([most]))

    def release(self, rows: IntArray) -> None:
        """Let held rows bind no more."""
        free = np.full(len(rows), np.inf)
        self.solver.set_row_bounds(rows, -free, free)
        for row in rows.tolist():
            self._holding.pop(row, None)

    def loosen(self) -> None:
        """Give held rows the room that integers need."""
        for row, most in self._holding.items():
            loose = np.array([most + _room(most)])
            self.solver.set_row_bounds(np.array([row]), np.array([-np.inf]), loose)

    def _hold_tightly(self) -> None:
        """Take back the room that held rows were given."""
        for row, most in self._holding.items():
            self.solver.set_row_bounds(np.array([row]), np.array([-np.inf]), np.array([most]))

    def bound(self, cost: FloatArray) -> float:
        """No solution comes below this: the optimum with the exclusions that are in the program."""
        self.exclusions.reopen()
        self.solver.set_cost(self._wide(cost))
        return self.solver.run(self.remaining()).bound

    def restore_mip_gap(self) -> None:
        """The gap that the problem's options allow."""
        self.solver.set_mip_gap(self._mip_gap)

    def restore_costs(self) -> None:
        """What every column costs, for whoever reads the program."""
        self._without = np.zeros(0, np.int64)
        self.solver.set_cost(self._costs())

    def _costs(self) -> FloatArray:
        """Prices of all columns, grid slack included."""
        costs = self._slack_costs()
        costs[: len(self.program.linear.cost)] += self.program.linear.cost
        costs[self._without] = 0.0
        return costs

    def _slack_costs(self, *, of_needs: bool = False) -> FloatArray:
        return self.grid.slack_costs(self.dearest, of_needs=of_needs)

    def _unserved(self) -> FloatArray:
        """What is unserved, in kWh times priority, as coefficients on all columns there are by now."""
        return self._wide(self.program.unserved)

    def _wide(self, coefficients: FloatArray) -> FloatArray:
        """Coefficients on all columns there are by now, zero on those that came later."""
        return np.concatenate([coefficients, np.zeros(self.solver.columns - len(coefficients))])

    @property
    def _exact_pairs(self) -> int:
        """Up to how many broken pairs are optimised."""
        if not self.grid.some:
            return EXACT_PAIRS
        return EXACT_ON_GRID if len(self.program.linear.cost) <= SMALL_ON_GRID else 0

    @property
    def _unit(self) -> float:
        """What tolerances of unserved energy count in: a kWh, or less where every need weighs less."""
        return min(1.0, float(self.program.unserved.max(initial=0.0)) or 1.0)

    def minimise(
        self,
        cost: FloatArray,
        *,
        feasible: bool = False,
        near: FloatArray | None = None,
        loose: bool = False,
    ) -> Solution:
        """Minimise `cost` (columns added meanwhile are free) within all exclusions.

        Where sides were chosen instead of optimised, `bound` is that of the program before. `feasible` says
        that a solution is known, as it is of held rows; integers start from those of the solution `near`.
        Held rows bind loosely where `loose`, or where nothing else is found.
        """
        exclusions, bound = self.exclusions, -np.inf
        feasible |= bool(self._holding)
        exact_up_to: float = self._exact_pairs
        exclusions.reopen()
        while True:
            if loose:
                self.loosen()
            self.solver.set_cost(self._wide(cost))
            if near is not None and self.solver.is_integer and len(near) == self.solver.columns:
                self.solver.start_from(near)
            # presolve of HiGHS also calls infeasible what has integers and is not
            doubted = (feasible or self.solver.is_integer) and not exclusions.chosen
            solution = self.solver.run(self.remaining(), feasible=doubted)
            if solution.status == "no_solution":
                raise DeadlineError("the deadline passed before a schedule was found; allow more time")
            if solution.x is None and self._holding and not loose:
                loose = True
                continue
            if solution.x is None and exclusions.chosen:
                # a chosen side made it infeasible: only binaries can tell
                exclusions.reopen()
                exact_up_to = np.inf
                continue
            if not exclusions.chosen:
                bound = solution.bound
            if solution.x is None or not (
                self.grid.enter_broken(solution.x)
                or exclusions.enforce(solution.x, exact_up_to=exact_up_to)
                | self.grid.hold_burnt_losses(solution.x)
            ):
                return replace(solution, bound=min(bound, solution.bound))
            near = exclusions.completed(solution.x)


def _dot(one: FloatArray, other: FloatArray) -> float:
    """The inner product, summed in one order on every machine; threads of BLAS would wait beside HiGHS."""
    return float(np.einsum("i,i", one, other))


def _room(most: float) -> float:
    """How far integers may exceed a held row."""
    return HELD_INTEGER + HELD_SHARE * abs(most)
