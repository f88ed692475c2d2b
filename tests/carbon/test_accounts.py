"""District accounts of random cities: everything that must always hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.carbon.accounts import BATTERY, IMPORT, V2G, Supply, UpstreamMix, account
from energy.domain.errors import InputError, SolverError
from tests.carbon.networks import random_city

seeds = st.integers(0, 10**6)
several = settings(max_examples=15)


@several
@given(seeds)
def test_carbon_is_counted_once_in_every_step(seed: int) -> None:
    flows, supply, use, storage, upstream, districts = random_city(seed)
    result = account(flows, supply, use, storage, upstream, districts)
    steps, hours = result.steps, flows.time.hours
    imported = np.maximum(flows.slack_p_mw[:, 0], 0.0) * upstream.carbon_g_per_kwh * hours
    generated = (supply.p_mw * supply.carbon_g_per_kwh).sum(axis=1) * hours
    np.testing.assert_allclose(steps["sources_kg"], imported + generated, rtol=1e-12)
    booked = (
        steps["end_use_kg"]
        + steps["losses_kg"]
        + steps["exports_kg"]
        + steps["ev_driven_kg"]
        + steps["storage_change_kg"]
    )
    scale = steps["sources_kg"].max()
    np.testing.assert_allclose(booked, steps["sources_kg"], rtol=1e-9, atol=1e-9 * scale)
    assert np.abs(steps["residual_kg"]).max() <= 1e-9 * scale
    assert set(result.balance()) == {
        "sources_kg",
        "end_use_kg",
        "losses_kg",
        "exports_kg",
        "ev_driven_kg",
        "storage_change_kg",
        "residual_kg",
    }
    halves = [result.balance(0, 4)["end_use_kg"], result.balance(4)["end_use_kg"]]
    assert sum(halves) == pytest.approx(result.balance()["end_use_kg"])


@several
@given(seeds)
def test_districts_add_up_to_the_city(seed: int) -> None:
    flows, supply, use, storage, upstream, districts = random_city(seed)
    result = account(flows, supply, use, storage, upstream, districts)
    tables = {name: table.values for name, table in result.district.items()}
    scale = result.steps["sources_kg"].max()
    np.testing.assert_allclose(tables["emissions_kg"].sum(axis=1), result.steps["end_use_kg"], rtol=1e-9)
    np.testing.assert_allclose(tables["loss_emissions_kg"].sum(axis=1), result.steps["losses_kg"], rtol=1e-9)
    np.testing.assert_allclose(tables["exchange_mwh"].sum(axis=1), 0.0, atol=1e-9)
    np.testing.assert_allclose(tables["exchange_kg"].sum(axis=1), 0.0, atol=1e-9 * scale)
    drawn_mw = use.p_mw.sum(axis=1) + flows.shunt_mw.sum(axis=1)
    np.testing.assert_allclose(tables["energy_mwh"].sum(axis=1), drawn_mw / 4, rtol=1e-12)
    shares = result.district_source_mwh.values.reshape(flows.time.steps, len(result.districts), -1)
    np.testing.assert_allclose(shares.sum(axis=2), tables["energy_mwh"], atol=1e-12)
    assert {IMPORT, V2G, BATTERY} <= set(result.technologies)
    with_losses = tables["emissions_with_losses_kg"].sum()
    assert with_losses >= tables["emissions_kg"].sum()


@several
@given(seeds)
def test_exchange_is_what_crosses_the_border(seed: int) -> None:
    """Against the branches themselves, in a city where every node has one bus and thus one district."""
    flows, supply, use, storage, upstream, districts = random_city(seed)
    last = max(flows.node_of_bus)
    districts = {bus: district for bus, district in districts.items() if bus != last}
    districts[last] = districts[last - 1]
    result = account(flows, supply, use, storage, upstream, districts)
    at_node = {node: districts.get(bus, "boundary") for bus, node in flows.node_of_bus.items()}
    received = np.zeros((flows.time.steps, len(result.districts)))
    for k in range(len(flows.branches)):
        start, end = at_node[int(flows.from_node[k])], at_node[int(flows.to_node[k])]
        if start != end:
            middle = (flows.p_from_mw[:, k] - flows.p_to_mw[:, k]) / 2 * flows.time.hours
            received[:, result.districts.index(start)] -= middle
            received[:, result.districts.index(end)] += middle
    np.testing.assert_allclose(result.district["exchange_mwh"].values, received, atol=1e-9)


@several
@given(seeds)
def test_every_district_closes_with_its_exchange(seed: int) -> None:
    """Generated, discharged, imported and received is used, lost, charged and sent out: energy and carbon."""
    flows, supply, use, storage, upstream, districts = random_city(seed)
    result = account(flows, supply, use, storage, upstream, districts)
    hours, at_root = (
        flows.time.hours,
        np.array([name == "boundary" for name in result.districts], dtype=float),
    )
    slack = flows.slack_p_mw[:, 0] * hours
    imported, exported = np.maximum(slack, 0.0), np.maximum(-slack, 0.0)
    table = {name: of.values for name, of in result.district_sums.items()}
    from_upstream_kg = imported * upstream.carbon_g_per_kwh - result.steps["exports_kg"]
    for unit, used, lost, net in (
        ("mwh", "energy_mwh", "loss_mwh", imported - exported),
        ("kg", "emissions_kg", "loss_emissions_kg", from_upstream_kg),
    ):
        came = table[f"local_generation_{unit}"] + table[f"discharged_{unit}"] + table[f"exchange_{unit}"]
        went = table[used] + table[lost] + table[f"charged_{unit}"]
        scale = np.abs(went).sum(axis=1, keepdims=True) + 1e-9
        np.testing.assert_allclose((came + net[:, None] * at_root - went) / scale, 0.0, atol=1e-9)


@several
@given(seeds)
def test_vehicles_keep_their_carbon(seed: int) -> None:
    """Driven + exported + change = Σ charged c·q, vehicle by vehicle; contents never negative."""
    flows, supply, use, storage, upstream, districts = random_city(seed)
    result = account(flows, supply, use, storage, upstream, districts)
    change = result.tank_carbon_kg[-1] - storage.carbon_start_kg
    out = result.driven_kg.sum(axis=0) + result.discharged_kg.sum(axis=0)
    np.testing.assert_allclose(out + change, result.charged_kg.sum(axis=0), rtol=1e-9, atol=1e-9)
    assert (result.tank_carbon_kg >= 0).all()
    assert (result.tank_e_mwh >= 0).all()
    ev = result.ev()
    km = storage.distance_km.sum()
    if km:
        driven = result.driven_kg[:, storage.is_ev].sum()
        assert ev["g_per_km"] == pytest.approx(driven * 1000 / km)
    else:
        assert ev["g_per_km"] is None


@several
@given(seeds)
def test_renewable_shares_stay_between_0_and_1(seed: int) -> None:
    """What is lost on the way through a tank is lost of the renewable part too."""
    flows, supply, use, storage, upstream, districts = random_city(seed)
    result = account(
        flows, replace(supply, renewable=np.ones(len(supply.buses))), use, storage, upstream, districts
    )
    assert (result.tank_renewable_mwh <= result.tank_e_mwh + 1e-12).all()
    shares = [result.district["renewable_share"].values, result.steps["renewable_share"]]
    known = np.concatenate([share[np.isfinite(share)] for share in shares])
    assert ((known >= 0) & (known <= 1 + 1e-9)).all()


def test_a_day_in_two_halves_is_the_day() -> None:
    """Tanks carried over from step to step give the accounts of one run."""
    flows, supply, use, storage, upstream, districts = random_city(5, steps=8)
    whole = account(flows, supply, use, storage, upstream, districts)
    kept = whole.tank_e_mwh[3]
    share = whole.tank_renewable_mwh[3] / kept

    def later(values: np.ndarray) -> np.ndarray:
        return values[4:]

    second = account(
        replace(
            flows,
            time=flows.time.window(4, 4),
            p_from_mw=later(flows.p_from_mw),
            p_to_mw=later(flows.p_to_mw),
            slack_p_mw=later(flows.slack_p_mw),
            shunt_mw=later(flows.shunt_mw),
        ),
        replace(supply, p_mw=later(supply.p_mw)),
        replace(use, p_mw=later(use.p_mw)),
        replace(
            storage,
            charge_mw=later(storage.charge_mw),
            discharge_mw=later(storage.discharge_mw),
            drive_mwh=later(storage.drive_mwh),
            distance_km=later(storage.distance_km),
            e_start_mwh=kept,
            carbon_start_kg=whole.tank_carbon_kg[3],
            renewable_start_share=share,
        ),
        UpstreamMix(later(upstream.carbon_g_per_kwh), later(upstream.renewable_share)),
        districts,
    )
    for name, table in second.district.items():
        np.testing.assert_allclose(table.values, whole.district[name].values[4:], rtol=1e-9, atol=1e-12)


@several
@given(seeds)
def test_net_export_holds_no_upstream_carbon(seed: int) -> None:
    """In steps of net export nothing is imported, and no figure depends on the upstream intensity."""
    flows, supply, use, storage, upstream, districts = random_city(seed, steps=24, vehicles=0, batteries=0)
    exporting = flows.slack_p_mw[:, 0] < 0
    result = account(flows, supply, use, storage, upstream, districts)
    imported = [name.endswith(f"/{IMPORT}") for name in result.district_source_mwh.columns]
    assert (result.district_source_mwh.values[exporting][:, imported] == 0).all()
    dirtier = replace(upstream, carbon_g_per_kwh=upstream.carbon_g_per_kwh + 500.0)
    other = account(flows, supply, use, storage, dirtier, districts)
    for name, table in result.district_sums.items():
        np.testing.assert_array_equal(table.values[exporting], other.district_sums[name].values[exporting])
    if (~exporting).any():
        assert other.steps["end_use_kg"][~exporting].sum() > result.steps["end_use_kg"][~exporting].sum()


def test_faults_are_told_at_once() -> None:
    flows, supply, use, storage, upstream, districts = random_city(1)
    wrong = Supply(
        np.append(supply.buses[:-1], 999),
        supply.technology,
        -supply.p_mw - 1.0,
        np.full(len(supply.buses), np.nan),
        supply.renewable,
    )
    with pytest.raises(InputError) as refused:
        account(flows, wrong, use, storage, upstream, districts)
    told = str(refused.value)
    assert "bus 999 carries no power flow" in told
    assert "supply.p_mw: has a negative or missing value in step 0" in told
    assert "every unit needs its factor" in told
    greedy = replace(storage, discharge_mw=storage.discharge_mw + 1.0)
    with pytest.raises(InputError, match="s0: gives"):
        account(flows, supply, use, greedy, upstream, districts)


def test_flows_of_other_powers_are_refused() -> None:
    flows, supply, use, storage, upstream, districts = random_city(1)
    with pytest.raises(SolverError, match="do not balance"):
        account(flows, supply, replace(use, p_mw=use.p_mw * 1.01), storage, upstream, districts)
    unsolved = np.where(np.arange(flows.time.steps)[:, None] == 2, np.nan, flows.p_from_mw)
    with pytest.raises(SolverError, match="do not balance"):
        account(replace(flows, p_from_mw=unsolved), supply, use, storage, upstream, districts)
