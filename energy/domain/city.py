"""A city, prepared: what is connected where, who lives in which district, and a year of profiles.

A `City` is read from a directory by `energy.feeds.city` and holds no file handle, clock or net. MW and
MWh throughout; kW stays in files and documents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from types import MappingProxyType
from typing import Any, Literal
from zoneinfo import ZoneInfo

import numpy as np

from energy.domain.network import FloatArray, IntArray, OperatingLimits
from energy.domain.period import Coupling, DataSource, LossTreatment, UserClass
from energy.domain.time import TimeGrid

BOUNDARY = "boundary"
"""The district of upstream buses that lie outside all polygons."""
UNCLASSIFIED: Mapping[UserClass, float] = MappingProxyType({"non_specified": 1.0})
"""The user class of demand that no rule classifies."""


@dataclass(frozen=True)
class Profiles:
    """Series over the whole year a city has data for; `values` has shape (steps, len(columns))."""

    time: TimeGrid
    columns: tuple[str, ...]
    values: FloatArray

    def window(self, column: str, time: TimeGrid) -> FloatArray:
        """One series over `time`, shape (time.steps,)."""
        first = self.time.offset_of(time)
        return self.values[first : first + time.steps, self.columns.index(column)]

    def matrix(self, columns: tuple[str, ...], time: TimeGrid) -> FloatArray:
        """Several series over `time`, shape (time.steps, len(columns)); a column may repeat."""
        first = self.time.offset_of(time)
        position = {name: k for k, name in enumerate(self.columns)}
        return self.values[first : first + time.steps, [position[name] for name in columns]]


@dataclass(frozen=True, slots=True)
class Scaled:
    """A profile column times a factor: a MW or Mvar series of one site."""

    column: str
    factor: float


@dataclass(frozen=True, slots=True)
class SiteLoad:
    """Inflexible demand at a bus. `p` in MW, `q` in Mvar (None: unity power factor). `classes`: the share of
    each user class in what it draws; shares sum to 1."""

    id: str
    name: str
    bus: int
    p: Scaled
    q: Scaled | None = None
    classes: Mapping[UserClass, float] = field(default_factory=lambda: dict(UNCLASSIFIED))


@dataclass(frozen=True, slots=True)
class SiteRenewable:
    """Generation at a bus, `available` in MW; `carbon_g_per_kwh` of its technology comes from the factors."""

    id: str
    name: str
    bus: int
    technology: str
    available: Scaled
    curtailable: bool = True


@dataclass(frozen=True, slots=True)
class SiteBattery:
    """A stationary battery; efficiencies are one-way."""

    id: str
    name: str
    bus: int
    charge_max_mw: float
    discharge_max_mw: float
    e_max_mwh: float
    e_min_mwh: float
    e_start_mwh: float
    charge_efficiency: float
    discharge_efficiency: float
    self_discharge_per_hour: float
    wear_cost_per_mwh: float
    carbon_start_g_per_kwh: float


@dataclass(frozen=True, slots=True)
class ChargingSession:
    """One stay at the charger. Energy is what the driver needs by departure, at the battery."""

    arrival: datetime
    departure: datetime
    charge_max_kw: float
    discharge_max_kw: float
    energy_kwh: float
    distance_km: float


@dataclass(frozen=True, slots=True)
class Vehicle:
    """An EV that charges at one site. Sessions ascend and never overlap; between two of them it drives
    exactly the `energy_kwh` that the later one recharges (`distance_km` of it).
    """

    id: str
    fleet: str
    bus: int
    v2g: bool
    e_max_kwh: float
    e_min_kwh: float
    charge_efficiency: float
    discharge_efficiency: float
    wear_cost_per_mwh: float
    carbon_start_g_per_kwh: float
    sessions: tuple[ChargingSession, ...]


@dataclass(frozen=True, slots=True)
class SiteUnit:
    """A further asset of the dispatcher at a bus: a generator, a heat pump, a hydrogen station …

    `fields` are those of its `type` in ``wattshed.dispatch/1`` (kW, kWh) but `id`, `connection` and `bus`;
    times among them are clock times that recur every local day. `series` are the fields that follow a
    profile, by path (``heat.cop``), in the unit of the field. `technology` and `renewable_share` tell what
    it feeds in the carbon account, `carbon_start_g_per_kwh` what its store holds at the start.
    """

    id: str
    name: str
    bus: int
    type: str
    technology: str
    renewable_share: float
    carbon_start_g_per_kwh: float
    fields: Mapping[str, Any]
    series: Mapping[str, Scaled]


@dataclass(frozen=True)
class Market:
    """Prices and upstream carbon at the root connection.

    `import_price`, `export_price` (EUR/MWh, fees included), `carbon` and `marginal_carbon` (g/kWh) name
    profile columns; `upstream_mix` maps technology → column of its share (0..1) of the upstream mix.
    `upstream_renewable_share` names the column with the renewable share of what is imported; `carbon_low`
    and `carbon_high` those with the ends of the intensity's range, None where that is unknown.
    """

    currency: str
    import_price: str
    export_price: str
    carbon: str
    marginal_carbon: str
    upstream_renewable_share: str
    upstream_mix: Mapping[str, str]
    carbon_price_per_t: float
    peak_import_price_per_kw: float
    import_limit_mw: float | None = None
    export_limit_mw: float | None = None
    carbon_low: str | None = None
    carbon_high: str | None = None


@dataclass(frozen=True, slots=True)
class CarbonSettings:
    """How a city's carbon is accounted.

    Attributes:
        coupling, losses: of the traced account, stored with each day. basis: of its factors.
        operator, menu: the supplier and its product, where official factors are by supplier (Japan).
        marginal: whether a kWh more counts at its bus as the dispatch of the day has it, with network losses
            and limits, or at the upstream's marginal intensity everywhere.
    """

    coupling: Coupling = "direct"
    losses: LossTreatment = "account"
    basis: Literal["life-cycle", "direct"] = "life-cycle"
    operator: str | None = None
    menu: str | None = None
    marginal: Literal["dispatch", "upstream"] = "dispatch"


@dataclass(frozen=True, slots=True)
class District:
    """A named district: polygon as GeoJSON geometry (None where buses name it), and its buses.

    `inhabitants` and `floor_area_m2` (gross floor area) are None where the city does not tell them.
    """

    id: str
    name: str
    geometry: Mapping[str, Any] | None
    buses: tuple[int, ...]
    inhabitants: int | None = None
    floor_area_m2: float | None = None


EV_SESSIONS = "EV sessions (synthetic)"
"""The source of drawn sessions."""
UPSTREAM = "upstream "
"""How the sources of upstream series begin."""
LOCAL_GENERATION = "local generation"
"""The source of the intensities of the city's own plants."""


@dataclass(frozen=True)
class City:
    """Everything a plan needs to know of a city.

    `bus_xy` holds longitude and latitude of every bus that has them (drawn positions: LV buses moved
    onto their station); `grid_lines` the straight connections drawn on maps, ``(table, index, from_bus,
    to_bus)``. `fingerprint` is the hash of all inputs, the grid included: part of every plan's hash.
    `grid_root` names the external grid of the root connection where the grid has several. `grid_zone` is the
    zone of the official grid factors, `own_factors` the text of the city's own table of them (empty: none).
    `station_of_bus` names the bus of the station whose transformer feeds each bus of an LV grid.
    """

    id: str
    name: str
    zone: ZoneInfo
    grid_source: str
    grid_taps: Literal["ignore", "ratio"]
    limits: OperatingLimits
    districts: tuple[District, ...]
    district_of_bus: Mapping[int, str]
    bus_xy: Mapping[int, tuple[float, float]]
    bus_names: Mapping[int, str]
    grid_lines: tuple[tuple[str, int, int, int], ...]
    loads: tuple[SiteLoad, ...]
    renewables: tuple[SiteRenewable, ...]
    batteries: tuple[SiteBattery, ...]
    vehicles: tuple[Vehicle, ...]
    market: Market
    profiles: Profiles
    sources: tuple[DataSource, ...]
    notices: tuple[str, ...]
    carbon_map_bounds: tuple[float, float]
    replay: bool
    fingerprint: str
    grid_root: int | str | None = None
    grid_zone: str = ""
    own_factors: str = ""
    units: tuple[SiteUnit, ...] = ()
    carbon: CarbonSettings = CarbonSettings()
    station_of_bus: Mapping[int, int] = field(default_factory=dict)

    def day(self, day: date) -> TimeGrid:
        """The local day, inside the year of data or `IndexError`."""
        grid = TimeGrid.local_day(day, self.zone, self.profiles.time.resolution)
        try:
            self.profiles.time.offset_of(grid)
        except ValueError as error:
            raise IndexError(f"{day} is outside the data of {self.name}: {error}") from None
        return grid


def buses_of(*groups: tuple[Any, ...]) -> IntArray:
    """The buses of the given assets, in order."""
    return np.array([asset.bus for group in groups for asset in group], dtype=np.int64)
