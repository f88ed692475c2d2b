"""A period of a city as its stored days account it, hour by hour: what every ledger and report reads.

Energies in MWh, carbon in kg, both per hour and never negative unless said; every array has the hours
first. Hours without a stored day, and without an AC solution, are NaN: sums say what share they cover.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Literal, get_args
from zoneinfo import ZoneInfo

import numpy as np

from energy.domain.factors import Factor
from energy.domain.network import FloatArray
from energy.domain.time import TimeGrid

UserClass = Literal[
    "residential", "commercial", "industry", "energy_industries", "agriculture", "non_specified", "transport"
]
"""Who uses electricity, by the sub-sectors of GPC 1.1 (I.1 to I.6, and II for charging)."""
USER_CLASSES: tuple[UserClass, ...] = get_args(UserClass)
CITY = "city"
"""What ledgers call all districts together, beside the districts by name."""

End = Literal["low", "high"]
ENDS: tuple[End, ...] = get_args(End)
"""Of an interval: the same with all factors at the lower, and all at the upper end of their ranges."""

Coupling = Literal["direct", "aggregated"]
LossTreatment = Literal["account", "loads", "generators"]


def end_name(name: str, end: End) -> str:
    """What a figure of carbon is called at one end: ``loss_emissions_kg`` → ``loss_emissions_low_kg``."""
    unit = next(unit for unit in ("g_per_kwh", "kg") if name.endswith(f"_{unit}"))
    return f"{name.removesuffix(f'_{unit}')}_{end}_{unit}"


def ends_of(table: Mapping[str, FloatArray], name: str) -> tuple[FloatArray, FloatArray]:
    """The low and high ends of a series of carbon, from the same `table`; NaN where they are not known."""
    unknown = np.full_like(table[name], np.nan)
    low, high = (table.get(end_name(name, end), unknown) for end in ENDS)
    return low, high


@dataclass(frozen=True, slots=True)
class DataSource:
    """Where a series comes from.

    Attributes:
        estimated_share: 1 for a model's estimate, 0 for measurements.
        hash: SHA-256 of the file, or of all imports; empty for what `version` names already.
        factors: the emission factors that the series is made with.
    """

    series: str
    source: str
    version: str
    estimated_share: float
    licence: str = ""
    hash: str = ""
    factors: tuple[Factor, ...] = ()

    def document(self) -> dict[str, Any]:
        return {
            "series": self.series,
            "source": self.source,
            "version": self.version,
            "estimated_share": self.estimated_share,
        }


@dataclass(frozen=True, slots=True)
class DayRun:
    """Where the figures of one day come from: the run that made its stored plan, and what went into it.

    Attributes:
        run: id of the run in the store.
        information: what the plan knew; with ``day-ahead`` the day is accounted as it came.
        sources: of the series it used; empty where the store has not kept them.
    """

    day: str
    run: int
    information: str
    status: str
    input_hash: str
    code_version: str
    factors_version: str
    finished: datetime
    sources: tuple[DataSource, ...] = ()


@dataclass(frozen=True, slots=True)
class AssetEntry:
    """One asset as the ledgers see it.

    Attributes:
        kind: ``load``, ``renewable``, ``battery``, ``ev`` or another type of the dispatcher's registry.
        classes: share of each user class in what it draws; shares sum to 1.
        technology: of generation, else empty. group: the fleet of an EV, else empty.
    """

    id: str
    name: str
    kind: str
    bus: int
    district: str
    classes: Mapping[UserClass, float]
    technology: str = ""
    group: str = ""


@dataclass(frozen=True)
class Account:
    """What happened in the city, or would have happened: series by name.

    * `districts`, shape (hours, districts): ``energy_mwh`` (end use), ``emissions_kg``,
      ``renewable_mwh``, ``loss_mwh``, ``loss_emissions_kg``,
      ``charged_mwh``, ``charged_kg``, ``discharged_mwh``, ``discharged_kg``, ``local_generation_mwh``,
      ``local_generation_kg``, ``exchange_mwh``, ``exchange_kg`` (``+`` is received)
    * `city`, shape (hours,): ``sources_kg``, ``end_use_kg``, ``losses_kg``, ``exports_kg``,
      ``ev_driven_kg``, ``storage_change_kg``, ``residual_kg`` (may be negative, as may the change);
      ``storage_change_mwh`` (of what all tanks hold, may be negative), ``import_mwh``, ``import_kg``,
      ``export_mwh``, ``losses_mwh``, ``cost`` (in the city's currency, may be negative),
      ``peak_import_mw`` (the hour's highest mean of a step)

    What is in kg also stands at both ends of the factors' ranges (`ends_of`), NaN in hours whose day was
    stored without; each end is an account of its own, in which everything adds up.
    """

    districts: Mapping[str, FloatArray]
    city: Mapping[str, FloatArray]

    def at(self, end: End) -> Account:
        """The account with all factors at that end of their ranges; its carbon NaN where it is not known."""

        def of(table: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
            side = ENDS.index(end)
            return {
                name: ends_of(table, name)[side] if name.endswith("_kg") else values
                for name, values in table.items()
                if not name.endswith(tuple(f"_{other}_kg" for other in ENDS))
            }

        return Account(of(self.districts), of(self.city))


@dataclass(frozen=True)
class TracedCarbon:
    """The traced carbon of a day by one set of factors, kg: as of the same names in `AccountedDay`."""

    drawn_kg: FloatArray
    injected_kg: FloatArray
    driven_kg: FloatArray
    tank_kg: FloatArray
    opening_kg: FloatArray

    @property
    def tank_change_kg(self) -> FloatArray:
        """As `AccountedDay.tank_change_mwh`, of the carbon in the tanks."""
        return np.diff(self.tank_kg, axis=0, prepend=self.opening_kg[None])


Ends = tuple[TracedCarbon, TracedCarbon]


@dataclass(frozen=True)
class AccountedDay:
    """What the assets, storages and buses of a period did on one of its stored days.

    Attributes:
        hours: of the period, rows of all arrays.
        drawn_mwh: from the network (end use, charging), `injected_mwh`, and `drawn_kg` and `injected_kg`,
            their traced carbon: columns as `Period.assets`, 0 of what was not there on the day.
        driven_mwh: taken from the battery, `driven_kg`, `distance_km`, and of the tanks at the end of the
            hour `tank_mwh` and `tank_kg`: columns as `Period.storages`.
        opening_mwh, opening_kg: what each tank held at the start of the day, shape (storages,).
        bus_carbon_g_per_kwh: traced intensity by bus, columns as `Period.buses`.
        marginal_kg: what the net draw of each asset causes at the rates of its bus in the planned dispatch,
            columns as `Period.assets`; marginal_at_bus: means of those rates, g/kWh, columns as
            `Period.buses`. None on a day without any.
        hydrogen_kg: what vehicles took of stations, kg of hydrogen, columns as `Period.storages`; None on a
            day that was stored without.
        read_ends: how `ends` come out of the store: only where they are asked for.
    """

    hours: slice
    drawn_mwh: FloatArray
    drawn_kg: FloatArray
    injected_mwh: FloatArray
    injected_kg: FloatArray
    driven_mwh: FloatArray
    driven_kg: FloatArray
    distance_km: FloatArray
    tank_mwh: FloatArray
    tank_kg: FloatArray
    opening_mwh: FloatArray
    opening_kg: FloatArray
    bus_carbon_g_per_kwh: FloatArray
    marginal_kg: FloatArray | None = None
    marginal_at_bus: FloatArray | None = None
    hydrogen_kg: FloatArray | None = None
    read_ends: Callable[[], Ends | None] = lambda: None

    @cached_property
    def ends(self) -> Ends | None:
        """The carbon with all factors at the low, and all at the high end of their ranges; None on a day that
        was stored without, or has a source without range."""
        return self.read_ends()

    @property
    def carbon(self) -> TracedCarbon:
        """The carbon of the day."""
        return TracedCarbon(self.drawn_kg, self.injected_kg, self.driven_kg, self.tank_kg, self.opening_kg)

    @property
    def tank_change_mwh(self) -> FloatArray:
        """What each tank gains in the hour, from the hour before, in the first from what the day opened
        with: so changes add up over days without those that are missing."""
        return np.diff(self.tank_mwh, axis=0, prepend=self.opening_mwh[None])

    @property
    def tank_change_kg(self) -> FloatArray:
        """The same of the carbon in it."""
        return self.carbon.tank_change_kg


@dataclass(frozen=True)
class Period:
    """Local days of one city, in order.

    Attributes:
        label: the period as asked for, ``2016-06`` or ``2016-06-01/2016-06-15``.
        zone: the city's time zone, whose days and hours are meant.
        time: hours from the start of the first local day to the end of the last.
        days: the stored days; `missing`: local days without one.
        actual: what happened. uncontrolled: the stored counterfactual (charging on arrival at full
            power, storage idle, nothing curtailed); `planned` what was foreseen (the same object as
            `actual` where information was perfect).
        assets: once per entry where it changed. storages: ids of batteries and EVs. buses: their indices.
        by_day: what each of them did, day by day as in `days`. Every time it is gone through the days are
            unpacked anew, one after the other: those of a year are more than memory should hold at once.
        upstream: ``carbon_g_per_kwh``, ``marginal_g_per_kwh`` (NaN where not known), ``renewable_share``,
            ``estimated_share`` (0 measured, 1 a model's estimate), shape (hours,); ``carbon_g_per_kwh`` also
            at both ends of its range (`ends_of`).
        import_price_per_mwh, export_price_per_mwh: at the root, shape (hours,).
        coupling, losses: how carbon was traced; the same over the whole period.
        marginal_at_root: means of the marginal rates of the planned dispatch at the root, g/kWh, shape
            (hours,). NaN in hours whose day has none; None where no day has any.
        without_ends: stored days whose version kept no low and high ends of all their carbon.
    """

    city: str
    label: str
    zone: ZoneInfo
    time: TimeGrid
    days: tuple[DayRun, ...]
    missing: tuple[str, ...]
    districts: tuple[str, ...]
    actual: Account
    planned: Account
    uncontrolled: Account
    assets: tuple[AssetEntry, ...]
    storages: tuple[str, ...]
    buses: tuple[int, ...]
    by_day: Iterable[AccountedDay]
    upstream: Mapping[str, FloatArray]
    import_price_per_mwh: FloatArray
    export_price_per_mwh: FloatArray
    coupling: Coupling
    losses: LossTreatment
    marginal_at_root: FloatArray | None = None
    without_ends: tuple[str, ...] = ()

    def hourly(self, of: Callable[[AccountedDay], FloatArray], columns: int) -> FloatArray:
        """`of` every stored day, shape (its hours, `columns`), over all hours: NaN where no day is stored."""
        found = np.full((self.time.steps, columns), np.nan)
        for day in self.by_day:
            found[day.hours] = of(day)
        return found

    @property
    def covered(self) -> float:
        """Share of the hours that stored days account with an AC solution, 0 to 1."""
        return float(np.isfinite(self.actual.city["end_use_kg"]).mean())

    def estimated_share(self, mwh: FloatArray | None = None) -> float:
        """Share of the upstream intensity that is an estimate, 0 to 1: hours by |`mwh`|, shape (hours,), or
        all alike. Hours without a stored day, or of unknown energy, are left out; nothing at all is 0."""
        share = self.upstream["estimated_share"]
        weight = np.ones(len(share)) if mwh is None else np.abs(mwh)
        known = np.isfinite(share) & np.isfinite(weight)
        total = float(weight[known].sum())
        return float(weight[known] @ share[known]) / total if total else 0.0
