"""The linear limits of one dispatch on a grid, as they gather over the rounds.

Rows accumulate: replaced each round, two rows take turns for ever. *Stale* ones are taken back, because the
set that AC allows is not convex: they bind where AC is well inside the limit. *Surrendered* ones, which are
broken whatever is done while they cost somebody a need, yield to needs.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from energy.domain.errors import DeadlineError
from energy.domain.network import (
    BoolArray,
    FloatArray,
    GridLimits,
    GridState,
    IntArray,
    Losses,
    NodalPower,
    Quantity,
    Terminal,
)
from energy.domain.schedule import Schedule
from grid_models.linearise import LinearModel, Near, joined
from grid_models.losses import LossFlows
from optimizer import DispatchProblem
from optimizer.grid_rows import GridSlack

if TYPE_CHECKING:
    from grid_models.twin import Twin

Margin = dict[Quantity, float]

STALE: Margin = {"vm_pu": 2e-4, "loading_percent": 0.2}
"""A row that binds while AC is inside the limit by more than this forbids what is allowed."""
BINDING: Margin = {"vm_pu": 1e-6, "loading_percent": 1e-3}
"""A row binds, or is broken, from this close to its limit on: the solver's tolerance."""
PREDICTED = Near(vm_pu=-1e-5, loading_percent=-1e-2)
"""A proposal that the linear model says to be beyond a limit by more than this gets a tangent there."""
PREDICTIONS = 15
"""So often at most the linear model corrects a proposal before AC power flow sees it."""
LONG = 10_000
"""From so many steps × terminals on a solve takes long."""
LOSSES_WORTH, LOSSES_WORTH_A_LONG_SOLVE = 3e-4, 1e-3
"""Losses are predicted well enough where the error costs less than this share of what is paid and earned."""
LOSS_ERROR_KW, LOSS_ERROR = 1e-4, 1e-3
"""A square of the losses gets a tangent where it is misjudged by more: absolutely, and as a share of all."""
MARGIN_MAX: Margin = {"vm_pu": 0.002, "loading_percent": 3.0}


class Proposer(Protocol):
    """A linear problem: a `Dispatcher`, or what else obeys the limits that are added to it."""

    grid_slack: tuple[GridSlack, ...]

    def reach_mw(self, terminals: tuple[Terminal, ...]) -> tuple[FloatArray, FloatArray]: ...
    def add(self, limits: GridLimits) -> None: ...
    def renew_losses(self, steps: IntArray) -> None: ...
    def rebound(self, lower: FloatArray, upper: FloatArray) -> None: ...
    def let_yield(self, limits: BoolArray) -> None: ...
    def solve(self, *, deadline_seconds: float | None, explain: bool) -> Schedule: ...


class Cuts:
    """All rows of one dispatch, and the dispatcher that obeys them."""

    def __init__(self, problem: DispatchProblem, twin: Twin, dispatcher: Proposer) -> None:
        self._problem, self._twin = problem, twin
        self._limits = GridLimits.none(problem.terminals)
        self._column = {
            element: k for elements in (twin.buses, twin.branches) for k, element in enumerate(elements)
        }
        self._surrendered: set[tuple[int, str, int]] = set()
        self._inside = np.zeros(0)
        self._flows: LossFlows | None = None
        self._models: dict[int, LinearModel] = {}
        self._margin: Margin | None = None
        self.dispatcher = dispatcher

    def linearise(
        self,
        state: GridState,
        schedule: Schedule,
        steps: IntArray,
        *,
        losses_only: IntArray | None = None,
        margin: Margin | None = None,
        renew: bool = False,
    ) -> None:
        """Linearise at `state`, the AC solution of `schedule`: limits and losses of `steps`, tightened by
        `margin`, and the losses of the steps `losses_only`. These `renew` what is linear in the losses there,
        which else is the largest of all found: so the cost settles, but losses are a little too high."""
        p_mw = terminal_power_mw(self._problem, schedule)
        others = np.zeros(0, np.int64) if losses_only is None else np.setdiff1d(losses_only, steps)
        power = self._terminal_power(p_mw)
        # the models of all steps follow: what the next proposal breaks is foreseen from close by
        every = np.arange(self._problem.time.steps)
        tangents = [p_mw]
        if self._flows is None:
            low, high = self.dispatcher.reach_mw(self._problem.terminals)
            self._flows = self._twin.loss_flows(state, self._problem.terminals, (low, high))
            tangents += [low, high]
        flows = self._flows
        model = self._twin.linear_model(state, power, self._problem.terminals, steps=every, flows=flows)
        self._margin = margin
        self._models.update(dict.fromkeys(model.steps.tolist(), model))
        limits, lossy = model.rows(steps=steps), np.intersect1d(model.steps, np.union1d(steps, others))
        if renew:
            self.dispatcher.renew_losses(lossy)
        for at_mw in tangents:
            limits = _with_losses(limits, flows.tangents(*_every(flows, lossy), flows.flow_mw(at_mw)))
        self._add(limits)
        self._add(model.rows(steps=others, limits=False))

    def for_another(self, dispatcher: Proposer) -> Cuts:
        """The same rows, without their margins, for a dispatcher that has them already."""
        own = copy(self)
        own.dispatcher, own._models, own._surrendered = dispatcher, dict(self._models), set(self._surrendered)
        own.drop_margins()
        return own

    def drop_margins(self) -> None:
        """Rows hold for any aim; their margins were those of the last one."""
        limits, inside = self._limits, self._inside
        self._rebound(replace(limits, lower=limits.lower - inside, upper=limits.upper + inside))
        self._inside, self._margin = np.zeros(len(limits)), None

    def propose(self, remaining: Callable[[], float | None]) -> Schedule:
        """The best schedule under all rows, and under those that the linear models add to it: what they say
        it breaks or loses is put right before AC power flow is asked.

        `remaining` says how many seconds are left. Raises `DeadlineError` where none is found in time.
        """
        proposal = self.dispatcher.solve(deadline_seconds=remaining(), explain=False)
        seconds = proposal.solve_seconds
        for _ in range(PREDICTIONS):
            if proposal.status == "infeasible" or not self._add(self._predicted(proposal)):
                break
            try:
                proposal = self.dispatcher.solve(deadline_seconds=remaining(), explain=False)
            except DeadlineError:
                break
            seconds += proposal.solve_seconds
        return replace(proposal, solve_seconds=seconds)

    def _add(self, new: GridLimits) -> bool:
        """Add rows to the problem; False for none."""
        if not len(new) and not new.losses:
            return False
        inside = np.zeros(len(new))
        if self._margin is not None:
            inside = np.array([self._margin[quantity] for quantity in new.quantity])
            new = replace(new, lower=new.lower + inside, upper=new.upper - inside)
        self._limits, self._inside = self._limits + new, np.concatenate([self._inside, inside])
        self.dispatcher.add(new)
        if self._surrendered:
            self._let_yield()
        return True

    def _predicted(self, proposal: Schedule) -> GridLimits:
        """Tangents at `proposal` of what it breaks or misjudges, as the linear models see it."""
        p_mw = terminal_power_mw(self._problem, proposal)
        by_model: dict[int, tuple[LinearModel, list[int]]] = {}
        for step, model in self._models.items():
            by_model.setdefault(id(model), (model, []))[1].append(step)
        found = [
            model.rows(p_mw, near=PREDICTED, steps=np.array(sorted(steps)), losses=False)
            for model, steps in by_model.values()
        ]
        new = joined([GridLimits.none(self._problem.terminals), *found])
        return replace(new, losses=self._misjudged(p_mw, proposal))

    def _misjudged(self, p_mw: FloatArray, proposal: Schedule) -> Losses:
        """Tangents at `p_mw` of the squares that the problem's own fall short of."""
        problem, steps, flows = self._problem, self._problem.time.steps, self._flows
        assert flows is not None
        losses = self._limits.losses
        known = np.zeros((steps, len(flows.curvature)))
        np.maximum.at(known, (losses.step, losses.flow), losses.squares_mw(p_mw))
        true = flows.squares_mw(p_mw)
        short_kw = 1000 * (true - known)
        short_kw[np.setdiff1d(np.arange(steps), losses.rest_step)] = 0.0
        root = next(key for key, c in problem.connections.items() if c.parent is None)
        # with its peak charge, which counts where losses raise the peak
        price = np.abs(proposal.connections[root].price_per_mwh["total"])
        worth = price * short_kw.sum(axis=1) * problem.time.hours / 1000
        turnover = sum(abs(value) for part, value in proposal.objective.items() if part != "total")
        if worth.sum() <= (LOSSES_WORTH_A_LONG_SOLVE if p_mw.size > LONG else LOSSES_WORTH) * turnover:
            return Losses.none(p_mw.shape[1])
        allowed = np.maximum(LOSS_ERROR_KW, LOSS_ERROR * 1000 * true.sum(axis=1, keepdims=True))
        step, flow = np.nonzero(short_kw > allowed)
        return flows.tangents(step, flow, flows.flow_mw(p_mw))

    def _terminal_power(self, p_mw: FloatArray) -> NodalPower:
        terminals = self._problem.terminals
        ratio = np.array([terminal.q_mvar_per_mw for terminal in terminals])
        buses = np.array([terminal.bus for terminal in terminals], dtype=np.int64)
        return NodalPower(self._problem.time, buses, p_mw, p_mw * ratio)

    def margin(self, state: GridState, schedule: Schedule, most: Margin) -> Margin:
        """The largest error of rows in `state`, the AC solution of `schedule`: by how much an element was
        further beyond its limit than they said. Errors shrink from round to round, and the margin with them.
        It is `most` at most.
        """
        said: dict[tuple[int, str, int], float] = {}
        beyond = self._beyond(schedule) - self._inside
        for row in np.flatnonzero(np.isfinite(beyond)).tolist():
            key = self._key(row)
            said[key] = max(said.get(key, 0.0), float(beyond[row]))
        seen = dict.fromkeys(MARGIN_MAX, 0.0)
        for violation in state.violations:
            element = violation.element
            key = state.time.step_at(violation.time), element.table, element.index
            if key in said:
                error = abs(violation.value - violation.limit) - said[key]
                seen[violation.quantity] = max(seen[violation.quantity], error)
        return {quantity: min(error, most[quantity]) for quantity, error in seen.items()}

    def stale(self, state: GridState, schedule: Schedule) -> BoolArray:
        """The rows that bind in `schedule` although AC is well inside their limit, shape (rows,)."""
        limits = self._limits
        activity = self._activity(terminal_power_mw(self._problem, schedule))
        slack_below, slack_above = activity - limits.lower, limits.upper - activity
        found = np.zeros(len(limits), dtype=bool)
        for row in np.flatnonzero(np.minimum(slack_below, slack_above) < self._each(BINDING)):
            column, step = self._column[limits.element[row]], limits.step[row]
            if limits.quantity[row] == "vm_pu":
                vm_pu = state.vm_pu[step, column]
                low = slack_below[row] < slack_above[row]
                inside = vm_pu - limits.lower[row] if low else limits.upper[row] - vm_pu
            else:
                inside = limits.upper[row] - state.loading_percent[step, column]
            found[row] = inside > STALE[limits.quantity[row]]
        return found

    def take_back(self, rows: BoolArray) -> IntArray:
        """Let `rows` limit nothing any more. Returns the steps they limited."""
        limits = self._limits
        self._rebound(
            replace(
                limits,
                lower=np.where(rows, -np.inf, limits.lower),
                upper=np.where(rows, np.inf, limits.upper),
            )
        )
        return limits.step[rows]

    def surrender(self, schedule: Schedule) -> bool:
        """Where `schedule` misses a need although it breaks limits, let those yield to needs: a limit that
        stays broken anyway must not cost anybody a need. False for nothing to do."""
        broken = {
            self._key(row)
            for row in np.flatnonzero(self._beyond(schedule) - self._inside > self._each(BINDING)).tolist()
        }
        if not self._missing(schedule) or broken <= self._surrendered:
            return False
        self._surrendered |= broken
        self._let_yield()
        return True

    def ease(self, schedule: Schedule, *, secure: bool) -> bool:
        """Where `schedule` misses a need and a margin cannot be kept, or is in the way of one that is
        `secure`, give it up. False for nothing to do."""
        each = self._each(BINDING)
        tight = (self._beyond(schedule) > (-each if secure else each)) & (self._inside > 0)
        in_the_way = misses_needs(schedule) if secure else self._missing(schedule)
        if not in_the_way or not tight.any():
            return False
        back = np.where(tight, self._inside, 0.0)
        self._inside = self._inside - back
        limits = self._limits
        self._rebound(replace(limits, lower=limits.lower - back, upper=limits.upper + back))
        return True

    def _missing(self, schedule: Schedule) -> bool:
        """Whether `schedule` misses a need although it breaks a limit."""
        return misses_needs(schedule) and bool(self.dispatcher.grid_slack)

    def _beyond(self, schedule: Schedule) -> FloatArray:
        """By how much each row is broken in `schedule`, shape (rows,); below zero inside of it."""
        activity = self._activity(terminal_power_mw(self._problem, schedule))
        return np.maximum(self._limits.lower - activity, activity - self._limits.upper)

    def _let_yield(self) -> None:
        given = [self._key(row) in self._surrendered for row in range(len(self._limits))]
        self.dispatcher.let_yield(np.array(given, bool))

    def _rebound(self, limits: GridLimits) -> None:
        self._limits = limits
        self.dispatcher.rebound(limits.lower, limits.upper)

    def _key(self, row: int) -> tuple[int, str, int]:
        element = self._limits.element[row]
        return int(self._limits.step[row]), element.table, element.index

    def _activity(self, p_mw: FloatArray) -> FloatArray:
        """The value of each row when terminals draw `p_mw`."""
        limits = self._limits
        return limits.constant + np.einsum("rk,rk->r", limits.coefficients, p_mw[limits.step])

    def _each(self, by_quantity: dict[Quantity, float]) -> FloatArray:
        return np.array([by_quantity[quantity] for quantity in self._limits.quantity])


def misses_needs(schedule: Schedule) -> bool:
    """Whether some asset lacks something."""
    return any(shortfall.asset is not None for shortfall in schedule.shortfalls)


def terminal_power_mw(problem: DispatchProblem, schedule: Schedule) -> FloatArray:
    """What each terminal of `problem` draws, MW (Mvar at a reactive one), shape (steps, terminals)."""
    position = {terminal: k for k, terminal in enumerate(problem.terminals)}
    p_mw = np.zeros((problem.time.steps, len(position)))
    for asset in problem.assets:
        terminals = asset.terminals()
        drawn = asset.drawn_kw(schedule.assets[asset.id].p_kw) / 1000
        if len(terminals) == 1:
            p_mw[:, position[terminals[0]]] += drawn
        elif terminals:
            # the ratio of reactive power turns with the direction: one terminal for each
            p_mw[:, position[asset.terminal(1)]] += np.maximum(drawn, 0.0)
            p_mw[:, position[asset.terminal(-1)]] += np.minimum(drawn, 0.0)
    for asset in problem.inverters:
        q_kvar = schedule.assets[asset.id].series.get("q_kvar", 0.0)
        p_mw[:, position[asset.reactive_terminal]] += np.asarray(q_kvar) / 1000
    return p_mw


def _with_losses(limits: GridLimits, more: Losses) -> GridLimits:
    """`limits` with more of losses."""
    return replace(limits, losses=limits.losses + more)


def _every(flows: LossFlows, steps: IntArray) -> tuple[IntArray, IntArray]:
    """Every step with every flow."""
    count = len(flows.curvature)
    return np.repeat(steps, count), np.tile(np.arange(count), len(steps))
