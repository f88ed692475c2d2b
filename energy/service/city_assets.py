"""A city's assets: from the grid's own tables by the rules of ``city.toml``, and from CSV files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from energy.domain.city import (
    UNCLASSIFIED,
    ChargingSession,
    Scaled,
    SiteBattery,
    SiteLoad,
    SiteRenewable,
    SiteUnit,
    Vehicle,
)
from energy.domain.documents import nearest
from energy.domain.errors import Fault, InputError
from energy.domain.factors import FactorRegistry
from energy.domain.period import UserClass
from energy.feeds.assets import BatteryRow, LoadRow, RenewableRow, RowModel, SessionRow, VehicleRow, read_rows
from energy.feeds.city import CITY_FILE, AssetsSection, CityDocument, Selector
from energy.service.city_units import gather_units
from grid_models.elements import GridElements, Injection, Storage


@dataclass(frozen=True)
class CityAssets:
    """What draws and injects in the city. `load_profiles` is the profile of each load of the grid's own."""

    loads: tuple[SiteLoad, ...]
    renewables: tuple[SiteRenewable, ...]
    batteries: tuple[SiteBattery, ...]
    vehicles: tuple[Vehicle, ...]
    units: tuple[SiteUnit, ...]
    load_profiles: Mapping[str, str]
    notices: tuple[str, ...]

    def places(self) -> tuple[tuple[str, int], ...]:
        """Id and bus of every asset."""
        groups = (self.loads, self.renewables, self.batteries, self.vehicles, self.units)
        return tuple((asset.id, asset.bus) for group in groups for asset in group)

    def columns(self) -> set[str]:
        """The series these assets need."""
        scaled: Iterable[Scaled | None] = (
            *(load.p for load in self.loads),
            *(load.q for load in self.loads),
            *(site.available for site in self.renewables),
            *(series for unit in self.units for series in unit.series.values()),
        )
        return {series.column for series in scaled if series is not None}


def gather_assets(
    directory: Path,
    document: CityDocument,
    elements: GridElements,
    columns: set[str],
    factors: FactorRegistry,
) -> CityAssets:
    """All assets of the city but synthetic fleets; `columns` are the series there are, `factors` name the
    technologies.

    Raises `InputError` with every fault: unknown buses, columns and technologies, repeated ids, batteries
    without size, sessions that overlap or ask more than a battery holds.
    """
    gathering = _Gathering(directory, document.assets, elements, columns, factors)
    take = {
        "load": gathering.take_loads,
        "sgen": gathering.take_generation,
        "storage": gathering.take_storages,
    }
    for table in document.assets.from_grid:
        take[table]()
    gathering.read_files()
    return gathering.finish()


class _Gathering:
    def __init__(
        self,
        directory: Path,
        rules: AssetsSection,
        elements: GridElements,
        columns: set[str],
        factors: FactorRegistry,
    ) -> None:
        self.directory, self.rules, self.elements, self.columns = directory, rules, elements, columns
        self.faults: list[Fault] = []
        self.notices: list[str] = []
        self.loads: list[SiteLoad] = []
        self.renewables: list[SiteRenewable] = []
        self.batteries: list[SiteBattery] = []
        self.vehicles: list[Vehicle] = []
        self.units: list[SiteUnit] = []
        self.load_profiles: dict[str, str] = {}
        self.buses = BusLookup(elements)
        self.technologies = {factor.technology for factor in factors.factors if factor.renewable}

    # -- the grid's own tables ---------------------------------------------------------------------

    def take_loads(self) -> None:
        left_out = 0
        for load in self.elements.loads:
            if _matches(load.profile, self.rules.exclude_profiles):
                left_out += 1
                continue
            where = f"load {load.index} ({load.name})"
            factor = self._factor(load, None)
            if load.profile is not None:
                p_column, q_column = f"{load.profile}_pload", f"{load.profile}_qload"
            else:
                p_column = q_column = self._own(self.rules.load_profile, where, "assets.load_profile")
            self._check_column(p_column, where)
            q = None
            if load.q_mvar:
                self._check_column(q_column, where)
                q = Scaled(q_column, load.q_mvar * factor)
            key = f"load-{load.index}"
            p, classes = Scaled(p_column, load.p_mw * factor), self._classes(load.profile)
            self.loads.append(SiteLoad(key, load.name, load.bus, p, q, classes))
            self.load_profiles[key] = load.profile or ""
        if left_out:
            self.notices.append(
                f"{left_out} loads left out by assets.exclude_profiles "
                f"({', '.join(self.rules.exclude_profiles)})"
            )

    def take_generation(self) -> None:
        left_out: Counter[str] = Counter()
        reactive = 0
        for sgen in self.elements.sgens:
            if _matches(sgen.profile, self.rules.exclude_profiles) or _matches(
                sgen.type, self.rules.exclude_types
            ):
                left_out[sgen.type or "without type"] += 1
                continue
            where = f"sgen {sgen.index} ({sgen.name})"
            technology = next(
                (
                    technology
                    for pattern, technology in self.rules.technologies.items()
                    if fnmatchcase(sgen.type or "", pattern)
                ),
                None,
            )
            if technology is None:
                self.faults.append(
                    Fault(
                        where,
                        f"has type {sgen.type!r}, which assets.technologies does not map to a technology; "
                        "add it there, or to assets.exclude_types",
                    )
                )
                continue
            self._check_technology(technology, where)
            column = sgen.profile or self._own(
                self.rules.renewable_profiles.get(technology),
                where,
                f"assets.renewable_profiles.{technology}",
            )
            self._check_column(column, where)
            reactive += bool(sgen.q_mvar)
            self.renewables.append(
                SiteRenewable(
                    f"sgen-{sgen.index}",
                    sgen.name,
                    sgen.bus,
                    technology,
                    Scaled(column, sgen.p_mw * self._factor(sgen, technology)),
                    technology not in self.rules.not_curtailable,
                )
            )
        for kind, count in left_out.items():
            self.notices.append(f"{count} sgens {kind!r} left out by the rules of {CITY_FILE}")
        if reactive:
            self.notices.append(f"{reactive} sgens have reactive power in the table; they run at unity here")

    def take_storages(self) -> None:
        rules = self.rules.battery
        for storage in self.elements.storages:
            if _matches(storage.profile, self.rules.exclude_profiles):
                continue
            where = f"storage {storage.index} ({storage.name})"
            factor = self._factor(storage, None)
            efficiency = storage.efficiency if storage.efficiency is not None else rules.efficiency
            if efficiency is None or not 0 < efficiency <= 1:
                self.faults.append(
                    Fault(
                        where,
                        f"has efficiency {efficiency}; give assets.battery.efficiency (one-way, 0 to 1)",
                    )
                )
                continue
            if storage.e_max_mwh <= storage.e_min_mwh or storage.charge_max_mw <= 0:
                self.faults.append(
                    Fault(
                        where,
                        f"has max_e_mwh {storage.e_max_mwh:g} and {storage.charge_max_mw:g} MW; both must be "
                        "above zero. Mend the grid, or take 'storage' out of assets.from_grid",
                    )
                )
                continue
            e_max, e_min = storage.e_max_mwh * factor, storage.e_min_mwh * factor
            self.batteries.append(
                SiteBattery(
                    id=f"storage-{storage.index}",
                    name=storage.name,
                    bus=storage.bus,
                    charge_max_mw=storage.charge_max_mw * factor,
                    discharge_max_mw=storage.discharge_max_mw * factor,
                    e_max_mwh=e_max,
                    e_min_mwh=e_min,
                    e_start_mwh=e_min + rules.e_start_fraction * (e_max - e_min),
                    charge_efficiency=efficiency,
                    discharge_efficiency=efficiency,
                    self_discharge_per_hour=storage.self_discharge_per_hour,
                    wear_cost_per_mwh=rules.wear_cost_per_mwh,
                    carbon_start_g_per_kwh=rules.carbon_start_g_per_kwh,
                )
            )

    # -- files -------------------------------------------------------------------------------------

    def read_files(self) -> None:
        for load in self._rows(self.rules.loads, LoadRow):
            where = f"{self.rules.loads}: load {load.id!r}"
            self._check_column(load.profile, where)
            p, q = Scaled(load.profile, load.p_kw / 1e3), Scaled(load.profile, load.q_kvar / 1e3)
            self.loads.append(
                SiteLoad(
                    load.id,
                    load.name or load.id,
                    self._bus(load.bus, where),
                    p,
                    q if load.q_kvar else None,
                    self._classes(load.profile) if load.user_class is None else {load.user_class: 1.0},
                )
            )
            self.load_profiles[load.id] = load.profile
        for site in self._rows(self.rules.renewables, RenewableRow):
            where = f"{self.rules.renewables}: renewable {site.id!r}"
            self._check_column(site.profile, where)
            self._check_technology(site.technology, where)
            self.renewables.append(
                SiteRenewable(
                    site.id,
                    site.name or site.id,
                    self._bus(site.bus, where),
                    site.technology,
                    Scaled(site.profile, site.p_kw / 1e3),
                    site.curtailable,
                )
            )
        for row in self._rows(self.rules.batteries, BatteryRow):
            self.batteries.append(
                SiteBattery(
                    id=row.id,
                    name=row.name or row.id,
                    bus=self._bus(row.bus, f"{self.rules.batteries}: battery {row.id!r}"),
                    charge_max_mw=row.charge_max_kw / 1e3,
                    discharge_max_mw=row.discharge_max_kw / 1e3,
                    e_max_mwh=row.e_max_kwh / 1e3,
                    e_min_mwh=row.e_min_kwh / 1e3,
                    e_start_mwh=row.e_start_kwh / 1e3,
                    charge_efficiency=row.charge_efficiency,
                    discharge_efficiency=row.discharge_efficiency,
                    self_discharge_per_hour=row.self_discharge_per_hour,
                    wear_cost_per_mwh=row.wear_cost_per_mwh,
                    carbon_start_g_per_kwh=row.carbon_start_g_per_kwh,
                )
            )
        self._read_vehicles()
        self.units, faults = gather_units(self.rules.units, self.columns, self.buses.index)
        self.faults += faults

    def _read_vehicles(self) -> None:
        stays: dict[str, list[ChargingSession]] = {}
        for stay in self._rows(self.rules.sessions, SessionRow):
            session = ChargingSession(**{key: value for key, value in stay if key != "vehicle"})
            stays.setdefault(stay.vehicle, []).append(session)
        for row in self._rows(self.rules.vehicles, VehicleRow):
            where = f"{self.rules.vehicles}: vehicle {row.id!r}"
            sessions = sorted(stays.pop(row.id, []), key=lambda session: session.arrival)
            for previous, session in zip([None, *sessions], sessions, strict=False):
                at = f"{self.rules.sessions}: vehicle {row.id!r}, session at {session.arrival.isoformat()}"
                if previous is not None and session.arrival <= previous.departure:
                    self.faults.append(
                        Fault(at, f"begins before it has left the one until {previous.departure.isoformat()}")
                    )
                room = row.e_max_kwh - row.e_min_kwh
                if session.energy_kwh > room:
                    self.faults.append(
                        Fault(
                            at,
                            f"needs {session.energy_kwh:g} kWh; the battery holds {room:g} above e_min_kwh",
                        )
                    )
            self.vehicles.append(
                Vehicle(
                    bus=self._bus(row.bus, where),
                    sessions=tuple(sessions),
                    **{key: value for key, value in row if key != "bus"},
                )
            )
        for vehicle in stays:
            self.faults.append(
                Fault(
                    f"{self.rules.sessions}: vehicle {vehicle!r}", f"is not listed in {self.rules.vehicles}"
                )
            )

    def finish(self) -> CityAssets:
        ids = Counter(
            asset.id
            for group in (self.loads, self.renewables, self.batteries, self.vehicles, self.units)
            for asset in group
        )
        self.faults += [
            Fault(f"asset {key!r}", f"is used {count} times; ids must be unique over all assets")
            for key, count in ids.items()
            if count > 1
        ]
        if not self.loads and not self.faults:
            self.faults.append(
                Fault(CITY_FILE, "the city has no loads; set assets.from_grid or give assets.loads")
            )
        if self.faults:
            raise InputError(dict.fromkeys(self.faults), title="the city's assets cannot be used")
        return CityAssets(
            tuple(self.loads),
            tuple(self.renewables),
            tuple(self.batteries),
            tuple(self.vehicles),
            tuple(self.units),
            self.load_profiles,
            tuple(self.notices),
        )

    # -- what the above share ----------------------------------------------------------------------

    def _rows(self, name: str | None, model: type[RowModel]) -> tuple[RowModel, ...]:
        if name is None:
            return ()
        try:
            return read_rows(self.directory / name, name, model)
        except InputError as error:
            self.faults += error.faults
            return ()

    def _bus(self, key: int | str, where: str) -> int:
        try:
            return self.buses.index(key, where)
        except InputError as error:
            self.faults += error.faults
            return -1

    def _own(self, column: str | None, where: str, remedy: str) -> str:
        if column is None:
            self.faults.append(Fault(where, f"has no profile; name a column in {remedy}"))
        return column or ""

    def _check_column(self, column: str, where: str) -> None:
        if column and column not in self.columns:
            self.faults.append(Fault(where, f"needs the series {column!r}; {nearest(column, self.columns)}"))

    def _check_technology(self, technology: str, where: str) -> None:
        if technology not in self.technologies:
            self.faults.append(
                Fault(where, f"has technology {technology!r}; {nearest(technology, self.technologies)}")
            )

    def _classes(self, profile: str | None) -> Mapping[UserClass, float]:
        for pattern, classes in self.rules.user_classes.items():
            if fnmatchcase(profile or "", pattern):
                return {classes: 1.0} if isinstance(classes, str) else dict(classes)
        return dict(UNCLASSIFIED)

    def _factor(self, element: Injection | Storage, technology: str | None) -> float:
        factor = 1.0
        for rule in self.rules.scale:
            if _selects(rule, element, technology):
                factor *= rule.factor
        return factor


class BusLookup:
    """Buses by index, or by name where that is unique."""

    def __init__(self, elements: GridElements) -> None:
        self._buses = elements.buses
        self._count = Counter(bus.name for bus in elements.buses.values())
        self._by_name = {bus.name: bus.index for bus in elements.buses.values()}

    def index(self, key: int | str, where: str) -> int:
        """The index of the bus; `InputError` at `where` for a bus that does not exist."""
        if isinstance(key, int):
            if key in self._buses:
                return key
            low, high = min(self._buses), max(self._buses)
            raise InputError(Fault(where, f"bus {key} does not exist; the grid has {low} to {high}"))
        if self._count[key] > 1:
            raise InputError(Fault(where, f"{self._count[key]} buses are named {key!r}; give the index"))
        if key not in self._by_name:
            raise InputError(
                Fault(where, f"bus {key!r} does not exist; {nearest(key, list(self._by_name)[:500])}")
            )
        return self._by_name[key]


def _matches(name: str | None, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name or "", pattern) for pattern in patterns)


def _selects(rule: Selector, element: Injection | Storage, technology: str | None) -> bool:
    table = element.table if isinstance(element, Injection) else "storage"
    return (
        rule.table in (None, table)
        and rule.technology in (None, technology)
        and (rule.profile is None or fnmatchcase(element.profile or "", rule.profile))
        and rule.vn_kv_min <= element.vn_kv <= rule.vn_kv_max
    )
