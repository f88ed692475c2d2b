"""Why needs are unmet or hard limits cannot hold, and the smallest relaxation that would help.

First in closed form, asset by asset (`Asset.out_of_reach`). What is left comes from limits that assets
share: an elastic linear program in which every asset's hard limit, and every limit of a connection (import,
export, phases, unbalance, a grid operator's signals), has one slack over all its steps (Chinneck,
Feasibility and Infeasibility in Optimization, 2008, ch. 6). The weighted sum of slacks is minimised; those
above zero are the conflict. The weights are 1 per kW and per kWh, and `KWH_PER_KG` per kg.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from energy.domain.network import FloatArray, IntArray
from energy.domain.schedule import Conflict, Schedule, Shortfall
from optimizer.assets.base import Asset, Controllable, HardLimit
from optimizer.assets.charging import SERVED_KWH
from optimizer.assets.reach import when
from optimizer.islands import BORDERS, border_message
from optimizer.problem import DispatchProblem
from optimizer.solver import Solver

if TYPE_CHECKING:
    from optimizer.stages import Stages

RELAXED = 1e-6
"""A slack below this is the solver's tolerance."""
DECIMALS = 6
"""Relaxations are rounded to this many: further digits are the solver's."""
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
    return _merged((*closed, *hard)), None if hard else UNEXPLAINED


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
    left = [
        _unexplained(problem, shortfall, shared.full)
        for rows in stages.program.assets
        for shortfall in rows.shortfalls(x[: len(stages.program.linear.cost)])
    ]
    conflicts = (*closed, *(_shared(problem, schedule, *one) for one in widened), *left)
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
    assets = tuple(asset.relaxed(of[asset.id]) if asset.id in of else asset for asset in problem.assets)
    problem = replace(problem, assets=assets)
    anew = Stages(build(problem), problem.options)
    for limits in stages.limits:
        anew.add(limits)
    anew.until = stages.until
    return problem, anew


def _merged(conflicts: Sequence[Conflict]) -> tuple[Conflict, ...]:
    """One conflict per asset, connection and limit where closed form and elastic program name the same."""
    found: dict[tuple[object, ...], Conflict] = {}
    for one in conflicts:
        key = (
            one.assets,
            one.connection,
            one.limit,
            *((one.start, one.end) if one.limit not in WAY else ()),
        )
        other = found.get(key)
        if other is not None:
            relaxation = one.relaxation + other.relaxation
            one = replace(other, relaxation=relaxation, message=f"{other.message} {one.message}")
        found[key] = one
    return tuple(found.values())


def _hard_conflicts(problem: DispatchProblem, stages: Stages) -> tuple[Conflict, ...]:
    """The least weighted sum of relaxations of hard limits that makes the problem feasible."""
    program, solver = stages.program, stages.solver
    stages.exclusions.reopen()
    stages.exclusions.heed_flows(False)
    declared = [*program.connections.hard_limits, *(h for rows in program.assets for h in rows.hard_limits)]
    limits = [limit for limit in declared if len(limit.columns)]
    slacks = solver.add_columns("relaxation", np.zeros(len(limits)), np.full(len(limits), np.inf))
    lower, upper = program.linear.lower.copy(), program.linear.upper.copy()
    for limit, slack in zip(limits, slacks, strict=True):
        _soften(solver, limit, int(slack), lower, upper, program.connections.throughput_kw)
    cost = np.zeros(solver.columns)
    cost[slacks] = [WEIGHT[limit.unit] for limit in limits]
    solver.set_mip_gap(0.0)
    solution = stages.minimise(cost, feasible=True)
    if solution.x is None:
        return ()
    conflicts = []
    for limit, slack in zip(limits, slacks, strict=True):
        relaxation = round(float(solution.x[slack]), DECIMALS)
        if relaxation > RELAXED:
            stated = limit.bounds if limit.allowed is None else limit.bounds - limit.allowed
            beyond = limit.sense * (stated - solution.x[limit.columns]) > RELAXED
            conflicts.append(_hard(problem, limit, limit.steps[beyond], relaxation))
    return tuple(conflicts)


def _soften(
    solver: Solver, limit: HardLimit, slack: int, lower: FloatArray, upper: FloatArray, most_kw: float
) -> None:
    """Turn the bounds of a limit into rows with a slack; no flow is ever above `most_kw`."""
    if limit.sense > 0:
        lower[limit.columns] = -np.inf
    else:
        upper[limit.columns] = np.inf
    solver.set_bounds(limit.columns, lower[limit.columns], upper[limit.columns])
    infinite = np.full(len(limit.columns), np.inf)
    terms = [(limit.columns, 1.0), (np.full(len(limit.columns), slack), float(limit.sense))]
    if limit.sense > 0:
        solver.add_rows("relaxed_limit", _rows(solver, terms), limit.bounds, infinite)
        return
    over = np.zeros(len(limit.columns), bool) if limit.allowed is None else limit.allowed > 0
    plain = [(columns[~over], value) for columns, value in terms]
    solver.add_rows("relaxed_limit", _rows(solver, plain), -infinite[~over], limit.bounds[~over])
    if limit.allowed is not None and over.any():
        # a raised limit takes the overrun's place, it does not add to it: one of the two holds
        count, allowed = int(over.sum()), limit.allowed[over]
        raised = solver.add_columns("raised", np.zeros(count), np.ones(count), integer=True)
        kept = [(limit.columns[over], 1.0), (raised, -most_kw)]
        solver.add_rows("kept_overrun", _rows(solver, kept), -infinite[over], limit.bounds[over])
        either: Terms = [*((columns[over], value) for columns, value in terms), (raised, allowed)]
        solver.add_rows("relaxed_overrun", _rows(solver, either), -infinite[over], limit.bounds[over])


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

    def least(self) -> tuple[list[tuple[HardLimit, IntArray, float]], FloatArray, bool] | None:
        """Each limit to widen, in which steps and by how many kW, so that as little is unmet as without any
        connection limit; that solution; and whether no less would do. None where the solver finds nothing.

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
        slack, excess = self._widen()
        widened = self._minimised(self._cost(slack, WEIGHT["kW"]))
        if widened is None:
            return self._beyond(met), met, False
        most = widened[slack]
        most = np.where(most > RELAXED, most * (1 + HELD) + HELD, 0.0)
        self._solver.set_bounds(slack, np.zeros(len(slack)), most)
        # where a limit is wider than it need be in a step, nothing says so yet
        narrow = self._minimised(self._cost(excess, 1.0))
        x = widened if narrow is None else narrow
        return self._beyond(x), x, True

    def _widen(self) -> tuple[IntArray, IntArray]:
        """Columns of how far each limit is widened, and of what is beyond it in each step."""
        solver, count = self._solver, len(self._limits)
        sizes = [len(limit.columns) for limit in self._limits]
        every = np.concatenate([np.zeros(0, np.int64), *(limit.columns for limit in self._limits)])
        slack = solver.add_columns("limit_slack", np.zeros(count), np.full(count, np.inf))
        excess = solver.add_columns("limit_excess", np.zeros(len(every)), np.full(len(every), np.inf))
        bounds = np.concatenate([np.zeros(0), *(limit.bounds for limit in self._limits)])
        below = np.full(len(every), -np.inf)
        beyond = _rows(solver, [(every, 1.0), (excess, -1.0)])
        self._added.append(solver.add_rows("limit_excess", beyond, below, bounds))
        within = _rows(solver, [(excess, 1.0), (np.repeat(slack, sizes), -1.0)])
        self._added.append(solver.add_rows("limit_slack", within, below, np.zeros(len(every))))
        return slack, excess

    def _beyond(self, x: FloatArray) -> list[tuple[HardLimit, IntArray, float]]:
        """The limits that a solution exceeds, where and by how much."""
        found = []
        for limit in self._limits:
            beyond = x[limit.columns] - limit.bounds
            if beyond.max(initial=0.0) > RELAXED:
                found.append((limit, limit.steps[beyond > RELAXED], round(float(beyond.max()), DECIMALS)))
        return found

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

    def _cost(self, columns: IntArray, each: float) -> FloatArray:
        cost = np.zeros(self._solver.columns)
        cost[columns] = each
        return cost

    def _minimised(self, cost: FloatArray) -> FloatArray | None:
        return self._stages.minimise(cost, feasible=True).x

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


def _hard(problem: DispatchProblem, limit: HardLimit, steps: IntArray, relaxation: float) -> Conflict:
    assets = limit.assets or tuple(
        asset.id for asset in _below(problem, limit.connection) if asset.presses(limit.limit)
    )
    # a store is filled over all the time before its content is due
    first = 0 if limit.unit in ("kWh", "kg") else int(steps.min())
    start, end = problem.time.instant(first), problem.time.instant(int(steps.max()) + 1)
    span = f"from {when(start, problem.time)} to {when(end, problem.time)}"
    if limit.limit in BORDERS:
        message = border_message(limit, assets, span, relaxation)
    elif limit.limit == "heat_dump":
        message = (
            f"asset {limit.assets[0]!r}: {span} up to {relaxation:.4g} kW of heat can go nowhere. Let it be "
            "dumped, or ease what makes it."
        )
    elif limit.assets:
        message = (
            f"asset {limit.assets[0]!r}: {limit.limit} is out of reach by {relaxation:.4g} {limit.unit} with "
            "what its connections carry. Lower it, or raise the limits above it."
        )
    else:
        names = ", ".join(repr(key) for key in assets)
        message = (
            f"connection {limit.connection!r}: {span} {names or 'its assets'} must exceed {limit.limit} by "
            f"{relaxation:.4g} kW. Raise the limit, or ease what they must do."
        )
    return Conflict(assets, limit.connection, start, end, limit.limit, relaxation, limit.unit, message)


def _shared(
    problem: DispatchProblem, schedule: Schedule, limit: HardLimit, steps: IntArray, kw: float
) -> Conflict:
    """A connection limit that keeps needs from being met, with the assets that press against it."""
    area = _below(problem, limit.connection)
    if limit.limit == "grid_signals":
        area = [asset for asset in area if isinstance(asset, Controllable)]
    short = {shortfall.asset for shortfall in schedule.shortfalls}
    below = [
        asset
        for asset in area
        if asset.id in short or _drawn(limit.limit, asset, schedule)[steps].max() > RELAXED
    ]
    start, end = problem.time.instant(int(steps.min())), problem.time.instant(int(steps.max()) + 1)
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
    return Conflict(assets, limit.connection, start, end, limit.limit, kw, "kW", message)


def _drawn(limit: str, asset: Asset, schedule: Schedule) -> FloatArray:
    """How an asset adds to what the limit bounds, kW per step: not above zero where it eases it."""
    drawn = asset.drawn_kw(schedule.assets[asset.id].p_kw)
    if limit == "unbalance_limit_kw":
        return np.abs(drawn) if asset.phases != "L123" else np.zeros_like(drawn)
    return -drawn if limit == "export_limit_kw" else drawn


def _unexplained(problem: DispatchProblem, shortfall: Shortfall, full: Sequence[str]) -> Conflict:
    """A need, or a sold reserve, that no wider connection would meet and that has no closed form."""
    sold = next((offer for offer in problem.offers if offer.id == shortfall.offer), None)
    if sold is not None:
        return sold.conflict(shortfall, problem.assets, problem.time)
    own = [asset for asset in problem.assets if asset.id == shortfall.asset]
    named = f"asset {shortfall.asset!r}" if own else f"connection {shortfall.connection!r}"
    amount, unit = shortfall.amount_kwh, "kWh"
    if shortfall.unit is not None and shortfall.amount is not None:
        amount, unit = shortfall.amount, shortfall.unit
    within = "" if problem.network is None else ", within the limits of the grid"
    if full:
        within += f" at {', '.join(full[:5])}" + (" and others" if full[5:] else "")
    why = f"whatever its connections could carry{within}"
    if shortfall.kind == "unserved_load":
        returning = _returning(problem, own[0], shortfall)
        why = (
            "with what its island has" if returning is None else f"while {returning!r} returns from an island"
        )
    return Conflict(
        tuple(asset.id for asset in own),
        own[0].connection if own else shortfall.connection,
        problem.time.start,
        max(shortfall.at, problem.time.start),
        shortfall.kind,
        amount,
        unit,
        f"{named}: {shortfall.kind} at {when(shortfall.at, problem.time)} is short of "
        f"{amount:.4g} {unit} {why}. Lower the need, or allow the shortfall.",
    )


def _returning(problem: DispatchProblem, asset: Asset, shortfall: Shortfall) -> str | None:
    """The connection at or above an asset that carries little then because it was an island before."""
    step = round(problem.time.position(shortfall.at))
    key: str | None = asset.connection
    while key is not None and step < problem.time.steps:
        if 0 < problem.islands.exchange_kw[key][step] < np.inf:
            return key
        key = problem.connections[key].parent
    return None


def _below(problem: DispatchProblem, connection: str) -> list[Asset]:
    """The assets at or below a connection."""
    below = {connection}
    for key in problem.from_roots:
        if problem.connections[key].parent in below:
            below.add(key)
    return [asset for asset in problem.assets if asset.connection in below]
