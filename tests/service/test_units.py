"""A city with generators, heat pumps, shiftable loads, hydrogen and swaps, over two days and a re-plan."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from energy.carbon.marginal import marginal
from energy.carbon.stations import stations
from energy.domain.errors import InputError
from energy.domain.plan import Plan
from energy.domain.time import parse_instant
from energy.service.cities import check_city, open_city
from energy.service.city_units import OF_THEIR_OWN, ROLES
from energy.service.documents import PlanDocument
from energy.service.service import Service
from energy.store import Store
from optimizer.assets import ASSET_TYPES

SMALL = Path(__file__).parent.parent / "bad_input" / "city_unknown_key" / "city"
FIRST, SECOND = "2016-01-04", "2016-01-05"
UNITS = """
[[assets.units]]
type = "generator"
id = "genset"
bus = 3
p_min_kw = 5
p_max_kw = 15
marginal_cost_per_mwh = 60
start_cost = 0.5
min_up = "PT3H"
min_down = "PT2H"
carbon_g_per_kwh = 620

[[assets.units]]
type = "chp"
id = "baths"
bus = 4
technology = "biomass"
renewable_share = 1.0
p_max_kw = 6
marginal_cost_per_mwh = 45
carbon_g_per_kwh = 50
heat_per_power = 1.5
heat_demand_kw = { profile = "load", factor = 8 }
heat_store = { e_max_kwh = 20, e_start_kwh = 8 }
boiler = { p_max_kw = 20, efficiency = 0.9, fuel_cost_per_mwh = 50, carbon_g_per_kwh = 240 }

[[assets.units]]
type = "flexible_load"
id = "pump"
name = "School"
bus = 5
p_max_kw = 9
power_factor = 0.95
heat = { cop = 3.2 }
room = { capacity_kwh_per_k = 6, loss_kw_per_k = 0.6, temp_start_c = 21, temp_min_c = 20, temp_max_c = 23, \
outdoor_c = { profile = "load", factor = 10 } }

[[assets.units]]
type = "flexible_load"
id = "cold_store"
bus = 6
p_max_kw = 6
energy_windows = [{ start = "20:00", end = "07:00", e_min_kwh = 30, e_max_kwh = 40 }]

[[assets.units]]
type = "shiftable_load"
id = "laundry"
bus = 7
profile_kw = [2.0, 3.0, 1.0]
earliest_start = "21:00"
latest_end = "05:00"

[[assets.units]]
type = "hydrogen_station"
id = "h2"
bus = 8
demand_kg = 0.04
electrolyser = { p_max_kw = 20, kwh_per_kg = 54 }
fuel_cell = { p_max_kw = 5, kwh_per_kg = 17 }
tank = { start_kg = 3, min_kg = 0.5, max_kg = 8, end_min_kg = 2 }

[[assets.units]]
type = "swap_station"
id = "rack"
bus = 9
slots = 2
battery = { e_full_kwh = 4, e_empty_kwh = 0.5, charge_max_kw = 2, charge_efficiency = 0.95 }
e_start_kwh = [4, 3]
swaps = "swaps"
"""


def city_directory(folder: Path, units: str = UNITS) -> Path:
    """A village of three hourly days whose price dips at night, with `units`."""
    directory = shutil.copytree(SMALL, folder / "village")
    text = (directory / "city.toml").read_text(encoding="utf-8")
    text = text.replace("timezone", "time_zone").replace("last_day = 2016-01-04", "last_day = 2016-01-07")
    (directory / "city.toml").write_text(text + units, encoding="utf-8")
    start = datetime.fromisoformat("2016-01-04T00:00+01:00")
    lines = ["time,load,pv,wind,price,swaps"]
    for hour in range(96):
        of_day = hour % 24
        price = 20 if of_day in (2, 3, 4) else 90 if 17 <= of_day <= 20 else 50 + of_day / 10
        load = 0.3 + 0.4 * (7 <= of_day <= 21)
        swaps = int(of_day in (8, 14, 18))
        time = (start + timedelta(hours=hour)).isoformat()
        lines.append(f"{time},{load},{max(0.0, 0.5 - abs(of_day - 12) / 8)},0.3,{price},{swaps}")
    (directory / "profiles.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return directory


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("units")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WATTSHED_HOME", str(folder))
        opened = Service(Store.open(f"sqlite:///{folder / 'store.db'}"), [open_city(city_directory(folder))])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def days(service: Service) -> tuple[Plan, Plan]:
    return service.plan("small", FIRST), service.plan("small", SECOND)


def both(days: tuple[Plan, Plan], asset: str, series: str = "asset_p_kw") -> Any:
    return np.concatenate([plan.tables[f"planned.{series}"].column(asset) for plan in days])


def test_every_type_of_asset_has_its_place_in_a_city() -> None:
    assert {*ROLES, *OF_THEIR_OWN} == set(ASSET_TYPES)


def test_each_plan_adds_up(days: tuple[Plan, Plan]) -> None:
    for plan in days:
        PlanDocument.model_validate(plan.document)
        assert plan.document["status"] == "secure"
        balance = plan.document["carbon"]["balance"]
        assert balance["residual_kg"] == pytest.approx(0.0, abs=1e-9 * balance["sources_kg"])
        assert balance["ev_driven_kg"] > 0  # hydrogen and batteries that leave with vehicles
        for case in ("planned", "uncontrolled"):
            supply = plan.tables[f"{case}.supply_mw"].values.sum(axis=1)
            np.testing.assert_allclose(plan.tables[f"{case}.use_mw"].values.sum(axis=1), supply, atol=2e-6)
            parts = plan.document["comparison"][case]["cost_parts"]
            assert sum(parts.values()) == pytest.approx(plan.document["comparison"][case]["cost"])
            np.testing.assert_allclose(
                plan.tables[f"{case}.totals"].column("cost_eur").sum(), sum(parts.values())
            )
        assert plan.document["comparison"]["planned"]["unmet_kwh"] == pytest.approx(0.0, abs=1e-3)


def test_stores_go_on_where_the_day_before_left_them(days: tuple[Plan, Plan]) -> None:
    kg = both(days, "h2/tank_kg", "unit_series")
    made = both(days, "h2/electrolyser_kw", "unit_series") / 54
    used = both(days, "h2/fuel_cell_kw", "unit_series") / 17
    served = 0.04 - both(days, "h2/unmet_kg", "unit_series")
    np.testing.assert_allclose(kg, 3 + np.cumsum(made - used - served), atol=1e-5)
    kwh = both(days, "rack", "asset_e_kwh")
    swapped = both(days, "rack/swaps_served", "unit_series")
    np.testing.assert_allclose(kwh, 7 + np.cumsum(0.95 * both(days, "rack") - 3.5 * swapped), atol=1e-5)
    room, heat = (both(days, f"pump/{name}", "unit_series") for name in ("room_c", "room_heat_kw"))
    kept = np.exp(-0.6 / 6)
    outdoor = np.tile([3.0 + 4.0 * (7 <= hour <= 21) for hour in range(24)], 2)
    before = np.concatenate([[21.0], room[:-1]])
    np.testing.assert_allclose(room, kept * before + (1 - kept) * (outdoor + heat / 0.6), atol=1e-5)
    assert room.min() >= 20 - 1e-5


def test_a_unit_keeps_its_minimum_times_across_midnight(days: tuple[Plan, Plan]) -> None:
    on = both(days, "genset/on", "unit_series") > 0
    changes = np.flatnonzero(on[1:] != on[:-1]) + 1
    assert len(changes) > 1
    for begin, end in pairwise(changes):
        assert end - begin >= (3 if on[begin] else 2)


def test_what_recurs_is_done_once_a_night(days: tuple[Plan, Plan]) -> None:
    laundry, cold = both(days, "laundry"), both(days, "cold_store")
    night = slice(20, 31)  # hours 20:00 to 07:00 of the first night
    assert laundry[night].sum() == pytest.approx(6.0)
    assert laundry[7:20].sum() == pytest.approx(0.0)
    assert laundry[31:44].sum() == pytest.approx(0.0)
    assert 30 - 1e-4 <= cold[night].sum() <= 40 + 1e-4
    # most of it when the price is lowest, after midnight
    assert cold[26:29].sum() >= 17.9


def test_generation_of_units_counts_with_their_own_carbon(days: tuple[Plan, Plan]) -> None:
    for plan in days:
        sources = plan.tables["planned.supply_mw"]
        assert {"generator", "biomass", "hydrogen", "import"} <= set(sources.columns)
        made_kg = sum(
            sources.column(name).sum() * factor for name, factor in (("generator", 620), ("biomass", 50))
        )
        imported = sources.column("import") * plan.tables["market"].column("upstream_g_per_kwh")
        pv = plan.document["carbon"]["balance"]["sources_kg"] - made_kg - imported.sum()
        assert pv == pytest.approx(0.0, abs=1e-6 * made_kg + 1e-3)


def test_vehicles_take_hydrogen_and_swapped_batteries_with_the_carbon_of_their_tanks(
    service: Service, days: tuple[Plan, Plan]
) -> None:
    period = service.period("small", FIRST, last_day=SECOND)
    at_margin = marginal(period)
    found = {station.asset.id: station for station in stations(period, at_margin)}
    h2, rack = found["h2"], found["rack"]
    served_kg = (0.04 - both(days, "h2/unmet_kg", "unit_series")).sum()
    assert h2.hydrogen_kg == pytest.approx(served_kg, rel=1e-6)
    assert h2.use.driven_mwh * 1000 == pytest.approx(54 * served_kg, rel=1e-6)
    swapped = both(days, "rack/swaps_served", "unit_series").sum()
    assert rack.use.driven_mwh * 1000 == pytest.approx(3.5 * swapped, rel=1e-6)
    for station in found.values():
        assert station.use.residual_kg == pytest.approx(0.0, abs=1e-9 * station.use.charged_kg)
    taken = sum(station.use.driven_kg for station in found.values())
    assert taken == pytest.approx(period.actual.city["ev_driven_kg"].sum(), rel=1e-9)
    assert h2.kg_per_kg == pytest.approx(54 * h2.g_per_kwh / 1000)
    # a unit that runs is what a kWh more costs: with integers fixed the dispatch has its margin too
    assert at_margin.method == "marginal-dispatch"
    assert h2.use.marginal is not None
    assert np.isfinite(h2.use.marginal.kg)


def test_the_rest_of_a_day_with_units_is_planned_again(service: Service, days: tuple[Plan, Plan]) -> None:
    _, before = days
    plan = service.operate("small", parse_instant("2016-01-05T10:00:00+01:00"))
    for name in ("genset", "h2", "laundry", "pump"):
        planned = before.tables["planned.asset_p_kw"].column(name)[:10]
        np.testing.assert_allclose(plan.tables["planned.asset_p_kw"].column(name)[:10], planned, atol=1e-4)
    assert plan.document["schedule"]["revision"]["past_steps"] == 10


@pytest.mark.usefixtures("days")
def test_a_plan_from_a_forecast_has_units_too(service: Service) -> None:
    plan = service.plan("small", "2016-01-06", information="day-ahead")
    PlanDocument.model_validate(plan.document)
    setpoints = [plan.tables[f"{case}.asset_p_kw"].column("rack") for case in ("planned", "actual")]
    np.testing.assert_array_equal(*setpoints)
    assert plan.document["carbon"]["case"] == "actual"
    assert "no stored plan of the day before: units start as declared" in plan.document["notices"]


@pytest.mark.parametrize(
    "faults",
    [
        {
            ('"generator"', '"genrator"'): "units[0].type: 'genrator' is not a type of unit",
            (
                '"chp"',
                '"battery"',
            ): "units[1].type: 'battery' is not a type of unit; give it in assets.batteries",
            ("bus = 5", "bus = 300"): "units[2]: bus 300 does not exist",
            ("factor = 10", "factro = 10"): "units[2].room.outdoor_c: a series is a number",
            ('"swaps"', '"swap"'): "units[6].swaps: needs the series 'swap'; did you mean 'swaps'?",
            ('id = "h2"', 'id = "rack"'): "asset 'rack': is used 2 times",
        },
        {
            ('"21:00"', '"2016-01-04T21:00:00Z"'): "units[4].earliest_start: '2016-01-04T21:00:00Z' is no",
            ('latest_end = "05:00"', ""): "units[4].latest_end: is missing",
            ('"20:00"', '"24:00"'): "units[3].energy_windows[0].start: '24:00' is not a clock time",
        },
        {
            ("p_min_kw = 5", "p_mim_kw = 5"): "units[0].p_mim_kw: unknown key; did you mean 'p_min_kw'?",
            ("heat_per_power = 1.5", "heat_per_power = -1"): "units[1].heat_per_power: -1",
            ("min_kg = 0.5", "min_kg = 50"): "units[5].tank.min_kg: 50 kg is above max_kg 8",
            ('"swaps"', '"load"'): "units[6].swaps: value 0 is 0.3; swaps are counted in whole numbers",
        },
        {("PT3H", "PT30H"): "units[0].min_up: is longer than 23 hours"},
    ],
)
def test_what_is_wrong_with_units_is_named(tmp_path: Path, faults: dict[tuple[str, str], str]) -> None:
    text = UNITS
    for change in faults:
        assert change[0] in text
        text = text.replace(*change)
    with pytest.raises(InputError) as refused:
        check_city(city_directory(tmp_path, text))
    found = "\n".join(str(fault) for fault in refused.value.faults)
    assert [
        fault for fault in faults.values() if f"city.toml: assets.{fault}" not in found and fault not in found
    ] == []
