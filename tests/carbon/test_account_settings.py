"""Coupling, losses and factor ranges of the account: what each choice moves, and what it must leave."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.carbon.accounts import Account, Storage, Supply, UpstreamMix, account
from energy.domain.errors import InputError
from energy.domain.period import ENDS, Coupling, LossTreatment, end_name
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
    start = storage.carbon_start_kg
    storage = replace(storage, carbon_start_range_kg=(start * low[0], start * high[0]))
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
        drawn += flows.shunt_mw[:, nodes[bus]]
        assert (imported[f"bus{bus}"][fed >= drawn] <= 1e-15).all()


def every_kg(result: Account) -> dict[str, np.ndarray]:
    """All carbon of an account by name: of districts, city, tanks and nodes."""
    found = {f"district/{name}": table.values for name, table in result.district_sums.items()}
    found |= {f"city/{name}": values for name, values in result.steps.items()}
    found = {name: values for name, values in found.items() if name.endswith("_kg")}
    tanks = (
        ("tank", result.tank_carbon_kg, result.tank_carbon_range_kg),
        ("charged", result.charged_kg, result.charged_range_kg),
        ("discharged", result.discharged_kg, result.discharged_range_kg),
        ("driven", result.driven_kg, result.driven_range_kg),
        ("use", result.at_buses.use_g_per_kwh, result.at_buses.use_range_g_per_kwh),
    )
    for name, value, ends in tanks:
        found[f"tank/{name}_kg"] = value
        for end, values in zip(ENDS, ends or [np.full_like(value, np.nan)] * 2, strict=True):
            found[f"tank/{end_name(f'{name}_kg', end)}"] = values
    return found


def split(found: dict[str, np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """By name: the value, its low and its high end."""
    names = [name for name in found if not name.endswith(("_low_kg", "_high_kg"))]
    return {name: (found[name], *(found[end_name(name, end)] for end in ENDS)) for name in names}


SIGNED = ("exchange", "storage_change", "residual")


@several
@given(seeds, couplings, treatments)
def test_the_ends_of_the_range_are_the_account_with_the_ends_of_the_factors(
    seed: int, coupling: Coupling, losses: LossTreatment
) -> None:
    flows, supply, use, storage, upstream, districts = ranged(seed)

    def with_factors(supply: Supply, upstream: UpstreamMix, storage: Storage) -> Account:
        return account(flows, supply, use, storage, upstream, districts, coupling=coupling, losses=losses)

    def alone(
        factors: np.ndarray, upstream_factors: np.ndarray, start_kg: np.ndarray
    ) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        found = with_factors(
            replace(supply, carbon_g_per_kwh=factors, carbon_range=None),
            replace(upstream, carbon_g_per_kwh=upstream_factors, carbon_range=None),
            replace(storage, carbon_start_kg=start_kg, carbon_start_range_kg=None),
        )
        return split(every_kg(found))

    found = split(every_kg(with_factors(supply, upstream, storage)))
    by_end = [
        alone(supply.carbon_g_per_kwh, upstream.carbon_g_per_kwh, storage.carbon_start_kg),
        *(
            alone(supply.carbon_range[k], upstream.carbon_range[k], storage.carbon_start_range_kg[k])
            for k in range(2)
        ),
    ]
    for name, ends in found.items():
        slack = 1e-9 * (1 + np.abs(ends[0]).max())
        for values, (expected, *unknown) in zip(ends, (of[name] for of in by_end), strict=True):
            np.testing.assert_allclose(values, expected, rtol=1e-9, atol=slack, err_msg=name)
            assert np.isnan(unknown).all(), name
        if not any(word in name for word in SIGNED):
            value, low, high = ends
            assert (low <= value + slack).all(), name
            assert (value <= high + slack).all(), name


@several
@given(seeds, couplings, treatments)
def test_every_kilogram_is_in_one_place_at_either_end_too(
    seed: int, coupling: Coupling, losses: LossTreatment
) -> None:
    """Over two days whose tanks carry their carbon with its ends from one to the other."""
    flows, supply, use, storage, upstream, districts = ranged(seed)
    for _ in range(2):
        result = account(flows, supply, use, storage, upstream, districts, coupling=coupling, losses=losses)
        ends = [
            (result.charged_kg, result.discharged_kg, result.driven_kg, result.tank_carbon_kg),
            *zip(
                result.charged_range_kg,
                result.discharged_range_kg,
                result.driven_range_kg,
                result.tank_carbon_range_kg,
                strict=True,
            ),
        ]
        for k, (charged, discharged, driven, held) in enumerate(ends):
            names = BOOKED if k == 0 else [end_name(name, ENDS[k - 1]) for name in BOOKED]
            sources = result.steps["sources_kg" if k == 0 else end_name("sources_kg", ENDS[k - 1])]
            np.testing.assert_allclose(
                sum(result.steps[name] for name in names), sources, rtol=1e-9, atol=1e-9 * sources.max()
            )
            exchange = result.district_sums["exchange_kg" if k == 0 else end_name("exchange_kg", ENDS[k - 1])]
            np.testing.assert_allclose(exchange.values.sum(axis=1), 0.0, atol=1e-9 * (1 + sources.max()))
            start = storage.carbon_start_ends_kg[k]
            np.testing.assert_allclose(
                start + (charged - discharged - driven).sum(axis=0), held[-1], rtol=1e-9, atol=1e-9
            )
        storage = replace(
            storage,
            e_start_mwh=np.maximum(result.tank_e_mwh[-1], 0.06),
            carbon_start_kg=result.tank_carbon_kg[-1],
            carbon_start_range_kg=tuple(end[-1] for end in result.tank_carbon_range_kg),
        )


@several
@given(seeds, couplings, treatments, st.floats(0.0, 1.0))
def test_the_interval_is_as_wide_as_the_ranges_of_the_factors(
    seed: int, coupling: Coupling, losses: LossTreatment, share: float
) -> None:
    """Ranges drawn to a share of their width draw every interval to it; without width low = value = high."""
    flows, supply, use, storage, upstream, districts = ranged(seed)

    def narrowed(value: np.ndarray, ends: tuple[np.ndarray, np.ndarray], share: float) -> Any:
        return tuple(value + share * (end - value) for end in ends)

    def found(share: float) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        result = account(
            flows,
            replace(supply, carbon_range=narrowed(supply.carbon_g_per_kwh, supply.carbon_range, share)),
            use,
            replace(
                storage,
                carbon_start_range_kg=narrowed(storage.carbon_start_kg, storage.carbon_start_range_kg, share),
            ),
            replace(upstream, carbon_range=narrowed(upstream.carbon_g_per_kwh, upstream.carbon_range, share)),
            districts,
            coupling=coupling,
            losses=losses,
        )
        return split(every_kg(result))

    whole, part, none = found(1.0), found(share), found(0.0)
    for name, (value, *ends) in whole.items():
        slack = 1e-9 * (1 + np.abs(ends).max())
        for k, end in enumerate(ends, 1):
            np.testing.assert_allclose(
                part[name][k], value + share * (end - value), rtol=1e-9, atol=slack, err_msg=name
            )
            np.testing.assert_allclose(none[name][k], value, rtol=1e-9, atol=slack, err_msg=name)


def test_a_range_that_does_not_hold_its_value_is_refused() -> None:
    flows, supply, use, storage, upstream, districts = ranged(1)
    wrong = replace(supply, carbon_range=(supply.carbon_g_per_kwh * 1.1, supply.carbon_g_per_kwh * 1.2))
    with pytest.raises(InputError, match=r"supply\.range: must have 0 ≤ low ≤ value ≤ high"):
        account(flows, wrong, use, storage, upstream, districts)
