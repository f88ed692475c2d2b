"""What must give way in a problem on a grid, as a dispatcher of the schedules that it would allow.

Whether a grid carries them is for its twin to say: limits that they break are added as to a `Dispatcher`, and
what must give way is sought again.
"""

from __future__ import annotations

import time as clock

from energy.domain.network import BoolArray, FloatArray, GridLimits, IntArray, Terminal
from energy.domain.schedule import Schedule
from optimizer.collection import no_collection
from optimizer.conflicts import GivingWay, HardLimits, Named, NetworkLimits, SharedLimits
from optimizer.grid_rows import GridSlack
from optimizer.outcome import no_schedule, outcome
from optimizer.problem import DispatchProblem
from optimizer.stages import Stages


class Relaxation:
    """The least relaxation of one problem, in a program that nothing else uses.

    `grid_slack` lists the linear limits that the last schedule breaks.
    """

    def __init__(
        self, problem: DispatchProblem, schedule: Schedule, stages: Stages, *, of_grid: bool = False
    ) -> None:
        """`schedule` is the answer to `problem` that is infeasible, which uses up `stages`, or leaves needs
        unmet: then they are copied. `of_grid` lets limits of the grid give way instead."""
        self._limits: GivingWay
        with no_collection():
            if schedule.status == "infeasible":
                self._limits = HardLimits(problem, stages)
            else:
                kind = NetworkLimits if of_grid else SharedLimits
                self._limits = kind(problem, schedule, stages, apart=True)
        self.grid_slack: tuple[GridSlack, ...] = ()

    def reach_mw(self, terminals: tuple[Terminal, ...]) -> tuple[FloatArray, FloatArray]:
        """See `Dispatcher.reach_mw`."""
        return self._limits.stages.grid.reach_mw(terminals)

    def add(self, limits: GridLimits) -> None:
        """See `Dispatcher.add`."""
        self._limits.stages.add(limits)

    def renew_losses(self, steps: IntArray) -> None:
        """See `Dispatcher.renew_losses`."""
        self._limits.stages.grid.renew_losses(steps)

    def rebound(self, lower: FloatArray, upper: FloatArray) -> None:
        """See `Dispatcher.rebound`."""
        self._limits.stages.rebound(lower, upper)

    def let_yield(self, limits: BoolArray) -> None:
        """See `Dispatcher.let_yield`."""
        self._limits.stages.let_yield(limits)

    def solve(self, *, deadline_seconds: float | None = None, explain: bool = False) -> Schedule:
        """A schedule that the least relaxation allows; `infeasible` where none is found. It has no prices,
        and reasons are given to nobody. Raises `DeadlineError`."""
        del explain
        started, stages = clock.monotonic(), self._limits.stages
        stages.until = None if deadline_seconds is None else started + deadline_seconds
        x = self._limits.least()
        if x is None:
            return no_schedule(self._limits.problem)
        self.grid_slack, program = stages.grid.slacks(x), stages.program
        with no_collection():
            return outcome(
                program, program.parts[0], x, None, status="feasible", lossy_steps=stages.grid.lossy_steps
            )

    def named(self, root_kw: FloatArray) -> Named:
        """What gives way in the last schedule, and in words what that leaves open; `root_kw` is what the root
        draws then (+) or feeds in (−), shape (steps,)."""
        return self._limits.named(root_kw)
