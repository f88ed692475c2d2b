"""Dispatch on a grid: linear limits propose, AC power flow disposes.

Each round solves the linear problem with all rows found so far, proves its schedule AC, and linearises
the twin anew where a limit was broken or losses were misjudged. What counts is what AC says: cost,
losses, limits. The best answer that AC allows is kept.
"""

from __future__ import annotations

import time as clock
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from energy.domain.errors import DeadlineError
from energy.domain.network import FloatArray, GridState, IntArray, NodalPower
from energy.domain.progress import Progress, silent
from energy.domain.schedule import AssetSchedule, Schedule, Status
from energy.domain.time import format_instant
from energy.service.cuts import LONG, Cuts
from energy.service.grid_frontier import Aim, Candidate, frontier_on_grid
from energy.service.remedies import remedies
from energy.service.safe_rule import safe_on_grid
from optimizer import DispatchProblem, settle, uncontrolled
from optimizer.assets.load import Load
from optimizer.frontier import frontier_point

if TYPE_CHECKING:
    from grid_models.twin import Twin

ROUNDS_MAX = 10
STARTS = tuple(np.linspace(1.0, 0.0, 9).tolist())
"""Shares of uncontrolled power tried for the first linearisation; the largest that limits allow is it."""
BACKING_OFF = (0.5, 0.25, 0.125, 0.0)
"""Shares of the way from a solved schedule to one that AC cannot solve, tried in this order."""
LOSS_TOLERANCE_KW, LOSS_TOLERANCE = 1e-4, 1e-3
"""Losses of a step are linearised anew where they miss AC by more: absolutely, and as a share of them."""
WORTH_A_ROUND, WORTH_A_LONG_ROUND = 1e-3, 1e-2
"""A secure answer is improved as long as the linear problem promises to save this share of the cost."""
POLISHING_ROUNDS, LONG_POLISHING_ROUNDS = 2, 1
"""So many rounds at most follow a first secure answer: fewer where each takes long."""
LESS_SEVERE = 0.98
"""An insecure answer has gained on the best so far where its severity is below this share of it."""
STALLED_ROUNDS = 3
"""So many insecure rounds in a row without a gain end the search."""
SEVERE = {"vm_pu": 0.01, "loading_percent": 10.0}
NO_FRONTIER = "the deadline passed: the frontier has none of its points"
UNSOLVED = 1e3
"""The severity of a step without an AC solution."""


def dispatch_on_grid(
    problem: DispatchProblem,
    twin: Twin,
    *,
    deadline: float | None = None,
    progress: Progress = silent,
    for_now: Callable[[Schedule], None] | None = None,
    marginal_steps: int = 0,
) -> tuple[Schedule, GridState]:
    """The best schedule of `problem` that AC power flow allows on `twin`, and its AC solution.

    The buses of `problem` must be resolved. `deadline` is in seconds from now; without one the
    problem's own counts. The schedule carries ``ac``; where no round was secure it is the least insecure
    one, with its violations. An infeasible problem gives its conflicts and the uncontrolled state.

    With a deadline the safe rule is proven first; it is the answer, ``fallback``, where no schedule is
    found in time, or none that is secure while the rule is. `for_now` is given every answer that is better
    than those before.

    The answer tells in its first `marginal_steps` steps what a kWh more emits at every bus with an asset.
    """
    return _Loop(problem, twin, deadline, progress, for_now, marginal_steps).run()


@dataclass(frozen=True)
class _Point:
    """A schedule and its AC solution."""

    schedule: Schedule
    power: NodalPower
    state: GridState

    @cached_property
    def severity(self) -> float:
        """How far from secure; 0 is secure."""
        return float(_severity(self.state).sum())

    @property
    def rank(self) -> tuple[float, float, float]:
        """The lower, the better: security first, then needs, then cost."""
        unmet = sum(shortfall.amount_kwh for shortfall in self.schedule.shortfalls)
        return round(self.severity, 6), round(unmet, 3), self.schedule.objective["total"]


class _Loop:
    """One dispatch on one grid."""

    def __init__(
        self,
        problem: DispatchProblem,
        twin: Twin,
        deadline: float | None,
        progress: Progress,
        for_now: Callable[[Schedule], None] | None = None,
        marginal_steps: int = 0,
    ) -> None:
        if deadline is None and problem.options.deadline is not None:
            deadline = problem.options.deadline.total_seconds()
        self._until = None if deadline is None else clock.monotonic() + deadline
        self._problem, self._twin, self._progress, self._for_now = problem, twin, progress, for_now
        self._marginal_steps = marginal_steps
        self._pursued = problem
        self._safe: _Point | None = None
        self._root = next(key for key, c in problem.connections.items() if c.parent is None)
        self._best: _Point | None = None
        self._long = problem.time.steps * len(problem.terminals) > LONG
        self._outdated = False
        self._stalled = self._rounds = 0
        self._solve_seconds = 0.0

    def run(self) -> tuple[Schedule, GridState]:
        problem = self._problem
        if self._until is not None:
            self._prove_safe_rule()
        self._progress(0.0, "AC power flow without control")
        point = self._start(uncontrolled(problem))
        cuts = Cuts(problem, self._twin)
        cuts.linearise(point.state, point.schedule, np.arange(problem.time.steps))
        share = 1.0 if problem.frontier is None else 1 / (problem.frontier + 1)
        try:
            refused = self._search(cuts, point, lambda done, message: self._progress(share * done, message))
        except DeadlineError:
            if self._best is None and self._safe is None:
                raise
            late, state = self._finished(None, "feasible")
            none = () if problem.frontier is None else (NO_FRONTIER,)
            return replace(late, notices=(*late.notices, *none)), state
        if refused is not None:
            return refused, self._at.state
        schedule, state = self._finished(cuts)
        if problem.frontier is not None:
            if self._for_now is not None:
                self._for_now(schedule)
            schedule = self._with_frontier(schedule, cuts)
        return schedule, state

    def _search(self, cuts: Cuts, point: _Point, progress: Progress) -> Schedule | None:
        """Rounds until AC confirms what `cuts` propose, or nothing is gained; the first limits are taken at
        `point`. Returns the proposal that is infeasible, if there is one. Raises `DeadlineError`."""
        self._best, self._outdated, self._stalled = None, False, 0
        for number in range(1, ROUNDS_MAX + 1):
            self._rounds, self._at = number - 1, point
            progress(number / (ROUNDS_MAX + 1), f"dispatch and AC power flow, round {number}")
            proposal = cuts.propose(self._remaining)
            self._solve_seconds += proposal.solve_seconds
            if proposal.status == "infeasible":
                return proposal
            self._rounds = number
            answer = self._proven(proposal)
            gaining = self._keep(answer)
            stale, confirmed = cuts.stale(answer.state, proposal), self._confirmed(proposal, answer)
            if cuts.surrender(proposal):
                # what was best so far had paid for a limit that cannot be kept: the next answer replaces it
                self._outdated, stale = True, np.zeros(0, dtype=bool)
            elif not gaining or (
                not cuts.ease(proposal) and answer.state.secure and confirmed and not stale.any()
            ):
                break
            steps = answer.state.violated_steps
            if stale.any():
                steps = np.union1d(steps, cuts.take_back(stale))
            # the first linearisation is made far from the schedule: its error says nothing of the next
            margin = cuts.margin(answer.state, proposal) if number > 1 else None
            point = self._solvable(answer, point.schedule)
            # losses refined everywhere set everything in motion again: first security, then the cost
            refine = not confirmed and (number == 1 or answer.state.secure)
            misjudged = self._misjudged(proposal, answer.state) if refine else None
            cuts.linearise(point.state, point.schedule, steps, losses_only=misjudged, margin=margin)
        self._at = point
        return None

    def _with_frontier(self, schedule: Schedule, cuts: Cuts) -> Schedule:
        """`schedule`, the best answer, with its frontier as far as the deadline allows. The limits and losses
        that were found for it, and for one point, serve the next: they depend on no price."""
        assert self._best is not None
        assert self._problem.frontier is not None
        known, self._for_now = self._candidate(self._best), None

        def pursue(aim: Aim, progress: Progress) -> Candidate | None:
            self._pursued = cuts.pursue(emissions_first=aim.emissions_first, most_kg=aim.most_kg)
            self._search(cuts, self._at, progress)
            return None if self._best is None else self._candidate(self._best)

        points, notices = frontier_on_grid(self._problem.frontier, known, pursue, self._progress)
        return replace(
            schedule,
            frontier=points,
            solve_seconds=self._solve_seconds,
            notices=(*schedule.notices, *notices),
        )

    def _candidate(self, answer: _Point) -> Candidate:
        """An answer to any aim as a point of the frontier of the problem."""
        flow = answer.schedule.connections[self._root]
        schedule = settle(self._problem, answer.schedule, flow.import_kw, flow.export_kw)
        ac = _ac_document(self._twin, answer, self._rounds)
        severity, unmet_kwh, _ = answer.rank
        return Candidate(frontier_point(self._problem, schedule, ac=ac), severity, unmet_kwh)

    def _keep(self, answer: _Point) -> bool:
        """Remember the best answer; says whether the search goes on."""
        best = None if self._outdated else self._best
        self._outdated = False
        if best is None or answer.rank < best.rank:
            self._best = answer
            self._tell("feasible")
        if best is None or answer.severity < LESS_SEVERE * best.severity:
            self._stalled = 0
            return True
        self._stalled += 1
        polishing = LONG_POLISHING_ROUNDS if self._long else POLISHING_ROUNDS
        return self._stalled < (STALLED_ROUNDS if best.severity else polishing)

    def _prove_safe_rule(self) -> None:
        """Have an answer at hand before anything that takes long; a quarter of the time is for it."""
        self._progress(0.0, "AC power flow of the safe rule")
        enough = clock.monotonic() + (self._remaining() or 0.0) / 4
        self._safe = safe_on_grid(self._problem, self._proven, lambda: clock.monotonic() < enough)
        self._tell("fallback")

    def _tell(self, status: Status) -> None:
        if self._for_now is not None:
            self._for_now(self._finished(None, status)[0])

    def _confirmed(self, proposal: Schedule, answer: _Point) -> bool:
        """Whether AC confirms what the proposal promised to cost."""
        worth = WORTH_A_LONG_ROUND if self._long else WORTH_A_ROUND
        return _cost(answer) - proposal.objective["total"] <= worth * _turnover(answer)

    def _finished(self, cuts: Cuts | None, status: Status | None = None) -> tuple[Schedule, GridState]:
        best, safe = self._best, self._safe
        if best is None or (safe is not None and safe.state.secure and not best.state.secure):
            best, cuts, status = safe, None, "fallback"
        assert best is not None
        explained = best.schedule
        if cuts is not None and self._marginal_steps:
            # of the last linear problem, which holds all rows: also where an earlier answer is the best
            explained = cuts.dispatcher.with_marginal_emissions(explained, self._marginal_steps)
        if cuts is not None:
            explained = cuts.dispatcher.explained(explained)
        schedule = replace(
            explained,
            status=status or explained.status,
            bound_kind="linear",
            solve_seconds=self._solve_seconds,
            notices=(*explained.notices, *_unsolved_notices(best.state), *self._twin.notices),
            ac=_ac_document(self._twin, best, self._rounds),
        )
        return schedule, best.state

    def _remaining(self) -> float | None:
        return None if self._until is None else self._until - clock.monotonic()

    def _solved(self, schedule: Schedule) -> _Point:
        power = self._problem.nodal_power(schedule)
        return _Point(schedule, power, self._twin.solve(power))

    def _proven(self, proposal: Schedule) -> _Point:
        """`proposal` with the power, cost and shortfalls at the root that AC finds."""
        point = self._solved(proposal)
        flow = proposal.connections[self._root]
        root_kw = self._root_kw(point.state)
        solved = np.isfinite(root_kw)
        settled = settle(
            self._pursued,
            proposal,
            np.where(solved, np.clip(root_kw, 0.0, None), flow.import_kw),
            np.where(solved, np.clip(-root_kw, 0.0, None), flow.export_kw),
        )
        return replace(point, schedule=settled)

    def _misjudged(self, proposal: Schedule, state: GridState) -> IntArray:
        """The steps whose losses the linear problem had wrong."""
        flow = proposal.connections[self._root]
        error_kw = np.abs(self._root_kw(state) - (flow.import_kw - flow.export_kw))
        allowed = np.maximum(LOSS_TOLERANCE_KW, LOSS_TOLERANCE * 1000 * state.losses_mw)
        with np.errstate(invalid="ignore"):
            return np.flatnonzero(error_kw > allowed)

    @staticmethod
    def _root_kw(state: GridState) -> FloatArray:
        """What the root draws from upstream, shape (steps,); NaN where AC has no solution."""
        return 1000 * state.slack_p_mw.sum(axis=1)

    def _start(self, uncontrolled: Schedule) -> _Point:
        """Where the first rows are taken: without control, each step as far from idle as limits allow.

        Far beyond a limit a linearisation is worth little: it forbids what AC allows.
        """
        idle = self._idle(uncontrolled)
        share = np.zeros(self._problem.time.steps)
        least = np.full(self._problem.time.steps, np.inf)
        for closer in STARTS:
            state = self._solved(_between(idle, uncontrolled, np.full(len(share), closer))).state
            severity = _severity(state)
            share = np.where(severity < least - 1e-9, closer, share)
            least = np.minimum(severity, least)
        return self._solved(_between(idle, uncontrolled, share))

    def _solvable(self, point: _Point, anchor: Schedule) -> _Point:
        """`point`, drawn back towards the solvable `anchor` in the steps that AC could not solve."""
        share = np.ones(self._problem.time.steps)
        wanted = point.schedule
        for closer in BACKING_OFF:
            unsolved = ~point.state.converged
            if not unsolved.any():
                break
            share[unsolved] = closer
            point = self._solved(_between(anchor, wanted, share))
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


def _cost(point: _Point) -> float:
    return point.schedule.objective["total"]


def _turnover(point: _Point) -> float:
    """The sum of what is paid and earned: what a difference in cost is measured against."""
    return sum(abs(value) for part, value in point.schedule.objective.items() if part != "total")


def _severity(state: GridState) -> FloatArray:
    """How far each step is from secure, shape (steps,): 0.01 pu or 10 % beyond a limit is one unit."""
    severity = np.where(state.converged, 0.0, UNSOLVED)
    for violation in state.violations:
        excess = abs(violation.value - violation.limit) / SEVERE[violation.quantity]
        severity[state.time.step_at(violation.time)] += excess
    return severity


def _between(anchor: Schedule, wanted: Schedule, share: FloatArray) -> Schedule:
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


def _unsolved_notices(state: GridState) -> tuple[str, ...]:
    unsolved = int(np.sum(~state.converged))
    if not unsolved:
        return ()
    notice = (
        f"{unsolved} steps have no AC solution (ac.unsolved): the objective counts what the linear problem "
        "proposed for them, and their losses are unknown"
    )
    return (notice,)


def _ac_document(twin: Twin, point: _Point, rounds: int) -> dict[str, Any]:
    """The ``ac`` of a schedule."""
    state = point.state

    def extreme(values: FloatArray, of: Callable[[FloatArray], Any]) -> float | None:
        finite = values[np.isfinite(values)]
        return float(of(finite)) if len(finite) else None

    document: dict[str, Any] = {
        "secure": state.secure,
        "rounds": rounds,
        "vm_min_pu": extreme(state.vm_pu, np.min),
        "vm_max_pu": extreme(state.vm_pu, np.max),
        "loading_max_percent": extreme(state.loading_percent, np.max),
        "losses_kwh": (
            float(state.losses_mw.sum()) * 1000 * state.time.hours if state.converged.all() else None
        ),
        "violations": [
            {**violation.document(), "remedy": remedy}
            for violation, remedy in zip(state.violations, remedies(twin, state, point.power), strict=True)
        ],
    }
    if not state.converged.all():
        document["unsolved"] = [
            format_instant(state.time.instant(step)) for step in np.flatnonzero(~state.converged).tolist()
        ]
    return document
