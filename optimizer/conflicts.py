"""Why needs are unmet or hard limits cannot hold, and the smallest relaxation that would help.

First in closed form, asset by asset (`Asset.out_of_reach`). What is left comes from limits that assets
share: an elastic linear program in which every asset's hard limit, and every limit of a connection (import,
export, phases, unbalance, a grid operator's signals), has one slack over all its steps (Chinneck,
Feasibility and Infeasibility in Optimization, 2008, ch. 6). The weighted sum of slacks is minimised; those
above zero are the conflict. The weights are 1 per kW and per kWh, and `KWH_PER_KG` per kg. Then, with the
slacks held, what lies beyond each limit summed over its steps: where nothing need be beyond, nothing is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from energy.domain.errors import DeadlineError
from energy.domain.network import FloatArray, IntArray
from energy.domain.schedule import Conflict, Schedule
from optimizer.assets.base import Asset, Controllable, HardLimit
from optimizer.assets.charging import SERVED_KWH
from optimizer.assets.reach import when
from optimizer.islands import BORDERS, border_message
from optimizer.problem import DispatchProblem
from optimizer.solver import Solver
from optimizer.unmet_needs import DECIMALS, unmet_needs

if TYPE_CHECKING:
    from optimizer.stages import Stages

RELAXED = 1e-6
"""A slack below this is the solver's tolerance."""
KWH_PER_KG = 33.33
"""Lower heating value of hydrogen."""
HELD = 5e-7
"""How much more than the least, relative and absolute, a later stage may leave: above the tolerance of an
integer program, below what counts. What is nothing stays nothing."""
NOT_LEAST = "conflicts: the relaxations are enough together, but less may do"
UNEXPLAINED = "no limit of a connection and no energy that must be held explains why there is no schedule"
NOT_FOUND = "it was not found what would serve the shortfalls"
WEIGHT = {"kW": 1.0, "kWh": 1.0, "kg": KWH_PER_KG}
QUANTITY = {"loading_percent": "loading", "vm_pu": "voltage"}
Terms = Sequence[tuple[IntArray, FloatArray | float]]
WAY = {
    "import_limit_kw": "import",
    "export_limit_kw": "export",
    "phase_import_limit_kw": "import on one phase",
    "unbalance_limit_kw": "difference between its phases",
    "grid_signals": "than its grid signals leave to controllable assets",
}
"""Limits of connections, one over all steps, and what more of each of them allows."""


def of_infeasible(problem: DispatchProblem, stages: Stages) -> tuple[tuple[Conflict, ...], str | None]:
    """The hard limits that contradict each other, and in words where they do not explain all.

    Uses up `stages`: bounds and costs are changed.
    """
    if problem.offers:
        # what is offered gives way to everything: only its rows would repeat limits that are to be relaxed
        problem, stages = _eased(replace(problem, offers=()), (), stages)
    declared = {(limit.assets, limit.limit) for rows in stages.program.assets for limit in rows.hard_limits}
    closed = [one for one in _out_of_reach(problem) if (one.assets, one.limit) in declared]
    if closed:
        problem, stages = _eased(problem, closed, stages)
        if stages.solve().x is not None:
            return tuple(closed), None
    hard = _hard_conflicts(problem, stages)
    return _merged(closed, hard), None if hard else UNEXPLAINED


def of_shortfalls(
    problem: DispatchProblem, schedule: Schedule, stages: Stages
) -> tuple[tuple[Conflict, ...], str | None]:
    """What keeps the needs that `schedule` leaves unmet, and overloaded import limits, from being kept.

    Applied together the relaxations leave no shortfall. Beside them, in words, what the solver's tolerances
    left open. `stages` is left as it was found.
    """
    closed = _out_of_reach(problem)
    if closed:
        problem, stages = _eased(problem, closed, stages)
    shared = SharedLimits(stages, 0 if problem.pins is None else problem.pins.past)
    try:
        found = shared.least()
    finally:
        shared.close()
    if found is None:
        return (), NOT_FOUND
    widened, x, is_least = found
    own = x[: len(stages.program.linear.cost)]
    unmet = [shortfall for rows in stages.program.assets for shortfall in rows.shortfalls(own)]
    left = unmet_needs(problem, unmet, shared.full)
    conflicts = (*closed, *(_shared(problem, schedule, one) for one in widened), *left)
    return conflicts, None if is_least else NOT_LEAST


def _out_of_reach(problem: DispatchProblem) -> tuple[Conflict, ...]:
    """What assets could not do if each had its connections to itself, without solving anything."""
    return tuple(conflict for asset in problem.assets for conflict in asset.out_of_reach(problem.time))


def _eased(
    problem: DispatchProblem, conflicts: Sequence[Conflict], stages: Stages
) -> tuple[DispatchProblem, Stages]:
    """The problem with the own limits of assets relaxed as `conflicts` say, under the same grid limits."""
    from optimizer.model import build
    from optimizer.stages import Stages

    of: dict[str, list[Conflict]] = defaultdict(list)
    for conflict in conflicts:
        of[conflict.assets[0]].append(conflict)
    assets = tuple(
        asset.relaxed(of[asset.id], problem.time) if asset.id in of else asset for asset in problem.assets
    )
    problem = replace(problem, assets=assets)
    anew = Stages(build(problem), problem.options)
    for limits in stages.limits:
        anew.add(limits)
    anew.let_yield(stages.yielding)
    anew.until = stages.until
    return problem, anew


def _merged(closed: Sequence[Conflict], hard: Sequence[Conflict]) -> tuple[Conflict, ...]:
    """One conflict for each limit of an asset that closed form and elastic program both name."""
    found = {(one.assets, one.limit): one for one in closed}
    others = []
    for one in hard:
        key = one.assets, one.limit
        if key not in found:
            others.append(one)
            continue
        other = found[key]
        found[key] = replace(
            other,
            start=min(one.start, other.start),
            end=max(one.end, other.end),
            relaxation=one.relaxation + other.relaxation,
            message=f"{other.message} {one.message}",
        )
    return (*found.values(), *others)


def _hard_conflicts(problem: DispatchProblem, stages: Stages) -> tuple[Conflict, ...]:
    """The least weighted sum of relaxations of hard limits that makes the problem feasible."""
    program, solver = stages.program, stages.solver
    stages.exclusions.reopen()
    stages.exclusions.heed_flows(False)
    declared = [*program.connections.hard_limits, *(h for rows in program.assets for h in rows.hard_limits)]
    limits = [limit for limit in declared if len(limit.columns)]
    lower, upper = program.linear.lower.copy(), program.linear.upper.copy()
    for limit in limits:
        if limit.sense > 0:
            lower[limit.columns] = -np.inf
        else:
            upper[limit.columns] = np.inf
    every = np.unique(_joined([limit.columns for limit in limits]))
    solver.set_bounds(every, lower[every], upper[every])
    elastic = Elastic(solver, limits, program.connections.throughput_kw)
    solver.set_mip_gap(0.0)
    x = elastic.least(stages)
    return () if x is None else tuple(_hard(problem, one) for one in _widened(limits, x))


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


def _widened(limits: Sequence[HardLimit], x: FloatArray) -> list[Widened]:
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
        every, bounds = _joined([limit.columns for limit in limits]), _joined([one.bounds for one in limits])
        sense = np.repeat([float(limit.sense) for limit in limits], sizes)
        allowed = _joined(
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

    def least(self, stages: Stages) -> FloatArray | None:
        """The solution with the least slacks, and with those the least beyond each limit in its steps; None
        where the solver finds nothing."""
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
        return stages.minimise(cost, feasible=True).x


def _joined(arrays: Sequence[Any]) -> Any:
    """The arrays one after the other; of none, an empty one."""
    return np.concatenate(arrays) if arrays else np.zeros(0, np.int64)


def _rows(solver: Solver, terms: Terms) -> sp.csr_array:
    """Σ value · column, one row for each position of the terms."""
    count = len(terms[0][0])
    row = np.tile(np.arange(count), len(terms))
    column = np.concatenate([columns for columns, _ in terms])
    value = np.concatenate([np.broadcast_to(value, count) for _, value in terms])
    return sp.csr_array((value, (row, column)), shape=(count, solver.columns))


class SharedLimits:
    """The connection limits of one program, widened by slacks: which of them keep needs from being met.

    After `close` the program is what it was before, but for rows and columns without effect.

    Attributes:
        full: elements of the grid whose limits keep needs from being met whatever connections carry; not
            known with integers.
    """

    def __init__(self, stages: Stages, past: int = 0) -> None:
        """What was done in the steps before `past` stays, whatever limits say."""
        connections = stages.program.connections
        self.full: tuple[str, ...] = ()
        self._stages, self._solver = stages, stages.solver
        self._limits = [one for each in connections.shared_limits if (one := each.since(past)) is not None]
        net = [np.unique(limit.columns) for limit in connections.net_limits]
        self._flows = np.concatenate(
            [connections.imports.ravel(), connections.exports.ravel(), connections.overruns, *net]
        )
        # nobody widens the border of an island
        border = connections.exchange.ravel()
        unlimited = np.full(len(self._flows) - 2 * len(border), np.inf)
        self._widest = np.concatenate([border, border, unlimited])
        self._added: list[IntArray] = []
        self._met = np.zeros(0, np.int64)
        stages.release_all()
        stages.exclusions.reopen()
        stages.exclusions.heed_flows(False)
        stages.solver.set_mip_gap(0.0)
        least = np.minimum(stages.program.linear.lower[self._flows], 0.0)
        stages.solver.set_bounds(self._flows, least, self._widest)

    def least(self) -> tuple[list[Widened], FloatArray, bool] | None:
        """The limits to widen, so that as little is unmet as without any connection limit; that solution;
        and whether no less would do. None where the solver finds nothing.

        Each stage holds what the one before found. Where the solver's tolerances leave it no solution of
        that, the one before is the answer.
        """
        unmet = self._stages.unmet()
        solution = self._stages.minimise(unmet, feasible=True)
        met = solution.x
        if met is None:
            return None
        if solution.dual is not None and not self._solver.is_integer:
            binding = self._stages.grid.binding(solution.dual)
            self.full = tuple(sorted({f"{element} ({QUANTITY[kind]})" for _, kind, element, _ in binding}))
        self._hold(unmet, met)
        elastic = Elastic(self._solver, self._limits)
        self._added += elastic.rows
        x = elastic.least(self._stages)
        if x is None:
            return _widened(self._limits, met), met, False
        return _widened(self._limits, x), x, True

    def _hold(self, unmet: FloatArray, x: FloatArray) -> None:
        """No more unmet than in `x`, and nothing of what `x` meets."""
        columns = np.flatnonzero(unmet)
        met = x[columns] <= SERVED_KWH
        self._met, columns = columns[met], columns[~met]
        self._solver.set_bounds(self._met, np.zeros(len(self._met)), np.zeros(len(self._met)))
        if len(columns):
            # so that the tolerance is one of what counts least, and not of its weight
            weights = unmet[columns] / min(1.0, float(unmet[columns].min()))
            least = float(weights @ x[columns])
            row = sp.csr_array(
                (weights, (np.zeros(len(columns), np.int64), columns)), shape=(1, self._solver.columns)
            )
            upper = np.array([least + HELD * max(1.0, least)])
            self._added.append(self._solver.add_rows("held_need", row, np.array([-np.inf]), upper))

    def close(self) -> None:
        """Put the limits back."""
        stages, linear = self._stages, self._stages.program.linear
        stages.exclusions.reopen()
        stages.exclusions.heed_flows(True)
        stages.restore_mip_gap()
        self._solver.set_bounds(self._flows, linear.lower[self._flows], linear.upper[self._flows])
        own = self._met[self._met < len(linear.cost)]
        self._solver.set_bounds(own, linear.lower[own], linear.upper[own])
        of_grid = self._met[len(own) :]
        self._solver.set_bounds(of_grid, np.zeros(len(of_grid)), np.full(len(of_grid), np.inf))
        for rows in self._added:
            self._solver.set_row_bounds(rows, np.full(len(rows), -np.inf), np.full(len(rows), np.inf))


def _hard(problem: DispatchProblem, widened: Widened) -> Conflict:
    limit, steps, relaxation = widened.limit, widened.steps, widened.relaxation
    assets = limit.assets or tuple(
        asset.id for asset in _below(problem, limit.connection) if asset.presses(limit.limit)
    )
    # a store is filled over all the time before its content is due
    stored = limit.unit in ("kWh", "kg")
    start = problem.time.instant(0 if stored else int(steps[0]))
    end = problem.time.instant(int(steps[-1]) + 1)
    span = f"from {when(start, problem.time)} to {when(end, problem.time)}"
    most = "up to " if f"{min(widened.used):.4g}" != f"{relaxation:.4g}" else ""
    until = "at" if len(limit.steps) == 1 else "until"
    if limit.limit in BORDERS:
        message = border_message(limit, assets, span, relaxation)
    elif limit.limit == "heat_dump":
        message = (
            f"asset {limit.assets[0]!r}: {span} up to {relaxation:.4g} kW of heat can go nowhere. Let it be "
            "dumped, or ease what makes it."
        )
    elif limit.assets:
        message = (
            f"asset {limit.assets[0]!r}: {limit.limit} is out of reach {until} {when(end, problem.time)} by "
            f"{relaxation:.4g} {limit.unit} with what its connections carry. Lower it, or raise the limits "
            "above it."
        )
    else:
        names = ", ".join(repr(key) for key in assets)
        message = (
            f"connection {limit.connection!r}: {span} {names or 'its assets'} must exceed {limit.limit} by "
            f"{most}{relaxation:.4g} kW. Raise the limit, or ease what they must do."
        )
    by_step = None if stored else widened.used
    return Conflict(
        assets, limit.connection, start, end, limit.limit, relaxation, limit.unit, message, by_step
    )


def _shared(problem: DispatchProblem, schedule: Schedule, widened: Widened) -> Conflict:
    """A connection limit that keeps needs from being met, with the assets that press against it."""
    limit, steps, kw = widened.limit, widened.steps, widened.relaxation
    area = _below(problem, limit.connection)
    if limit.limit == "grid_signals":
        area = [asset for asset in area if isinstance(asset, Controllable)]
    short = {shortfall.asset for shortfall in schedule.shortfalls}
    below = [
        asset
        for asset in area
        if asset.id in short or _drawn(limit.limit, asset, schedule)[steps].max() > RELAXED
    ]
    start, end = problem.time.instant(int(steps[0])), problem.time.instant(int(steps[-1]) + 1)
    names = [repr(asset.id) for asset in below if asset.id in short]
    offers = {shortfall.offer for shortfall in schedule.shortfalls if shortfall.offer is not None}
    names += [f"offer {key!r}" for key in sorted(offers) if not names]
    whose = "inflexible load" if not names else ", ".join(names[:5]) + (" and others" if names[5:] else "")
    message = (
        f"connection {limit.connection!r}: {kw:.4g} kW more {WAY[limit.limit]} between "
        f"{when(start, problem.time)} and {when(end, problem.time)} would serve {whose}. Raise "
        f"{limit.limit}, move or lower the needs, or allow the shortfall."
    )
    assets = tuple(asset.id for asset in below)
    return Conflict(assets, limit.connection, start, end, limit.limit, kw, "kW", message, widened.used)


def _drawn(limit: str, asset: Asset, schedule: Schedule) -> FloatArray:
    """How an asset adds to what the limit bounds, kW per step: not above zero where it eases it."""
    drawn = asset.drawn_kw(schedule.assets[asset.id].p_kw)
    if limit == "unbalance_limit_kw":
        return np.abs(drawn) if asset.phases != "L123" else np.zeros_like(drawn)
    return -drawn if limit == "export_limit_kw" else drawn


def _below(problem: DispatchProblem, connection: str) -> list[Asset]:
    """The assets at or below a connection."""
    below = {connection}
    for key in problem.from_roots:
        if problem.connections[key].parent in below:
            below.add(key)
    return [asset for asset in problem.assets if asset.connection in below]
