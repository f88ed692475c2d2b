"""What a schedule over several scenarios holds beside its reference scenario."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from energy.domain.schedule import AssetSchedule, ConnectionSchedule, OfferSchedule, Shortfall

DECIMALS = 9
"""Differences of costs are rounded to this many: further digits are the solver's."""


@dataclass(frozen=True)
class ScenarioSchedule:
    """What is done, and what it costs, if one scenario comes true."""

    probability: float
    objective: Mapping[str, float]
    connections: Mapping[str, ConnectionSchedule]
    assets: Mapping[str, AssetSchedule]
    shortfalls: tuple[Shortfall, ...]
    offers: Mapping[str, OfferSchedule] = field(default_factory=dict)
    fairness: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "probability": self.probability,
            "objective": dict(self.objective),
            "connections": {key: flow.document() for key, flow in self.connections.items()},
            "assets": {key: asset.document() for key, asset in self.assets.items()},
            "shortfalls": [shortfall.document() for shortfall in self.shortfalls],
        }
        if self.offers:
            document["offers"] = {key: offer.document() for key, offer in self.offers.items()}
        if self.fairness:
            document["fairness"] = {
                burden: {"shares": found["shares"], "spread": found["spread"]}
                for burden, found in self.fairness.items()
            }
        return document


@dataclass(frozen=True)
class Breach:
    """The scenarios in which a connection exceeds a limit in any step, and how likely that may be."""

    allowed: float
    planned: float
    scenarios: tuple[str, ...]
    sample: BreachSample | None = None

    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "allowed": self.allowed,
            "planned": self.planned,
            "scenarios": list(self.scenarios),
        }
        if self.sample is not None:
            document |= {
                "confidence": self.sample.confidence,
                "sample_budget": self.sample.budget,
                "level": self.sample.level,
                "scenarios_needed": self.sample.needed,
            }
        return document


@dataclass(frozen=True)
class BreachSample:
    """What the scenarios of a breach say as a sample: the share of them that might breach, the probability
    that is not exceeded with the confidence, and how many scenarios the allowed one needs at least."""

    confidence: float
    budget: float
    level: float
    needed: int


@dataclass(frozen=True)
class ScenarioValue:
    """Expected cost of the plan; of knowing the scenario beforehand; and of the first stage that is best
    for the mean forecast (None where that is infeasible). In the problem's currency, shortfalls valued."""

    expected: float
    wait_and_see: float
    mean_forecast: float | None

    def document(self) -> dict[str, Any]:
        mean = self.mean_forecast

        def difference(dearer: float, cheaper: float) -> float:
            # adding zero turns a negative one
            return round(dearer - cheaper, DECIMALS) + 0.0

        return {
            "expected": self.expected,
            "wait_and_see": self.wait_and_see,
            "mean_forecast": mean,
            "perfect_information": difference(self.expected, self.wait_and_see),
            "stochastic_solution": None if mean is None else difference(mean, self.expected),
        }


@dataclass(frozen=True)
class Uncertainty:
    """All scenarios of a schedule. The schedule proper is that of the most probable one, `reference`; its
    controls of the first `first_stage_steps` steps are those of every scenario."""

    reference: str
    first_stage_steps: int
    scenarios: Mapping[str, ScenarioSchedule]
    breach: Mapping[str, Breach]
    value: ScenarioValue | None = None

    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "reference_scenario": self.reference,
            "first_stage_steps": self.first_stage_steps,
            "scenarios": {key: scenario.document() for key, scenario in self.scenarios.items()},
        }
        if self.breach:
            document["breach"] = {key: breach.document() for key, breach in self.breach.items()}
        if self.value is not None:
            document["scenario_value"] = self.value.document()
        return document
