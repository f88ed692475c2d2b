"""Conflicts on a grid: relaxations that AC power flow has seen to be enough.

As in `coupling`, linear limits propose and AC power flow disposes: what must give way is sought under the
limits that are known, the schedule that this would allow is solved AC, and the limits that it breaks join
those known. What binds although AC is well inside is taken back, so that no more gives way than must.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from energy.domain.errors import DeadlineError
from energy.domain.schedule import Schedule
from energy.service.cuts import STALE, Cuts
from energy.service.proof import LESS, Point, Prover
from optimizer import Dispatcher
from optimizer.conflicts import NO_TIME, NOT_FOUND, NOT_LEAST, Named

ROUNDS_MAX = 10
STALLED_ROUNDS = 3
"""So many rounds in a row that break limits no less than one before end the search."""
UNPROVEN = "AC power flow has not confirmed that the relaxations of the conflicts are enough"


def explained_on_grid(
    schedule: Schedule,
    dispatcher: Dispatcher,
    cuts: Cuts,
    prover: Prover,
    at: Point,
    remaining: Callable[[], float | None],
) -> Schedule:
    """`schedule`, the answer of `dispatcher`, with what keeps it from being feasible or its shortfalls from
    being served.

    The search starts from the rows of `cuts` and their linearisation `at`. ``ac_secure`` of a conflict says
    whether AC power flow carries a schedule that all relaxations together allow. `remaining` says how many
    seconds are left; raises `DeadlineError` where there is no schedule and they leave no conflict.
    """
    latest: _Found | None = None
    try:
        for each in _rounds(schedule, dispatcher, cuts, prover, at, remaining):
            latest = each
    except DeadlineError:
        if latest is None and schedule.status == "infeasible":
            raise
        if latest is None:
            return replace(schedule, notices=(*schedule.notices, NO_TIME))
    if latest is None:
        return schedule
    conflicts, open_question = latest.named
    notices = [] if open_question is None else [open_question]
    if conflicts and not (latest.secure and latest.settled):
        notices.append(NOT_LEAST if latest.secure else UNPROVEN)
    return replace(
        schedule,
        conflicts=tuple(replace(conflict, ac_secure=latest.secure) for conflict in conflicts),
        notices=(*schedule.notices, *notices),
    )


@dataclass(frozen=True)
class _Found:
    """What must give way by one round: whether AC power flow says it is enough, and that no less would be."""

    named: Named
    secure: bool
    settled: bool


def _rounds(
    schedule: Schedule,
    dispatcher: Dispatcher,
    cuts: Cuts,
    prover: Prover,
    at: Point,
    remaining: Callable[[], float | None],
) -> Iterator[_Found]:
    """What must give way, better known from round to round."""
    relaxation = dispatcher.relaxation(schedule)
    if relaxation is None:
        return
    own = cuts.for_another(relaxation)
    carried, least, stalled = False, np.inf, 0
    for number in range(ROUNDS_MAX):
        proposal = own.propose(remaining)
        if proposal.status == "infeasible":
            if number == 0:
                yield _Found(((), NOT_FOUND), False, True)
            return
        answer = prover.solved(proposal)
        stale = own.stale(answer.state, proposal)
        misjudged = prover.misjudged(proposal, answer.state)[: None if prover.metered else 0]
        secure = answer.state.secure
        settled = secure and not stale.any() and not len(misjudged)
        if secure or not carried:
            carried = secure
            yield _Found(relaxation.named(prover.root_kw(proposal, answer.state)), secure, settled)
        stalled = 0 if secure or answer.severity < LESS * least else stalled + 1
        least = min(least, answer.severity)
        if settled or stalled == STALLED_ROUNDS:
            return
        steps = answer.state.violated_steps
        if stale.any():
            steps = np.union1d(steps, own.take_back(stale))
        at = prover.solvable(answer, at.schedule)
        margin = own.margin(answer.state, proposal, STALE)
        own.linearise(at.state, at.schedule, steps, losses_only=misjudged, margin=margin, renew=True)
