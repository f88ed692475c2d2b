"""The dispatcher: a problem in, the best schedule or its conflicts out; grid limits added between solves."""

from __future__ import annotations

import time as clock
from dataclasses import replace
from pathlib import Path

import numpy as np

from energy.domain.errors import DeadlineError, SolverError
from energy.domain.network import FloatArray, GridLimits
from energy.domain.schedule import AssetSchedule, Schedule
from optimizer.conflicts import find_conflicts
from optimizer.fallback import fallback
from optimizer.grid_rows import UNITS, GridSlack
from optimizer.problem import DispatchProblem, answer, net_powers
from optimizer.solver import NAME, Solution
from optimizer.stages import Stages

DECIMALS = 9
"""The solver's values are rounded to 1e-9 kW and kWh: further digits are noise."""
NEGLIGIBLE = 1e-9
"""Powers and energies below this are zero."""


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
        self._stages = Stages(build(problem), problem.options)
        self._program = self._stages.program
        self._build_seconds = clock.monotonic() - started

    def add(self, limits: GridLimits) -> None:
        """Add linear grid limits and loss linearisations; those that are there stay."""
        self._stages.add(limits)

    def write(self, path: Path) -> None:
        """Write the program as it stands as an LP file, for reading."""
        self._stages.solver.write(path, self._program.names(), self._program.row_names())

    def cancel(self) -> None:
        """Stop the solve under way, from another thread: it raises `CancelledError`. There is no going on."""
        self._stages.solver.interrupt()

    def solve(self, *, deadline_seconds: float | None = None) -> Schedule:
        """The best schedule under everything that was added, or the conflicts that prevent one.

        Shortfalls are minimised first and held, then cost. `deadline_seconds` counts from this call and
        replaces the problem's own deadline. Raises `DeadlineError` where it passes without a schedule.
        """
        started = clock.monotonic()
        if deadline_seconds is None and self.problem.options.deadline is not None:
            deadline_seconds = self.problem.options.deadline.total_seconds() - self._build_seconds
        self._stages.until = None if deadline_seconds is None else started + deadline_seconds
        solution = self._stages.solve()
        found = self._infeasible() if solution.x is None else self._answer(solution, solution.x)
        return replace(found, solve_seconds=clock.monotonic() - started)

    def _answer(self, solution: Solution, x: FloatArray) -> Schedule:
        problem, program, notices = self.problem, self._program, []
        linear = program.linear
        clean = np.clip(np.round(x[: len(linear.cost)], DECIMALS), linear.lower, linear.upper)
        losses = program.connections.losses[self._stages.grid.lossy_steps]
        clean[losses] = x[losses]
        schedules: dict[str, AssetSchedule] = {}
        shortfalls = []
        for rows in program.assets:
            schedules.update((key, _without_noise(schedule)) for key, schedule in rows.schedules(clean))
            shortfalls += list(rows.shortfalls(clean))
        dual = solution.dual
        if self._stages.solver.is_integer:
            dual = self._stages.solver.run_with_integers_fixed(x).dual
            notices.append("prices come from the linear problem with its integers fixed")
        if dual is None:
            raise SolverError("HiGHS gave no duals")
        if solution.status == "feasible":
            notices.append("the deadline passed: cost and shortfalls may be higher than they must be")
        self.grid_slack = self._stages.grid.slacks(x)
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
        if self._stages.exclusions.chosen and gap > problem.options.mip_gap:
            notices.append(
                f"in {self._stages.exclusions.chosen} cases a direction of power was chosen, not optimised; "
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
            conflicts=find_conflicts(problem, self._program, self._stages.solver, self._stages.remaining()),
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
    """Solve `problem` once, without a grid; the safe rule of `fallback` where its deadline is too short."""
    try:
        return Dispatcher(problem).solve()
    except DeadlineError:
        return fallback(problem)
