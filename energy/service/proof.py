"""AC power flow of schedules on a grid: what it carries, how far from secure, and what it loses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from energy.domain.network import FloatArray, GridState, IntArray, NodalPower
from energy.domain.schedule import AssetSchedule, Schedule
from optimizer import DispatchProblem, settle
from optimizer.assets.load import Load

if TYPE_CHECKING:
    from grid_models.twin import Twin

STARTS = tuple(np.linspace(1.0, 0.0, 9).tolist())
"""Shares of uncontrolled power tried for the first linearisation; the largest that limits allow is it."""
BACKING_OFF = (0.5, 0.25, 0.125, 0.0)
"""Shares of the way from a solved schedule to one that AC cannot solve, tried in this order."""
LOSS_TOLERANCE_KW, LOSS_TOLERANCE = 1e-4, 1e-3
"""Losses of a step are linearised anew where they miss AC by more: absolutely, and as a share of them."""
AT_A_LIMIT = 0.01
"""The share of this allowed where the root is at its limit: an error there is an overrun or a need."""
SEVERE = {"vm_pu": 0.01, "loading_percent": 10.0}
LESS = 0.98
"""An answer gains on another where its severity, or what a secure one leaves unmet, is below this share."""
UNSOLVED = 1e3
"""The severity of a step without an AC solution."""


@dataclass(frozen=True)
class Point:
    """A schedule and its AC solution."""

    schedule: Schedule
    power: NodalPower
    state: GridState

    @cached_property
    def severity(self) -> float:
        """How far from secure; 0 is secure."""
        return float(severity_of(self.state).sum())

    @cached_property
    def unmet_kwh(self) -> float:
        """What is short in all."""
        return sum(shortfall.amount_kwh for shortfall in self.schedule.shortfalls)

    @property
    def rank(self) -> tuple[float, float, float]:
        """The lower, the better: security first, then needs, then cost."""
        return round(self.severity, 6), round(self.unmet_kwh, 3), self.schedule.objective["total"]

    def gains_on(self, other: Point) -> bool:
        """Whether it is clearly less severe than `other`, or as secure and leaves clearly less unmet."""
        if max(self.severity, other.severity) > 0:
            return self.severity < LESS * other.severity
        return self.rank < other.rank and self.unmet_kwh < LESS * other.unmet_kwh


class Prover:
    """The AC power flow of one problem on one grid."""

    def __init__(self, problem: DispatchProblem, twin: Twin) -> None:
        self._problem, self._twin, self._root = problem, twin, problem.root

    @cached_property
    def metered(self) -> bool:
        """Whether what the grid loses counts against a limit."""
        return any(np.isfinite(limit).any() for limit in self._limits_kw)

    @cached_property
    def _limits_kw(self) -> tuple[FloatArray, FloatArray]:
        """What the root may draw and feed in, shape (steps,) each; infinite for no limit."""
        root, steps = self._problem.connections[self._root], self._problem.time.steps
        return root.limit("import_limit_kw", steps), root.limit("export_limit_kw", steps)

    def solved(self, schedule: Schedule) -> Point:
        """`schedule` and the AC solution of its powers."""
        power = self._problem.nodal_power(schedule)
        return Point(schedule, power, self._twin.solve(power))

    def proven(self, proposal: Schedule, pursued: DispatchProblem | None = None) -> Point:
        """`proposal` with the power, cost and shortfalls at the root that AC finds; cost is that of the
        problem `pursued`, which differs in its objective."""
        point = self.solved(proposal)
        root_kw = self.root_kw(proposal, point.state)
        problem = self._problem if pursued is None else pursued
        settled = settle(problem, proposal, np.clip(root_kw, 0.0, None), np.clip(-root_kw, 0.0, None))
        return replace(point, schedule=settled)

    def root_kw(self, proposal: Schedule, state: GridState) -> FloatArray:
        """What the root draws, shape (steps,): as `state` has it, and `proposal` where AC has no solution."""
        flow, drawn = proposal.connections[self._root], _root_kw(state)
        return np.where(np.isfinite(drawn), drawn, flow.import_kw - flow.export_kw)

    def misjudged(self, proposal: Schedule, state: GridState) -> IntArray:
        """The steps whose losses the linear problem had wrong."""
        flow = proposal.connections[self._root]
        drawn_kw, (most_kw, most_fed_kw) = _root_kw(state), self._limits_kw
        error_kw = np.abs(drawn_kw - (flow.import_kw - flow.export_kw))
        allowed = np.maximum(LOSS_TOLERANCE_KW, LOSS_TOLERANCE * 1000 * state.losses_mw)
        with np.errstate(invalid="ignore"):
            at_limit = (drawn_kw > most_kw - allowed) | (-drawn_kw > most_fed_kw - allowed)
            return np.flatnonzero(error_kw > np.where(at_limit, AT_A_LIMIT * allowed, allowed))

    def start(self, uncontrolled: Schedule) -> Point:
        """Where the first rows are taken: without control, each step as far from idle as limits allow.

        Far beyond a limit a linearisation is worth little: it forbids what AC allows.
        """
        idle = self._idle(uncontrolled)
        share = np.zeros(self._problem.time.steps)
        least = np.full(self._problem.time.steps, np.inf)
        for closer in STARTS:
            state = self.solved(between(idle, uncontrolled, np.full(len(share), closer))).state
            severity = severity_of(state)
            share = np.where(severity < least - 1e-9, closer, share)
            least = np.minimum(severity, least)
        return self.solved(between(idle, uncontrolled, share))

    def solvable(self, point: Point, anchor: Schedule) -> Point:
        """`point`, drawn back towards the solvable `anchor` in the steps that AC could not solve."""
        share = np.ones(self._problem.time.steps)
        wanted = point.schedule
        for closer in BACKING_OFF:
            unsolved = ~point.state.converged
            if not unsolved.any():
                break
            share[unsolved] = closer
            point = self.solved(between(anchor, wanted, share))
        return point

    def _idle(self, schedule: Schedule) -> Schedule:
        """`schedule` with every asset but the loads at zero: the least a grid can be asked to carry."""
        idle = np.zeros(self._problem.time.steps)
        loads = {asset.id for asset in self._problem.assets if isinstance(asset, Load)}
        return replace(
            schedule,
            assets={
                key: asset if key in loads else AssetSchedule(idle) for key, asset in schedule.assets.items()
            },
        )


def _root_kw(state: GridState) -> FloatArray:
    """What the root draws from upstream, shape (steps,); NaN where AC has no solution."""
    return 1000 * state.slack_p_mw.sum(axis=1)


def severity_of(state: GridState) -> FloatArray:
    """How far each step is from secure, shape (steps,): 0.01 pu or 10 % beyond a limit is one unit."""
    severity = np.where(state.converged, 0.0, UNSOLVED)
    for violation in state.violations:
        excess = abs(violation.value - violation.limit) / SEVERE[violation.quantity]
        severity[state.time.step_at(violation.time)] += excess
    return severity


def between(anchor: Schedule, wanted: Schedule, share: FloatArray) -> Schedule:
    """Powers that lie `share` (shape (steps,)) of the way from `anchor` to `wanted`."""
    return replace(
        wanted,
        assets={
            key: AssetSchedule(
                _mixed(anchor.assets[key].p_kw, asset.p_kw, share),
                {
                    name: _mixed(np.asarray(anchor.assets[key].series.get(name, 0.0)), values, share)
                    for name, values in asset.series.items()
                    if name == "q_kvar"
                },
            )
            for key, asset in wanted.assets.items()
        },
    )


def _mixed(anchor: FloatArray, wanted: FloatArray, share: FloatArray) -> FloatArray:
    return anchor + share * (wanted - anchor)
