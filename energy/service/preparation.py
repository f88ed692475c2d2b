"""From a city's directory to a prepared `City`: read, check, join grid, districts, assets and series.

Every fault of the directory is reported at once; what is merely poor becomes a notice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from importlib.metadata import version
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np

from energy.domain.city import EV_SESSIONS, LOCAL_GENERATION, CarbonSettings, City, Market, Profiles, Vehicle
from energy.domain.documents import nearest
from energy.domain.errors import Fault, InputError
from energy.domain.factors import FactorRegistry
from energy.domain.network import FloatArray, OperatingLimits
from energy.domain.period import DataSource
from energy.domain.progress import Progress, silent
from energy.domain.time import TimeGrid, format_instant
from energy.feeds.assets import BusRow, read_rows
from energy.feeds.charging import ChargingDistributions, read_distributions
from energy.feeds.city import CITY_FILE, CityDocument, read_city_document
from energy.feeds.documents import read_json
from energy.feeds.factors import load_factors, read_own_factors
from energy.feeds.series import SeriesFile, on_grid, read_series
from energy.feeds.series_store import StoredSeries, read_stored
from energy.service.city_assets import BusLookup, CityAssets, gather_assets
from energy.service.city_units import check_units
from energy.service.fleets import Site, draw_fleets
from energy.service.upstream import UpstreamSeries, upstream_series
from grid_models.districts import Districts, Upstream, districts_from_polygons, districts_from_table
from grid_models.elements import GridElements, grid_elements, profile_columns, profile_series
from grid_models.sources import Grid, load_grid
from grid_models.twin import Twin

CONSTANT = "constant"
"""A column every city has: 1 in every step."""
PLAUSIBLE_PRICE = (0.5, 3000.0)
"""Mean absolute spot price per MWh in a currency of the size of a euro; outside, the unit is wrong."""
LARGEST_MW = ((1.0, 5.0), (60.0, 200.0), (math.inf, 10_000.0))
"""Voltage level in kV, and the most a single site on it can draw or inject, MW."""
OWN_USE = 0.05
"""Share of its largest value by which a generation profile may be negative before it is refused."""
EURO_SIZED = ("EUR", "USD", "GBP", "CHF")
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@dataclass
class Faults:
    """Collects what is wrong, so that one run names everything."""

    found: list[Fault] = field(default_factory=list)

    def attempt(
        self, step: Callable[Arguments, Result], *arguments: Arguments.args, **options: Arguments.kwargs
    ) -> Result | None:
        """What `step` returns for these arguments, or None where it found faults."""
        try:
            return step(*arguments, **options)
        except InputError as error:
            self.found += error.faults
            return None

    def stop(self, city: str) -> None:
        """Raise what was found so far."""
        if self.found:
            raise InputError(dict.fromkeys(self.found), title=f"city {city!r} cannot be used")


@dataclass
class Columns:
    """Series on the city's time grid by name, from files, from the grid's profiles, or computed."""

    time: TimeGrid
    series: dict[str, FloatArray] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)

    def profiles(self, names: Sequence[str]) -> Profiles:
        """The named series."""
        return Profiles(self.time, tuple(names), np.column_stack([self.series[name] for name in names]))

    def add(self, file: SeriesFile, fill_up_to: timedelta | None) -> None:
        """Take the columns of a file; `InputError` for gaps and for names that are taken."""
        taken = [name for name in file.columns if name in self.series]
        if taken:
            raise InputError(
                [Fault(file.name, f"column {name!r} is in another file too; rename one") for name in taken]
            )
        values, notices = on_grid(file, self.time, fill_up_to)
        self.notices += notices
        self.series.update(zip(file.columns, values.T, strict=True))


def period(document: CityDocument) -> TimeGrid:
    """The city's time grid: its local days from first to last."""
    zone, resolution = document.city.zone, document.period.resolution
    first = TimeGrid.local_day(document.period.first_day, zone, resolution)
    last = TimeGrid.local_day(document.period.last_day, zone, resolution)
    return TimeGrid(first.start, resolution, round((last.end - first.start) / resolution))


def grid_source(directory: Path, source: str) -> str:
    """The grid source with a file name resolved against the city's directory."""
    return source if source.startswith(("simbench:", "pandapower:")) else str(directory / source)


def prepare_city(directory: Path, fingerprint: str, progress: Progress = silent) -> tuple[City, Grid]:
    """The city of `directory` and its grid; `InputError` with every fault."""
    document = read_city_document(directory)
    faults, columns = Faults(), Columns(period(document))
    hashes: dict[str, str] = {}
    progress(0.02, "reading series")
    for source in document.profiles:
        file = faults.attempt(read_series, directory / source.file, source.file)
        if file is not None:
            faults.attempt(columns.add, file, source.fill_up_to)
            hashes[source.file] = file.hash
    own_factors, registry = "", load_factors()
    if document.factors.file is not None:
        found = faults.attempt(_own_factors, directory, document.factors.file)
        own_factors, registry = found or (own_factors, registry)
    given = document.upstream
    measured = faults.attempt(_measured, directory, given.measured, given.as_of)
    marginal = faults.attempt(_marginal, directory, given.measured_marginal, given.as_of)
    distributions = None
    if document.ev is not None and any(fleet.kind != "depot" for fleet in document.ev.fleets):
        folder = document.ev.distributions
        distributions = faults.attempt(read_distributions, directory / folder, folder)
    progress(0.1, f"loading the grid {document.grid.source}")
    grid = faults.attempt(load_grid, grid_source(directory, document.grid.source))
    if grid is None:
        faults.stop(document.city.id)
    assert grid is not None
    elements = grid_elements(grid)
    progress(0.4, "compiling the grid")
    limits = OperatingLimits(**document.limits.model_dump())
    root = document.twin.root_ext_grid
    twin = Twin(grid, limits=limits, taps=document.twin.taps, root_ext_grid=root)
    faults.attempt(lambda: twin.root_bus)
    if root is not None:
        elements, left_out = elements.only(twin.energised)
        columns.notices += left_out
    progress(0.45, "placing districts")
    districts = faults.attempt(_districts, directory, document, elements)
    faults.stop(document.city.id)
    assert districts is not None

    progress(0.5, "gathering assets")
    order = document.upstream.merit_order
    own = set(profile_columns(grid))
    known = {CONSTANT, *columns.series, *own}
    assets = faults.attempt(gather_assets, directory, document, elements, known, registry)
    needed = {*order.load, *order.wind, *order.pv, *(assets.columns() if assets else ())}
    progress(0.6, "reading profiles")
    columns.series[CONSTANT] = np.ones(columns.time.steps)
    faults.attempt(_add_grid_profiles, columns, grid, sorted(needed & own - columns.series.keys()))
    progress(0.7, "estimating the upstream mix")
    upstream = faults.attempt(
        upstream_series,
        document.upstream,
        columns.series,
        columns.time,
        measured,
        marginal,
        registry,
        document.carbon.basis,
    )
    market = faults.attempt(_market, document, columns, upstream) if upstream else None
    if assets is not None and not needed - columns.series.keys():
        faults.attempt(_clip_generation, assets, columns)
        faults.attempt(_check_loads, assets, columns)
        faults.attempt(_check_magnitudes, assets, columns, elements)
        if assets.units:
            series = columns.profiles(sorted(needed))
            faults.found += check_units(assets.units, series, document.city.zone)
    progress(0.8, "drawing EV sessions")
    drawn: tuple[Vehicle, ...] = ()
    ev_notices: tuple[str, ...] = ()
    if document.ev is not None and assets is not None:
        fleets = faults.attempt(_draw, document, assets, elements, distributions)
        drawn, ev_notices = fleets or ((), ())
    faults.stop(document.city.id)
    assert assets is not None
    assert upstream is not None
    assert market is not None
    vehicles = (*assets.vehicles, *drawn)
    _check_supply(twin, assets, vehicles)
    used = sorted({*assets.columns(), *market_columns(market)})
    city = City(
        id=document.city.id,
        name=document.city.name,
        zone=document.city.zone,
        grid_source=document.grid.source,
        grid_taps=document.twin.taps,
        limits=limits,
        districts=districts.districts,
        district_of_bus=districts.district_of_bus,
        bus_xy={index: bus.xy for index, bus in elements.buses.items() if bus.xy is not None},
        bus_names={index: bus.name for index, bus in elements.buses.items()},
        grid_lines=elements.lines,
        loads=assets.loads,
        renewables=assets.renewables,
        batteries=assets.batteries,
        vehicles=vehicles,
        market=market,
        profiles=columns.profiles(used),
        sources=_sources(document, hashes, grid, assets, registry, upstream),
        notices=(
            *grid.notices,
            *twin.notices,
            *districts.notices,
            *assets.notices,
            *columns.notices,
            *upstream.notices,
            *ev_notices,
        ),
        carbon_map_bounds=document.city.carbon_map_g_per_kwh,
        replay=document.city.replay,
        fingerprint=fingerprint,
        grid_root=root,
        grid_zone=document.factors.zone,
        own_factors=own_factors,
        units=assets.units,
        carbon=CarbonSettings(**document.carbon.model_dump()),
        station_of_bus={
            index: bus.station for index, bus in elements.buses.items() if bus.station is not None
        },
    )
    progress(1.0, "prepared")
    return city, grid


def market_columns(market: Market) -> set[str]:
    """The series a market needs."""
    return {
        market.import_price,
        market.export_price,
        market.carbon,
        market.marginal_carbon,
        market.upstream_renewable_share,
        *market.upstream_mix.values(),
        *(end for end in (market.carbon_low, market.carbon_high) if end is not None),
    }


def _own_factors(directory: Path, name: str) -> tuple[str, FactorRegistry]:
    """The city's table of factors as text, and the registry with it."""
    own = read_own_factors(directory / name, name)
    return (directory / name).read_text(encoding="utf-8-sig"), load_factors(own=own)


def _measured(directory: Path, name: str | None, as_of: datetime | None) -> SeriesFile | StoredSeries | None:
    """What takes the place of the upstream estimate: a file of series, or the folder of an imported one."""
    if name is None:
        return None
    if not (directory / name).is_dir():
        return read_series(directory / name, name)
    stored = read_stored(directory / name, name, as_of)
    if stored.kind == "marginal":
        raise InputError(Fault(name, "is marginal; name it in upstream.measured_marginal"))
    return stored


def _marginal(directory: Path, name: str | None, as_of: datetime | None) -> StoredSeries | None:
    if name is None:
        return None
    stored = read_stored(directory / name, name, as_of)
    if stored.kind != "marginal":
        raise InputError(Fault(name, f"is a series {stored.kind!r}; name it in upstream.measured"))
    return stored


def _districts(directory: Path, document: CityDocument, elements: GridElements) -> Districts:
    section = document.districts
    upstream = Upstream(section.upstream_vn_kv_min, section.upstream == "boundary")
    if section.polygons is not None:
        try:
            collection = read_json(str(directory / section.polygons))
        except InputError as error:
            raise InputError([Fault(section.polygons, fault.message) for fault in error.faults]) from None
        return districts_from_polygons(collection, elements.buses, upstream=upstream, file=section.polygons)
    assert section.buses is not None
    lookup, faults = BusLookup(elements), Faults()
    rows = []
    for number, row in enumerate(read_rows(directory / section.buses, section.buses, BusRow), start=2):
        index = faults.attempt(lookup.index, row.bus, f"{section.buses} row {number}")
        if index is not None:
            rows.append((index, row.district, row.name))
    faults.stop(document.city.id)
    return districts_from_table(rows, elements.buses, upstream=upstream, file=section.buses)


def _add_grid_profiles(columns: Columns, grid: Grid, names: Sequence[str]) -> None:
    """Take the named profiles of the grid; the others stay unread."""
    if not names:
        return
    time, values = profile_series(grid, names)
    step = round(time.resolution.total_seconds())
    starts = round(time.start.timestamp()) + step * np.arange(time.steps)
    columns.add(SeriesFile(f"profiles of {grid.source}", tuple(names), starts, step, values), None)


def _check_magnitudes(assets: CityAssets, columns: Columns, elements: GridElements) -> None:
    """Refuse what only a wrong unit explains: more than the voltage level of a bus can carry."""
    largest = {name: float(np.abs(values).max()) for name, values in columns.series.items()}
    faults = []
    sites: list[tuple[str, str, int, float]] = [
        ("load", load.id, load.bus, load.p.factor * largest[load.p.column]) for load in assets.loads
    ]
    sites += [
        ("renewable", site.id, site.bus, site.available.factor * largest[site.available.column])
        for site in assets.renewables
    ]
    sites += [("battery", battery.id, battery.bus, battery.charge_max_mw) for battery in assets.batteries]
    sites += [
        (
            "vehicle",
            vehicle.id,
            vehicle.bus,
            max((s.charge_max_kw for s in vehicle.sessions), default=0) / 1e3,
        )
        for vehicle in assets.vehicles
    ]
    for kind, key, bus, power in sites:
        vn_kv = elements.buses[bus].vn_kv
        ceiling = next(mw for kv, mw in LARGEST_MW if vn_kv <= kv)
        if power > ceiling:
            faults.append(
                Fault(
                    f"{kind} {key!r}",
                    f"reaches {power:,.4g} MW at bus {bus} ({vn_kv:g} kV), where a site has {ceiling:g} MW "
                    "at most; check the unit (kW in files, MW in the grid's tables) and the profile",
                )
            )
    if faults:
        raise InputError(dict.fromkeys(faults))


def _clip_generation(assets: CityAssets, columns: Columns) -> None:
    """Set the small negative values of generation profiles (a plant's own use) to zero, and say so."""
    faults = []
    for name in sorted({site.available.column for site in assets.renewables}):
        values = columns.series[name]
        low, high = float(values.min()), float(values.max())
        if low < -OWN_USE * high:
            faults.append(
                Fault(
                    f"profile {name!r}",
                    f"falls to {low:g} (largest value {high:g}); generation must not be negative",
                )
            )
        elif low < 0:
            columns.series[name] = np.maximum(values, 0.0)
            columns.notices.append(
                f"profile {name!r}: {int((values < 0).sum())} negative values down to {low:.2g} set to zero"
            )
    if faults:
        raise InputError(faults)


def _check_loads(assets: CityAssets, columns: Columns) -> None:
    """Refuse negative energy: what a load would feed in has no technology, so no carbon."""
    users: dict[str, list[tuple[str, float]]] = {}
    for load in assets.loads:
        users.setdefault(load.p.column, []).append((load.id, load.p.factor))
    faults = []
    for name, of in sorted(users.items()):
        values = columns.series[name]
        low, high = float(values.min()), float(values.max())
        negative = [key for key, factor in of if min(factor * low, factor * high) < 0]
        if negative:
            worst = int(np.argmin(values) if low < 0 else np.argmax(values))
            at = format_instant(columns.time.instant(worst))
            listed = ", ".join(negative[:3]) + (f" and {len(negative) - 3} more" if len(negative) > 3 else "")
            faults.append(
                Fault(
                    f"profile {name!r}",
                    f"is {values[worst]:g} at {at} and makes the use of {listed} negative; a load is not: "
                    "correct the sign, or give what feeds in as a renewable",
                )
            )
    if faults:
        raise InputError(faults)


def _market(document: CityDocument, columns: Columns, upstream: UpstreamSeries) -> Market:
    section = document.market
    spot = columns.series.get(section.day_ahead)
    where = f"{CITY_FILE}: market.day_ahead"
    if spot is None:
        raise InputError(
            Fault(
                where,
                f"no profiles file has a column {section.day_ahead!r}; "
                f"{nearest(section.day_ahead, columns.series)}",
            )
        )
    mean = float(np.abs(spot).mean())
    if document.city.currency in EURO_SIZED and not PLAUSIBLE_PRICE[0] <= mean <= PLAUSIBLE_PRICE[1]:
        raise InputError(
            Fault(
                where,
                f"column {section.day_ahead!r} is {mean:,.4g} {document.city.currency}/MWh on average, "
                f"plausible is {PLAUSIBLE_PRICE[0]:g} to {PLAUSIBLE_PRICE[1]:g}; check its unit",
            )
        )
    columns.series["import_price"] = spot + section.import_fee_per_mwh
    columns.series["export_price"] = spot - section.export_fee_per_mwh
    columns.series.update(upstream.series)
    return Market(
        currency=document.city.currency,
        import_price="import_price",
        export_price="export_price",
        carbon=upstream.carbon,
        marginal_carbon=upstream.marginal_carbon,
        upstream_renewable_share=upstream.renewable_share,
        upstream_mix=upstream.mix,
        carbon_price_per_t=section.carbon_price_per_t,
        peak_import_price_per_kw=section.peak_import_price_per_kw,
        import_limit_mw=section.import_limit_mw,
        export_limit_mw=section.export_limit_mw,
        carbon_low=upstream.carbon_low,
        carbon_high=upstream.carbon_high,
    )


def _draw(
    document: CityDocument,
    assets: CityAssets,
    elements: GridElements,
    distributions: ChargingDistributions | None,
) -> tuple[tuple[Vehicle, ...], tuple[str, ...]]:
    """The synthetic fleets; each fleet's sites are the buses it names, or those of its kind of loads."""
    assert document.ev is not None
    lookup = BusLookup(elements)
    sites: dict[str, list[Site]] = {}
    faults = Faults()
    for position, fleet in enumerate(document.ev.fleets):
        where = f"{CITY_FILE}: ev.fleets[{position}].at"
        if fleet.at.buses:
            found = [faults.attempt(lookup.index, key, f"{where}.buses") for key in fleet.at.buses]
            sites[fleet.id] = [Site(bus, 1.0) for bus in found if bus is not None]
            continue
        weights: dict[int, float] = {}
        for load in assets.loads:
            level = elements.buses[load.bus].vn_kv
            if fleet.at.vn_kv_min <= level <= fleet.at.vn_kv_max and any(
                fnmatchcase(assets.load_profiles[load.id], pattern) for pattern in fleet.at.load_profiles
            ):
                weights[load.bus] = weights.get(load.bus, 0.0) + load.p.factor
        sites[fleet.id] = [Site(bus, weight) for bus, weight in sorted(weights.items()) if weight > 0]
        if not sites[fleet.id]:
            faults.found.append(Fault(where, "selects no bus with loads; name buses, or widen the selection"))
    faults.stop(document.city.id)
    return draw_fleets(
        document.ev,
        distributions,
        sites,
        document.period.first_day,
        document.period.last_day,
        document.city.zone,
    )


def _check_supply(twin: Twin, assets: CityAssets, vehicles: Sequence[Vehicle]) -> None:
    sites = {**dict(assets.places()), **{vehicle.id: vehicle.bus for vehicle in vehicles}}
    faults = [
        Fault(
            f"asset {key!r}",
            f"is at bus {bus}, which no external grid feeds; close a switch, or leave the asset out",
        )
        for key, bus in sites.items()
        if not twin.energised(bus)
    ]
    if faults:
        raise InputError(faults)


def _sources(
    document: CityDocument,
    hashes: Mapping[str, str],
    grid: Grid,
    assets: CityAssets,
    registry: FactorRegistry,
    upstream: UpstreamSeries,
) -> tuple[DataSource, ...]:
    """Where each series comes from, as plans and reports cite it; `hashes` of the profile files."""
    listed = [
        DataSource(
            source.file,
            source.source,
            source.version,
            source.estimated_share,
            source.licence,
            hashes[source.file],
        )
        for source in document.profiles
    ]
    if grid.profiles is not None:
        listed.append(
            DataSource(
                "load and generation profiles",
                f"SimBench, profiles of {document.grid.source.removeprefix('simbench:')}",
                f"simbench {version('simbench')}",
                0.0,
                "ODbL 1.0",
            )
        )
    if document.ev is not None:
        listed.append(
            DataSource(
                EV_SESSIONS,
                f"drawn with seed {document.ev.seed} from {document.ev.source or document.ev.distributions}",
                "",
                1.0,
                document.ev.licence,
            )
        )
    technologies, basis = {site.technology for site in assets.renewables}, document.carbon.basis
    if technologies:
        listed.append(
            DataSource(
                LOCAL_GENERATION,
                "emission factors of its technologies",
                f"factors {registry.version}, {basis}",
                0.0,
                factors=tuple(registry.generation(name, basis) for name in sorted(technologies)),
            )
        )
    return (*listed, *upstream.sources)
