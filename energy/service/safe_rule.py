"""The safe rule on a grid: `optimizer.fallback`, asked for less where AC power flow does not carry it.

In the steps that break a limit, charging is halved where power is drawn and feeding where it is fed, until
both are at nothing; then load is shed as far as loads allow. Steps in which charging was refused push it
into later ones, so the whole day is proven again each time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import numpy as np

from energy.domain.network import GridState, NodalPower
from energy.domain.schedule import Schedule
from optimizer import DispatchProblem
from optimizer.fallback import fallback

ROUNDS = 12
LEAST = 0.2
"""A share below this becomes nothing."""


class Proven(Protocol):
    """A schedule and its AC solution, ranked: the lower, the better."""

    @property
    def schedule(self) -> Schedule: ...
    @property
    def power(self) -> NodalPower: ...
    @property
    def state(self) -> GridState: ...
    @property
    def rank(self) -> tuple[float, float, float]: ...


Answer = TypeVar("Answer", bound=Proven)


def safe_on_grid(
    problem: DispatchProblem, prove: Callable[[Schedule], Answer], more_time: Callable[[], bool]
) -> Answer:
    """The best answer of the rule that was found while there was time; at least the first."""
    steps = problem.time.steps
    charging, feeding, shedding = np.ones(steps), np.ones(steps), np.zeros(steps)
    best = answer = prove(fallback(problem))
    for _ in range(ROUNDS):
        if answer.state.secure or not more_time():
            break
        drawing = answer.power.p_mw.sum(axis=1) > 0
        lacking = np.zeros((2, steps), bool)
        lacking[0, ~answer.state.converged & drawing] = True
        lacking[1, ~answer.state.converged & ~drawing] = True
        for violation in answer.state.violations:
            step = answer.state.time.step_at(violation.time)
            high = violation.quantity == "vm_pu" and violation.value > violation.limit
            low = violation.quantity == "vm_pu" and not high
            fed = high or (not low and not drawing[step])
            lacking[int(fed), step] = True
        less_drawn, less_fed = lacking
        # what is exhausted leaves only the other side, and then shedding
        less_fed = less_fed | (less_drawn & (charging == 0) & (shedding == 1))
        shedding[less_drawn & (charging == 0)] = 1.0
        for share, wanted in ((charging, less_drawn), (feeding, less_fed)):
            share[wanted] = np.where(share[wanted] / 2 < LEAST, 0.0, share[wanted] / 2)
        answer = prove(
            fallback(problem, charging_share=charging, feeding_share=feeding, shedding_share=shedding)
        )
        if answer.rank < best.rank:
            best = answer
    return best
