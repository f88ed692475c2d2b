"""The dispatcher's answer, ``wattshed.schedule/1``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from math import inf, isnan
from typing import Any, Literal

from energy.domain.network import FloatArray
from energy.domain.time import TimeGrid, format_instant

Status = Literal["optimal", "feasible", "fallback", "infeasible"]
MarginalSide = Literal["both", "more", "less"]
ShortfallKind = Literal[
    "departure_energy",
    "trip_energy",
    "import_limit",
    "hydrogen_demand",
    "heat_demand",
    "energy_window",
    "unserved_run",
    "comfort",
    "unmet_swap",
    "committed_reserve",
    "unserved_load",
]
OBJECTIVE_PARTS = (
    "energy",
    "peak",
    "carbon",
    "wear",
    "start",
    "fuel",
    "curtailment",
    "shed",
    "flexibility",
    "fairness",
    "shortfall",
)
PRICE_PARTS = ("energy", "losses", "congestion", "voltage", "carbon", "peak", "scarcity")
DECIMALS = 9
"""Differences of costs are rounded to this many: further digits are the solver's."""


@dataclass(frozen=True)
class MarginalEmissions:
    """What a kWh more drawn at a place in a step makes the system emit, g/kWh, shape (steps,).

    `side` says of which change that holds: ``both`` of more and of less alike, ``more`` of more only,
    ``less`` of less where no more can be served. NaN and None where it is not estimated.
    """

    g_per_kwh: FloatArray
    side: tuple[MarginalSide | None, ...]

    def of_first(self, steps: int) -> MarginalEmissions:
        """The same of the first `steps` steps."""
        return MarginalEmissions(self.g_per_kwh[:steps], self.side[:steps])

    def document(self) -> dict[str, Any]:
        grams = [None if isnan(g) else g for g in self.g_per_kwh.tolist()]
        return {"marginal_g_per_kwh": grams, "marginal_side": list(self.side)}


@dataclass(frozen=True)
class ConnectionSchedule:
    """Power through a connection, kW ≥ 0 each way, and its price per MWh by part (shape (steps,) each).

    `signal_limit_kw` is what its grid signals leave to controllable assets, infinite outside their windows.
    """

    import_kw: FloatArray
    export_kw: FloatArray
    price_per_mwh: Mapping[str, FloatArray]
    signal_limit_kw: FloatArray | None = None
    marginal: MarginalEmissions | None = None

    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "import_kw": self.import_kw.tolist(),
            "export_kw": self.export_kw.tolist(),
            "price_per_mwh": {part: price.tolist() for part, price in self.price_per_mwh.items()},
        }
        if self.signal_limit_kw is not None:
            limits = self.signal_limit_kw.tolist()
            document["grid_signal_limit_kw"] = [None if limit == inf else limit for limit in limits]
        if self.marginal is not None:
            document.update(self.marginal.document())
        return document


@dataclass(frozen=True)
class AssetSchedule:
    """One asset's controls over the horizon.

    `p_kw` follows the sign rule: load, battery and EV ``+`` draws, renewable ``+`` injects. `series`
    holds what else the type reports by its public name (``e_kwh``, ``curtailed_kw``, ``shed_kw`` …).
    """

    p_kw: FloatArray
    series: Mapping[str, FloatArray] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        return {
            "p_kw": self.p_kw.tolist(),
            **{name: series.tolist() for name, series in self.series.items()},
        }


@dataclass(frozen=True)
class OfferSchedule:
    """Capacity held for one offer, kW, what that earns, and what each asset holds of it in each step."""

    kw: float
    revenue: float
    by_asset: Mapping[str, FloatArray]

    def document(self) -> dict[str, Any]:
        by_asset = {asset: held.tolist() for asset, held in self.by_asset.items()}
        return {"kw": self.kw, "revenue": self.revenue, "by_asset": by_asset}


@dataclass(frozen=True)
class Shortfall:
    """A need that could not be met: which, when, and by how much.

    `amount_kwh` is electricity (at the asset's side) or heat. A need counted in something else has its
    own `amount` and `unit` (``kg``, ``swaps``) beside it, and `amount_kwh` is what that is worth.
    `offer` is the one of which less is held than was sold. `at` begins the step of the need; of one that is
    due at an instant it is that, and `since` is from when on it could be met.
    """

    kind: ShortfallKind
    at: datetime
    amount_kwh: float
    asset: str | None = None
    connection: str | None = None
    amount: float | None = None
    unit: str | None = None
    offer: str | None = None
    since: datetime | None = None

    def document(self) -> dict[str, Any]:
        subject = {"asset": self.asset} if self.asset is not None else {"connection": self.connection}
        if self.offer is not None:
            subject["offer"] = self.offer
        own = {} if self.unit is None else {f"amount_{self.unit}": self.amount}
        return {
            **subject,
            "kind": self.kind,
            "at": format_instant(self.at),
            "amount_kwh": self.amount_kwh,
            **own,
        }


@dataclass(frozen=True)
class Conflict:
    """Requirements that contradict each other, and the smallest relaxation that reconciles them.

    `relaxation` is what to add to an upper limit or to take from a lower one, from `start` to `end`
    (exclusive; `start` < `end`, both in the horizon); `message` says it in words. What may differ between
    steps has `by_step` too, one value for each from `start` to `end`: `relaxation` is the largest of them in
    kW, and their sum in any other unit. On a grid `ac_secure` says whether AC power flow has carried a
    schedule that the relaxations of all conflicts together allow. `network_limits` are those of the `network`
    with which the grid would carry all needs that give way to it.
    """

    assets: tuple[str, ...]
    connection: str | None
    start: datetime
    end: datetime
    limit: str
    relaxation: float
    unit: str
    message: str = ""
    by_step: tuple[float, ...] | None = None
    ac_secure: bool | None = None
    network_limits: Mapping[str, float] | None = None

    def document(self) -> dict[str, Any]:
        by_step = {} if self.by_step is None else {"relaxation_by_step": list(self.by_step)}
        of_grid: dict[str, Any] = {} if self.ac_secure is None else {"ac_secure": self.ac_secure}
        if self.network_limits is not None:
            of_grid["network_limits"] = dict(self.network_limits)
        return {
            "assets": list(self.assets),
            "connection": self.connection,
            "start": format_instant(self.start),
            "end": format_instant(self.end),
            "limit": self.limit,
            "relaxation": self.relaxation,
            "unit": self.unit,
            "message": self.message,
            **by_step,
            **of_grid,
        }


@dataclass(frozen=True)
class Reason:
    """Why an asset does what it does from `start` to `end`, with the numbers behind it, in words by language.

    A price of several steps is their mean, per MWh at the asset's place.
    """

    start: datetime
    end: datetime
    action: str
    code: str
    numbers: Mapping[str, float]
    text: Mapping[str, str]

    def document(self) -> dict[str, Any]:
        return {
            "from": format_instant(self.start),
            "to": format_instant(self.end),
            "action": self.action,
            "code": self.code,
            "numbers": dict(self.numbers),
            **self.text,
        }


@dataclass(frozen=True)
class FrontierPoint:
    """One compromise between cost and emissions, and the schedule that reaches it.

    `cost` is the objective without its carbon and shortfall parts. `abatement_cost_per_t` is a price of
    carbon at which no schedule is cheaper than this one; in problems with integers or a network, what a t
    less has cost since the point before. `ac` is there with a network.
    """

    emissions_kg: float
    cost: float
    abatement_cost_per_t: float
    objective: Mapping[str, float]
    connections: Mapping[str, ConnectionSchedule]
    assets: Mapping[str, AssetSchedule]
    shortfalls: tuple[Shortfall, ...]
    ac: Mapping[str, Any] | None = None

    def document(self) -> dict[str, Any]:
        document = {
            "emissions_kg": self.emissions_kg,
            "cost": self.cost,
            "abatement_cost_per_t": self.abatement_cost_per_t,
            "objective": dict(self.objective),
            "connections": {
                key: {"import_kw": flow.import_kw.tolist(), "export_kw": flow.export_kw.tolist()}
                for key, flow in self.connections.items()
            },
            "assets": {key: asset.document() for key, asset in self.assets.items()},
            "shortfalls": [shortfall.document() for shortfall in self.shortfalls],
        }
        return document if self.ac is None else {**document, "ac": dict(self.ac)}


@dataclass(frozen=True)
class PhaseUnbalance:
    """The largest difference between two phases of a connection, kW, and whether it was limited."""

    checked: bool
    largest_kw: float | None
    connection: str | None = None
    at: datetime | None = None

    def document(self) -> dict[str, Any]:
        at = None if self.at is None else format_instant(self.at)
        return {
            "checked": self.checked,
            "largest_kw": self.largest_kw,
            "connection": self.connection,
            "at": at,
        }


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


@dataclass(frozen=True)
class Schedule:
    """A dispatch of every asset over the horizon, or the conflicts that prevent one.

    `build_seconds` and `solve_seconds` are the only fields that differ between two runs of one problem.
    `buses` holds the price per MWh of active power at unity power factor, by part, of each bus.
    `marginal_at_buses` holds what a kWh more there emits, of buses that have a price.
    `notices` lists what was clipped, assumed or approximated, in words.
    """

    status: Status
    input_hash: str
    time: TimeGrid
    objective: Mapping[str, float]
    best_bound: float | None
    bound_kind: Literal["exact", "linear"]
    gap: float | None
    build_seconds: float
    solve_seconds: float
    solver: str
    connections: Mapping[str, ConnectionSchedule]
    assets: Mapping[str, AssetSchedule]
    shortfalls: tuple[Shortfall, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    buses: Mapping[int, Mapping[str, FloatArray]] = field(default_factory=dict)
    marginal_at_buses: Mapping[int, MarginalEmissions] = field(default_factory=dict)
    reasons: Mapping[str, tuple[Reason, ...]] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    phase_unbalance: PhaseUnbalance = PhaseUnbalance(False, None)
    ac: Mapping[str, Any] | None = None
    revision: Mapping[str, Any] | None = None
    offers: Mapping[str, OfferSchedule] = field(default_factory=dict)
    fairness: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    frontier: tuple[FrontierPoint, ...] = ()
    uncertainty: Uncertainty | None = None

    def document(self) -> dict[str, Any]:
        """The schedule as JSON-ready ``wattshed.schedule/1``."""
        document: dict[str, Any] = {
            "schema": "wattshed.schedule/1",
            "status": self.status,
            "input_hash": self.input_hash,
            "objective": dict(self.objective),
            "best_bound": self.best_bound,
            "bound_kind": self.bound_kind,
            "gap": self.gap,
            "build_seconds": self.build_seconds,
            "solve_seconds": self.solve_seconds,
            "solver": self.solver,
            "time": self.time.document(),
            "connections": {key: value.document() for key, value in self.connections.items()},
            "assets": {key: value.document() for key, value in self.assets.items()},
            "shortfalls": [shortfall.document() for shortfall in self.shortfalls],
            "conflicts": [conflict.document() for conflict in self.conflicts],
            "notices": list(self.notices),
            "phase_unbalance": self.phase_unbalance.document(),
        }
        if self.buses:
            document["buses"] = {
                str(bus): {"price_per_mwh": {part: price.tolist() for part, price in parts.items()}}
                for bus, parts in self.buses.items()
            }
            for bus, marginal in self.marginal_at_buses.items():
                document["buses"][str(bus)].update(marginal.document())
        if self.reasons:
            document["reasons"] = {
                key: [reason.document() for reason in reasons] for key, reasons in self.reasons.items()
            }
        if self.ac is not None:
            document["ac"] = dict(self.ac)
        if self.revision is not None:
            document["revision"] = dict(self.revision)
        if self.offers:
            document["offers"] = {key: offer.document() for key, offer in self.offers.items()}
        if self.fairness:
            document["fairness"] = {burden: dict(found) for burden, found in self.fairness.items()}
        if self.frontier:
            document["frontier"] = [point.document() for point in self.frontier]
        if self.uncertainty is not None:
            document.update(self.uncertainty.document())
        return document
