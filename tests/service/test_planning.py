"""A day of the reference city: what adds up, what carries over, what is the same twice."""

from __future__ import annotations

import json
from datetime import date
from functools import partial

import numpy as np
import pytest

from energy.carbon.avoided import avoided
from energy.carbon.breakdown import amounts
from energy.carbon.difference import difference
from energy.carbon.ev import ev_ledger
from energy.carbon.grid_average import grid_average
from energy.carbon.indicators import compare
from energy.carbon.inventory import Quality, inventory
from energy.carbon.marginal import marginal
from energy.carbon.rates import rate
from energy.domain.errors import InputError, UnknownError
from energy.domain.period import Period
from energy.domain.plan import Plan
from energy.feeds.factors import load_factors
from energy.service.city_day import check_day, horizon_of, tanks_at
from energy.service.documents import PlanDocument
from energy.service.service import Service
from tests.service.conftest import DAY_AHEAD

DAY = "2016-03-27"
"""A spring Sunday with much sun; the clocks go forward."""


@pytest.fixture(scope="module")
def plan(service: Service) -> Plan:
    return service.plan("reference", DAY)


def test_the_plan_is_what_the_schema_says_and_is_stored_bit_for_bit(service: Service, plan: Plan) -> None:
    PlanDocument.model_validate(plan.document)
    stored = service.stored_plan("reference", DAY)
    assert stored is not None
    assert json.dumps(stored.document, sort_keys=True) == json.dumps(plan.document, sort_keys=True)
    assert [summary.day for summary in service.plans("reference")] == [DAY, DAY_AHEAD]


def test_a_second_run_gives_the_same_bytes(service: Service, plan: Plan) -> None:
    again = service.plan("reference", DAY)
    assert json.dumps(again.document) == json.dumps(plan.document)
    assert all(
        (again.tables[name].values.tobytes() == table.values.tobytes()) for name, table in plan.tables.items()
    )


def test_the_day_of_the_spring_change_has_92_steps(plan: Plan) -> None:
    assert plan.time.steps == 92
    assert plan.document["schedule"]["time"]["steps"] == 92
    assert {len(table.values) for table in plan.tables.values()} == {92}
    for district in plan.document["carbon"]["districts"].values():
        assert {len(series) for series in district.values()} == {92}


def test_the_plan_is_secure_or_names_what_is_left(plan: Plan) -> None:
    document = plan.document
    assert (document["status"] == "secure") == (document["violations"] == [])
    assert document["comparison"]["planned"]["violated_steps"] == len(
        {v["time"] for v in document["violations"]}
    )


@pytest.mark.parametrize("case", ["planned", "uncontrolled"])
def test_districts_add_up_to_the_city(plan: Plan, case: str) -> None:
    used = plan.tables[f"{case}.district.energy_mwh"].values.sum(axis=1)
    load = plan.tables[f"{case}.use_mw"].column("load") * plan.time.hours
    np.testing.assert_allclose(used, load, rtol=1e-9)
    for unit in ("mwh", "kg"):
        # what one district receives another gives
        exchange = plan.tables[f"{case}.district.exchange_{unit}"].values
        np.testing.assert_allclose(exchange.sum(axis=1), 0.0, atol=1e-9 * np.abs(exchange).max())


def test_carbon_is_counted_once(plan: Plan) -> None:
    balance = plan.document["carbon"]["balance"]
    used = sum(
        balance[name]
        for name in ("end_use_kg", "losses_kg", "exports_kg", "ev_driven_kg", "storage_change_kg")
    )
    assert used == pytest.approx(balance["sources_kg"], rel=1e-9)
    assert abs(balance["residual_kg"]) <= 1e-9 * balance["sources_kg"]


@pytest.mark.parametrize("case", ["planned", "uncontrolled"])
def test_power_balances_in_every_step(plan: Plan, case: str) -> None:
    supply, use = (plan.tables[f"{case}.{side}_mw"].values.sum(axis=1) for side in ("supply", "use"))
    np.testing.assert_allclose(supply, use, atol=1e-6)


def test_every_session_leaves_full_in_both_cases(plan: Plan) -> None:
    comparison = plan.document["comparison"]
    assert comparison["planned"]["unmet_kwh"] == comparison["uncontrolled"]["unmet_kwh"] == 0.0


def test_the_parts_of_the_cost_add_up_and_the_plan_is_cheaper(plan: Plan) -> None:
    comparison = plan.document["comparison"]
    for name, case in comparison.items():
        assert case["cost"] == pytest.approx(sum(case["cost_parts"].values()))
        assert case["cost"] == pytest.approx(plan.tables[f"{name}.totals"].column("cost_eur").sum())
    assert comparison["planned"]["cost_at_equal_energy"] < comparison["uncontrolled"]["cost_at_equal_energy"]


def test_tanks_carry_over_to_the_next_day(service: Service, plan: Plan) -> None:
    carry = service._store.carry_over("reference", "2016-03-28")
    assert carry is not None
    assert carry.at == plan.time.end
    city = service.city("reference")
    left = plan.tables["planned.asset_e_kwh"]
    tanks = tanks_at(city, carry.at, carry)
    for name, energy in zip(left.columns, left.values[-1], strict=True):
        assert tanks[name].e_kwh == pytest.approx(energy, abs=1e-3)
        assert tanks[name].carbon_kg == carry.carbon_kg[name]
        assert 0 <= tanks[name].renewable_kwh <= tanks[name].e_kwh
    assert sum(carry.renewable_kwh.values()) > 0
    assert tanks_at(city, carry.at, None) != tanks


def test_a_day_ahead_plan_says_what_it_missed(service: Service) -> None:
    plan = service.stored_plan("reference", DAY_AHEAD, "day-ahead")
    assert plan is not None
    PlanDocument.model_validate(plan.document)
    assert plan.time.steps == 100
    document = plan.document
    assert set(document["comparison"]) == {"planned", "actual", "uncontrolled"}
    assert document["forecast"]["issued"] == "2016-10-29T10:00:00Z"
    assert (
        len({v["time"] for v in document["forecast"]["missed"]})
        == document["comparison"]["actual"]["violated_steps"]
    )
    assert document["carbon"]["case"] == "actual"
    # setpoints are as planned, curtailment caps are kept, and the root balances what came instead
    ev = [name for name in plan.tables["planned.asset_p_kw"].columns if name.startswith("home-")]
    for name in ev[:20]:
        planned, actual = (plan.tables[f"{case}.asset_p_kw"].column(name) for case in ("planned", "actual"))
        np.testing.assert_array_equal(planned, actual)


def test_what_is_stored_is_served(service: Service, plan: Plan) -> None:
    grid = service.grid("reference", plan.time.instant(50))
    bus = plan.tables["planned.vm_pu"].columns[5]
    assert grid["vm_pu"][bus] == plan.tables["planned.vm_pu"].column(bus)[50]
    asset = plan.tables["planned.asset_e_kwh"].columns[0]
    served = service.schedule("reference", asset, plan.time.start, plan.time.end)
    np.testing.assert_array_equal(served["p_kw"], plan.tables["planned.asset_p_kw"].column(asset))
    carbon = service.carbon("reference", plan.time.start, plan.time.end)
    emissions = sum(sum(district["emissions_kg"]) for district in carbon["districts"].values())
    assert emissions == pytest.approx(plan.tables["planned.district.emissions_kg"].values.sum())
    with pytest.raises(UnknownError):
        service.grid("reference", plan.time.end)
    with pytest.raises(UnknownError):
        service.schedule("reference", "nobody", plan.time.start, plan.time.end)


def test_days_without_data_and_unknown_information_are_refused_together(service: Service) -> None:
    with pytest.raises(InputError) as refused:
        check_day(service.city("reference"), "2019-01-01", "psychic")
    assert [fault.path for fault in refused.value.faults] == ["day", "information"]


@pytest.mark.parametrize("day", ["20160621", "2016-W25-2", "2016-6-21", "2016-06-31", "21.06.2016", ""])
def test_a_date_is_written_one_way_only(service: Service, day: str) -> None:
    with pytest.raises(InputError, match="write it like 2016-01-01"):
        check_day(service.city("reference"), day, "perfect")


def test_the_horizon_ends_at_local_noon_or_with_the_data(service: Service) -> None:
    city = service.city("reference")
    steps = {
        day: horizon_of(city, date.fromisoformat(day)).steps
        for day in ("2016-06-21", "2016-03-26", "2016-12-31")
    }
    assert steps == {"2016-06-21": 144, "2016-03-26": 140, "2016-12-31": 96}


def test_the_period_of_the_day_holds_what_the_plan_does(service: Service, plan: Plan) -> None:
    """23 hours; districts, assets and tanks add up to the plan's own series."""
    period = service.period("reference", DAY)
    assert period.time.steps == 23
    assert period.covered == 1.0
    (day,) = period.by_day
    tables = plan.tables
    for name in ("energy_mwh", "emissions_kg", "loss_emissions_kg", "exchange_kg", "local_generation_mwh"):
        of_plan = tables[f"planned.district.{name}"]
        assert of_plan.columns == period.districts
        np.testing.assert_allclose(
            period.actual.districts[name].sum(axis=0), of_plan.values.sum(axis=0), rtol=1e-9, atol=1e-9
        )
    balance = plan.document["carbon"]["balance"]
    for name, value in balance.items():
        assert period.actual.city[name].sum() == pytest.approx(value, rel=1e-9, abs=1e-6)
    end_use = [k for k, asset in enumerate(period.assets) if asset.kind == "load"]
    for quantity, total in (("drawn_mwh", "energy_mwh"), ("drawn_kg", "emissions_kg")):
        drawn = getattr(day, quantity)[:, end_use].sum(axis=1)
        np.testing.assert_allclose(drawn, period.actual.districts[total].sum(axis=1), rtol=1e-9)
    renewable = [k for k, asset in enumerate(period.assets) if asset.kind == "renewable"]
    np.testing.assert_allclose(
        day.injected_kg[:, renewable].sum(axis=1),
        period.actual.districts["local_generation_kg"].sum(axis=1),
        rtol=1e-9,
    )
    charging = [k for k, asset in enumerate(period.assets) if asset.id in period.storages]
    np.testing.assert_allclose(
        day.drawn_kg[:, charging].sum(axis=1), period.actual.districts["charged_kg"].sum(axis=1), rtol=1e-9
    )
    held = day.tank_kg[-1] - day.opening_kg
    assert held.sum() == pytest.approx(balance["storage_change_kg"], rel=1e-9)
    left = tables["planned.asset_e_kwh"]
    kwh = left.values[-1, [left.columns.index(key) for key in period.storages]]
    np.testing.assert_allclose(day.tank_mwh[-1] * 1000, kwh, atol=1e-3)
    cost = tables["planned.totals"].column("cost_eur").sum()
    assert period.actual.city["cost"].sum() == pytest.approx(cost)
    assert period.uncontrolled.city["import_mwh"].sum() > 0
    low, value, high = (period.actual.districts[f"emissions{end}_kg"] for end in ("_low", "", "_high"))
    assert (low <= value).all()
    assert (value <= high).all()
    assert {cls for asset in period.assets for cls in asset.classes} == {
        "residential",
        "commercial",
        "industry",
        "agriculture",
        "energy_industries",
        "transport",
    }
    for asset in period.assets:
        assert sum(asset.classes.values()) == pytest.approx(1.0)


def test_ledgers_of_the_day_close(service: Service, plan: Plan) -> None:
    """Every ledger on a real day: use, losses and exports are what came in; charged is driven or held."""
    period = service.period("reference", DAY)
    registry = load_factors()
    official = rate(period.time, period.zone, partial(registry.grid_average, "DE"))
    ledger = grid_average(period, official)
    city = period.actual.city
    generated = period.actual.districts["local_generation_mwh"].sum()
    batteries = [k for k, name in enumerate(period.storages) if not _is_ev(period, name)]
    held = sum(day.tank_change_mwh[:, batteries].sum() for day in period.by_day)
    supplied = (city["import_mwh"] - city["export_mwh"] - city["losses_mwh"]).sum() + generated
    assert ledger.city().scope2.mwh + held == pytest.approx(supplied, rel=1e-6)
    evs = ev_ledger(period, marginal(period)).city()
    assert abs(evs.residual_kg) <= 1e-9 * evs.charged_kg
    assert evs.driven_kg == pytest.approx(city["ev_driven_kg"].sum(), rel=1e-9)
    assert 0.0 < evs.g_per_km < 500.0
    explained = difference(ledger, period)["city"]
    parts = (explained.official_kg, explained.level_kg, explained.timing_kg, explained.local_kg)
    assert sum(parts) == pytest.approx(explained.traced_kg, rel=1e-9)
    made = inventory(ledger, period, quality=Quality("M", "M"))
    assert made.total_kg("BASIC") == pytest.approx(ledger.city().scope2.kg, rel=1e-9)
    compared = compare(period)
    saved_kg = compared.uncontrolled.footprint_kg - compared.actual.footprint_kg
    assert avoided(period).average.reduction_kg == pytest.approx(saved_kg, rel=1e-9, abs=1e-6)


def test_the_marginal_ledger_follows_the_dispatch_at_every_bus(service: Service, plan: Plan) -> None:
    """Steps times rates by asset, as the plan has them, are the hours of the ledger; losses make a kWh at a
    bus cost more than one at the connection, wherever no limit of the grid binds."""
    rates, used = plan.tables["planned.marginal_g_per_kwh"], plan.tables["planned.asset_p_kw"]
    period = service.period("reference", DAY)
    ledger = marginal(period)
    assert ledger.method == "marginal-dispatch"
    found = amounts(period, ledger, "kind", "district")
    hours = plan.time.hours
    buses = {asset.id: str(asset.bus) for asset in period.assets}
    for kind, sign in (("load", 1.0), ("ev", 1.0), ("battery", 1.0), ("renewable", -1.0)):
        names = [asset.id for asset in period.assets if asset.kind == kind]
        kw = np.column_stack([used.column(name) for name in names])
        # what has no session in the horizon takes no part in its dispatch, and draws nothing
        at_bus = np.column_stack(
            [
                rates.column(buses[name]) if buses[name] in rates.columns else np.full(len(kw), np.nan)
                for name in names
            ]
        )
        kg = sign * np.where(kw == 0, 0.0, kw * at_bus).sum() * hours / 1000
        assert found[f"kind/{kind}"].kg == pytest.approx(kg, rel=1e-9)
    for by in ("kind/", "district/"):
        kg_of = [of.kg for place, of in found.items() if place.startswith(by)]
        assert sum(kg_of) == pytest.approx(found["city"].kg, rel=1e-9)
    root = rates.column("grid")
    assert plan.document["schedule"]["connections"]["grid"]["marginal_g_per_kwh"] == root.tolist()
    more = np.median(rates.values[:, 1:] / root[:, None], axis=1)
    assert (more > 1.0).mean() > 0.5
    (day,) = period.by_day
    assert day.marginal_at_bus is not None
    columns = [k for k, bus in enumerate(period.buses) if str(bus) in rates.columns]
    first = np.stack([rates.column(str(period.buses[k]))[:4].mean() for k in columns])
    np.testing.assert_allclose(day.marginal_at_bus[0, columns], first, rtol=1e-12)


def _is_ev(period: Period, name: str) -> bool:
    return any(asset.id == name and asset.kind == "ev" for asset in period.assets)
