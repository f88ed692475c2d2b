"""Plans for tests of what keeps and serves them; the numbers mean nothing but add up."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from energy.domain.city import (
    BOUNDARY,
    City,
    District,
    Market,
    Profiles,
    Scaled,
    SiteLoad,
)
from energy.domain.network import OperatingLimits
from energy.domain.period import ENDS, AssetEntry, Coupling, DataSource, end_name
from energy.domain.plan import Plan, SeriesTable
from energy.domain.records import CarryOver, DayAccounts, RunRecord
from energy.domain.time import TimeGrid
from energy.feeds.factors import load_factors

DISTRICTS = ("boundary", "harbour", "old_town")
ASSETS = ("b1", "ev1", "house", "pv")
GAS: dict[str, Any] = {
    "reference": "I.1.1",
    "activity": "natural gas",
    "carrier": "fuel",
    "amount": 1000.0,
    "unit": "MWh",
    "gas": "CO2",
    "factor": 202.0,
    "factor_source": "IPCC 2006",
    "data_source": "gas works",
    "year": 2016,
    "activity_quality": "H",
    "factor_quality": "M",
}
"""A row of ``inventory.csv`` without fault: 202 t of CO2."""


def plan_of(
    day: str = "2016-06-21",
    *,
    city: str = "toy",
    information: str = "perfect",
    zone: str = "Europe/Berlin",
    seed: int = 1,
    cases: tuple[str, ...] = ("planned", "uncontrolled"),
) -> Plan:
    """A plan of one local day with random series; the same arguments give the same plan."""
    random = np.random.default_rng([seed, *day.encode()])
    time = TimeGrid.local_day(date.fromisoformat(day), ZoneInfo(zone))

    def table(*columns: str, low: float = 0.0, high: float = 1.0) -> SeriesTable:
        return SeriesTable(columns, random.uniform(low, high, (time.steps, len(columns))))

    tables = {"market": table("import_price_eur_per_mwh", "upstream_g_per_kwh", high=400.0)}
    for case in cases:
        tables |= {
            f"{case}.asset_p_kw": table(*ASSETS, low=-10.0, high=10.0),
            f"{case}.asset_e_kwh": table("b1", "ev1", high=50.0),
            f"{case}.totals": table("cost_eur", "emissions_kg", "import_mw", high=5.0),
            f"{case}.district.energy_mwh": table(*DISTRICTS),
            f"{case}.district.emissions_kg": table(*DISTRICTS, high=300.0),
            f"{case}.district.loss_emissions_kg": table(*DISTRICTS, high=9.0),
            f"{case}.district.renewable_share": table(*DISTRICTS),
        }
    # a district that draws nothing has no share
    tables["planned.district.energy_mwh"].values[3, 0] = 0.0
    tables["planned.district.renewable_share"].values[3, 0] = np.nan
    document = {
        "schema": "wattshed.plan/1",
        "city": city,
        "day": day,
        "status": "secure",
        "rounds": 2,
        "input_hash": f"sha256:{seed:064x}",
        "violations": [],
        "comparison": {"planned": {"cost": float(random.uniform(1, 100))}},
        "schedule": {"name": "Größe − 京都"},
    }
    return Plan(city, day, information, time, document, tables)


def run_of(plan: Plan) -> RunRecord:
    """A run that made `plan`."""
    return RunRecord(
        started=datetime(2026, 1, 1, 12, tzinfo=UTC),
        finished=datetime(2026, 1, 1, 12, 0, 30, 250_000, tzinfo=UTC),
        code_version="0.1.0",
        input_hash=plan.document["input_hash"],
        status=plan.document["status"],
        seconds={"dispatch": 12.5, "ac": 1.25},
    )


def carry_of(plan: Plan, energy_kwh: float = 20.0) -> CarryOver:
    """What `plan` leaves in the tanks."""
    return CarryOver(
        plan.time.end,
        {"b1": energy_kwh, "ev1": 31.25},
        {"b1": 4.5, "ev1": 0.1},
        {"b1": 2.0, "ev1": 0.0},
        {"b1": (3.5, 6.5)},
    )


def accounts_of(
    plan: Plan,
    *,
    coupling: Coupling = "direct",
    districts: tuple[str, ...] = DISTRICTS,
    house: str = "harbour",
    storages: tuple[str, ...] = ("b1", "ev1"),
    ranged: bool = True,
) -> DayAccounts:
    """Hourly accounts beside `plan`: random, the same for the same day; with `ranged` carbon has its ends."""
    random = np.random.default_rng([2, *plan.day.encode()])
    hours = TimeGrid(plan.time.start, timedelta(hours=1), plan.time.steps // 4)

    def table(*columns: str) -> SeriesTable:
        return SeriesTable(columns, random.uniform(0.0, 9.0, (hours.steps, len(columns))))

    entries = [
        AssetEntry("house", "House", "load", 0, house, {"residential": 0.75, "commercial": 0.25}),
        AssetEntry("pv", "Roof", "renewable", 0, "harbour", {"energy_industries": 1.0}, "pv"),
        *(AssetEntry(key, key, "battery", 1, "old_town", {"energy_industries": 1.0}) for key in storages),
    ]
    ids = [entry.id for entry in entries]
    ends = ENDS if ranged else ()
    emissions = ("emissions_kg", *(end_name("emissions_kg", end) for end in ends))
    tables = {
        f"{case}.district": table(
            *(f"{name}/{key}" for name in ("energy_mwh", *emissions) for key in districts)
        )
        for case in ("planned", "uncontrolled", *(["actual"] if plan.information == "day-ahead" else []))
    }
    end_use = ("end_use_kg", *(end_name("end_use_kg", end) for end in ends))
    tables |= {name.replace("district", "city"): table(*end_use, "cost") for name in tables}
    tables |= {name: table(*ids) for name in ("drawn_mwh", "drawn_kg", "injected_mwh", "injected_kg")}
    tables |= {
        name: table(*storages) for name in ("driven_mwh", "driven_kg", "distance_km", "tank_mwh", "tank_kg")
    }
    tables |= {end_name(name, end): table(*ids) for end in ends for name in ("drawn_kg", "injected_kg")}
    tables |= {end_name(name, end): table(*storages) for end in ends for name in ("driven_kg", "tank_kg")}
    tables["bus_carbon_g_per_kwh"] = table("0", "1")
    tables["upstream"] = table("carbon_g_per_kwh", "marginal_g_per_kwh", "renewable_share", "estimated_share")
    tables["prices"] = table("import_price_per_mwh", "export_price_per_mwh")
    return DayAccounts(
        time=hours,
        start_hash=f"sha256:{plan.day}",
        coupling=coupling,
        losses="account",
        factors_version="1+abc",
        assets=tuple(entries),
        tables=tables,
        opening_mwh=dict.fromkeys(storages, 0.5),
        opening_kg=dict.fromkeys(storages, 200.0),
        opening_range_kg=(dict.fromkeys(storages, 100.0), dict.fromkeys(storages, 300.0)) if ranged else None,
        sources=(
            DataSource("load", "made for a test", "1", 0.0, hash="sha256:1"),
            DataSource("local generation", "factors", "1", 0.0, factors=load_factors().factors[:2]),
        ),
    )


def city_of(city: str = "toy") -> City:
    """A city of two buses with three districts, whose year of profiles is flat."""
    time = TimeGrid(datetime(2015, 12, 31, 23, tzinfo=UTC), timedelta(minutes=15), 366 * 96)
    columns = ("load", "import", "export", "carbon", "marginal", "renewable")
    values = np.tile([0.1, 50.0, 30.0, 400.0, 600.0, 0.4], (time.steps, 1))
    square = {
        "type": "Polygon",
        "coordinates": [[[8.0, 53.0], [8.1, 53.0], [8.1, 53.1], [8.0, 53.1], [8.0, 53.0]]],
    }
    return City(
        id=city,
        name="Toy town",
        zone=ZoneInfo("Europe/Berlin"),
        grid_source="pandapower:create_cigre_network_lv",
        grid_taps="ignore",
        limits=OperatingLimits(),
        districts=(
            District(BOUNDARY, "Boundary", None, ()),
            District("harbour", "Harbour", square, (0,)),
            District("old_town", "Old town", None, (1,)),
        ),
        district_of_bus={0: "harbour", 1: "old_town"},
        bus_xy={0: (8.05, 53.05)},
        bus_names={0: "A", 1: "B"},
        grid_lines=(("line", 0, 0, 1),),
        loads=(SiteLoad("house", "House", 1, Scaled("load", 1.0)),),
        renewables=(),
        batteries=(),
        vehicles=(),
        market=Market(
            currency="EUR",
            import_price="import",
            export_price="export",
            carbon="carbon",
            marginal_carbon="marginal",
            upstream_renewable_share="renewable",
            upstream_mix={},
            carbon_price_per_t=0.0,
            peak_import_price_per_kw=0.0,
        ),
        profiles=Profiles(time, columns, values),
        sources=(DataSource("load", "made for a test", "1", 1.0),),
        notices=(),
        carbon_map_bounds=(0.0, 800.0),
        replay=True,
        fingerprint="sha256:0",
    )
