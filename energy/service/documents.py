"""The documents that Wattshed writes, as models: ``wattshed.schedule/1`` and ``wattshed.plan/1``.

Schedules and plans are made as plain values; these models are where their JSON schemas come from, and
what the tests hold every answer against.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from energy.domain.documents import Duration, Instant, Items
from energy.domain.network import Quantity
from energy.domain.period import Coupling, LossTreatment
from energy.domain.schedule import MarginalSide, ShortfallKind, Status

Numbers = Items[float]
Gaps = Items[float | None]


class Answer(BaseModel):
    """A JSON object that we write: every key is known, every number finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TimeAnswer(Answer):
    """`steps` intervals from `start`."""

    start: Instant
    resolution: Duration
    steps: int = Field(ge=1)


class ObjectiveAnswer(Answer):
    """Parts and their total, in the problem's currency."""

    total: float
    energy: float
    peak: float
    carbon: float
    wear: float
    start: float
    fuel: float
    curtailment: float
    shed: float
    flexibility: float
    fairness: float
    shortfall: float


class Unsolved(Answer):
    """The objective of an infeasible problem: it has none."""


class PriceAnswer(Answer):
    """Price per MWh by part; the parts add up to the total."""

    total: Numbers
    energy: Numbers
    losses: Numbers
    congestion: Numbers
    voltage: Numbers
    carbon: Numbers
    peak: Numbers
    scarcity: Numbers


class PhaseUnbalanceAnswer(Answer):
    """The largest difference between two phases of a connection, in kW, and where and when; `checked` where a
    connection limits it."""

    checked: bool
    largest_kw: float | None
    connection: str | None
    at: Instant | None


class MarginalAnswer(Answer):
    """What a kWh more drawn at a place makes the system emit, where that was asked for.

    `marginal_side` says of which change it holds; both are null in steps where it is not estimated."""

    marginal_g_per_kwh: Gaps | None = None
    marginal_side: Items[MarginalSide | None] | None = None


class ConnectionAnswer(MarginalAnswer):
    """Power through a connection, kW ≥ 0 each way, and what a MWh more would cost there.

    `grid_signal_limit_kw`: what its signals leave to controllable assets; null where none holds."""

    import_kw: Numbers
    export_kw: Numbers
    price_per_mwh: PriceAnswer
    grid_signal_limit_kw: Items[float | None] | None = None


class BusAnswer(MarginalAnswer):
    """What a MWh more, at unity power factor, would cost at a bus."""

    price_per_mwh: PriceAnswer


class ReasonAnswer(Answer):
    """Why an asset does what it does, in the languages that were asked for; prices per MWh."""

    from_: Instant = Field(alias="from")
    to: Instant
    action: str
    code: str
    numbers: dict[str, float]
    en: str | None = None
    ja: str | None = None


class AssetAnswer(Answer):
    """``p_kw``: load, battery and EV ``+`` draw, renewable ``+`` injects. The rest by type of asset."""

    p_kw: Numbers
    q_kvar: Numbers | None = None
    e_kwh: Numbers | None = None
    curtailed_kw: Numbers | None = None
    shed_kw: Numbers | None = None
    unserved_kw: Numbers | None = None
    on: Numbers | None = None
    start: Numbers | None = None
    heat_kw: Numbers | None = None
    boiler_heat_kw: Numbers | None = None
    heat_store_kwh: Numbers | None = None
    dumped_heat_kw: Numbers | None = None
    unmet_heat_kw: Numbers | None = None
    room_heat_kw: Numbers | None = None
    room_c: Numbers | None = None
    tank_kg: Numbers | None = None
    electrolyser_kw: Numbers | None = None
    electrolyser_on: Numbers | None = None
    fuel_cell_kw: Numbers | None = None
    fuel_cell_on: Numbers | None = None
    unmet_kg: Numbers | None = None
    swaps_served: Numbers | None = None
    unmet_swaps: Numbers | None = None
    slots_full: Numbers | None = None
    slot_kw: Items[Numbers] | None = None
    slot_e_kwh: Items[Numbers] | None = None
    slot_swaps: Items[Numbers] | None = None


class ShortfallAnswer(Answer):
    """A need that could not be met; of an asset, the import limit of a connection, or an offer there."""

    asset: str | None = None
    connection: str | None = None
    offer: str | None = None
    kind: ShortfallKind
    at: Instant
    amount_kwh: float
    amount_kg: float | None = None
    amount_swaps: float | None = None
    amount_kw: float | None = None
    amount_kelvin_hours: float | None = None


class ConflictAnswer(Answer):
    """Requirements that contradict each other, and the least relaxation that reconciles them, from `start`
    to `end`; by step where it may differ: then `relaxation` is the largest (kW) or the sum (other units).
    `ac_secure`, with a network: whether AC power flow has carried a schedule that all relaxations allow.
    `network_limits`, where the grid keeps a need from being met: `loading_max_percent`, `vm_min_pu` or
    `vm_max_pu` of a network that would carry all such needs."""

    assets: Items[str]
    connection: str | None
    start: Instant
    end: Instant
    limit: str
    relaxation: float
    unit: str
    message: str
    relaxation_by_step: Numbers | None = None
    ac_secure: bool | None = None
    network_limits: dict[str, float] | None = None


class ElementAnswer(Answer):
    """An element of the grid."""

    table: str
    index: int
    name: str | None


class ViolationAnswer(Answer):
    """An AC value beyond its true limit, and what would clear it."""

    time: Instant
    element: ElementAnswer
    quantity: Quantity
    value: float
    limit: float
    remedy: str


class AcAnswer(Answer):
    """What AC power flow says of a schedule. `unsolved` lists steps that have no solution:
    then the losses are unknown."""

    secure: bool
    rounds: int
    vm_min_pu: float | None
    vm_max_pu: float | None
    loading_max_percent: float | None
    losses_kwh: float | None
    violations: Items[ViolationAnswer]
    unsolved: Items[Instant] | None = None


class FlowAnswer(Answer):
    """Power through a connection, kW ≥ 0 each way."""

    import_kw: Numbers
    export_kw: Numbers


class FrontierPointAnswer(Answer):
    """A compromise between cost (objective without carbon and shortfall) and emissions, and its schedule.

    `abatement_cost_per_t`: a price of carbon at which nothing is cheaper; in problems with integers or a
    network, what a t less has cost since the point before. `ac` is there with a network.
    """

    emissions_kg: float
    cost: float
    abatement_cost_per_t: float
    objective: ObjectiveAnswer
    connections: dict[str, FlowAnswer]
    assets: dict[str, AssetAnswer]
    shortfalls: Items[ShortfallAnswer]
    ac: AcAnswer | None = None


class OfferAnswer(Answer):
    """Capacity held for an offer, kW, what that earns, and the kW that each asset holds in each step."""

    kw: float
    revenue: float
    by_asset: dict[str, Numbers]


class SpreadAnswer(Answer):
    """What districts bear over what they could bear (null: nothing), and the largest less the smallest."""

    shares: dict[str, float | None]
    spread: float


class FairnessAnswer(SpreadAnswer):
    """`price`: what evening out adds to all other parts of the objective; null where nobody solved for it."""

    price: float | None


class ScenarioAnswer(Answer):
    """What is done, and what it costs, if one scenario comes true."""

    probability: float
    objective: ObjectiveAnswer
    connections: dict[str, ConnectionAnswer]
    assets: dict[str, AssetAnswer]
    shortfalls: Items[ShortfallAnswer]
    offers: dict[str, OfferAnswer] | None = None
    fairness: dict[str, SpreadAnswer] | None = None


class BreachAnswer(Answer):
    """Scenarios in which a limit of a connection is exceeded: their probability, and what is allowed.

    With a `confidence`: `sample_budget` is the share of the scenarios that might, `level` the probability
    that a plan fixed beforehand then keeps, `scenarios_needed` how many the allowed one takes at least.
    """

    allowed: float
    planned: float
    scenarios: Items[str]
    confidence: float | None = None
    sample_budget: float | None = None
    level: float | None = None
    scenarios_needed: int | None = None


class ScenarioValueAnswer(Answer):
    """Expected cost of the plan, with the scenario known beforehand, and with the first stage that is best
    for the mean forecast (null: infeasible); `perfect_information` and `stochastic_solution` are how
    much the first is above the second and below the third."""

    expected: float
    wait_and_see: float
    mean_forecast: float | None
    perfect_information: float
    stochastic_solution: float | None


class ChangeAnswer(Answer):
    """What an asset does otherwise than in the previous schedule; means over the steps from start to end."""

    asset: str
    start: Instant
    end: Instant
    from_kw: float
    to_kw: float
    why: str


class RevisionAnswer(Answer):
    """How a schedule follows on the previous one.

    `gain` is what changing the committed steps would save, in the currency; null where none are committed
    or keeping them is not possible. Where it is not above `threshold`, `kept_steps` are as they were.
    """

    previous_hash: str
    overlap_steps: int
    past_steps: int
    kept_steps: int
    gain: float | None
    threshold: float
    changed: Items[ChangeAnswer]


class DaySchedule(Answer):
    """``wattshed.schedule/1`` as a plan holds it: the day alone, without timings."""

    schema_: Literal["wattshed.schedule/1"] = Field(alias="schema")
    status: Status
    input_hash: str
    objective: ObjectiveAnswer | Unsolved
    best_bound: float | None
    bound_kind: Literal["exact", "linear"]
    gap: float | None
    solver: str
    time: TimeAnswer
    connections: dict[str, ConnectionAnswer]
    buses: dict[str, BusAnswer] | None = None
    reasons: dict[str, Items[ReasonAnswer]] | None = None
    assets: dict[str, AssetAnswer]
    shortfalls: Items[ShortfallAnswer]
    conflicts: Items[ConflictAnswer]
    notices: Items[str]
    phase_unbalance: PhaseUnbalanceAnswer | None = None
    ac: AcAnswer | None = None
    offers: dict[str, OfferAnswer] | None = None
    fairness: dict[str, FairnessAnswer] | None = None
    frontier: Items[FrontierPointAnswer] | None = None
    reference_scenario: str | None = None
    first_stage_steps: int | None = None
    scenarios: dict[str, ScenarioAnswer] | None = None
    breach: dict[str, BreachAnswer] | None = None
    scenario_value: ScenarioValueAnswer | None = None
    revision: RevisionAnswer | None = None


class ScheduleDocument(DaySchedule):
    """``wattshed.schedule/1``: kW, kWh, prices per MWh. Only the two timings differ between two runs."""

    build_seconds: float
    solve_seconds: float


class CaseAnswer(Answer):
    """One way of running the day. Cost in the city's currency: energy bought less sold, demand charge,
    carbon price, wear, fuel and starts of units. ``…_at_equal_energy`` values what is left in store against
    the uncontrolled case."""

    cost: float
    cost_parts: dict[Literal["energy", "peak", "carbon", "wear", "fuel", "start"], float]
    emissions_kg: float
    losses_mwh: float
    import_mwh: float
    export_mwh: float
    peak_import_mw: float
    curtailed_mwh: float
    unmet_kwh: float
    violated_steps: int
    unsolved_steps: int
    energy_end_mwh: float
    cost_at_equal_energy: float
    emissions_at_equal_energy_kg: float


class Comparison(Answer):
    """The cases side by side; `actual` (setpoints as planned, the day as it came) with a forecast."""

    planned: CaseAnswer
    uncontrolled: CaseAnswer
    actual: CaseAnswer | None = None


class Valuation(Answer):
    """What energy left in batteries and vehicles is worth."""

    price_per_mwh: float
    carbon_g_per_kwh: float
    basis: str


class PeakAnswer(Answer):
    """The import above which the day pays the month's demand charge, and where it comes from."""

    metered_mw: float | None
    unavoidable_mw: float
    so_far_mw: float


class PlanViolation(Answer):
    """A violation that is left, the element in short (``line 17``). A step without an AC solution is
    ``converged`` 0 of 1 of the element ``grid``."""

    time: Instant
    element: str
    quantity: Quantity | Literal["converged"]
    value: float
    limit: float
    remedy: str


class MissedViolation(Answer):
    """A violation of the day as it came."""

    time: Instant
    element: str
    quantity: Quantity | Literal["converged"]
    value: float
    limit: float


class DistrictAnswer(Answer):
    """Series of one district; null in steps without an AC solution, ratios also where it uses nothing.
    Exchange ``+`` is received."""

    energy_mwh: Gaps
    emissions_kg: Gaps
    loss_emissions_kg: Gaps
    emissions_with_losses_kg: Gaps
    carbon_g_per_kwh: Gaps
    renewable_share: Gaps
    charged_kg: Gaps
    discharged_kg: Gaps
    local_generation_mwh: Gaps
    exchange_mwh: Gaps
    exchange_kg: Gaps


class EvAnswer(Answer):
    """EVs of the day; null where nothing was driven or charged."""

    g_per_km: float | None
    charged_g_per_kwh: float | None
    v2g_exported_kg: float


class BalanceAnswer(Answer):
    """sources = end use + losses + exports + EVs driven + change of all tanks, kg."""

    sources_kg: float
    end_use_kg: float
    losses_kg: float
    exports_kg: float
    ev_driven_kg: float
    storage_change_kg: float
    residual_kg: float


class CarbonAnswer(Answer):
    """The carbon account of one case: the day as planned, or (with a forecast) as it came."""

    case: Literal["planned", "actual"]
    ledger: Literal["location"]
    method: str
    coupling: Coupling
    losses: LossTreatment
    basis: Literal["life-cycle", "direct"]
    factors_version: str
    districts: dict[str, DistrictAnswer]
    ev: EvAnswer
    balance: BalanceAnswer


class SourceAnswer(Answer):
    """Where a series comes from, and how much of it is estimated (0 to 1)."""

    series: str
    source: str
    version: str
    estimated_share: float


class ForecastAnswer(Answer):
    """How the forecast was made, how far it was off, and the violations that it missed."""

    method: str
    issued: Instant
    like_days_min: int
    notices: Items[str]
    errors: dict[str, dict[str, float]]
    missed: Items[MissedViolation]


class PlanDocument(Answer):
    """``wattshed.plan/1``: a day of a city. The same inputs give the same bytes."""

    schema_: Literal["wattshed.plan/1"] = Field(alias="schema")
    city: str
    day: str
    information: Literal["perfect", "day-ahead"]
    time: TimeAnswer
    status: Literal["secure", "unresolved"]
    rounds: int
    input_hash: str
    comparison: Comparison
    valuation: Valuation
    peak: PeakAnswer
    carried_over: bool
    schedule: DaySchedule
    violations: Items[PlanViolation]
    carbon: CarbonAnswer
    sources: Items[SourceAnswer]
    notices: Items[str]
    forecast: ForecastAnswer | None = None


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a document."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema()}
