"""The frontier between cost and emissions, by the epsilon-constraint method.

Haimes, Lasdon and Wismer (1971), with lexicographic ends as in Mavrotas (2009),
doi:10.1016/j.amc.2009.03.037. Shortfalls are held at their least in every point.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from energy.domain.errors import DeadlineError, SolverError
from energy.domain.network import FloatArray, IntArray
from energy.domain.schedule import FrontierPoint
from optimizer.outcome import outcome
from optimizer.problem import emissions_kg
from optimizer.solver import Solution
from optimizer.stages import Stages

HELD = 1e-12
"""How far, relative, an end of the frontier may be from its optimum while the other aim is minimised."""
APART = 1e-6
"""Points nearer than this, relative, in both cost and emissions are one."""


@dataclass(frozen=True)
class _Found:
    """A solution, what it emits, and the dual of its emission limit per t."""

    x: FloatArray
    emissions_kg: float
    abatement_cost_per_t: float


class Frontier:
    """The frontier of one solved program; a point is one warm start with another emission limit."""

    def __init__(self, stages: Stages, x: FloatArray) -> None:
        program = stages.program
        (part,) = program.parts
        self._stages, self._program, self._part = stages, program, part
        self._emitted = part.emissions()
        price = part.problem.objective.carbon_price_per_t / 1000 / program.cost_scale
        self._cost = program.linear.cost - price * self._emitted
        # a kg is worth more than all else in a step of usual intensity
        emitting = np.abs(self._emitted[self._emitted != 0])
        self._dear = stages.dearest / float(emitting.mean()) if len(emitting) else 0.0
        stages.hold_shortfall(x)

    def points(self, count: int) -> tuple[tuple[FrontierPoint, ...], str | None]:
        """`count` points (fewer where some coincide), cheapest first, and why some are missing."""
        found: list[_Found] = []
        missing = None
        try:
            found += self._search(count)
        except DeadlineError:
            missing = f"the deadline passed: the frontier has fewer than its {count} points"
        points = sorted((self._point(each) for each in found), key=lambda p: (p.emissions_kg, p.cost))
        kept: list[FrontierPoint] = []
        for point in points:
            # each step to more emissions has to pay
            if not kept or point.cost < kept[-1].cost - APART * max(1.0, abs(point.cost)):
                kept.append(point)
        kept.reverse()
        return tuple(self._priced(kept)), missing

    def _priced(self, points: Sequence[FrontierPoint]) -> Iterator[FrontierPoint]:
        """With integers there are no duals: there a t costs what it cost since the point before."""
        if not self._stages.solver.is_integer:
            yield from points
            return
        yield from (replace(point, abatement_cost_per_t=0.0) for point in points[:1])
        for before, point in pairwise(points):
            per_kg = (point.cost - before.cost) / (before.emissions_kg - point.emissions_kg)
            yield replace(point, abatement_cost_per_t=1000 * per_kg)

    def _search(self, count: int) -> Iterator[_Found]:
        least = self._least_emissions()
        cheapest, held = self._cheapest()
        yield cheapest
        span = cheapest.emissions_kg - least
        if span <= APART * max(1.0, abs(cheapest.emissions_kg)):
            return
        self._stages.release(held)
        row = self._stages.hold("emission_limit", self._emitted, least + HELD * max(1.0, abs(least)))
        yield self._solved(self._stages.minimise(self._cost), row)
        for number in range(1, count - 1):
            limit = cheapest.emissions_kg - span * number / (count - 1)
            self._stages.tighten(row, limit)
            yield self._solved(self._stages.minimise(self._cost), row)

    def _cheapest(self) -> tuple[_Found, IntArray]:
        """Least emissions among all that cost least, and the row that holds the cost."""
        cost = float(self._cost @ self._columns(self._stages.minimise(self._cost)))
        row = self._stages.hold("held_cost", self._cost, cost + HELD * max(1.0, abs(cost)))
        x = self._columns(self._stages.minimise(self._cost + self._dear * self._emitted))
        return _Found(x, float(self._emitted @ x), 0.0), row

    def _least_emissions(self) -> float:
        """The least emissions there can be, kg."""
        x = self._columns(self._stages.minimise(self._cost + self._dear * self._emitted))
        reached = float(self._emitted @ x)
        bound = self._stages.bound(self._emitted)
        if reached - bound <= HELD * max(1.0, abs(bound)):
            return reached
        return float(self._emitted @ self._columns(self._stages.minimise(self._emitted)))

    def _columns(self, solution: Solution) -> FloatArray:
        if solution.x is None:
            raise SolverError("a point of the frontier is infeasible, though the problem is not")
        return solution.x[: len(self._emitted)]

    def _solved(self, solution: Solution, row: IntArray) -> _Found:
        x = self._columns(solution)
        if solution.dual is None:
            return _Found(x, float(self._emitted @ x), 0.0)
        per_kg = max(0.0, -float(solution.dual[row[0]])) * self._program.cost_scale
        return _Found(x, float(self._emitted @ x), 1000 * per_kg)

    def _point(self, found: _Found) -> FrontierPoint:
        problem = self._part.problem
        schedule = outcome(self._program, self._part, found.x, None, status="optimal")
        parts = schedule.objective
        return FrontierPoint(
            emissions_kg=emissions_kg(problem, schedule.assets, schedule.connections),
            cost=parts["total"] - parts["carbon"] - parts["shortfall"],
            abatement_cost_per_t=found.abatement_cost_per_t,
            objective=parts,
            connections=schedule.connections,
            assets=schedule.assets,
            shortfalls=schedule.shortfalls,
        )
