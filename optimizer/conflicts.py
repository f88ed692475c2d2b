"""Why needs are unmet or hard limits cannot hold, and the smallest relaxation that would help.

First in closed form, asset by asset (`Asset.out_of_reach`). What is left comes from limits that assets
share: an elastic program (`optimizer.elastic`) in which every asset's hard limit, and every limit of a
connection (import, export, phases, unbalance, a grid operator's signals), may give way. Those that do are the
conflict. Limits of a grid hold throughout: `least` is asked again when more of them are known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
import scipy.sparse as sp

from energy.domain.network import FloatArray, IntArray
from energy.domain.schedule import Conflict, Schedule
from optimizer.assets.base import Asset, Controllable
from optimizer.assets.charging import SERVED_KWH
from optimizer.assets.reach import when
from optimizer.elastic import HELD, RELAXED, Elastic, Widened, joined, least, least_highest, widened
from optimizer.islands import BORDERS, border_message
from optimizer.problem import DispatchProblem
from optimizer.unmet_needs import DECIMALS, unmet_needs

if TYPE_CHECKING:
    from optimizer.stages import Stages

NOT_LEAST = "conflicts: the relaxations are enough together, but less may do"
UNEXPLAINED = "no limit of a connection and no energy that must be held explains why there is no schedule"
NO_TIME = "the deadline passed before it was known what would serve the shortfalls"
NOT_FOUND = "it was not found what would serve the shortfalls"
QUANTITY = {"loading_percent": "loading", "vm_pu": "voltage"}
WAY = {
    "import_limit_kw": "import",
    "export_limit_kw": "export",
    "phase_import_limit_kw": "import on one phase",
    "unbalance_limit_kw": "difference between its phases",
    "grid_signals": "than its grid signals leave to controllable assets",
}
"""Limits of connections, one over all steps, and what more of each of them allows."""

Named = tuple[tuple[Conflict, ...], str | None]
"""Conflicts, and in words what they leave open."""


class GivingWay(Protocol):
    """Limits of one program that give way as little as they can.

    Attributes:
        problem, stages: the problem with its assets' own limits relaxed as `named` says, and its program.
    """

    problem: DispatchProblem
    stages: Stages

    def least(self) -> FloatArray | None:
        """A solution with the least relaxation, under the limits of the grid that are known by now; None
        where the solver finds nothing."""

    def named(self, root_kw: FloatArray | None = None) -> Named:
        """What gives way in the last solution; `root_kw` is what the root draws then (+) or feeds in (−),
        shape (steps,), where that is known better than from the solution."""


def of_infeasible(problem: DispatchProblem, stages: Stages) -> Named:
    """The hard limits that contradict each other. Uses up `stages`: bounds and costs are changed."""
    limits = HardLimits(problem, stages)
    limits.least()
    return limits.named()


def of_shortfalls(problem: DispatchProblem, schedule: Schedule, stages: Stages) -> Named:
    """What keeps the needs that `schedule` leaves unmet, and overloaded import limits, from being kept.

    Applied together the relaxations leave no shortfall. `stages` is left as it was found.
    """
    limits = SharedLimits(problem, schedule, stages)
    try:
        limits.least()
        return limits.named()
    finally:
        limits.close()


class HardLimits:
    """The hard limits of one program, of assets and connections, where they contradict each other."""

    def __init__(self, problem: DispatchProblem, stages: Stages) -> None:
        """Uses up `stages`: bounds and costs are changed."""
        if problem.offers:
            # what is offered gives way to everything: its rows would only repeat limits to be relaxed
            problem, stages = eased(replace(problem, offers=()), (), stages)
        own = {(limit.assets, limit.limit) for rows in stages.program.assets for limit in rows.hard_limits}
        self._closed = [one for one in _out_of_reach(problem) if (one.assets, one.limit) in own]
        if self._closed:
            problem, stages = eased(problem, self._closed, stages)
        self.problem, self.stages = problem, stages
        program = stages.program
        of_assets = (limit for rows in program.assets for limit in rows.hard_limits)
        declared = (*program.connections.hard_limits, *of_assets)
        self._limits = [limit for limit in declared if len(limit.columns)]
        self._elastic: Elastic | None = None
        self._widened: list[Widened] = []

    def least(self) -> FloatArray | None:
        """See `GivingWay`; limits of the grid are broken only where they are broken whatever gives way."""
        grid = self.stages.grid
        if self._elastic is None:
            x = self.stages.solve().x if self._closed else None
            if x is not None and not grid.slacks(x):
                return x
            self._elastic = self._lifted()
        self._elastic.release(self.stages.solver)
        grid.release_slack()
        if grid.some:
            within = least(self.stages, self.stages.grid_slack()).x
            if within is None:
                return None
            grid.hold_slack(within)
        x = self._elastic.least(self.stages)
        self._widened = [] if x is None else widened(self._limits, x)
        return x

    def named(self, root_kw: FloatArray | None = None) -> Named:
        """See `GivingWay`. No hard limit is one of the root's import, which the grid's losses add to."""
        del root_kw
        found = _merged(self._closed, [_hard(self.problem, one) for one in self._widened])
        return found, None if found else UNEXPLAINED

    def _lifted(self) -> Elastic:
        """The limits as rows that give way, in the place of the bounds of columns."""
        stages, program, solver = self.stages, self.stages.program, self.stages.solver
        stages.release_all()
        stages.exclusions.reopen()
        stages.exclusions.heed_flows(False)
        lower, upper = program.linear.lower.copy(), program.linear.upper.copy()
        for limit in self._limits:
            if limit.sense > 0:
                lower[limit.columns] = -np.inf
            else:
                upper[limit.columns] = np.inf
        every = np.unique(joined([limit.columns for limit in self._limits]))
        solver.set_bounds(every, lower[every], upper[every])
        solver.set_mip_gap(0.0)
        return Elastic(solver, self._limits, program.connections.throughput_kw)


class SharedLimits:
    """The connection limits of one program, widened by slacks: which of them keep needs from being met."""

    def __init__(
        self, problem: DispatchProblem, schedule: Schedule, stages: Stages, *, apart: bool = False
    ) -> None:
        """`schedule` is the answer to `problem` that leaves needs unmet. What stands `apart` from `stages`
        works on a program of its own."""
        self._closed = _out_of_reach(problem)
        if self._closed or apart:
            problem, stages = eased(problem, self._closed, stages)
        self.problem, self.stages = problem, stages
        self._schedule, self._solver = schedule, stages.solver
        connections = stages.program.connections
        # what was done in the past stays, whatever limits say
        past = 0 if problem.pins is None else problem.pins.past
        self._limits = [one for each in connections.shared_limits if (one := each.since(past)) is not None]
        net = [np.unique(limit.columns) for limit in connections.net_limits]
        self._flows = np.concatenate(
            [connections.imports.ravel(), connections.exports.ravel(), connections.overruns, *net]
        )
        # nobody widens the border of an island
        border = connections.exchange.ravel()
        unlimited = np.full(len(self._flows) - 2 * len(border), np.inf)
        self._widest = np.concatenate([border, border, unlimited])
        self._elastic: Elastic | None = None
        self._held: list[IntArray] = []
        self._met = np.zeros(0, np.int64)
        self._full: tuple[str, ...] = ()
        self._found: tuple[list[Widened], FloatArray, bool] | None = None
        stages.release_all()
        stages.exclusions.reopen()
        stages.exclusions.heed_flows(False)
        stages.solver.set_mip_gap(0.0)

    def least(self) -> FloatArray | None:
        """See `GivingWay`: as little is unmet as without any connection limit.

        Each stage holds what the one before found. Where the solver's tolerances leave it no solution of
        that, the one before is the answer.
        """
        self._lift()
        unmet = self.stages.unmet()
        solution = least(self.stages, unmet.copy())
        met = solution.x
        if met is None:
            self._found = None
            return None
        if solution.dual is not None and not self._solver.is_integer:
            binding = self.stages.grid.binding(solution.dual)
            self._full = tuple(sorted({f"{element} ({QUANTITY[kind]})" for _, kind, element, _ in binding}))
        self._hold(unmet, met)
        if self._elastic is None:
            self._elastic = Elastic(self._solver, self._limits)
        x = self._elastic.least(self.stages)
        is_least = x is not None
        x = met if x is None else x
        self._found = widened(self._limits, x), x, is_least
        return x

    def named(self, root_kw: FloatArray | None = None) -> Named:
        """See `GivingWay`; the own limits of assets come first, last what nothing serves."""
        if self._found is None:
            return (), NOT_FOUND
        wider, x, is_least = self._found
        if root_kw is not None:
            wider = [one for each in wider if (one := self._metered(each, root_kw)) is not None]
        own = x[: len(self.stages.program.linear.cost)]
        unmet = [shortfall for rows in self.stages.program.assets for shortfall in rows.shortfalls(own)]
        shared = (_shared(self.problem, self._schedule, one) for one in wider)
        conflicts = (*self._closed, *shared, *unmet_needs(self.problem, unmet, self._full))
        return conflicts, None if is_least else NOT_LEAST

    def _metered(self, given: Widened, root_kw: FloatArray) -> Widened | None:
        """A limit of the root as `root_kw` exceeds it; None where it does not. Others as they are."""
        limit, root = given.limit, self.problem.root
        sign = {"import_limit_kw": 1.0, "export_limit_kw": -1.0}.get(limit.limit, 0.0)
        if limit.connection != root or not sign:
            return given
        stated = self.problem.connections[root].limit(limit.limit, len(root_kw))
        excess: FloatArray = np.maximum(sign * root_kw - stated, 0.0).round(DECIMALS)
        return replace(given, by_step=excess) if excess.any() else None

    def _lift(self) -> None:
        """Let flows be as large as it takes, and hold nothing of what a solution before met."""
        self._release()
        if self._elastic is not None:
            self._elastic.release(self._solver)
        least = np.minimum(self.stages.program.linear.lower[self._flows], 0.0)
        self._solver.set_bounds(self._flows, least, self._widest)

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
            self._held.append(self._solver.add_rows("held_need", row, np.array([-np.inf]), upper))

    def _release(self) -> None:
        """Hold no longer what was met."""
        linear = self.stages.program.linear
        own = self._met[self._met < len(linear.cost)]
        self._solver.set_bounds(own, linear.lower[own], linear.upper[own])
        of_grid = self._met[len(own) :]
        self._solver.set_bounds(of_grid, np.zeros(len(of_grid)), np.full(len(of_grid), np.inf))
        self._met = np.zeros(0, np.int64)
        self._free(self._held)
        self._held = []

    def _free(self, every: list[IntArray]) -> None:
        for rows in every:
            self._solver.set_row_bounds(rows, np.full(len(rows), -np.inf), np.full(len(rows), np.inf))

    def close(self) -> None:
        """Put the limits back: the program is what it was before, but for rows and columns without effect."""
        stages, linear = self.stages, self.stages.program.linear
        self._release()
        if self._elastic is not None:
            self._free(self._elastic.rows)
        stages.exclusions.reopen()
        stages.exclusions.heed_flows(True)
        stages.restore_mip_gap()
        self._solver.set_bounds(self._flows, linear.lower[self._flows], linear.upper[self._flows])


class NetworkLimits(SharedLimits):
    """The limits of the grid of one program, widened alike at all its elements: what keeps needs from being
    met whatever connections carry."""

    def least(self) -> FloatArray | None:
        """A solution that leaves as little unmet as without any limit of a grid or a connection, with the
        least highest overload, deviations of voltage counting 10 % for 0.01 pu."""
        self._lift()
        unmet = self.stages.unmet() - self.stages.grid_slack()
        met = least(self.stages, unmet.copy()).x
        if met is None:
            return None
        self._hold(unmet, met)
        x, rows = least_highest(self.stages, list(self.stages.grid.slack_columns.values()))
        self._held.append(rows)
        return met if x is None else x


def _out_of_reach(problem: DispatchProblem) -> tuple[Conflict, ...]:
    """What assets could not do if each had its connections to itself, without solving anything."""
    return tuple(conflict for asset in problem.assets for conflict in asset.out_of_reach(problem.time))


def eased(
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


def _hard(problem: DispatchProblem, given: Widened) -> Conflict:
    limit, steps, relaxation = given.limit, given.steps, given.relaxation
    assets = limit.assets or tuple(
        asset.id for asset in _below(problem, limit.connection) if asset.presses(limit.limit)
    )
    # a store is filled over all the time before its content is due
    stored = limit.unit in ("kWh", "kg")
    start = problem.time.instant(0 if stored else int(steps[0]))
    end = problem.time.instant(int(steps[-1]) + 1)
    span = f"from {when(start, problem.time)} to {when(end, problem.time)}"
    most = "up to " if f"{min(given.used):.4g}" != f"{relaxation:.4g}" else ""
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
    by_step = None if stored else given.used
    return Conflict(
        assets, limit.connection, start, end, limit.limit, relaxation, limit.unit, message, by_step
    )


def _shared(problem: DispatchProblem, schedule: Schedule, given: Widened) -> Conflict:
    """A connection limit that keeps needs from being met, with the assets that press against it."""
    limit, steps, kw = given.limit, given.steps, given.relaxation
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
    return Conflict(assets, limit.connection, start, end, limit.limit, kw, "kW", message, given.used)


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
