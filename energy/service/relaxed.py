"""Conflicts on a grid: relaxations that AC power flow has seen to be enough.

As in `coupling`, linear limits propose and AC power flow disposes: what must give way is sought under the
limits that are known, the schedule that this would allow is solved AC, and the limits that it breaks join
those known. What binds although AC is well inside is taken back, so that no more gives way than must.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import ceil, floor

import numpy as np

from energy.domain.errors import DeadlineError
from energy.domain.network import GridState, Violation
from energy.domain.schedule import Conflict, Schedule
from energy.service.cuts import STALE, Cuts
from energy.service.proof import LESS, SEVERE, Point, Prover
from optimizer import Dispatcher
from optimizer.conflicts import NO_TIME, NOT_FOUND, NOT_LEAST, Named
from optimizer.unmet_needs import NEEDS

ROUNDS_MAX = 10
SETTLED = 0.999
"""A secure answer that gives way by more than this share of the one before is the last."""
GRID_ROUNDS = 3
"""So often limits of a grid that would carry all needs are sought; the least are the answer."""
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
    conflicts = tuple(replace(conflict, ac_secure=latest.secure) for conflict in conflicts)
    if any(conflict.limit in NEEDS for conflict in conflicts):
        try:
            limits = _network_limits(schedule, dispatcher, cuts, prover, at, remaining)
        except DeadlineError:
            limits = {}
        conflicts = tuple(_with_grid(conflict, limits) for conflict in conflicts)
    return replace(schedule, conflicts=conflicts, notices=(*schedule.notices, *notices))


def _with_grid(conflict: Conflict, limits: Mapping[str, float]) -> Conflict:
    """`conflict` with the limits of a grid that would carry its need, where it names one."""
    if conflict.limit not in NEEDS or not limits:
        return conflict
    values = ", ".join(f"{name} {value:g}" for name, value in limits.items())
    message = f"{conflict.message} Reinforced until it could be run with {values}, the grid would carry it."
    return replace(conflict, network_limits=limits, message=message)


def _network_limits(
    schedule: Schedule,
    dispatcher: Dispatcher,
    cuts: Cuts,
    prover: Prover,
    at: Point,
    remaining: Callable[[], float | None],
) -> dict[str, float]:
    """Limits of the network, by field, with which AC power flow carries all needs whatever connections carry;
    none where there is no such schedule, or none are needed."""
    best: dict[str, float] = {}
    relaxation = dispatcher.relaxation(schedule, of_grid=True)
    if relaxation is None:
        return best
    own, least = cuts.for_another(relaxation), np.inf
    for _ in range(GRID_ROUNDS):
        proposal = relaxation.solve(deadline_seconds=remaining())
        if proposal.status == "infeasible":
            break
        answer = prover.solved(proposal)
        stale = own.stale(answer.state, proposal)
        if answer.state.converged.all():
            limits = _reached(answer.state)
            worst = sum(abs(v.value - v.limit) / SEVERE[v.quantity] for v in _worst(answer.state).values())
            if worst < LESS * least:
                best, least = limits, worst
        own.take_back(stale)
        at = prover.solvable(answer, at.schedule)
        own.linearise(at.state, at.schedule, answer.state.violated_steps, renew=True)
    return best


def _worst(state: GridState) -> dict[str, Violation]:
    """The worst violation of each limit of the network, by its field."""
    worst: dict[str, Violation] = {}
    for violation in state.violations:
        high = violation.value > violation.limit
        voltage = "vm_max_pu" if high else "vm_min_pu"
        field = voltage if violation.quantity == "vm_pu" else "loading_max_percent"
        known = worst.get(field)
        if known is None or abs(violation.value - violation.limit) > abs(known.value - known.limit):
            worst[field] = violation
    return dict(sorted(worst.items()))


def _reached(state: GridState) -> dict[str, float]:
    """The limits of a network in which `state` is secure, where they are not those of this one."""
    found = {}
    for field, violation in _worst(state).items():
        digits = 5 if violation.quantity == "vm_pu" else 2
        rounded = ceil if violation.value > violation.limit else floor
        found[field] = rounded(violation.value * 10**digits) / 10**digits
    return found


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
    carried, smallest, least, stalled = False, np.inf, np.inf, 0
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
        named = relaxation.named(prover.root_kw(proposal, answer.state))
        total = sum(conflict.relaxation for conflict in named[0])
        settled = secure and ((not stale.any() and not len(misjudged)) or total > SETTLED * smallest)
        if secure or not carried:
            carried, smallest = secure, total if secure else np.inf
            yield _Found(named, secure, settled)
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
