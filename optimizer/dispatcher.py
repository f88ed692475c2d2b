"""The dispatcher: a problem in, the best schedule or its conflicts out; grid limits added between solves."""

from __future__ import annotations

import time as clock
from dataclasses import replace
from pathlib import Path

import numpy as np

from energy.domain.errors import DeadlineError
from energy.domain.network import BoolArray, FloatArray, GridLimits, IntArray, Terminal
from energy.domain.schedule import Schedule, Status
from optimizer.collection import no_collection
from optimizer.conflicts import NO_TIME, Named, of_infeasible, of_shortfalls
from optimizer.fairness_rows import fairness_prices
from optimizer.fallback import fallback
from optimizer.frontier import FIRST, LAST, Frontier, dear_per_kg
from optimizer.grid_rows import UNITS, GridSlack
from optimizer.marginal import with_marginal_emissions, with_marginal_emissions_of_more
from optimizer.outcome import no_schedule, outcome
from optimizer.prices import with_grid_prices
from optimizer.problem import DispatchProblem
from optimizer.reasons import FullLimit, Reasons
from optimizer.relaxation import Relaxation
from optimizer.solver import Solution
from optimizer.stages import Stages

PRICING = 0.02
"""The share of a deadline that prices may take beyond it, once there is a schedule."""


class Dispatcher:
    """One problem, built once and solved as often as grid limits are added to it.

    `grid_slack` lists the linear limits that the last schedule breaks. Costs inside are prices per MWh on
    columns in kW; see `optimizer.program`.
    """

    def __init__(self, problem: DispatchProblem) -> None:
        # Pyomo takes a second to import: only who dispatches pays for it
        from optimizer.model import build
        from optimizer.stochastic import Scenarios

        started = clock.monotonic()
        self.problem = problem
        self.grid_slack: tuple[GridSlack, ...] = ()
        self._scenarios = Scenarios(problem) if problem.scenarios else None
        program = build(problem) if self._scenarios is None else self._scenarios.program
        self._stages = Stages(program, problem.options)
        self._program = self._stated = self._stages.program
        self._build_seconds = clock.monotonic() - started
        self._for_prices = 0.0
        self._last: FloatArray | None = None

    def update(self, problem: DispatchProblem) -> bool:
        """Go over to `problem`; grid limits that were added are gone.

        Where it differs from the present one in data alone (states, prices, loads, what is pinned), the next
        solve starts from the last basis, less what was added to the program: says whether it does.
        """
        from optimizer.model import build

        if problem.scenarios or self._scenarios is not None:
            raise ValueError("a dispatcher of scenarios cannot be updated; make a new one")
        started = clock.monotonic()
        program = build(problem)
        warm = self._stages.take_over(program)
        if not warm:
            before, self._stages = self._stages, Stages(program, problem.options)
            warm = self._stages.continue_from(before)
        self.problem, self._program, self._stated, self.grid_slack = problem, program, program, ()
        self._build_seconds = clock.monotonic() - started
        return warm

    def pursue(self, *, emissions_first: bool = False, most_kg: float = np.inf) -> DispatchProblem:
        """From now on least cost counts, then least emissions, or the other way round, with emissions of at
        most `most_kg`. All that was added stays; the next solve starts from the last basis.

        Returns the problem that has this objective: its price of carbon is next to nothing, or prohibitive.
        """
        stages, stated = self._stages, self._stated
        (part,) = stated.parts
        stages.program, emitted = stated, part.emissions()
        dear = 1000 * stated.cost_scale * dear_per_kg(stages, emitted)
        self._program = stated.at_carbon_price(dear * (FIRST if emissions_first else LAST))
        stages.pursue(self._program, emitted, most_kg)
        self.problem = self._program.parts[0].problem
        return self.problem

    def reach_mw(self, terminals: tuple[Terminal, ...]) -> tuple[FloatArray, FloatArray]:
        """The least and the most that assets can draw at terminals, MW, shape (steps, terminals) each."""
        return self._stages.grid.reach_mw(terminals)

    def add(self, limits: GridLimits) -> None:
        """Add linear grid limits and loss linearisations; those that are there stay."""
        self._stages.add(limits)

    def renew_losses(self, steps: IntArray) -> None:
        """Let the linear part of the losses of `steps` hold no more; new ones must be added."""
        self._stages.grid.renew_losses(steps)

    def rebound(self, lower: FloatArray, upper: FloatArray) -> None:
        """Other bounds for all grid limits, in pu and percent and in the order in which they were added:
        infinite ones for limits that hold no more. The next solve starts from the last basis."""
        self._stages.rebound(lower, upper)

    def let_yield(self, limits: BoolArray) -> None:
        """Let grid limits, in the order in which they were added, yield to needs: they are broken as little
        as these allow."""
        self._stages.let_yield(limits)

    def write(self, path: Path) -> None:
        """Write the program as it stands as an LP file, for reading."""
        self._stages.solver.write(path, self._program.names(), self._program.row_names())

    def cancel(self) -> None:
        """Stop the solve under way, from another thread: it raises `CancelledError`. There is no going on."""
        self._stages.solver.interrupt()

    def solve(self, *, deadline_seconds: float | None = None, explain: bool = True) -> Schedule:
        """The best schedule under everything that was added, or the conflicts that prevent one.

        Shortfalls are minimised first and held, then cost. `deadline_seconds` counts from this call and
        replaces the problem's own deadline. With `explain` the answer names what keeps its shortfalls from
        being served. Raises `DeadlineError` where it passes without a schedule.
        """
        started = clock.monotonic()
        if deadline_seconds is None and self.problem.options.deadline is not None:
            deadline_seconds = self.problem.options.deadline.total_seconds() - self._build_seconds
        self._stages.until = None if deadline_seconds is None else started + deadline_seconds
        self._for_prices = 0.0 if deadline_seconds is None else PRICING * max(deadline_seconds, 0.0)
        solution = self._stages.solve()
        self._last = solution.x
        with no_collection():
            found = self._infeasible() if solution.x is None else self._answer(solution, solution.x)
        if explain:
            found = self.explained(found)
        return replace(found, solve_seconds=clock.monotonic() - started)

    def explained(self, schedule: Schedule) -> Schedule:
        """`schedule`, the last answer, with what keeps it from being feasible or its shortfalls from being
        served, as far as the deadline allows. Raises `DeadlineError` where there is no schedule."""
        if not self._has_conflicts(schedule):
            return schedule
        try:
            conflicts, open_question = self._conflicts(schedule)
        except DeadlineError:
            if schedule.status == "infeasible":
                raise
            open_question = NO_TIME
            return replace(schedule, notices=(*schedule.notices, open_question))
        asked = () if open_question is None else (open_question,)
        return replace(schedule, conflicts=conflicts, notices=(*schedule.notices, *asked))

    def relaxation(self, schedule: Schedule, *, of_grid: bool = False) -> Relaxation | None:
        """What must give way in the problem on its grid, whose answer is `schedule`, or with `of_grid` in
        the grid; None for nothing. Raises `DeadlineError` where there is no time for it."""
        if not self._has_conflicts(schedule):
            return None
        if self._stages.until is not None and clock.monotonic() + self._build_seconds > self._stages.until:
            raise DeadlineError(NO_TIME)
        return Relaxation(self.problem, schedule, self._stages, of_grid=of_grid)

    def _has_conflicts(self, schedule: Schedule) -> bool:
        """Whether something can be named that must give way."""
        if schedule.status == "infeasible":
            return self.problem.pins is None and not self._stages.limits_emissions
        return bool(schedule.shortfalls) and schedule.status != "feasible" and self._scenarios is None

    def _conflicts(self, schedule: Schedule) -> Named:
        if schedule.status != "infeasible":
            return of_shortfalls(self.problem, schedule, self._stages)
        if self._scenarios is not None:
            return self._scenarios.conflicts(self._stages.until)
        return of_infeasible(self.problem, self._stages)

    def with_marginal_emissions(self, schedule: Schedule, steps: int) -> Schedule:
        """`schedule`, the last answer or another one to the same problem, with what a kWh more emits at its
        connections and at every bus with an asset, in the first `steps` steps.

        It is the derivative of the last solution; see `optimizer.marginal`. Raises `DeadlineError`.
        """
        if self._last is None or self._scenarios is not None:
            raise ValueError("marginal emissions are those of a solution without scenarios")
        return with_marginal_emissions_of_more(schedule, self._stages, self._last, steps)

    def _answer(self, solution: Solution, x: FloatArray) -> Schedule:
        problem, program = self.problem, self._program
        as_stated = program is self._stated
        notices: list[str] = []
        dual = solution.dual
        if self._stages.solver.is_integer and len(x) == self._stages.solver.columns:
            dual = self._dual_with_integers_fixed(x)
            if dual is not None:
                notices.append("prices come from the linear problem with its integers fixed")
        late = self._stages.until is not None and clock.monotonic() > self._stages.until
        if dual is None:
            why = "the deadline passed before prices were found" if late else "no prices were found"
            notices.append(f"{why}: price_per_mwh is zero")
        if solution.status == "feasible":
            why = "the deadline passed" if late else "the solver's tolerances allowed nothing better"
            notices.append(f"{why}: cost and shortfalls may be higher than they must be")
        self.grid_slack = self._stages.grid.slacks(x)
        for kind in UNITS:
            amounts = [slack.amount for slack in self.grid_slack if slack.kind == kind]
            if amounts:
                notices.append(
                    f"linear {kind} limits are broken in {len(amounts)} steps, by at most {max(amounts):.4g}"
                )
        status: Status = "optimal" if solution.status == "optimal" else "feasible"
        if self._scenarios is not None:
            found = self._scenarios.answer(x, dual, status)
            if problem.options.explain:
                notices.append("with scenarios no reasons are given: what is done differs between them")
        else:
            lossy = self._stages.grid.lossy_steps
            found = outcome(program, program.parts[0], x, dual, status=status, lossy_steps=lossy)
            if problem.network is not None and dual is not None:
                found = with_grid_prices(found, problem, self._stages.grid.prices(dual, x))
            if problem.options.explain and dual is not None:
                binding = [FullLimit(*each) for each in self._stages.grid.binding(dual)]
                found = replace(found, reasons=Reasons(problem, found, binding, problem.options.explain))
        if problem.options.marginal_emissions and dual is not None and as_stated:
            found, missing = self._marginal(found, x)
            notices += [] if missing is None else [missing]
        total = found.objective["total"]
        gain = max(0.0, solution.objective - solution.bound) * program.cost_scale
        gap = gain / max(abs(total), 1e-9)
        if self._stages.exclusions.chosen and gap > problem.options.mip_gap:
            notices.append(
                f"in {self._stages.exclusions.chosen} cases a direction of power was chosen, not optimised; "
                f"at most {gain:.4g} {problem.currency} could be gained"
            )
            found = replace(found, status="feasible")
        if problem.frontier is not None and problem.network is None:
            points, missing = Frontier(self._stages, x).points(problem.frontier)
            found = replace(found, frontier=points)
            notices += [] if missing is None else [missing]
        if self._scenarios is not None:
            found = self._scenarios.valued(found, self._stages.until)
        if problem.objective.fairness is not None and as_stated:
            found, missing = self._fairness_priced(found, x)
            notices += [] if missing is None else [missing]
        bounded = np.isfinite(gain)
        return replace(
            found,
            best_bound=total - gain if bounded else None,
            gap=gap if bounded else None,
            build_seconds=self._build_seconds,
            notices=(*found.notices, *notices),
        )

    def _marginal(self, found: Schedule, x: FloatArray) -> tuple[Schedule, str | None]:
        """`found` with its marginal emissions; in words why they are missing."""
        if self._scenarios is not None:
            return found, "with scenarios no marginal emissions are given: what is done differs between them"
        try:
            return with_marginal_emissions(found, self._stages, x), None
        except DeadlineError:
            return found, "the deadline passed before marginal emissions were found"

    def _fairness_priced(self, found: Schedule, x: FloatArray) -> tuple[Schedule, str | None]:
        """`found` with what its fairness costs; in words where the deadline left no time for that."""
        try:
            prices = fairness_prices(self._stages, x)
        except DeadlineError:
            return found, "the deadline passed before the price of fairness was found"
        # where all is in one district nothing is spread, and nothing paid
        report = {key: {**entry, "price": prices.get(key, 0.0)} for key, entry in found.fairness.items()}
        return replace(found, fairness=report), None

    def _dual_with_integers_fixed(self, x: FloatArray) -> FloatArray | None:
        """Duals of the problem with its integers as in `x`; None where the deadline leaves no time, or
        where rounded integers leave no solution."""
        seconds = None
        if self._stages.until is not None:
            seconds = max(self._stages.until - clock.monotonic(), 0.0) + self._for_prices
        # rounded, the integers may miss what is held by as much as HiGHS rounds
        self._stages.loosen()
        fixed = self._stages.solver.run_with_integers_fixed(x, seconds)
        return fixed.dual if fixed.status == "optimal" else None

    def _infeasible(self) -> Schedule:
        """The answer without a schedule, its conflicts yet to be named."""
        notices = []
        if self.problem.pins is not None:
            notices.append("what the previous schedule fixes contradicts the limits")
        elif self._stages.limits_emissions:
            notices.append("no schedule emits so little")
        found = no_schedule(self.problem, notices)
        return replace(found, build_seconds=self._build_seconds)


def dispatch(problem: DispatchProblem) -> Schedule:
    """Solve `problem` once, without a grid; the safe rule of `fallback` where its deadline is too short."""
    try:
        return Dispatcher(problem).solve()
    except DeadlineError:
        return fallback(problem)
