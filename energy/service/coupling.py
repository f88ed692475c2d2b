"""Dispatch on a grid: linear limits propose, AC power flow disposes.

Each round solves the linear problem with all rows found so far, proves its schedule AC, and linearises
the twin anew where a limit was broken or losses were misjudged. What counts is what AC says: cost,
losses, limits. The best answer that AC allows is kept.
"""

from __future__ import annotations

import time as clock
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from energy.domain.errors import DeadlineError
from energy.domain.network import FloatArray, GridState
from energy.domain.progress import Progress, silent
from energy.domain.schedule import Schedule, Status
from energy.domain.time import format_instant
from energy.service.cuts import LONG, MARGIN_MAX, STALE, Cuts
from energy.service.grid_frontier import Aim, Candidate, frontier_on_grid
from energy.service.proof import Point, Prover
from energy.service.relaxed import explained_on_grid
from energy.service.remedies import remedies
from energy.service.safe_rule import safe_on_grid
from optimizer import Dispatcher, DispatchProblem, settle, uncontrolled
from optimizer.frontier import frontier_point

if TYPE_CHECKING:
    from grid_models.twin import Twin

ROUNDS_MAX = 10
WORTH_A_ROUND, WORTH_A_LONG_ROUND = 1e-3, 1e-2
"""A secure answer is improved as long as the linear problem promises to save this share of the cost."""
POLISHING_ROUNDS, LONG_POLISHING_ROUNDS = 2, 1
"""So many rounds at most follow a first secure answer: fewer where each takes long."""
STALLED_ROUNDS = 3
"""So many insecure rounds in a row without a gain end the search."""
NO_FRONTIER = "the deadline passed: the frontier has none of its points"


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
        self._safe: Point | None = None
        self._prover, self._dispatcher = Prover(problem, twin), Dispatcher(problem)
        self._best: Point | None = None
        self._long = problem.time.steps * len(problem.terminals) > LONG
        self._outdated = False
        self._stalled = self._rounds = 0
        self._solve_seconds = 0.0

    def run(self) -> tuple[Schedule, GridState]:
        problem = self._problem
        if self._until is not None:
            self._prove_safe_rule()
        self._progress(0.0, "AC power flow without control")
        point = self._prover.start(uncontrolled(problem))
        cuts = Cuts(problem, self._twin, self._dispatcher)
        cuts.linearise(point.state, point.schedule, np.arange(problem.time.steps))
        share = 1.0 if problem.frontier is None else 1 / (problem.frontier + 1)
        try:
            refused = self._search(cuts, point, lambda done, message: self._progress(share * done, message))
            if refused is not None:
                return self._explained(refused, cuts), self._at.state
        except DeadlineError:
            if self._best is None and self._safe is None:
                raise
            late, state = self._finished(None, "feasible")
            none = () if problem.frontier is None else (NO_FRONTIER,)
            return replace(late, notices=(*late.notices, *none)), state
        schedule, state = self._finished(cuts)
        if problem.frontier is not None:
            if self._for_now is not None:
                self._for_now(schedule)
            schedule = self._with_frontier(schedule, cuts)
        return schedule, state

    def _search(self, cuts: Cuts, point: Point, progress: Progress) -> Schedule | None:
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
                not cuts.ease(proposal, secure=answer.state.secure)
                and answer.state.secure
                and confirmed
                and not stale.any()
            ):
                break
            steps = answer.state.violated_steps
            if stale.any():
                steps = np.union1d(steps, cuts.take_back(stale))
            # the first linearisation is made far from the schedule: its error says nothing of the next
            short = bool(answer.schedule.shortfalls)
            most = STALE if short else MARGIN_MAX
            margin = cuts.margin(answer.state, proposal, most) if number > 1 else None
            point = self._prover.solvable(answer, point.schedule)
            # losses refined everywhere set everything in motion again: first security, then the cost
            refine = not confirmed and (number == 1 or answer.state.secure)
            misjudged = self._prover.misjudged(proposal, answer.state) if refine else None
            cuts.linearise(
                point.state, point.schedule, steps, losses_only=misjudged, margin=margin, renew=short
            )
        self._at = point
        return None

    def _with_frontier(self, schedule: Schedule, cuts: Cuts) -> Schedule:
        """`schedule`, the best answer, with its frontier as far as the deadline allows. The limits and losses
        that were found for it, and for one point, serve the next: they depend on no price."""
        assert self._best is not None
        assert self._problem.frontier is not None
        known, self._for_now = self._candidate(self._best), None

        def pursue(aim: Aim, progress: Progress) -> Candidate | None:
            self._pursued = self._dispatcher.pursue(emissions_first=aim.emissions_first, most_kg=aim.most_kg)
            cuts.drop_margins()
            self._search(cuts, self._at, progress)
            return None if self._best is None else self._candidate(self._best)

        points, notices = frontier_on_grid(self._problem.frontier, known, pursue, self._progress)
        return replace(
            schedule,
            frontier=points,
            solve_seconds=self._solve_seconds,
            notices=(*schedule.notices, *notices),
        )

    def _candidate(self, answer: Point) -> Candidate:
        """An answer to any aim as a point of the frontier of the problem."""
        flow = answer.schedule.connections[self._problem.root]
        schedule = settle(self._problem, answer.schedule, flow.import_kw, flow.export_kw)
        ac = _ac_document(self._twin, answer, self._rounds)
        severity, unmet_kwh, _ = answer.rank
        return Candidate(frontier_point(self._problem, schedule, ac=ac), severity, unmet_kwh)

    def _keep(self, answer: Point) -> bool:
        """Remember the best answer; says whether the search goes on."""
        best = None if self._outdated else self._best
        self._outdated = False
        if best is None or answer.rank < best.rank:
            self._best = answer
            self._tell("feasible")
        if best is None or answer.gains_on(best):
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

    def _proven(self, proposal: Schedule) -> Point:
        return self._prover.proven(proposal, self._pursued)

    def _confirmed(self, proposal: Schedule, answer: Point) -> bool:
        """Whether AC confirms what the proposal promised to cost; where needs are missed, losses that count
        against a limit must be right too."""
        short = answer.schedule.shortfalls and self._prover.metered
        if short and len(self._prover.misjudged(proposal, answer.state)):
            return False
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
            explained = self._dispatcher.with_marginal_emissions(explained, self._marginal_steps)
        if cuts is not None:
            explained = self._explained(explained, cuts)
        schedule = replace(
            explained,
            status=status or explained.status,
            bound_kind="linear",
            solve_seconds=self._solve_seconds,
            notices=(*explained.notices, *_unsolved_notices(best.state), *self._twin.notices),
            ac=_ac_document(self._twin, best, self._rounds),
        )
        return schedule, best.state

    def _explained(self, schedule: Schedule, cuts: Cuts) -> Schedule:
        return explained_on_grid(schedule, self._dispatcher, cuts, self._prover, self._at, self._remaining)

    def _remaining(self) -> float | None:
        return None if self._until is None else self._until - clock.monotonic()


def _cost(point: Point) -> float:
    return point.schedule.objective["total"]


def _turnover(point: Point) -> float:
    """The sum of what is paid and earned: what a difference in cost is measured against."""
    return sum(abs(value) for part, value in point.schedule.objective.items() if part != "total")


def _unsolved_notices(state: GridState) -> tuple[str, ...]:
    unsolved = int(np.sum(~state.converged))
    if not unsolved:
        return ()
    notice = (
        f"{unsolved} steps have no AC solution (ac.unsolved): the objective counts what the linear problem "
        "proposed for them, and their losses are unknown"
    )
    return (notice,)


def _ac_document(twin: Twin, point: Point, rounds: int) -> dict[str, Any]:
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
