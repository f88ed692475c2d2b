"""A small town and a plan of one of its days, every table of it; the numbers are made up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from energy.domain.city import (
    BOUNDARY,
    ChargingSession,
    City,
    District,
    Market,
    Profiles,
    Scaled,
    SiteBattery,
    SiteLoad,
    SiteRenewable,
    Vehicle,
)
from energy.domain.network import OperatingLimits
from energy.domain.period import DataSource
from energy.domain.plan import Plan, SeriesTable
from energy.domain.records import Job, PlanSummary
from energy.domain.time import TimeGrid

DISTRICTS = {"west": "Weststadt", "east": "Ost & Hafen", "hill": "山手"}
DAY = "2016-06-21"
START = datetime(2015, 12, 31, 23, tzinfo=UTC)


def _square(x: float) -> dict[str, Any]:
    ring = [[x, 53.0], [x + 0.1, 53.0], [x + 0.1, 53.1], [x, 53.1], [x, 53.0]]
    return {"type": "Polygon", "coordinates": [ring]}


def town(*, replay: bool = True) -> City:
    """Three districts in a row, one without a polygon; two buses each, and the boundary's."""
    time = TimeGrid(START, timedelta(minutes=15), 366 * 96)
    stay = ChargingSession(START, START + timedelta(hours=8), 11.0, 11.0, 20.0, 111.0)
    ids = list(DISTRICTS)
    place = {0: (8.15, 53.12)} | {
        1 + 2 * k + n: (8.03 + 0.1 * k + 0.04 * n, 53.03 + 0.03 * n) for k in range(3) for n in range(2)
    }
    return City(
        id="town",
        name="Kleinstadt",
        zone=ZoneInfo("Europe/Berlin"),
        grid_source="pandapower:create_cigre_network_lv",
        grid_taps="ignore",
        limits=OperatingLimits(0.95, 1.05, 100.0),
        districts=tuple(
            District(key, name, None if key == "hill" else _square(8.0 + 0.1 * k), (1 + 2 * k, 2 + 2 * k))
            for k, (key, name) in enumerate(DISTRICTS.items())
        ),
        district_of_bus={0: BOUNDARY} | {bus: ids[(bus - 1) // 2] for bus in range(1, 7)},
        bus_xy=place,
        bus_names={bus: f"Station {bus}" for bus in place},
        grid_lines=(("trafo", 0, 0, 1), *(("line", k, k + 1, k + 2) for k in range(5))),
        loads=(SiteLoad("shop", "Shop", 1, Scaled("load", 1.0)),),
        renewables=(SiteRenewable("roof", "Roof", 2, "pv", Scaled("load", 1.0)),),
        batteries=(SiteBattery("cell", "Cell", 3, 0.1, 0.1, 0.4, 0.0, 0.2, 0.95, 0.95, 0.0, 15.0, 450.0),),
        vehicles=(Vehicle("car", "home", 5, True, 60.0, 6.0, 0.92, 0.92, 20.0, 450.0, (stay,)),),
        market=Market("EUR", "load", "load", "load", "load", "load", {}, 0.0, 0.0),
        profiles=Profiles(time, ("load",), np.full((time.steps, 1), 0.1)),
        sources=(DataSource("upstream intensity", "estimate", "1", 1.0),),
        notices=(),
        carbon_map_bounds=(100.0, 500.0),
        replay=replay,
        fingerprint="sha256:0",
    )


def day_plan(
    day: str = DAY, *, information: str = "perfect", overvoltage: bool = True, broken: bool = False
) -> Plan:
    """A day of `town`. Uncontrolled, bus 4 rises to 1.07 pu at noon; `broken` leaves it there planned too."""
    city, random = town(), np.random.default_rng(5)
    time = city.day(date.fromisoformat(day))
    steps = time.steps
    sun = np.clip(np.sin((np.arange(steps) / steps - 0.25) * 2 * np.pi), 0, None)
    districts = (*DISTRICTS, BOUNDARY)

    def table(columns: tuple[str, ...], value: Callable[[int], Any]) -> SeriesTable:
        return SeriesTable(
            columns, np.stack([np.broadcast_to(value(k), steps) for k in range(len(columns))], 1)
        )

    buses = tuple(str(bus) for bus in range(7))
    branches = ("trafo 0", *(f"line {k}" for k in range(5)))
    technologies = ("import", "pv", "battery", "v2g", "wind")
    pairs = tuple(f"{district}/{technology}" for district in districts for technology in technologies)
    tables = {
        "market": table(
            ("import_price_eur_per_mwh", "export_price_eur_per_mwh", "upstream_g_per_kwh",
             "upstream_marginal_g_per_kwh", "price_eur_per_mwh"),
            lambda k: (60.0, 40.0, 450.0, 700.0, 65.0)[k] + 5 * sun,
        ),
        "planned.marginal_g_per_kwh": table(("grid", *buses[1:]), lambda k: 700.0 - 10 * k + 50 * sun),
    }  # fmt: skip
    for case in ("planned", "uncontrolled", *(("actual",) if information == "day-ahead" else ())):
        high = overvoltage and (case != "planned" or broken)
        rise = 0.06 if high else 0.03
        intensity = random.uniform(150, 420, (steps, 4))
        intensity[:, 3] = np.nan
        energy = random.uniform(0.1, 0.3, (steps, 4))
        energy[:, 3] = 0.0
        tables |= {
            f"{case}.asset_p_kw": table(
                ("shop", "roof", "cell", "car"),
                lambda k, c=case: (80.0, 200 * sun, 90 * (sun - 0.4) * (c == "planned"), 5.0)[k],
            ),
            f"{case}.asset_e_kwh": table(("cell", "car"), lambda k: (200.0, 30.0)[k] + 50 * sun),
            f"{case}.curtailed_kw": table(("roof",), lambda _, c=case: 40 * sun * (c == "planned")),
            f"{case}.supply_mw": table(technologies, lambda k: (0.5, sun, 0.1, 0.05, 0.3)[k]),
            f"{case}.use_mw": table(
                ("load", "ev", "battery", "export", "losses"), lambda k: (0.7 + sun, 0.1, 0.1, 0.0, 0.05)[k]
            ),
            f"{case}.vm_pu": table(buses, lambda k, r=rise: 1.01 + r * sun * (k == 4)),
            f"{case}.loading_percent": table(branches, lambda k: 20.0 + 70 * sun * (k == 2)),
            f"{case}.p_from_mw": table(branches, lambda _: 0.2 - 0.3 * sun),
            f"{case}.totals": table(
                ("cost_eur", "emissions_kg", "losses_mw", "import_mw", "export_mw", "carbon_g_per_kwh",
                 "renewable_share"),
                lambda k: (10.0, 60.0, 0.05, 0.5, 0.0, 250 - 100 * sun, 0.4 + 0.3 * sun)[k],
            ),
            f"{case}.district.energy_mwh": SeriesTable(districts, energy),
            f"{case}.district.emissions_kg": SeriesTable(districts, np.nan_to_num(energy * intensity)),
            f"{case}.district.carbon_g_per_kwh": SeriesTable(districts, intensity),
            f"{case}.district.renewable_share": SeriesTable(districts, random.uniform(0.2, 0.9, (steps, 4))),
            f"{case}.district_source_mwh": SeriesTable(pairs, random.uniform(0, 0.05, (steps, len(pairs)))),
        }  # fmt: skip
        for name in ("loss_emissions_kg", "charged_kg", "discharged_kg", "local_generation_mwh",
                     "exchange_mwh", "exchange_kg"):  # fmt: skip
            tables[f"{case}.district.{name}"] = SeriesTable(districts, random.uniform(0, 1, (steps, 4)))

    def reason(start: str, end: str, en: str, ja: str) -> dict[str, Any]:
        return {"from": start, "to": end, "action": "wait", "code": "wait", "numbers": {}, "en": en, "ja": ja}

    summary = {
        "cost": 1234.5, "emissions_kg": 5678.9, "losses_mwh": 0.4, "peak_import_mw": 1.2,
        "curtailed_mwh": 0.3, "unmet_kwh": 0.0, "violated_steps": 7, "energy_end_mwh": 0.25,
        "cost_at_equal_energy": 1240.0, "emissions_at_equal_energy_kg": 5700.0,
    }  # fmt: skip
    violation = {"time": "2016-06-21T10:00:00Z", "element": "bus 4", "quantity": "vm_pu", "value": 1.07,
                 "limit": 1.05, "remedy": "0.31 MW less at bus 4 would clear it"}  # fmt: skip
    comparison = {
        "planned": {**summary, "violated_steps": 7 * broken},
        "uncontrolled": {**summary, "cost": 1500.0, "violated_steps": 7 * overvoltage},
    }
    if information == "day-ahead":
        comparison["actual"] = comparison["uncontrolled"]
    document = {
        "schema": "wattshed.plan/1",
        "city": "town",
        "day": day,
        "status": "unresolved" if broken else "secure",
        "rounds": 2,
        "input_hash": "sha256:0",
        "comparison": comparison,
        "violations": [violation] if broken else [],
        "carbon": {
            "case": "actual" if information == "day-ahead" else "planned",
            "ev": {"g_per_km": 61.2, "charged_g_per_kwh": 310.0, "v2g_exported_kg": 4.0},
            "balance": {
                "sources_kg": 5900.0, "end_use_kg": 5500.0, "losses_kg": 120.0, "exports_kg": 0.0,
                "ev_driven_kg": 180.0, "storage_change_kg": 100.0, "residual_kg": 1e-12,
            },
        },
        "sources": [source.document() for source in town().sources],
        "schedule": {
            "reasons": {
                "car": [
                    reason("2016-06-20T22:00:00Z", "2016-06-21T09:00:00Z", "waits: 2016-06-21 09:00Z is 31 "
                           "EUR/MWh cheaper and line 2 is full until 2016-06-21 08:30Z", "待機：2016-06-21 "
                           "09:00Zは31 EUR/MWh安く、線路2の容量上限に達している（2016-06-21 08:30Zまで）"),
                    reason("2016-06-21T09:00:00Z", "2016-06-22T04:00:00Z", "charges: 12 EUR/MWh now",
                           "充電：現在12 EUR/MWh"),
                ],
            },
            "shortfalls": [
                {"asset": "car", "kind": "departure_energy", "at": "2016-06-21T06:00:00Z", "amount_kwh": 3.5},
                *({"asset": "cell", "kind": "unmet_swap", "amount_kwh": 50.0, "amount_swaps": 2,
                   "at": f"2016-06-21T{9 + k // 4:02}:{k % 4 * 15:02}:00Z"} for k in range(8)),
            ] * broken,
            "conflicts": [
                {"assets": ["cell"], "connection": "grid", "start": "2016-06-21T10:00:00Z",
                 "end": "2016-06-21T11:00:00Z", "limit": "import_limit_kw", "relaxation": 12.0, "unit": "kW",
                 "message": "", "relaxation_by_step": [12.0, 0.0, 6.0, 12.0]},
                {"assets": ["cell"], "connection": "grid", "start": "2016-06-21T09:00:00Z",
                 "end": "2016-06-21T11:00:00Z", "limit": "unmet_swap", "relaxation": 16.0, "unit": "swaps",
                 "message": "", "relaxation_by_step": [2.0] * 8, "ac_secure": False,
                 "network_limits": {"loading_max_percent": 130.71, "vm_min_pu": 0.94161}},
            ] * broken,
            **({"revision": {
                "past_steps": 41, "kept_steps": 0, "gain": 4.5, "threshold": 1.0, "changed": [
                    {"asset": "roof", "start": f"2016-06-21T{9 + k:02}:00:00Z",
                     "end": f"2016-06-21T{10 + k:02}:00:00Z", "from_kw": 10.0, "to_kw": 20.0 + k,
                     "why": "its forecast changed"} for k in range(10)
                ]}} if broken else {}),
        },
    }  # fmt: skip
    return Plan("town", day, information, time, document, tables)


class TownService:
    """What the dashboard asks of a service, for `town` and the plans given; a job ends when told."""

    def __init__(self, *plans: Plan, city: City | None = None) -> None:
        self._city = city or town()
        self._plans = {(plan.day, plan.information): plan for plan in plans}
        self.jobs: dict[str, Job] = {}

    def city_ids(self) -> tuple[str, ...]:
        return (self._city.id,)

    def city(self, city_id: str) -> City:
        if city_id != self._city.id:
            raise KeyError(city_id)
        return self._city

    def plans(self, city_id: str) -> tuple[PlanSummary, ...]:
        stored = datetime(2026, 1, 1, 12, tzinfo=UTC)
        return tuple(
            PlanSummary(city_id, day, information, plan.document["status"], 2, 0, "sha256:0", stored)
            for (day, information), plan in self._plans.items()
        )

    def stored_plan(self, city_id: str, day: str, information: str = "perfect") -> Plan | None:
        return self._plans.get((day, information)) if city_id == self._city.id else None

    def start_plan(self, city_id: str, day: str, information: str) -> Job:
        message = f"{city_id} {day} {information}"
        job = Job(f"job-{len(self.jobs)}", "plan", "running", datetime(2026, 1, 1, tzinfo=UTC), 0.3, message)
        self.jobs[job.id] = job
        return job

    def end(self, job_id: str, **outcome: Any) -> None:
        self.jobs[job_id] = replace(self.jobs[job_id], **outcome)

    def job(self, job_id: str) -> Job:
        return self.jobs[job_id]
