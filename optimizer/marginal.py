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

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from energy.domain.network import FloatArray
from energy.domain.schedule import MarginalEmissions, MarginalSide, Schedule
from optimizer.problem import DispatchProblem
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
    problem = part.problem
    why = _unknown(problem, schedule)
    if why is not None:
        none = MarginalEmissions(np.full(problem.time.steps, np.nan), (None,) * problem.time.steps)
        nowhere: dict[str | int, MarginalEmissions] = dict.fromkeys(schedule.connections, none)
        nowhere.update(dict.fromkeys(schedule.buses, none))
        notices = (*schedule.notices, f"marginal_g_per_kwh is not estimated: {why}")
        return _with(replace(schedule, notices=notices), nowhere)
    weights = np.zeros(stages.solver.columns)
    weights[: len(stages.program.linear.cost)] = part.emissions(at_margin=True)
    places = _places(schedule, stages)
    return _with(schedule, _found(stages, x, weights * 1000 / problem.time.hours, places))


def _unknown(problem: DispatchProblem, schedule: Schedule) -> str | None:
    without = [
        key
        for key, connection in problem.connections.items()
        if connection.parent is None and connection.marginal_carbon_g_per_kwh is None
    ]
    if without:
        return f"marginal_carbon_g_per_kwh of {', '.join(without)} is missing"
    return "needs are unserved" if schedule.shortfalls else None


def _places(schedule: Schedule, stages: Stages) -> dict[str | int, sp.csr_array]:
    """What a kW more at each connection and bus moves the bounds of rows by, shape (steps, rows)."""
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
    return places | {bus: sp.csr_array(root + of_grid[bus]) for bus in schedule.buses}


def _found(
    stages: Stages, x: FloatArray, weights: FloatArray, places: Mapping[str | int, sp.csr_array]
) -> dict[str | int, MarginalEmissions]:
    solver = stages.solver
    with solver.integers_fixed(x):
        # from its last basis, to have it factorised; with integers for the first time
        solver.run(stages.remaining(), feasible=True)
        basis = solver.basis
        rates = basis.rates(weights)
        every = [(place, step) for place, moved in places.items() for step in range(moved.shape[0])]

        def move(place: str | int, step: int) -> FloatArray:
            return np.asarray(places[place][[step]].toarray()).ravel()

        # all of them first: a run makes an end of the basis
        holding = {at: basis.holds(MOVED_KW * move(*at)) for at in every}

        def rate(at: tuple[str | int, int], holds: bool, sign: int) -> float:
            if holds:
                return float(rates @ move(*at))
            with solver.rows_moved(sign * MOVED_KW * move(*at)):
                if solver.run(stages.remaining()).status != "optimal":
                    return np.nan
                return float(solver.basis.rates(weights) @ move(*at))

        sides = {at: _side(rate(at, more, 1), rate(at, less, -1)) for at, (more, less) in holding.items()}
    return {
        place: MarginalEmissions(np.array(grams), side)
        for place, moved in places.items()
        for grams, side in [zip(*(sides[place, step] for step in range(moved.shape[0])), strict=True)]
    }


def _side(more: float, less: float) -> tuple[float, MarginalSide | None]:
    if np.isnan(more):
        return less, None if np.isnan(less) else "less"
    return more, "both" if abs(more - less) <= SAME * max(1.0, abs(more)) else "more"


def _with(schedule: Schedule, found: Mapping[str | int, MarginalEmissions]) -> Schedule:
    connections = {
        key: replace(connection, marginal=found[key]) for key, connection in schedule.connections.items()
    }
    buses = {bus: found[bus] for bus in schedule.buses}
    return replace(schedule, connections=connections, marginal_at_buses=buses)
