"""Accounts of real AC flows: transformers, shunts, three windings, closed bus-bus switches, meshes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from energy.carbon.accounts import Supply, UpstreamMix, Use, account
from energy.domain.network import NodalPower, OperatingLimits
from energy.domain.time import TimeGrid
from grid_models.sources import load_grid
from grid_models.twin import Twin

STEPS = 3
GRIDS = (
    "pandapower:mv_oberrhein",
    "pandapower:create_cigre_network_mv?with_der=all",
    "pandapower:example_multivoltage",
)


@pytest.mark.parametrize("source", GRIDS)
def test_accounts_of_ac_flows_close(source: str) -> None:
    grid = load_grid(source)
    twin = Twin(grid, limits=OperatingLimits())
    level = np.array([[1.0], [0.5], [-1.0]])  # from all load to all generation: feeders reverse
    net = grid.net
    live = [bus for bus in net.load.bus if twin.energised(int(bus))]
    load = np.array([net.load.p_mw[net.load.bus == bus].sum() for bus in live])
    use = Use(np.array(live), np.maximum(level, 0.0) * load)
    supply = Supply(
        np.array(live),
        ("pv",) * len(live),
        np.maximum(-level, 0.0) * load,
        np.full(len(live), 41.0),
        np.ones(len(live), dtype=bool),
    )
    time = TimeGrid(datetime(2016, 6, 21, tzinfo=UTC), timedelta(minutes=15), STEPS)
    p_mw = use.p_mw - supply.p_mw
    state = twin.solve(NodalPower(time, np.array(live), p_mw, np.zeros_like(p_mw)))
    assert state.converged.all()
    flows = twin.flows(state)
    upstream = UpstreamMix(np.array([500.0, 400.0, 300.0]), np.array([0.2, 0.3, 0.4]))
    districts = {bus: f"q{bus % 3}" for bus in live}

    result = account(flows, supply, use, None, upstream, districts)

    steps = result.steps
    booked = steps["end_use_kg"] + steps["losses_kg"] + steps["exports_kg"]
    np.testing.assert_allclose(booked, steps["sources_kg"], rtol=1e-9)
    np.testing.assert_allclose(result.district["exchange_kg"].values.sum(axis=1), 0.0, atol=1e-6)
    np.testing.assert_allclose(
        steps["losses_mw"],
        state.slack_p_mw.sum(axis=1) - p_mw.sum(axis=1) - flows.shunt_mw.sum(axis=1),
        atol=1e-9,
    )
    assert steps["carbon_g_per_kwh"][:2] == pytest.approx([500.0, 400.0])
    assert (result.district["loss_emissions_kg"].values >= -1e-9).all()
