"""A problem with scenarios: its one program, what a solution means in each, and what planning with them
is worth."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np

from energy.domain.documents import expand
from energy.domain.errors import DeadlineError
from energy.domain.network import FloatArray
from energy.domain.schedule import (
    Breach,
    BreachSample,
    Conflict,
    ScenarioSchedule,
    ScenarioValue,
    Schedule,
    Status,
    Uncertainty,
)
from optimizer.breaches import budget, level, needed
from optimizer.conflicts import of_infeasible
from optimizer.documents import Connection, Scenario
from optimizer.extensive import build_scenarios, extensive, first_stage_controls
from optimizer.model import build
from optimizer.outcome import outcome
from optimizer.problem import DispatchProblem
from optimizer.program import Part, Program
from optimizer.scenarios import split
from optimizer.stages import Stages

BREACHED_KW = 1e-4
"""A limit exceeded by less is kept: binaries hold it to within their tolerance times what could flow."""


class Scenarios:
    """All scenarios of one problem, each built once, alone and together."""

    def __init__(self, problem: DispatchProblem) -> None:
        self._problem = problem
        self._alone = build_scenarios(problem)
        self.program = extensive(problem, self._alone)

    def answer(self, x: FloatArray, dual: FloatArray | None, status: Status) -> Schedule:
        """The schedule of the most probable scenario with all of them beside it, at expected cost."""
        problem, program = self._problem, self.program
        schedules: dict[str, Schedule] = {}
        breaching: dict[str, list[str]] = defaultdict(list)
        for scenario, part in zip(problem.scenarios, program.parts, strict=True):
            breached = _breached(part, x)
            for key in breached:
                breaching[key].append(scenario.id)
            within = _without_limits(part.problem, breached)
            schedules[scenario.id] = outcome(program, part, x, dual, status=status, problem=within)
        chances = {scenario.id: scenario.probability for scenario in problem.scenarios}
        reference = max(chances, key=lambda key: chances[key])
        found = schedules[reference]
        uncertainty = Uncertainty(
            reference,
            problem.first_stage_steps,
            {
                key: ScenarioSchedule(
                    chances[key],
                    schedule.objective,
                    schedule.connections,
                    schedule.assets,
                    schedule.shortfalls,
                    schedule.offers,
                    schedule.fairness,
                )
                for key, schedule in schedules.items()
            },
            {
                key: Breach(
                    connection.breach_probability,
                    sum(chances[name] for name in breaching[key]),
                    tuple(breaching[key]),
                    self._sample(connection, x),
                )
                for key, connection in problem.connections.items()
                if connection.breach_probability > 0
            },
        )
        expected = {
            name: sum(chances[key] * schedule.objective[name] for key, schedule in schedules.items())
            for name in found.objective
        }
        return replace(
            found,
            input_hash=problem.input_hash,
            objective=expected,
            notices=(*problem.notices, *_too_few(uncertainty.breach, len(chances))),
            uncertainty=uncertainty,
        )

    def _sample(self, connection: Connection, x: FloatArray) -> BreachSample | None:
        """What the scenarios say of a chance that is to be kept beyond them; overruns count."""
        confidence, allowed = connection.breach_confidence, connection.breach_probability
        if confidence is None:
            return None
        parts = self.program.parts
        beyond = sum(connection.id in _breached(part, x, overrun=True) for part in parts)
        return BreachSample(
            confidence,
            budget(allowed, confidence, len(parts)),
            level(beyond, len(parts), confidence),
            needed(allowed, confidence),
        )

    def valued(self, schedule: Schedule, until: float | None) -> Schedule:
        """`schedule` with what its scenarios are worth, where the deadline leaves time for that.

        Not with limits that may be breached: their probability has no meaning in a single scenario.
        """
        uncertainty = schedule.uncertainty
        assert uncertainty is not None
        if uncertainty.breach:
            return schedule
        try:
            value = ScenarioValue(
                schedule.objective["total"], self._wait_and_see(until), self._mean_forecast(until)
            )
        except DeadlineError:
            notice = "the deadline passed before the value of the scenarios was known"
            return replace(schedule, notices=(*schedule.notices, notice))
        return replace(schedule, uncertainty=replace(uncertainty, value=value))

    def conflicts(self, until: float | None) -> tuple[tuple[Conflict, ...], str]:
        """The conflicts of the first scenario that is infeasible by itself, and where they lie in words."""
        for scenario, program in zip(self._problem.scenarios, self._alone, strict=True):
            if _solved(program, until) is None:
                stages = Stages(program, self._problem.options)
                stages.until = until
                (part,) = program.parts
                where = f"scenario {scenario.id!r} is infeasible by itself"
                conflicts, open_question = of_infeasible(part.problem, stages)
                return conflicts, where if open_question is None else f"{where}: {open_question}"
        return (), (
            "each scenario is feasible by itself, but not all with the same controls in the first stage "
            "and breaches as rare as allowed; shorten first_stage or raise breach_probability"
        )

    def _wait_and_see(self, until: float | None) -> float:
        """Expected cost if each scenario were known beforehand."""
        cost = 0.0
        for scenario, program in zip(self._problem.scenarios, self._alone, strict=True):
            total = _total(program, until)
            assert total is not None, "the scenario is feasible together with the others"
            cost += scenario.probability * total
        return cost

    def _mean_forecast(self, until: float | None) -> float | None:
        """Expected cost where the first stage is planned for the mean forecast only."""
        mean = build(self._problem.given(self._mean()))
        x = _solved(mean, until)
        if x is None:
            return None
        (part,) = mean.parts
        controls = first_stage_controls(part, self._problem.first_stage_steps)
        fixed = np.clip(x[controls], mean.linear.lower[controls], mean.linear.upper[controls])
        cost = 0.0
        for scenario, program in zip(self._problem.scenarios, self._alone, strict=True):
            (part,) = program.parts
            own = first_stage_controls(part, self._problem.first_stage_steps)
            lower, upper = program.linear.lower.copy(), program.linear.upper.copy()
            lower[own] = upper[own] = fixed
            total = _total(replace(program, linear=replace(program.linear, lower=lower, upper=upper)), until)
            if total is None:
                return None
            cost += scenario.probability * total
        return cost

    def _mean(self) -> Scenario:
        """The mean of all scenarios as one. Without a limit in any of them there is none in the mean."""
        problem = self._problem
        paths = sorted({path for scenario in problem.scenarios for path in scenario.series})
        series: dict[str, Any] = {}
        for path in paths:
            values = [self._value(path, scenario) for scenario in problem.scenarios]
            mean = np.zeros(problem.time.steps)
            for scenario, value in zip(problem.scenarios, values, strict=True):
                # a missing price is none to pay, a missing limit is no limit
                missing = np.inf if path.endswith("_limit_kw") else 0.0
                mean += scenario.probability * expand(missing if value is None else value, len(mean))
            series[path] = tuple(mean.tolist()) if np.isfinite(mean).all() else None
        return Scenario.model_construct(id="mean", probability=1.0, series=series)

    def _value(self, path: str, scenario: Scenario) -> Any:
        """A series in a scenario, as given."""
        if path in scenario.series:
            return scenario.series[path]
        parts: Mapping[str, Mapping[str, Any]] = {
            "connections": self._problem.connections,
            "assets": {asset.id: asset for asset in self._problem.assets},
        }
        kind, item, field = split(path, parts)
        return reduce(getattr, field.split("."), parts[kind][item])


def _solved(program: Program, until: float | None) -> FloatArray | None:
    """The optimum of a program by itself; None where it is infeasible."""
    (part,) = program.parts
    stages = Stages(program, part.problem.options)
    stages.until = until
    return stages.solve().x


def _total(program: Program, until: float | None) -> float | None:
    """What the optimum of a program costs, shortfalls valued; None where it is infeasible."""
    x = _solved(program, until)
    if x is None:
        return None
    return outcome(program, program.parts[0], x, None, status="optimal").objective["total"]


def _too_few(breaches: Mapping[str, Breach], count: int) -> Iterator[str]:
    """Chances that so many scenarios cannot tell, in words."""
    for key, breach in breaches.items():
        sample = breach.sample
        if sample is not None and count < sample.needed:
            yield (
                f"connection {key!r}: {count} scenarios are too few for a breach_probability of "
                f"{breach.allowed:g} with confidence {sample.confidence:g}; {sample.needed} are needed. Its "
                "limits are kept in every scenario"
            )


def _breached(part: Part, x: FloatArray, *, overrun: bool = False) -> Sequence[str]:
    """The connections of which the solution exceeds a limit, not counting what counts as shortfall unless
    `overrun`."""
    own, found = x[part.columns], dict[str, None]()
    for limit in part.connections.breachable:
        short = own[limit.overruns] if len(limit.overruns) and not overrun else 0.0
        if (own[limit.flows] - short > limit.limit_kw + BREACHED_KW).any():
            found[limit.connection] = None
    return tuple(found)


def _without_limits(problem: DispatchProblem, breached: Sequence[str]) -> DispatchProblem:
    """`problem` where exceeding a limit of these connections is no shortfall."""
    free = {"import_limit_kw": None, "export_limit_kw": None}
    return replace(
        problem,
        connections={
            key: connection.model_copy(update=free) if key in breached else connection
            for key, connection in problem.connections.items()
        },
    )
