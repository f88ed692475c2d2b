"""Coupling, losses and factor ranges of the account: what each choice moves, and what it must leave."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.carbon.accounts import Account, account
from energy.domain.errors import InputError
from energy.domain.period import Coupling, LossTreatment
from tests.carbon.networks import random_city

seeds = st.integers(0, 10**6)
couplings: st.SearchStrategy[Coupling] = st.sampled_from(["direct", "aggregated"])
treatments: st.SearchStrategy[LossTreatment] = st.sampled_from(["account", "loads", "generators"])
several = settings(max_examples=12, deadline=None)
BOOKED = ("end_use_kg", "losses_kg", "exports_kg", "ev_driven_kg", "storage_change_kg")


def ranged(seed: int) -> tuple[Any, ...]:
    """A random city whose factors have ranges."""
    flows, supply, use, storage, upstream, districts = random_city(seed)
    random = np.random.default_rng([seed, 7])
    low, high = random.uniform(0.2, 1.0, 2), random.uniform(1.0, 3.0, 2)
    supply = replace(
        supply, carbon_range=(supply.carbon_g_per_kwh * low[0], supply.carbon_g_per_kwh * high[0])
    )
    upstream = replace(
        upstream, carbon_range=(upstream.carbon_g_per_kwh * low[1], upstream.carbon_g_per_kwh * high[1])
    )
    return flows, supply, use, storage, upstream, districts


def closes(result: Account) -> None:
    booked = sum(result.steps[name] for name in BOOKED)
    np.testing.assert_allclose(
        booked, result.steps["sources_kg"], rtol=1e-9, atol=1e-9 * result.steps["sources_kg"].max()
    )


@several
@given(seeds, couplings, treatments)
def test_every_choice_counts_all_carbon_once(seed: int, coupling: Coupling, losses: LossTreatment) -> None:
    city = random_city(seed)
    result = account(*city, coupling=coupling, losses=losses)
    direct = account(*city)
    closes(result)
    assert (result.coupling, result.losses) == (coupling, losses)
    # nothing physical depends on the choice
    for name in ("energy_mwh", "loss_mwh", "charged_mwh", "local_generation_kg"):
        np.testing.assert_allclose(
            result.district_sums[name].values, direct.district_sums[name].values, rtol=1e-9, atol=1e-12
        )
    for name in ("exchange_mwh", "exchange_kg"):
        table = result.district[name].values
        np.testing.assert_allclose(table.sum(axis=1), 0.0, atol=1e-9 * (1 + np.abs(table).max()))
    shares = result.district_source_mwh.values.reshape(
        len(result.steps["end_use_kg"]), len(result.districts), -1
    )
    np.testing.assert_allclose(shares.sum(axis=2), result.district["energy_mwh"].values, atol=1e-12)
    assert (result.tank_carbon_kg >= -1e-12).all()
    np.testing.assert_allclose(result.supply_mw.values, direct.supply_mw.values, rtol=1e-12, atol=1e-12)


@several
@given(seeds, couplings)
def test_losses_move_between_districts_and_end_use_but_their_sum_stays(seed: int, coupling: Coupling) -> None:
    city = random_city(seed)
    own, loads, generators = (
        account(*city, coupling=coupling, losses=losses) for losses in ("account", "loads", "generators")
    )
    # on generators: the same mix at every load, the same total of losses, booked where power is fed in
    np.testing.assert_array_equal(
        generators.district["emissions_kg"].values, own.district["emissions_kg"].values
    )
    np.testing.assert_allclose(generators.steps["losses_kg"], own.steps["losses_kg"], rtol=1e-9, atol=1e-9)
    assert (generators.district["loss_emissions_kg"].values >= -1e-9).all()
    # on loads: end use carries its share, as the other account lists it, and the rest remains a loss
    np.testing.assert_allclose(
        loads.district["emissions_kg"].values, own.district["emissions_with_losses_kg"].values, rtol=1e-12
    )
    total = loads.steps["end_use_kg"] + loads.steps["losses_kg"]
    np.testing.assert_allclose(total, own.steps["end_use_kg"] + own.steps["losses_kg"], rtol=1e-9)
    assert (loads.district["loss_emissions_kg"].values >= -1e-9).all()
    # tanks are charged with the mix of their bus in any case
    for other in (loads, generators):
        np.testing.assert_array_equal(other.tank_carbon_kg, own.tank_carbon_kg)


@several
@given(seeds)
def test_aggregated_coupling_serves_demand_at_the_bus_first(seed: int) -> None:
    """End use at a bus takes no import as long as the generation there covers it."""
    flows, supply, use, storage, upstream, districts = random_city(seed)
    own_bus = {bus: f"bus{bus}" for bus in districts}
    result = account(flows, supply, use, storage, upstream, own_bus, coupling="aggregated")
    imported = {
        name.split("/")[0]: result.district_source_mwh.column(name)
        for name in result.district_source_mwh.columns
        if name.endswith("/import")
    }
    nodes = result.at_buses.node_of_bus
    for bus in own_bus:
        here = [other for other in own_bus if nodes[other] == nodes[bus]]
        fed = supply.p_mw[:, np.isin(supply.buses, here)].sum(axis=1)
        fed += storage.discharge_mw[:, np.isin(storage.buses, here)].sum(axis=1)
        drawn = use.p_mw[:, np.isin(use.buses, here)].sum(axis=1)
        drawn += storage.charge_mw[:, np.isin(storage.buses, here)].sum(axis=1)
        assert (imported[f"bus{bus}"][fed >= drawn] <= 1e-15).all()


@several
@given(seeds, couplings, treatments)
def test_the_ends_of_the_range_are_the_account_with_the_ends_of_the_factors(
    seed: int, coupling: Coupling, losses: LossTreatment
) -> None:
    flows, supply, use, storage, upstream, districts = ranged(seed)
    result = account(flows, supply, use, storage, upstream, districts, coupling=coupling, losses=losses)
    plain = account(
        flows,
        replace(supply, carbon_range=None),
        use,
        storage,
        replace(upstream, carbon_range=None),
        districts,
        coupling=coupling,
        losses=losses,
    )
    sums = {name: table.values for name, table in result.district_sums.items()}
    assert np.isnan(plain.district_sums["emissions_low_kg"].values).all()
    assert plain.tank_carbon_range_kg is None
    assert result.tank_carbon_range_kg is not None
    np.testing.assert_allclose(sums["emissions_kg"], plain.district_sums["emissions_kg"].values, rtol=1e-12)
    slack = 1e-9 * (1 + sums["emissions_kg"])
    assert (sums["emissions_low_kg"] <= sums["emissions_kg"] + slack).all()
    assert (sums["emissions_kg"] <= sums["emissions_high_kg"] + slack).all()
    for end, name in enumerate(("emissions_low_kg", "emissions_high_kg")):
        alone = account(
            flows,
            replace(supply, carbon_g_per_kwh=supply.carbon_range[end], carbon_range=None),
            use,
            storage,
            replace(upstream, carbon_g_per_kwh=upstream.carbon_range[end], carbon_range=None),
            districts,
            coupling=coupling,
            losses=losses,
        )
        np.testing.assert_allclose(sums[name], alone.district_sums["emissions_kg"].values, rtol=1e-9)
        np.testing.assert_allclose(
            result.tank_carbon_range_kg[end], alone.tank_carbon_kg, rtol=1e-9, atol=1e-12
        )


def test_a_range_that_does_not_hold_its_value_is_refused() -> None:
    flows, supply, use, storage, upstream, districts = ranged(1)
    wrong = replace(supply, carbon_range=(supply.carbon_g_per_kwh * 1.1, supply.carbon_g_per_kwh * 1.2))
    with pytest.raises(InputError, match=r"supply\.range: must have 0 ≤ low ≤ value ≤ high"):
        account(flows, wrong, use, storage, upstream, districts)
