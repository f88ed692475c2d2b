"""Marginal emissions: what a kWh more drawn at a place makes the system emit, once all is dispatched anew.

The derivative of the emissions with the optimal dispatch (dynamic locational marginal emissions, Fuentes
Valenzuela et al., IEEE Trans. Power Systems 2024, arXiv 2302.14282). The dispatch is a linear program, its
integers fixed: in an optimal basis B its emissions rise by e_B B⁻¹ per unit of the bounds of its rows,
where e are what columns emit. That holds as far as B stays optimal; where a kWh more or less would change
it, the basis is that of the program with `MOVED_KW` more or less there. Storage takes part: what it serves
now is recharged at another time, or is lacking then.

Exchange with the grid above counts at that grid's marginal intensity: an export spares what an import causes.
Of schedules that cost the same, the answer's is the one that is moved.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from energy.domain.network import BoolArray, FloatArray, IntArray
from energy.domain.schedule import MarginalEmissions, MarginalSide, Schedule
from optimizer.problem import DispatchProblem
from optimizer.solver import Basis
from optimizer.stages import Stages

MOVED_KW = 1e-3
"""So much more or less is drawn where the basis tells only of one side."""
SAME = 1e-6
"""Rates that differ by less than this, absolutely in g/kWh and relatively, are one."""


def with_marginal_emissions(schedule: Schedule, stages: Stages, x: FloatArray) -> Schedule:
    """`schedule`, whose columns are `x`, with the marginal emissions of its connections and priced buses.

    They are not estimated (NaN) where a root has no marginal intensity, nor where needs are unserved: which
    of them would give way is no matter of cost. Raises `DeadlineError`.
    """
    (part,) = stages.program.parts
    places = _places(stages, schedule.buses)
    why = _unknown(part.problem, schedule)
    if why is not None:
        return _not_estimated(schedule, places, part.problem.time.steps, why)
    return _with(schedule, _Derivative(stages, x, places).both_ways())


def with_marginal_emissions_of_more(
    schedule: Schedule, stages: Stages, x: FloatArray, steps: int
) -> Schedule:
    """`schedule` with the marginal emissions of its connections, and of every bus with an asset, in the first
    `steps` steps; the others are not estimated.

    Where a kWh more and one less differ it is that of more; less is asked only where no more can be served.
    `x` are the columns of the last solution of `stages`; `schedule` may be another answer to its problem.
    Raises `DeadlineError`.
    """
    (part,) = stages.program.parts
    places = _places(stages, None)
    why = _unknown(part.problem, schedule)
    if why is not None:
        return _not_estimated(schedule, places, part.problem.time.steps, why)
    return _with(schedule, _Derivative(stages, x, places).of_more(steps))


def _unknown(problem: DispatchProblem, schedule: Schedule) -> str | None:
    without = [
        key
        for key, connection in problem.connections.items()
        if connection.parent is None and connection.marginal_carbon_g_per_kwh is None
    ]
    if without:
        return f"marginal_carbon_g_per_kwh of {', '.join(without)} is missing"
    return "needs are unserved" if schedule.shortfalls else None


def _not_estimated(schedule: Schedule, places: Collection[str | int], steps: int, why: str) -> Schedule:
    nowhere = dict.fromkeys(places, MarginalEmissions(np.full(steps, np.nan), (None,) * steps))
    notices = (*schedule.notices, f"marginal_g_per_kwh is not estimated: {why}")
    return _with(replace(schedule, notices=notices), nowhere)


def _places(stages: Stages, buses: Collection[int] | None) -> dict[str | int, sp.csr_array]:
    """What a kW more at each connection and at `buses` (None: at all of them) moves the bounds of rows by,
    shape (steps, rows)."""
    (part,) = stages.program.parts
    problem, steps = part.problem, part.problem.time.steps
    of_grid = stages.grid.moved()

    def balance(key: str) -> sp.csr_array:
        rows = part.connections.balance_rows(key)
        return sp.csr_array((np.ones(steps), (np.arange(steps), rows)), shape=(steps, stages.solver.rows))

    places: dict[str | int, sp.csr_array] = {}
    for key, connection in problem.connections.items():
        moved = balance(key)
        if connection.parent is None:
            root = moved
        elif isinstance(connection.bus, int) and connection.bus in of_grid:
            moved = sp.csr_array(moved + of_grid[connection.bus])
        places[key] = moved
    return places | {bus: sp.csr_array(root + of_grid[bus]) for bus in (of_grid if buses is None else buses)}


class _Derivative:
    """The derivative of one solved program, by place and step."""

    def __init__(self, stages: Stages, x: FloatArray, places: Mapping[str | int, sp.csr_array]) -> None:
        (part,) = stages.program.parts
        self._stages, self._solver, self._x = stages, stages.solver, x
        self._steps, self._places = part.problem.time.steps, tuple(places)
        self._bending = stages.grid.bending
        # row place · steps + step
        self._moved = sp.csr_array(sp.vstack(list(places.values()), format="csr"))
        weights = np.zeros(stages.solver.columns)
        weights[: len(stages.program.linear.cost)] = part.emissions(at_margin=True)
        self._weights = weights * 1000 / part.problem.time.hours

    def both_ways(self) -> dict[str | int, MarginalEmissions]:
        """Of a kWh more, and whether it is the same of one less."""
        return self._found(self._steps, self._of_both)

    def of_more(self, steps: int) -> dict[str | int, MarginalEmissions]:
        """Of a kWh more in the first `steps` steps; of one less only where no more can be served."""
        return self._found(steps, self._of_more)

    def _found(
        self, steps: int, sides: Callable[[_Step], tuple[FloatArray, list[MarginalSide | None]]]
    ) -> dict[str | int, MarginalEmissions]:
        grams = np.full((len(self._places), self._steps), np.nan)
        side: list[list[MarginalSide | None]] = [[None] * self._steps for _ in self._places]
        with self._solver.integers_fixed(self._x):
            # from its last basis, to have it factorised; with integers for the first time
            self._solver.run(self._stages.remaining(), feasible=True)
            # all of them first: a run makes an end of the basis
            basis = self._solver.basis
            rates = basis.rates(self._weights)
            for step in [self._step(number, basis, rates) for number in range(steps)]:
                grams[:, step.number], of_step = sides(step)
                for of_place, one in zip(side, of_step, strict=True):
                    of_place[step.number] = one
        return {place: MarginalEmissions(grams[k], tuple(side[k])) for k, place in enumerate(self._places)}

    def _step(self, number: int, basis: Basis, rates: FloatArray) -> _Step:
        moved = self._moved[number :: self._steps]
        rows = np.unique(moved.indices).astype(np.int64)
        kw = moved[:, rows].toarray()
        kinked = ~np.isin(rows, self._bending)
        more, less = basis.hold(rows[kinked], MOVED_KW * kw[:, kinked], apart_from=self._bending)
        return _Step(number, rows, kw, kinked, kw @ rates[rows], more, less)

    def _of_both(self, step: _Step) -> tuple[FloatArray, list[MarginalSide | None]]:
        more, less = self._rates(step, 1), self._rates(step, -1)
        return np.where(np.isnan(more), less, more), list(map(_side, more.tolist(), less.tolist()))

    def _of_more(self, step: _Step) -> tuple[FloatArray, list[MarginalSide | None]]:
        grams = self._rates(step, 1)
        unserved = np.isnan(grams)
        if unserved.any():
            grams = np.where(unserved, self._rates(step, -1), grams)
        side: list[MarginalSide | None] = [
            None if unknown else "less" if full else "both" if alike else "more"
            for unknown, full, alike in zip(
                np.isnan(grams).tolist(), unserved.tolist(), (step.more & step.less).tolist(), strict=True
            )
        ]
        return grams, side

    def _rates(self, step: _Step, sign: int) -> FloatArray:
        """g/kWh of a change of that sign at each place, shape (places,); NaN where it cannot be."""
        grams = np.where(step.more if sign > 0 else step.less, step.g_per_kwh, np.nan)
        left = np.flatnonzero(np.isnan(grams))
        while len(left):
            by = np.zeros(self._solver.rows)
            by[step.rows] = sign * MOVED_KW * step.kw[left[0]]
            with self._solver.rows_moved(by):
                if self._solver.run(self._stages.remaining()).status != "optimal":
                    left = left[1:]
                    continue
                basis = self._solver.basis
                # one basis tells of every place to which it still holds from here
                further = sign * MOVED_KW * (step.kw[left] - step.kw[left[0]])
                rows, kinked = step.rows[step.kinked], step.kinked
                holds, _ = basis.hold(rows, further[:, kinked], apart_from=self._bending)
                holds[0] = True
                rates = basis.rates(self._weights)[step.rows]
                grams[left[holds]] = step.kw[left[holds]] @ rates
                left = left[~holds]
        return grams


@dataclass(frozen=True)
class _Step:
    """What a kW more at each place moves `rows` by in one step, `kw`, shape (places, rows), which of the rows
    have kinks, what the present basis says a kWh emits, g/kWh, and whether that basis holds of more and of
    less, shape (places,) each."""

    number: int
    rows: IntArray
    kw: FloatArray
    kinked: BoolArray
    g_per_kwh: FloatArray
    more: BoolArray
    less: BoolArray


def _side(more: float, less: float) -> MarginalSide | None:
    if np.isnan(more):
        return None if np.isnan(less) else "less"
    return "both" if abs(more - less) <= SAME * max(1.0, abs(more)) else "more"


def _with(schedule: Schedule, found: Mapping[str | int, MarginalEmissions]) -> Schedule:
    connections = {
        key: replace(connection, marginal=found[key]) for key, connection in schedule.connections.items()
    }
    buses = {place: marginal for place, marginal in found.items() if isinstance(place, int)}
    return replace(schedule, connections=connections, marginal_at_buses=buses)
