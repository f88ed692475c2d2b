"""Linear limits against finite differences of the AC solution."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import numpy as np
import pytest

from energy.domain.network import GridState, NodalPower, OperatingLimits, Terminal
from grid_models.sources import Grid
from grid_models.twin import Near, Twin

sys.path.insert(0, str(Path(__file__).parent))  # tests are no packages
from oracle import KINDS, random_power

EVERYTHING = Near(vm_pu=1.0, loading_percent=1e6)
STEP_MW = 1e-5


@functools.cache
def grid_of(kind: str) -> Grid:
    return KINDS[kind]()


def setting(kind: str, ratio: float) -> tuple[Twin, NodalPower, GridState, tuple[Terminal, ...]]:
    """A twin, the power of six terminals that alone is drawn, its state, and the terminals."""
    grid = grid_of(kind)
    power = random_power(grid, 2, seed=7)
    rng = np.random.default_rng(8)
    chosen = rng.choice(len(power.buses), min(6, len(power.buses)), replace=False)
    p_mw = power.p_mw[:, chosen]
    power = NodalPower(power.time, power.buses[chosen], p_mw, ratio * p_mw)
    twin = Twin(grid, limits=OperatingLimits(0.9, 1.1, 100.0), include_static=kind == "left to runpp")
    return twin, power, twin.solve(power), tuple(Terminal(int(bus), ratio) for bus in power.buses)


@pytest.mark.parametrize(
    "kind", ["SimBench LV", "CIGRE MV with DER", "three windings", "shunts", "left to runpp"]
)
@pytest.mark.parametrize("ratio", [0.0, 0.35])
def test_rows_match_finite_differences(kind: str, ratio: float) -> None:
    twin, power, state, terminals = setting(kind, ratio)
    limits = twin.linearise(state, power, terminals, steps=[1], near=EVERYTHING)
    assert len(limits)
    assert set(limits.step) == {1}
    base = limits.constant + limits.coefficients @ power.p_mw[1]
    for k in range(len(terminals)):
        ends = []
        for sign in (1, -1):
            p_mw = power.p_mw.copy()
            p_mw[1, k] += sign * STEP_MW
            q_mvar = ratio * p_mw
            ends.append(twin.solve(NodalPower(power.time, power.buses, p_mw, q_mvar)))
        slope = (ends[0].losses_mw[1] - ends[1].losses_mw[1]) / (2 * STEP_MW)
        assert limits.losses.rest_coefficients[0, k] == pytest.approx(slope, abs=2e-6)
        for row in range(len(limits)):
            quantity, element = limits.quantity[row], limits.element[row]
            where = (state.buses if quantity == "vm_pu" else state.branches).index(element)
            values = [(end.vm_pu if quantity == "vm_pu" else end.loading_percent)[1, where] for end in ends]
            sign = 1.0 if quantity == "vm_pu" else np.sign(base[row])
            slope = sign * (values[0] - values[1]) / (2 * STEP_MW)
            size = max(1.0, np.abs(limits.coefficients[row]).max())
            assert limits.coefficients[row, k] == pytest.approx(slope, abs=2e-5 * size), (element, quantity)


def test_constants_reproduce_the_base_point() -> None:
    twin, power, state, terminals = setting("SimBench MV-LV", 0.2)
    limits = twin.linearise(state, power, terminals, near=EVERYTHING)
    rest = limits.losses
    losses = rest.rest_constant + (rest.rest_coefficients * power.p_mw[rest.rest_step]).sum(axis=1)
    np.testing.assert_allclose(losses, state.losses_mw, atol=1e-12)
    base = limits.constant + (limits.coefficients * power.p_mw[limits.step]).sum(axis=1)
    for row, value in enumerate(base):
        step, quantity = limits.step[row], limits.quantity[row]
        if quantity == "vm_pu":
            assert value == pytest.approx(state.vm_pu[step, state.buses.index(limits.element[row])])
            assert (limits.lower[row], limits.upper[row]) == (0.9, 1.1)
        else:
            assert abs(value) == pytest.approx(
                state.loading_percent[step, state.branches.index(limits.element[row])]
            )
            assert (limits.lower[row], limits.upper[row]) == (-100.0, 100.0)


def test_rows_are_few_and_hold_the_worst() -> None:
    """Far more candidates than rows; the tightest element of every step has one."""
    grid = grid_of("SimBench MV-LV")
    power = random_power(grid, 3, seed=9)
    terminals = tuple(Terminal(int(bus)) for bus in power.buses)
    power = NodalPower(power.time, power.buses, power.p_mw, 0 * power.p_mw)
    twin = Twin(grid, limits=OperatingLimits(0.99, 1.01, 20.0))
    state = twin.solve(power)
    limits = twin.linearise(state, power, terminals, steps=state.violated_steps)
    for step in range(3):
        rows = np.flatnonzero(limits.step == step)
        assert 0 < len(rows) <= 40
        worst = int(np.nanargmax(np.where(twin.rating_known, state.loading_percent[step], np.nan)))
        assert any(limits.element[row] == twin.branches[worst] for row in rows)


def test_signed_loading_follows_the_flow() -> None:
    """Reversing all power reverses the sign of a line's row, not its size."""
    twin, power, _, terminals = setting("SimBench LV", 0.0)
    signs = []
    for direction in (1.0, -1.0):
        drawn = NodalPower(power.time, power.buses, direction * np.abs(power.p_mw), 0 * power.p_mw)
        limits = twin.linearise(twin.solve(drawn), drawn, terminals, steps=[0], near=EVERYTHING)
        base = limits.constant + limits.coefficients @ drawn.p_mw[0]
        rows = [row for row in range(len(limits)) if limits.element[row].table == "trafo"]
        assert rows
        signs.append(np.sign(base[rows[0]]))
    assert signs == [1.0, -1.0]


def test_power_must_belong_to_the_terminals() -> None:
    twin, power, state, terminals = setting("SimBench LV", 0.0)
    with pytest.raises(ValueError, match="one column of power per terminal"):
        twin.linearise(state, power, terminals[:-1])
