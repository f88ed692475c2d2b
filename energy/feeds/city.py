"""``city.toml``: the document that says what a city is made of, and how it is read.

Powers in kW and energies in kWh, as in all files; the prepared `energy.domain.city.City` is in MW.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    Strict,
    model_validator,
)

from energy.domain.documents import Day, Document, Duration, Identifier, Instant, Items, parse
from energy.domain.errors import Fault, InputError
from energy.domain.period import Coupling, LossTreatment, UserClass
from energy.domain.time import parse_duration

CITY_FILE = "city.toml"


def _zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError(f"{name!r} is not a time zone; write one like Europe/Berlin or Asia/Tokyo")
    return name


def _slug(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", value):
        raise ValueError(f"{value!r} is not an id; use lower-case letters, digits, - and _")
    return value


def _inside(value: str) -> str:
    path = Path(value)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{value!r} leaves the city's directory; give a path inside it")
    return value


Fraction = Annotated[float, Field(ge=0, le=1)]
Efficiency = Annotated[float, Field(gt=0, le=1)]
BatterySize = Annotated[float, Field(gt=0, le=2000)]
NotNegative = Annotated[float, Field(ge=0)]
Price = Annotated[float, Field(ge=-1e5, le=1e5)]
"""Money per MWh; a spot price beyond ±100,000 is a wrong unit."""
FileName = Annotated[str, AfterValidator(_inside)]
"""A file inside the city's directory."""
Bus = int | str
"""A bus of the grid source: its index, or its name where that is unique."""


class CitySection(Document):
    """Who the city is."""

    id: Annotated[str, AfterValidator(_slug)]
    name: Identifier
    time_zone: Annotated[str, AfterValidator(_zone)]
    currency: Identifier = "EUR"
    replay: bool = Field(default=True, description="A year of the past is replayed: there is no 'now'.")
    carbon_map_g_per_kwh: Annotated[tuple[float, float], Strict(False)] = Field(
        default=(0.0, 700.0), description="Fixed bounds of the carbon colour scale, g/kWh."
    )

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)


class Period(Document):
    """The local days the city has series for, both included."""

    first_day: Day
    last_day: Day
    resolution: Duration = Field(default_factory=lambda: parse_duration("PT15M"))

    @model_validator(mode="after")
    def _ordered(self) -> Period:
        if self.last_day < self.first_day:
            raise ValueError(f"last_day {self.last_day} is before first_day {self.first_day}; swap them")
        if parse_duration("PT1H") % self.resolution:
            raise ValueError(f"resolution {self.resolution} does not divide an hour; use PT15M or PT1H")
        return self


class GridSection(Document):
    """The distribution grid."""

    source: Identifier = Field(
        description="simbench:CODE, pandapower:NAME, or a .json or .m file of this directory."
    )


class TwinSection(Document):
    """How the grid is modelled."""

    taps: Literal["ignore", "ratio"] = Field(
        default="ignore",
        description="Stored tap positions without a changer type: ignored, as pandapower does, or applied.",
    )
    root_ext_grid: int | str | None = Field(
        default=None,
        description="The external grid the city is fed by, where the grid has several: index or name. "
        "The areas of the others are left out.",
    )


class LimitsSection(Document):
    """The operating limits: voltage at every bus but the slack, loading of every rated branch."""

    vm_min_pu: float = Field(default=0.9, gt=0)
    vm_max_pu: float = Field(default=1.1, lt=2)
    loading_max_percent: float = Field(default=100.0, gt=0, le=1000)

    @model_validator(mode="after")
    def _ordered(self) -> LimitsSection:
        if self.vm_min_pu >= self.vm_max_pu:
            raise ValueError(f"vm_min_pu {self.vm_min_pu} must be below vm_max_pu {self.vm_max_pu}")
        return self


class DistrictsSection(Document):
    """Which bus lies in which district: polygons, or a table of buses."""

    polygons: FileName | None = Field(
        default=None, description="GeoJSON FeatureCollection; each feature has an id and a name."
    )
    buses: FileName | None = Field(default=None, description="CSV with columns bus, district, name.")
    upstream_vn_kv_min: float = Field(
        default=60.0,
        description="Buses from this voltage on, and those of external grids, are upstream.",
    )
    upstream: Literal["by_place", "boundary"] = Field(
        default="by_place",
        description="Upstream buses form 'boundary' where they lie outside all districts, or always.",
    )

    @model_validator(mode="after")
    def _one(self) -> DistrictsSection:
        if (self.polygons is None) == (self.buses is None):
            raise ValueError("give either polygons (a GeoJSON file) or buses (a CSV file)")
        return self


class SeriesSource(Document):
    """A file of series (CSV or Parquet): column ``time``, RFC 3339 with offset, then one column each."""

    file: FileName
    source: str = Field(description="Where the series come from; stands beside every figure made of them.")
    licence: str = ""
    version: str = ""
    estimated_share: Fraction = Field(default=0.0, description="1 for a model's estimate, 0 for measured.")
    fill_up_to: Duration | None = Field(
        default=None,
        description="Gaps up to this long take the nearest value, and are listed; longer ones are refused.",
    )


class Selector(Document):
    """Which elements of the grid a rule concerns; what is not given does not restrict."""

    table: Literal["load", "sgen", "storage"] | None = None
    technology: str | None = None
    profile: str | None = Field(default=None, description="Pattern of the profile's name, like lv_rural*.")
    vn_kv_min: float = 0.0
    vn_kv_max: float = 1e4


class ScaleRule(Selector):
    """A factor on the power (and energy) of the selected elements; factors of several rules multiply."""

    factor: NotNegative


class BatteryRules(Document):
    """What a storage table does not say. Efficiencies are one-way."""

    e_start_fraction: Fraction = 0.5
    efficiency: Efficiency | None = Field(
        default=None, description="One-way, for storages that state none (efficiency_percent)."
    )
    wear_cost_per_mwh: NotNegative = 0.0
    carbon_start_g_per_kwh: NotNegative = Field(
        default=400.0, description="Declared carbon of the first kWh."
    )


class UnitEntry(Document):
    """A further asset of the dispatcher: its `type`, and that type's fields as ``wattshed.dispatch/1`` has
    them (kW, kWh), without `connection`. A series may be a profile's name, or a table of `profile` and
    `factor`; a time is a clock time that recurs every local day.
    """

    model_config = ConfigDict(extra="allow")

    type: str
    id: Identifier
    bus: Bus
    name: str = ""
    technology: str | None = Field(default=None, description="Of what it feeds; its type if not given.")
    renewable_share: Fraction = Field(default=0.0, description="Of what it feeds.")
    carbon_start_g_per_kwh: NotNegative = Field(
        default=400.0, description="Declared carbon of what its store holds at the start."
    )


class AssetsSection(Document):
    """What draws and injects, from the grid's own tables by rules, from CSV files, or both."""

    from_grid: Items[Literal["load", "sgen", "storage"]] = Field(
        default=("load", "sgen", "storage"), description="Tables of the grid to take assets from."
    )
    exclude_profiles: Items[str] = Field(
        default=(), description="Patterns of profile names whose elements are left out, like APLS*."
    )
    exclude_types: Items[str] = Field(default=(), description="Patterns of sgen types left out.")
    technologies: dict[str, str] = Field(
        default_factory=dict, description="Pattern of sgen type -> technology; the first match counts."
    )
    not_curtailable: Items[str] = Field(default=(), description="Technologies that always run.")
    load_profile: str | None = Field(default=None, description="Column for loads without a profile.")
    renewable_profiles: dict[str, str] = Field(
        default_factory=dict, description="Technology -> column, for generation without a profile."
    )
    user_classes: dict[str, UserClass | dict[UserClass, Fraction]] = Field(
        default_factory=dict,
        description="Pattern of load profile -> user class, or a table of classes and their shares, which "
        "sum to 1; the first match counts. What matches none is non_specified.",
    )
    scale: Items[ScaleRule] = ()
    battery: BatteryRules = Field(default_factory=BatteryRules)
    loads: FileName | None = Field(
        default=None, description="CSV: id, bus, profile, p_kw, [name, q_kvar, user_class]"
    )
    renewables: FileName | None = Field(
        default=None, description="CSV: id, bus, technology, profile, p_kw, [name, curtailable]"
    )
    batteries: FileName | None = Field(
        default=None, description="CSV: id, bus, charge_max_kw, discharge_max_kw, e_max_kwh, …"
    )
    units: Items[UnitEntry] = Field(
        default=(), description="Generators, heat pumps, shiftable loads, hydrogen and swap stations."
    )
    vehicles: FileName | None = Field(default=None, description="CSV: id, bus, fleet, v2g, e_max_kwh, …")
    sessions: FileName | None = Field(default=None, description="CSV: vehicle, arrival, departure, …")

    @model_validator(mode="after")
    def _together(self) -> AssetsSection:
        if (self.vehicles is None) != (self.sessions is None):
            raise ValueError("vehicles and sessions belong together; give both files or neither")
        return self

    @model_validator(mode="after")
    def _whole(self) -> AssetsSection:
        for pattern, shares in self.user_classes.items():
            if isinstance(shares, dict) and abs(sum(shares.values()) - 1.0) > 1e-6:
                raise ValueError(
                    f"user_classes {pattern!r}: shares sum to {sum(shares.values()):g}; they must sum to 1"
                )
        return self


class Sites(Document):
    """Where a fleet charges: these buses, or those that hold loads of such a profile and voltage."""

    buses: Items[Bus] = ()
    load_profiles: Items[str] = Field(default=("*",), description="Patterns of profile names.")
    vn_kv_min: float = 0.0
    vn_kv_max: float = 1e4


class Roster(Document):
    """Vehicles of a depot that leave and return by timetable on the given days."""

    vehicles: int = Field(ge=1)
    days: Literal["mon-fri", "sat", "sun", "sat-sun", "daily"] = "daily"
    leaves: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):(00|15|30|45)$")]
    returns: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):(00|15|30|45)$")]
    distance_km: float = Field(gt=0, le=1000)

    @model_validator(mode="after")
    def _same_day(self) -> Roster:
        if self.returns <= self.leaves:
            raise ValueError(f"returns {self.returns} must be later on the day than leaves {self.leaves}")
        return self


class Fleet(Document):
    """EVs of one kind; each charges at one site. Sessions are synthetic."""

    id: Annotated[str, AfterValidator(_slug)]
    kind: Literal["home", "workplace", "public", "depot"] = Field(
        description="Which distributions sessions are drawn from; a depot follows its timetable."
    )
    vehicles: int = Field(ge=1, le=100_000)
    at: Sites = Field(default_factory=Sites)
    v2g_share: Fraction = 0.0
    charge_max_kw: float = Field(gt=0, le=5000)
    stay_max_hours: float = Field(default=24.0, gt=0, le=168)
    battery_kwh: Annotated[Items[BatterySize], Field(min_length=1)]
    reserve_fraction: float = Field(default=0.1, ge=0, lt=1, description="e_min as a share of the battery.")
    kwh_per_km: float = Field(default=0.18, gt=0, le=10)
    charge_efficiency: Efficiency = 0.92
    discharge_efficiency: Efficiency = 0.92
    wear_cost_per_mwh: NotNegative = 20.0
    carbon_start_g_per_kwh: NotNegative = 400.0
    timetable: Items[Roster] = ()

    @model_validator(mode="after")
    def _timetable(self) -> Fleet:
        if (self.kind == "depot") != bool(self.timetable):
            raise ValueError(f"kind is {self.kind!r}; a depot needs a timetable, other kinds have none")
        on_roster = sum(roster.vehicles for roster in self.timetable)
        if self.timetable and on_roster != self.vehicles:
            raise ValueError(f"the timetable has {on_roster} vehicles, the fleet {self.vehicles}")
        return self


class EvSection(Document):
    """Synthetic EV fleets: sessions drawn with a fixed seed from published distributions."""

    seed: int = Field(ge=0)
    distributions: FileName = Field(
        default="ev_distributions", description="Folder with the distributions of ElaadNL's open data."
    )
    source: str = ""
    licence: str = ""
    sessions_per_day: float = Field(default=0.4, ge=0, le=1, description="Per EV that no timetable binds.")
    fill_fraction: float = Field(
        default=0.9, gt=0, le=1, description="Energy is capped at this share of power × stay."
    )
    energy_stay_correlation: float = Field(
        default=0.5, ge=0, lt=1, description="Rank correlation (Gaussian copula) of energy and stay."
    )
    fleets: Items[Fleet] = ()


class MarketSection(Document):
    """Prices per MWh at the root connection, the carbon price and the demand charge."""

    day_ahead: str = Field(description="Column of a profiles file with the day-ahead price per MWh.")
    import_fee_per_mwh: Price = Field(default=0.0, description="Added to the day-ahead price.")
    export_fee_per_mwh: Price = Field(default=0.0, description="Taken off the day-ahead price.")
    carbon_price_per_t: float = Field(default=0.0, ge=0, le=1e5)
    peak_import_price_per_kw: float = Field(
        default=0.0, ge=0, le=1e5, description="Per kW of the month's highest quarter-hour."
    )
    import_limit_mw: float | None = Field(default=None, gt=0)
    export_limit_mw: float | None = Field(default=None, ge=0)


class MeritOrder(Document):
    """The estimate of upstream carbon: national shapes, as weighted sums of profile columns."""

    load: dict[str, float]
    wind: dict[str, float]
    pv: dict[str, float]


class UpstreamSection(Document):
    """Carbon of what is imported: estimated by merit order, or measured."""

    merit_order: MeritOrder
    measured: FileName | None = Field(
        default=None,
        description="CSV with time, carbon_g_per_kwh and optionally carbon_low_g_per_kwh and "
        "carbon_high_g_per_kwh (its range), marginal_g_per_kwh, renewable_share and share.TECHNOLOGY, or "
        "the folder of an imported series (series/intensity-DE, series/mix-DE): "
        "takes the place of the estimate.",
    )
    measured_marginal: FileName | None = Field(
        default=None, description="The folder of an imported marginal series (series/marginal-DE)."
    )
    as_of: Instant | None = Field(
        default=None, description="Use imported series as they were known at this time; default: the newest."
    )
    measured_source: str = ""
    measured_version: str = ""


class FactorsSection(Document):
    """Emission factors: the zone of the official ones, and the city's own."""

    zone: str = Field(
        default="", description="Country (DE) or zone of it (JP-TK) whose grid factors are the city's."
    )
    file: FileName | None = Field(
        default=None, description="CSV of the city's own factors; `wattshed factors add` appends to it."
    )


class CarbonSection(Document):
    """How carbon is accounted."""

    coupling: Coupling = Field(
        default="direct",
        description="direct mixes local generation with what arrives at a bus; aggregated lets it serve "
        "demand at its own bus first.",
    )
    losses: LossTreatment = Field(
        default="account",
        description="The carbon of network losses: an account of its own, on loads, or on generators.",
    )
    basis: Literal["life-cycle", "direct"] = Field(
        default="life-cycle", description="Of the factors of the traced account."
    )
    operator: str | None = Field(
        default=None, description="The supplier whose official factor counts (Japan)."
    )
    menu: str | None = Field(default=None, description="The supplier's product (menu).")
    marginal: Literal["dispatch", "upstream"] = Field(
        default="dispatch",
        description="dispatch: what a kWh more at a bus emits is the derivative of the day's dispatch, with "
        "network losses and limits; upstream: the upstream's marginal intensity at every bus.",
    )

    @model_validator(mode="after")
    def _supplier(self) -> CarbonSection:
        if self.menu is not None and self.operator is None:
            raise ValueError("menu is a product of a supplier; give operator too")
        return self


class CityDocument(Document):
    """``city.toml``, ``wattshed.city/1``."""

    schema_: Literal["wattshed.city/1"] = Field(alias="schema")
    city: CitySection
    period: Period
    grid: GridSection
    twin: TwinSection = Field(default_factory=TwinSection)
    limits: LimitsSection = Field(default_factory=LimitsSection)
    districts: DistrictsSection
    profiles: Items[SeriesSource] = ()
    assets: AssetsSection = Field(default_factory=AssetsSection)
    ev: EvSection | None = None
    market: MarketSection
    upstream: UpstreamSection
    factors: FactorsSection = Field(default_factory=FactorsSection)
    carbon: CarbonSection = Field(default_factory=CarbonSection)


def read_city_document(directory: Path) -> CityDocument:
    """``city.toml`` of `directory`; `InputError` with every fault of the file."""
    path = directory / CITY_FILE
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(
            Fault(str(path), f"cannot be read ({error.strerror}); `wattshed init DIR` makes a city")
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(Fault(CITY_FILE, f"is not UTF-8 at byte {error.start}")) from None
    if not text.strip():
        raise InputError(Fault(CITY_FILE, "is empty; `wattshed init DIR` writes one to start from"))
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(Fault(CITY_FILE, f"is not TOML: {error}")) from None
    try:
        return parse(CityDocument, document)
    except InputError as error:
        raise InputError(in_file(CITY_FILE, error), title=error.title) from None


def in_file(name: str, error: InputError) -> list[Fault]:
    """The faults of `error`, located in the file `name`."""
    return [Fault(f"{name}: {fault.path}" if fault.path else name, fault.message) for fault in error.faults]
