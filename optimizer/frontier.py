"""The frontier between cost and emissions, by the epsilon-constraint method.

Haimes, Lasdon and Wismer (1971), with lexicographic ends as in Mavrotas (2009),
doi:10.1016/j.amc.2009.03.037. Shortfalls are held at their least in every point.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from energy.domain.errors import DeadlineError, SolverError
from energy.domain.network import FloatArray, IntArray
from energy.domain.schedule import FrontierPoint, Schedule
from optimizer.outcome import outcome
from optimizer.problem import DispatchProblem
from optimizer.settlement import emissions_kg
from optimizer.solver import Solution
from optimizer.stages import Stages

HELD = 1e-12
"""How far, relative, an end of the frontier may be from its optimum while the other aim is minimised."""
APART = 1e-6
"""Points nearer than this, relative, in both cost and emissions are one."""
FIRST, LAST = 100.0, 1e-5
"""Prices of emissions, as shares of one that is dear, at which they count before and after all else."""


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
        self._cost = program.at_carbon_price(0.0).linear.cost
        self._dear = dear_per_kg(stages, self._emitted)
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
        # with integers there are no duals
        return tuple(priced_by_difference(kept) if self._stages.solver.is_integer else kept), missing

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
        schedule = outcome(self._program, self._part, found.x, None, status="optimal")
        point = frontier_point(self._part.problem, schedule)
        return replace(point, abatement_cost_per_t=found.abatement_cost_per_t)


def frontier_point(
    problem: DispatchProblem, schedule: Schedule, ac: Mapping[str, Any] | None = None
) -> FrontierPoint:
    """A schedule of `problem` as a point of its frontier, whose abatement cost is not known yet."""
    parts = schedule.objective
    return FrontierPoint(
        emissions_kg=emissions_kg(problem, schedule.assets, schedule.connections),
        cost=parts["total"] - parts["carbon"] - parts["shortfall"],
        abatement_cost_per_t=0.0,
        objective=parts,
        connections=schedule.connections,
        assets=schedule.assets,
        shortfalls=schedule.shortfalls,
        ac=ac,
    )


def dear_per_kg(stages: Stages, emitted: FloatArray) -> float:
    """What a kg costs, as columns do, to be worth more than all else in a step of usual intensity."""
    emitting = np.abs(emitted[emitted != 0])
    return stages.dearest / float(emitting.mean()) if len(emitting) else 0.0


def priced_by_difference(points: Sequence[FrontierPoint]) -> Iterator[FrontierPoint]:
    """Points, cheapest first, with a t at what it has cost since the point before."""
    yield from (replace(point, abatement_cost_per_t=0.0) for point in points[:1])
    for before, point in pairwise(points):
        per_kg = (point.cost - before.cost) / (before.emissions_kg - point.emissions_kg)
        yield replace(point, abatement_cost_per_t=1000 * per_kg)
