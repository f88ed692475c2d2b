"""The dispatcher: shortfalls first, then cost; grid limits and exclusions added where they are needed."""

from __future__ import annotations

import time as clock
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp

from energy.domain.errors import DeadlineError, SolverError
from energy.domain.network import FloatArray, GridLimits, IntArray, Terminal
from energy.domain.schedule import AssetSchedule, Schedule
from optimizer.answer import answer, net_powers
from optimizer.model import build
from optimizer.problem import DispatchProblem
from optimizer.solver import Solution, Solver

TOLERANCE = 1e-6
"""kW and kWh below which a value is the solver's rounding."""
HELD = 1e-9
"""How much more than the least shortfall, relative, the cost stage may leave."""
UNITS = {"vm_pu": 1000.0, "loading_percent": 1.0}
"""Grid rows are stated in thousandths of pu and in percent, which keeps coefficients per kW near one."""


@dataclass(frozen=True)
class GridSlack:
    """How far the linear grid limits of a schedule are broken: per kind and step, pu or percent."""

    kind: str
    step: int
    amount: float


@dataclass
class _Losses:
    """The loss linearisations of one step: rows, and their value as coefficients on columns, newest last."""

    rows: list[int] = field(default_factory=list)
    lower: list[float] = field(default_factory=list)
    equal: bool = False


class Dispatcher:
    """One problem, built once, solved as often as limits are added to it.

    Costs inside are prices per MWh on kW columns; see `optimizer.model`.
    """

    def __init__(self, problem: DispatchProblem) -> None:
        started = clock.monotonic()
        self.problem = problem
        self.grid_slack: tuple[GridSlack, ...] = ()
        self._program = program = build(problem)
        self._solver = Solver(program.linear, mip_gap=problem.options.mip_gap)
        self._needs = np.concatenate(
            [program.connections.overruns, *(rows.needs for rows in program.assets)]
        ).astype(np.int64)
        # kWh per unit: overruns are kW, asset needs are kWh
        self._need_kwh = np.ones(len(self._needs))
        self._need_kwh[: len(program.connections.overruns)] = problem.time.hours
        self._pairs = np.concatenate(
            [program.connections.exclusive, *(rows.exclusive for rows in program.assets)]
        ).astype(np.int64)
        self._binary_pairs = np.zeros(len(self._pairs), bool)
        self._stepped = np.concatenate([np.zeros(0, np.int64), *(r.semicontinuous for r in program.assets)])
        self._stepped_min = np.concatenate([np.zeros(0), *(r.semicontinuous_min for r in program.assets)])
        self._stepped_active = False
        self._slack: dict[tuple[str, int], int] = {}
        self._slack_price: dict[str, float] = {}
        self._losses: dict[int, _Losses] = defaultdict(_Losses)
        self._terminals: dict[tuple[Terminal, ...], tuple[sp.csr_array, FloatArray]] = {}
        self._held: IntArray | None = None
        self._build_seconds = clock.monotonic() - started

    # ------------------------------------------------------------------ grid limits

    def add(self, limits: GridLimits) -> None:
        """Add rows of linear grid limits and loss linearisations; those that are there stay."""
        power, constant = self._terminal_power(limits.terminals)
        steps = self.problem.time.steps
        if len(limits):
            kinds = list(limits.quantity)
            scale = np.array([UNITS[kind] for kind in kinds])
            new = [
                key
                for key in dict.fromkeys(zip(kinds, limits.step.tolist(), strict=True))
                if key not in self._slack
            ]
            columns = self._solver.add_columns(
                np.zeros(len(new)), np.full(len(new), np.inf), np.zeros(len(new))
            )
            self._slack.update(zip(new, columns.tolist(), strict=True))
            matrix = self._project(limits.coefficients * scale[:, None] / 1000, limits.step, power)
            slack = np.array([self._slack[key] for key in zip(kinds, limits.step.tolist(), strict=True)])
            fixed = limits.constant * scale + np.einsum(
                "rk,rk->r", limits.coefficients * scale[:, None] / 1000, constant.T[limits.step]
            )
            self._price_slack(kinds, matrix)
            for sign, bound in ((1.0, limits.lower), (-1.0, limits.upper)):
                chosen = np.flatnonzero(np.isfinite(bound))
                own = sp.csr_array(
                    (np.full(len(chosen), sign), (np.arange(len(chosen)), slack[chosen])),
                    shape=(len(chosen), self._solver.columns),
                )
                rows = self._widen(matrix[chosen]) + own
                value = bound[chosen] * scale[chosen] - fixed[chosen]
                infinite = np.full(len(chosen), np.inf)
                self._solver.add_rows(rows, value if sign > 0 else -infinite, infinite if sign > 0 else value)
        if len(limits.loss_step):
            self._add_losses(limits, power, constant)
        assert constant.shape[1] == steps

    def _add_losses(self, limits: GridLimits, power: sp.csr_array, constant: FloatArray) -> None:
        """losses_kw[t] − coefficients · p_kw ≥ constant, both sides in kW."""
        columns = self._program.connections.losses
        matrix = self._widen(-self._project(limits.loss_coefficients, limits.loss_step, power))
        count = len(limits.loss_step)
        own = sp.csr_array(
            (np.ones(count), (np.arange(count), columns[limits.loss_step])),
            shape=(count, self._solver.columns),
        )
        lower = limits.loss_constant * 1000 + np.einsum(
            "rk,rk->r", limits.loss_coefficients, constant.T[limits.loss_step]
        )
        rows = self._solver.add_rows(matrix + own, lower, np.full(count, np.inf))
        opened = np.unique(limits.loss_step)
        self._solver.set_bounds(columns[opened], np.zeros(len(opened)), np.full(len(opened), np.inf))
        for row, step, bound in zip(rows.tolist(), limits.loss_step.tolist(), lower.tolist(), strict=True):
            self._losses[step].rows.append(row)
            self._losses[step].lower.append(bound)
        for step in opened.tolist():
            if self._losses[step].equal:
                self._hold_losses(step)

    def _hold_losses(self, step: int) -> None:
        """Let the newest linearisation of a step hold as an equation, and no other."""
        losses = self._losses[step]
        losses.equal = True
        rows = np.array(losses.rows)
        lower, upper = np.full(len(rows), -np.inf), np.full(len(rows), np.inf)
        lower[-1] = upper[-1] = losses.lower[-1]
        self._solver.set_row_bounds(rows, lower, upper)

    def _terminal_power(self, terminals: tuple[Terminal, ...]) -> tuple[sp.csr_array, FloatArray]:
        """Power drawn at terminal k in step t is row k·steps + t of the matrix times the columns, plus the
        constant [k, t]; kW."""
        if terminals not in self._terminals:
            steps = self.problem.time.steps
            number = {terminal: k for k, terminal in enumerate(terminals)}
            parts = [
                (number[part.terminal] * steps + part.steps, part.columns, part.coefficients)
                for rows in self._program.assets
                for part in rows.terminal_powers()
            ]
            rows, columns, values = (
                np.concatenate([np.zeros(0), *(part[k] for part in parts)]) for k in range(3)
            )
            constant = np.zeros((len(terminals), steps))
            for group in self._program.assets:
                for terminal, p_kw in group.constant_powers():
                    constant[number[terminal]] += p_kw
            matrix = sp.csr_array(
                (values, (rows.astype(np.int64), columns.astype(np.int64))),
                shape=(len(terminals) * steps, len(self._program.linear.cost)),
            )
            self._terminals[terminals] = matrix, constant
        return self._terminals[terminals]

    def _project(self, coefficients: FloatArray, step: IntArray, power: sp.csr_array) -> sp.csr_array:
        """Rows over terminals as rows over columns."""
        count, terminals = coefficients.shape
        steps = self.problem.time.steps
        chosen = sp.csr_array(
            (
                coefficients.ravel(),
                (
                    np.repeat(np.arange(count), terminals),
                    (np.arange(terminals)[None, :] * steps + step[:, None]).ravel(),
                ),
            ),
            shape=(count, terminals * steps),
        )
        return sp.csr_array(chosen @ power)

    def _widen(self, matrix: sp.csr_array) -> sp.csr_array:
        wide = sp.csr_array(matrix)
        wide.resize((wide.shape[0], self._solver.columns))
        return wide

    def _price_slack(self, kinds: list[str], matrix: sp.csr_array) -> None:
        """One price per kind, above all that a unit of slack could buy through the weakest useful row."""
        largest = np.abs(matrix).max(axis=1).toarray().ravel() if matrix.shape[1] else np.zeros(len(kinds))
        for kind in set(kinds):
            mine = largest[np.array([k == kind for k in kinds])]
            useful = mine[mine > 1e-3 * mine.max(initial=0.0)]
            if len(useful):
                price = 10.0 * self._dearest() / float(useful.min())
                self._slack_price[kind] = max(self._slack_price.get(kind, 0.0), price)

    def _dearest(self) -> float:
        """A price per MWh above all that energy could cost or earn, peak price not counted."""
        return 10.0 * max(1.0, float(np.abs(self._program.linear.cost[: self._ordinary]).max(initial=0.0)))

    @property
    def _ordinary(self) -> int:
        return len(self._program.linear.cost)

    # ------------------------------------------------------------------ solving

    def solve(self, *, deadline_seconds: float | None = None) -> Schedule:
        """The best schedule under everything that was added.

        Shortfalls are minimised first and held, then cost. `deadline_seconds` counts from this call and
        replaces the problem's own deadline. Raises `DeadlineError` where it passes without a schedule.
        """
        started = clock.monotonic()
        if deadline_seconds is None and self.problem.options.deadline is not None:
            deadline_seconds = self.problem.options.deadline.total_seconds() - self._build_seconds
        self._until = None if deadline_seconds is None else started + deadline_seconds
        self._notices: list[str] = []
        if self._held is not None:
            self._solver.set_row_bounds(self._held, np.array([-np.inf]), np.array([np.inf]))
        solution = self._lexicographic()
        if solution.status == "infeasible":
            return self._infeasible(started)
        return self._answer(solution, started)

    def _remaining(self) -> float | None:
        if self._until is None:
            return None
        remaining = self._until - clock.monotonic()
        if remaining <= 0:
            raise DeadlineError("the deadline passed before a schedule was found; allow more time")
        return remaining

    def _lexicographic(self) -> Solution:
        """Shortfalls priced above everything; where some remain, exactly minimal first, then cost."""
        dearest = self._dearest() / self.problem.time.hours  # of a kWh, in costs of the program
        solution = self._exclusive(self._costs() + dearest * self._unserved())
        if solution.x is None or self._unserved() @ solution.x <= TOLERANCE:
            return solution
        least = self._exclusive(self._unserved() + self._slack_costs() / dearest)
        if least.x is None:
            return least
        amount = float(self._unserved() @ least.x)
        self._held = self._solver.add_rows(
            sp.csr_array(self._unserved()[None, :]),
            np.array([-np.inf]),
            np.array([amount + HELD * max(1.0, amount)]),
        )
        return self._exclusive(self._costs())

    def _unserved(self) -> FloatArray:
        """Unserved energy as coefficients on the columns, kWh."""
        coefficients = np.zeros(self._solver.columns)
        coefficients[self._needs] = self._need_kwh
        return coefficients

    def _slack_costs(self) -> FloatArray:
        costs = np.zeros(self._solver.columns)
        for (kind, _), column in self._slack.items():
            costs[column] = self._slack_price.get(kind, self._dearest())
        return costs

    def _costs(self) -> FloatArray:
        costs = self._slack_costs()
        costs[: self._ordinary] += self._program.linear.cost
        return costs

    def _exclusive(self, cost: FloatArray) -> Solution:
        """Minimise `cost`; binaries enter only where the linear answer breaks an exclusion."""
        while True:
            self._solver.set_cost(np.concatenate([cost, np.zeros(self._solver.columns - len(cost))]))
            solution = self._solver.run(self._remaining())
            if solution.status == "no_solution":
                raise DeadlineError("the deadline passed before a schedule was found; allow more time")
            if solution.x is None or not (self._exclude(solution.x) or self._fix_burnt_losses()):
                return solution

    def _exclude(self, x: FloatArray) -> bool:
        """Add binaries where `x` uses both sides of an exclusion or a forbidden small power."""
        both = (x[self._pairs] > TOLERANCE).all(axis=1) & ~self._binary_pairs
        self._binary_pairs |= both
        pairs = self._pairs[both]
        changed = bool(len(pairs))
        if changed:
            upper = self._program.linear.upper[pairs]
            binary = self._binaries(len(pairs))
            self._rows([(pairs[:, 0], 1.0), (binary, -upper[:, 0])], -np.inf, 0.0)
            self._rows([(pairs[:, 1], 1.0), (binary, upper[:, 1])], -np.inf, upper[:, 1])
        power = x[self._stepped]
        small = (power > TOLERANCE) & (power < self._stepped_min - TOLERANCE)
        if small.any() and not self._stepped_active:
            self._stepped_active = changed = True
            binary = self._binaries(len(self._stepped))
            upper = self._program.linear.upper[self._stepped]
            self._rows([(self._stepped, 1.0), (binary, -upper)], -np.inf, 0.0)
            self._rows([(self._stepped, 1.0), (binary, -self._stepped_min)], 0.0, np.inf)
        return changed

    def _binaries(self, count: int) -> IntArray:
        columns = self._solver.add_columns(np.zeros(count), np.ones(count), np.zeros(count), integer=True)
        return columns

    def _rows(
        self,
        terms: list[tuple[IntArray, FloatArray | float]],
        lower: float | FloatArray,
        upper: float | FloatArray,
    ) -> None:
        count = len(terms[0][0])
        rows = np.concatenate([np.arange(count)] * len(terms))
        columns = np.concatenate([columns for columns, _ in terms])
        values = np.concatenate([np.broadcast_to(value, count) for _, value in terms])
        self._solver.add_rows(
            sp.csr_array((values, (rows, columns)), shape=(count, self._solver.columns)),
            np.broadcast_to(np.asarray(lower, float), count).copy(),
            np.broadcast_to(np.asarray(upper, float), count).copy(),
        )

    def _fix_burnt_losses(self) -> bool:
        """Where energy has a negative price the loss inequality burns it: hold those steps' losses."""
        burnt = [step for step, losses in self._losses.items() if not losses.equal and self._burns(step)]
        for step in burnt:
            self._hold_losses(step)
        return bool(burnt)

    def _burns(self, step: int) -> bool:
        activity = self._solver.row_values(np.array(self._losses[step].rows))
        return bool(np.min(activity - np.array(self._losses[step].lower)) > 1e-4)

    # ------------------------------------------------------------------ answering

    def _answer(self, solution: Solution, started: float) -> Schedule:
        problem, program = self.problem, self._program
        x = solution.x
        assert x is not None
        clean = np.clip(
            x[: self._ordinary], program.linear.lower, np.maximum(program.linear.upper, program.linear.lower)
        )
        opened = program.connections.losses[sorted(self._losses)]
        clean[opened] = x[opened]
        clean[np.abs(clean) < 1e-9] = 0.0
        schedules: dict[str, AssetSchedule] = {}
        shortfalls = []
        for rows in program.assets:
            schedules.update(rows.schedules(clean))
            shortfalls += list(rows.shortfalls(clean))
        losses_kw = clean[program.connections.losses]
        dual = solution.dual
        if self._solver.is_integer:
            priced = self._solver.run_with_integers_fixed(x)
            dual = priced.dual
            self._notices.append("prices come from the linear problem with its integers fixed")
        if dual is None:
            raise SolverError("HiGHS gave no duals")
        net = net_powers(problem, schedules, losses_kw)
        prices = program.connections.prices(
            dual,
            {key: np.clip(power, 0, None) for key, power in net.items()},
            {key: np.clip(-power, 0, None) for key, power in net.items()},
        )
        self.grid_slack = tuple(
            GridSlack(kind, step, float(x[column]) / UNITS[kind])
            for (kind, step), column in sorted(self._slack.items())
            if x[column] > TOLERANCE
        )
        found = answer(
            problem,
            {asset.id: schedules[asset.id] for asset in problem.assets},
            status="optimal" if solution.status == "optimal" else "feasible",
            shortfalls=shortfalls,
            losses_kw=losses_kw,
            prices=prices,
            notices=[*self._notices, *self._slack_notices()],
            build_seconds=self._build_seconds,
        )
        return self._with_bound(found, solution, clock.monotonic() - started)

    def _with_bound(self, found: Schedule, solution: Solution, seconds: float) -> Schedule:
        """`best_bound` is the total less what the solver says could still be gained."""
        from dataclasses import replace

        total = found.objective["total"]
        gain = max(0.0, solution.objective - solution.bound) * self._program.cost_scale
        bound = total - gain if np.isfinite(gain) else None
        gap = None if bound is None else gain / max(abs(total), 1e-9) if gain > 0 else 0.0
        return replace(found, best_bound=bound, gap=gap, solve_seconds=seconds)

    def _slack_notices(self) -> list[str]:
        kinds: Mapping[str, list[GridSlack]] = {
            kind: [slack for slack in self.grid_slack if slack.kind == kind] for kind in UNITS
        }
        return [
            f"linear {kind} limits are broken in {len(slacks)} steps, by at most "
            f"{max(slack.amount for slack in slacks):g}"
            for kind, slacks in kinds.items()
            if slacks
        ]

    def _infeasible(self, started: float) -> Schedule:
        from optimizer.conflicts import find_conflicts

        conflicts = find_conflicts(self.problem, self._program, self._solver, self._remaining())
        return Schedule(
            status="infeasible",
            input_hash=self.problem.input_hash,
            time=self.problem.time,
            objective={},
            best_bound=None,
            bound_kind="exact" if self.problem.network is None else "linear",
            gap=None,
            build_seconds=self._build_seconds,
            solve_seconds=clock.monotonic() - started,
            solver=_solver_name(),
            connections={},
            assets={},
            conflicts=conflicts,
            notices=(*self.problem.notices, *self._notices),
        )


def _solver_name() -> str:
    from optimizer.solver import NAME

    return NAME


def dispatch(problem: DispatchProblem) -> Schedule:
    """Solve `problem` once, without a grid."""
    return Dispatcher(problem).solve()
