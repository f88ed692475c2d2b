"""The dispatcher: shortfalls first, then cost; grid limits and exclusions added where they are needed."""

from __future__ import annotations

import time as clock
from dataclasses import replace
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from energy.domain.errors import DeadlineError, SolverError
from energy.domain.network import FloatArray, GridLimits, IntArray
from energy.domain.schedule import AssetSchedule, Schedule
from optimizer.conflicts import find_conflicts
from optimizer.exclusions import Exclusions
from optimizer.grid_rows import UNITS, GridRows, GridSlack
from optimizer.problem import DispatchProblem, answer, net_powers
from optimizer.solver import NAME, Solution, Solver

DECIMALS = 9
"""The solver's values are rounded to 1e-9 kW and kWh: further digits are noise."""
NEGLIGIBLE = 1e-9
"""Powers and energies below this are zero."""
UNSERVED_KWH = 1e-6
"""Total shortfall below this is the solver's rounding."""
HELD = 1e-12
"""How much more than the least shortfall, relative, the cost stage may leave."""


class Dispatcher:
    """One problem, built once and solved as often as grid limits are added to it.

    `grid_slack` lists the linear limits that the last schedule breaks. Costs inside are prices per MWh on
    columns in kW; see `optimizer.model`.
    """

    def __init__(self, problem: DispatchProblem) -> None:
        # Pyomo takes a second to import: only who dispatches pays for it
        from optimizer.model import build

        started = clock.monotonic()
        self.problem = problem
        self.grid_slack: tuple[GridSlack, ...] = ()
        self._program = program = build(problem)
        self._solver = Solver(program.linear, mip_gap=problem.options.mip_gap)
        self._exclusions = Exclusions(program, self._solver)
        self._grid = GridRows(program, self._solver, problem.time.steps)
        self._held: IntArray | None = None
        self._until: float | None = None
        self._build_seconds = clock.monotonic() - started

    def add(self, limits: GridLimits) -> None:
        """Add linear grid limits and loss linearisations; those that are there stay."""
        self._grid.add(limits, self._dearest)

    def write(self, path: Path) -> None:
        """Write the program as it stands as an LP file, for reading."""
        self._solver.write(path, self._program.names(), self._program.row_names())

    def solve(self, *, deadline_seconds: float | None = None) -> Schedule:
        """The best schedule under everything that was added, or the conflicts that prevent one.

        Shortfalls are minimised first and held, then cost. `deadline_seconds` counts from this call and
        replaces the problem's own deadline. Raises `DeadlineError` where it passes without a schedule.
        """
        started = clock.monotonic()
        if deadline_seconds is None and self.problem.options.deadline is not None:
            deadline_seconds = self.problem.options.deadline.total_seconds() - self._build_seconds
        self._until = None if deadline_seconds is None else started + deadline_seconds
        if self._held is not None:
            self._solver.set_row_bounds(self._held, np.array([-np.inf]), np.array([np.inf]))
        solution = self._solve()
        found = self._infeasible() if solution.x is None else self._answer(solution, solution.x)
        return replace(found, solve_seconds=clock.monotonic() - started)

    @property
    def _dearest(self) -> float:
        """A price per MWh above all that energy could cost or earn, peaks included."""
        return 3.0 * max(1.0, float(np.abs(self._program.linear.cost).max(initial=0.0)))

    def _remaining(self) -> float | None:
        if self._until is None:
            return None
        remaining = self._until - clock.monotonic()
        if remaining <= 0:
            raise DeadlineError("the deadline passed before a schedule was found; allow more time")
        return remaining

    def _solve(self) -> Solution:
        """Shortfalls priced above everything; where some remain, exactly minimal first, then cost."""
        per_kwh = self._dearest / self.problem.time.hours
        solution = self._minimise(self._costs() + per_kwh * self._unserved())
        if (
            solution.x is None
            or solution.status == "feasible"
            or self._unserved() @ solution.x <= UNSERVED_KWH
        ):
            return solution
        try:
            return self._least_shortfall(per_kwh)
        except DeadlineError:
            if len(solution.x) < self._solver.columns:  # it breaks an exclusion that was found since
                raise
            return replace(solution, status="feasible")

    def _least_shortfall(self, per_kwh: float) -> Solution:
        """The cheapest of all schedules with the least shortfall."""
        self._solver.set_mip_gap(0.0)
        least = self._minimise(self._unserved() + self._grid.slack_costs() / per_kwh)
        self._solver.set_mip_gap(self.problem.options.mip_gap)
        if least.x is None:
            return least
        unserved = self._unserved()
        amount = float(unserved @ least.x)
        upper = np.array([amount + HELD * max(1.0, amount)])
        self._held = self._solver.add_rows(
            "held_shortfall", sp.csr_array(unserved[None, :]), np.array([-np.inf]), upper
        )
        return self._minimise(self._costs())

    def _costs(self) -> FloatArray:
        """Prices of all columns, grid slack included."""
        costs = self._grid.slack_costs()
        costs[: len(self._program.linear.cost)] += self._program.linear.cost
        return costs

    def _unserved(self) -> FloatArray:
        """What is unserved, in kWh times priority, as coefficients on all columns."""
        coefficients = np.zeros(self._solver.columns)
        coefficients[self._program.connections.overruns] = self.problem.time.hours
        for rows in self._program.assets:
            coefficients[rows.needs] = rows.need_weights
        return coefficients

    def _minimise(self, cost: FloatArray) -> Solution:
        """Minimise `cost` (columns added meanwhile are free) within all exclusions.

        Where sides were chosen instead of optimised, `bound` is that of the program before.
        """
        exclusions, exact, bound = self._exclusions, not self._grid.some, -np.inf
        exclusions.reopen()
        while True:
            self._solver.set_cost(np.concatenate([cost, np.zeros(self._solver.columns - len(cost))]))
            solution = self._solver.run(self._remaining())
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
                self._grid.enter_broken(solution.x)
                or exclusions.enforce(solution.x, exact=exact) | self._grid.hold_burnt_losses()
            ):
                return replace(solution, bound=min(bound, solution.bound))

    def _answer(self, solution: Solution, x: FloatArray) -> Schedule:
        problem, program, notices = self.problem, self._program, []
        linear = program.linear
        clean = np.clip(np.round(x[: len(linear.cost)], DECIMALS), linear.lower, linear.upper)
        losses = program.connections.losses[self._grid.lossy_steps]
        clean[losses] = x[losses]
        schedules: dict[str, AssetSchedule] = {}
        shortfalls = []
        for rows in program.assets:
            schedules.update((key, _without_noise(schedule)) for key, schedule in rows.schedules(clean))
            shortfalls += list(rows.shortfalls(clean))
        dual = solution.dual
        if self._solver.is_integer:
            dual = self._solver.run_with_integers_fixed(x).dual
            notices.append("prices come from the linear problem with its integers fixed")
        if dual is None:
            raise SolverError("HiGHS gave no duals")
        if solution.status == "feasible":
            notices.append("the deadline passed: cost and shortfalls may be higher than they must be")
        self.grid_slack = self._grid.slacks(x)
        for kind in UNITS:
            amounts = [slack.amount for slack in self.grid_slack if slack.kind == kind]
            if amounts:
                notices.append(
                    f"linear {kind} limits are broken in {len(amounts)} steps, by at most {max(amounts):.4g}"
                )
        losses_kw = clean[program.connections.losses]
        prices = program.connections.prices(dual, net_powers(problem, schedules, losses_kw))
        found = answer(
            problem,
            {asset.id: schedules[asset.id] for asset in problem.assets},
            status="optimal" if solution.status == "optimal" else "feasible",
            shortfalls=shortfalls,
            losses_kw=losses_kw,
            prices=prices,
            build_seconds=self._build_seconds,
        )
        total = found.objective["total"]
        gain = max(0.0, solution.objective - solution.bound) * program.cost_scale
        gap = gain / max(abs(total), 1e-9)
        if self._exclusions.chosen and gap > problem.options.mip_gap:
            notices.append(
                f"in {self._exclusions.chosen} cases a direction of power was chosen, not optimised; "
                f"at most {gain:.4g} {problem.currency} could be gained"
            )
            found = replace(found, status="feasible")
        bounded = np.isfinite(gain)
        return replace(
            found,
            best_bound=total - gain if bounded else None,
            gap=gap if bounded else None,
            notices=(*found.notices, *notices),
        )

    def _infeasible(self) -> Schedule:
        problem = self.problem
        return Schedule(
            status="infeasible",
            input_hash=problem.input_hash,
            time=problem.time,
            objective={},
            best_bound=None,
            bound_kind="exact" if problem.network is None else "linear",
            gap=None,
            build_seconds=self._build_seconds,
            solve_seconds=0.0,
            solver=NAME,
            connections={},
            assets={},
            conflicts=find_conflicts(problem, self._program, self._solver, self._remaining()),
            notices=problem.notices,
        )


def _without_noise(schedule: AssetSchedule) -> AssetSchedule:
    """The schedule with zeros for what is left where two powers cancel, no zero negative."""

    def cleaned(values: FloatArray) -> FloatArray:
        return np.where(np.abs(values) < NEGLIGIBLE, 0.0, values)

    return AssetSchedule(
        cleaned(schedule.p_kw), {name: cleaned(values) for name, values in schedule.series.items()}
    )


def dispatch(problem: DispatchProblem) -> Schedule:
    """Solve `problem` once, without a grid."""
    return Dispatcher(problem).solve()
