"""Losses as squares of flows, against AC power flow."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy.domain.network import FloatArray, Losses, NodalPower, OperatingLimits, Terminal
from grid_models.losses import LossFlows
from grid_models.twin import Twin

sys.path.insert(0, str(Path(__file__).parent))  # tests are no packages
from oracle import KINDS, random_power

GRIDS = ("SimBench LV", "CIGRE MV with DER", "three windings", "shunts")


@functools.cache
def setting(kind: str) -> tuple[Twin, NodalPower, tuple[Terminal, ...], LossFlows]:
    """A twin, the power of up to a dozen terminals in two steps, and the flows of twice that power."""
    grid = KINDS[kind]()
    every = random_power(grid, 2, seed=3)
    chosen = np.random.default_rng(4).choice(len(every.buses), min(12, len(every.buses)), replace=False)
    p_mw = every.p_mw[:, chosen]
    power = NodalPower(every.time, every.buses[chosen], p_mw, 0 * p_mw)
    twin = Twin(grid, limits=OperatingLimits(0.9, 1.1, 100.0))
    terminals = tuple(Terminal(int(bus)) for bus in power.buses)
    reach = -2 * np.abs(p_mw), 2 * np.abs(p_mw)
    return twin, power, terminals, twin.loss_flows(twin.solve(power), terminals, reach)


def predicted_mw(rest: Losses, flows: LossFlows, p_mw: FloatArray) -> FloatArray:
    linear = (rest.rest_coefficients * p_mw[rest.rest_step]).sum(axis=1)
    bent = (rest.rest_slope * flows.flow_mw(p_mw)[rest.rest_step]).sum(axis=1)
    return rest.rest_constant + linear + bent + flows.squares_mw(p_mw)[rest.rest_step].sum(axis=1)


@pytest.mark.parametrize("kind", GRIDS)
def test_squares_say_what_ac_loses_elsewhere(kind: str) -> None:
    """Exact at the operating point; where powers change by half, ten times closer than a tangent."""
    twin, power, terminals, flows = setting(kind)
    state = twin.solve(power)
    rest = twin.linear_model(state, power, terminals, flows=flows).rows(limits=False).losses
    np.testing.assert_allclose(predicted_mw(rest, flows, power.p_mw), state.losses_mw, atol=1e-12)
    other = power.p_mw * np.random.default_rng(5).uniform(0.5, 1.5, power.p_mw.shape)
    there = twin.solve(NodalPower(power.time, power.buses, other, 0 * other)).losses_mw
    tangent = twin.linear_model(state, power, terminals).rows(limits=False).losses
    linear = predicted_mw(tangent, LossFlows.none(len(terminals)), other)
    assert np.abs(predicted_mw(rest, flows, other) - there).sum() < 0.1 * np.abs(linear - there).sum()


@given(st.data())
def test_tangents_stay_below_and_touch(data: st.DataObject) -> None:
    _, power, _, flows = setting("SimBench LV")
    at, elsewhere = (
        power.p_mw * data.draw(st.floats(-3, 3, allow_subnormal=False), label=label) for label in ("at", "p")
    )
    step, flow = np.repeat([0, 1], len(flows.curvature)), np.tile(np.arange(len(flows.curvature)), 2)
    tangents = flows.tangents(step, flow, flows.flow_mw(at))
    np.testing.assert_allclose(tangents.squares_mw(at), flows.squares_mw(at)[step, flow], atol=1e-15)
    assert (tangents.squares_mw(elsewhere) <= flows.squares_mw(elsewhere)[step, flow] + 1e-15).all()


def test_behind_a_radial_branch_a_flow_is_a_sum() -> None:
    """Terminals count as all or nothing of most flows, so that one flow can be made of others."""
    _, _, _, flows = setting("SimBench LV")
    assert np.isin(flows.directions, (0.0, 1.0)).mean() > 0.9


def test_without_terminals_or_solution_nothing_bends() -> None:
    twin, power, terminals, _ = setting("SimBench LV")
    nothing = np.zeros((2, 0))
    assert not len(twin.loss_flows(twin.solve(power), (), (nothing, nothing)).curvature)
    beyond = NodalPower(power.time, power.buses, power.p_mw * 1e4, 0 * power.p_mw)
    state = twin.solve(beyond)
    assert not state.converged.any()
    assert not len(twin.loss_flows(state, terminals, (0 * power.p_mw, power.p_mw)).curvature)
