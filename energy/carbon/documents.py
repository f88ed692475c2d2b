"""The carbon ledger's documents: ``wattshed.flows/1``, ``wattshed.trace/1``, ``wattshed.tank/1``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from energy.domain.documents import Document, Duration, Identifier, Instant, Items, Series

DemandKind = Literal["load", "export", "storage", "shunt", "loss"]

CARBON_MAX_G_PER_KWH = 10_000.0
"""Far above any power plant: more than this is another unit."""
Energy = Annotated[float, Field(ge=0, le=1e12)]
"""kWh; the bound (a thousand TWh) only keeps sums finite."""


class FlowsTime(Document):
    """The time grid: `steps` intervals from `start`."""

    start: Instant
    resolution: Duration
    steps: int = Field(ge=1)


class FlowsBus(Document):
    """A bus and its district, or its id alone; without a district it belongs to that of its demands."""

    id: Identifier
    district: Identifier | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_id(cls, value: Any) -> Any:
        return {"id": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [{"type": "string", "minLength": 1}, handler(core_schema)]}


def _share_of_truth(value: Any) -> Any:
    return float(value) if isinstance(value, bool) else value


RenewableShare = Annotated[
    Series,
    BeforeValidator(_share_of_truth),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "boolean"},
                {"type": "number", "minimum": 0, "maximum": 1},
                {"type": "array", "items": {"type": "number", "minimum": 0, "maximum": 1}},
            ]
        }
    ),
]
"""True, false, or the renewable share (0 to 1) as a number or series."""


class FlowsBranch(Document):
    """A line or transformer; powers in MW that enter it at either end, as in pandapower."""

    id: Identifier
    from_: Identifier = Field(alias="from")
    to: Identifier
    p_from_mw: Series
    p_to_mw: Series


class Connected(Document):
    """Anything that is connected to one bus."""

    id: Identifier
    bus: Identifier


class FlowsSource(Connected):
    """Something that feeds a bus, MW ≥ 0.

    `renewable` is true, false or the renewable share (0 to 1) of what is fed. Technology ``import`` is
    the upstream grid, which ``aggregated`` coupling never nets against local demand. `basis` says what
    `carbon_g_per_kwh` counts; one trace has one basis.
    """

    p_mw: Series
    carbon_g_per_kwh: Series
    technology: Identifier = "unspecified"
    renewable: RenewableShare | None = None
    basis: Literal["direct", "life-cycle"] | None = None


class FlowsDemand(Connected):
    """Something that draws from a bus, MW ≥ 0."""

    p_mw: Series
    district: Identifier | None = None
    kind: DemandKind = "load"


class FlowsStorage(Connected):
    """A storage with its tank; powers in MW ≥ 0 at the connection.

    `e_start_kwh` and `carbon_start_g` are what it holds before the first step. `renewable_share_start`
    is the renewable share of that; without it renewable shares are null, unless the tank starts empty.
    """

    charge_mw: Series
    discharge_mw: Series
    e_start_kwh: Energy
    carbon_start_g: float = Field(ge=0, le=1e16)
    charge_efficiency: float = Field(gt=0, le=1)
    discharge_efficiency: float = Field(gt=0, le=1)
    standing_loss_per_step: float = Field(default=0.0, ge=0, lt=1)
    renewable_share_start: float | None = Field(default=None, ge=0, le=1)
    technology: Identifier = "storage"
    district: Identifier | None = None


class FlowsDocument(Document):
    """``wattshed.flows/1``: the flows of a network, what feeds it and what draws from it."""

    schema_: Literal["wattshed.flows/1"] = Field(alias="schema")
    name: str | None = None
    time: FlowsTime
    buses: Items[FlowsBus] = Field(min_length=1)
    branches: Items[FlowsBranch] = ()
    sources: Items[FlowsSource] = ()
    demands: Items[FlowsDemand] = ()
    storages: Items[FlowsStorage] = ()
    coupling: Literal["direct", "aggregated"] = "direct"
    detail: Literal["sources", "technologies"] | None = None
    balance_tolerance: float | None = Field(default=None, gt=0, le=1e-2)


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Numbers = tuple[float, ...]
Nullable = tuple[float | None, ...]


class TraceBus(_Answer):
    """The mix at a bus; null without through-flow. Shares by source id, or by technology."""

    carbon_g_per_kwh: Nullable
    renewable_share: Nullable
    source_shares: dict[str, Nullable]
    mismatch_mw: Numbers | None = None


class TraceDemand(_Answer):
    """A demand's account; `source_mwh` by source id, or by technology."""

    emissions_kg: Numbers
    emissions_with_losses_kg: Numbers
    source_mwh: dict[str, Numbers]


class TraceDistrict(_Answer):
    """A district's use (loads and shunts) and the losses of its branches; charging stands apart."""

    energy_mwh: Numbers
    emissions_kg: Numbers
    loss_emissions_kg: Numbers
    carbon_g_per_kwh: Nullable
    renewable_share: Nullable
    charged_kg: Numbers | None = None
    discharged_kg: Numbers | None = None


class TraceBranch(_Answer):
    """Carbon of a branch's losses, and the carbon sent into it, ``+`` from → to."""

    loss_emissions_kg: Numbers
    carbon_flow_kg_per_h: Numbers


class TraceStorage(_Answer):
    """A tank after each step, and what it took and gave."""

    e_kwh: Numbers
    carbon_g: Numbers
    charged_kg: Numbers
    discharged_kg: Numbers


class TraceBalance(_Answer):
    """sources = demands + losses + change in storage + residual, over all steps."""

    sources_kg: float
    demands_kg: float
    losses_kg: float
    residual_kg: float
    storage_change_kg: float | None = None


class TraceDocument(_Answer):
    """``wattshed.trace/1``."""

    schema_: Literal["wattshed.trace/1"] = Field(alias="schema")
    time: FlowsTime
    coupling: Literal["direct", "aggregated"]
    detail: Literal["sources", "technologies"]
    buses: dict[str, TraceBus]
    demands: dict[str, TraceDemand]
    districts: dict[str, TraceDistrict]
    branches: dict[str, TraceBranch]
    storages: dict[str, TraceStorage] | None = None
    balance: TraceBalance


class TankEvent(Document):
    """One event: charging at the plug, delivering to the grid, driving from the battery, or standing."""

    charge_kwh: Energy | None = None
    carbon_g_per_kwh: Annotated[float, Field(ge=0, le=CARBON_MAX_G_PER_KWH)] | None = None
    discharge_kwh: Energy | None = None
    drive_kwh: Energy | None = None
    distance_km: Annotated[float, Field(ge=0, le=1e12)] | None = None
    idle_steps: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _is_one_event(self) -> TankEvent:
        belongs = {
            "charge_kwh": ("carbon_g_per_kwh",),
            "discharge_kwh": (),
            "drive_kwh": ("distance_km",),
            "idle_steps": (),
        }
        given = self.model_fields_set
        kinds = [kind for kind in belongs if kind in given]
        if len(kinds) != 1:
            stated = f"has {' and '.join(kinds)}" if kinds else "names no event"
            raise ValueError(f"{stated}; give exactly one of {', '.join(belongs)}")
        kind = kinds[0]
        wrong = [f"{kind} needs {key}; add it" for key in belongs[kind] if key not in given]
        wrong += [
            f"{key} does not belong to {kind}; remove it" for key in sorted(given - {kind, *belongs[kind]})
        ]
        wrong += [f"{key} is null; give a number" for key in sorted(given) if getattr(self, key) is None]
        if wrong:
            raise ValueError(". ".join(wrong))
        return self


class TankLedger(Document):
    """``wattshed.tank/1``: a storage and what happens to it, in order. kWh and g."""

    schema_: Literal["wattshed.tank/1"] = Field(default="wattshed.tank/1", alias="schema")
    name: str | None = None
    e_start_kwh: Energy
    carbon_start_g: float = Field(ge=0, le=1e16)
    charge_efficiency: float = Field(gt=0, le=1)
    discharge_efficiency: float = Field(gt=0, le=1)
    standing_loss_per_step: float = Field(default=0.0, ge=0, lt=1)
    events: Items[TankEvent]


class TankState(_Answer):
    """The tank after an event, and what the event took out (per kWh delivered or driven)."""

    e_kwh: float
    carbon_g: float
    mix_g_per_kwh: float | None
    out_g: float
    out_g_per_kwh: float | None


class TankAnswer(_Answer):
    """carbon_start_g + in_g = out_g + end_g, and out_g = driven_g + exported_g + residual_out_g."""

    schema_: Literal["wattshed.tank/1"] = Field(alias="schema")
    events: tuple[TankState, ...]
    in_g: float
    out_g: float
    driven_g: float
    driven_g_per_km: float | None
    exported_g: float
    residual_out_g: float
    end_g: float
