"""The twin against `pandapower.runpp`, and what must not change its answer."""

from __future__ import annotations

import copy
import functools
import sys
from pathlib import Path

import numpy as np
import pandapower as pp
import pandapower.networks as networks
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.domain.errors import InputError
from energy.domain.network import NodalPower, OperatingLimits
from grid_models.sources import Grid, load_grid
from grid_models.twin import Twin

sys.path.insert(0, str(Path(__file__).parent))  # tests are no packages
from oracle import KINDS, branch_results, random_power, run_pandapower

LIMITS = OperatingLimits(0.95, 1.05, 100.0)


@functools.cache
def grid_of(kind: str) -> Grid:
    return KINDS[kind]()


@functools.cache
def twin_of(kind: str) -> Twin:
    return Twin(grid_of(kind), limits=LIMITS, include_static=kind == "left to runpp")


@pytest.mark.parametrize("p_mw", [1.0, -1.0])
def test_losses_are_those_of_pandapowers_branches(p_mw: float) -> None:
    """Lines, transformers, impedances, DC lines and switches lose; an extended ward draws."""
    net = networks.create_cigre_network_mv()
    behind, unsupplied = pp.create_bus(net, 20.0), pp.create_bus(net, 20.0)
    pp.create_switch(net, 6, behind, et="b", z_ohm=2.0)
    pp.create_load(net, behind, p_mw=0.5)
    pp.create_impedance(net, 8, 14, rft_pu=0.01, xft_pu=0.02, sn_mva=1.0)
    pp.create_xward(net, 5, ps_mw=0.1, qs_mvar=0.05, pz_mw=0.1, qz_mvar=0.02, r_ohm=0.1, x_ohm=5.0, vm_pu=1.0)
    for end in (11, unsupplied):
        pp.create_dcline(net, 3, end, p_mw, loss_percent=2.0, loss_mw=0.01, vm_from_pu=1.0, vm_to_pu=1.0)
    nothing = random_power(Grid("losses", net), 1, seed=1)
    nothing = NodalPower(nothing.time, nothing.buses, 0 * nothing.p_mw, 0 * nothing.q_mvar)

    state = Twin(Grid("losses", net), limits=LIMITS, include_static=True).solve(nothing)

    pp.runpp(net)
    tables = ("res_line", "res_trafo", "res_impedance", "res_dcline")
    expected = sum(net[table].pl_mw.sum() for table in tables)
    expected += (net.res_switch.p_from_mw + net.res_switch.p_to_mw).sum()
    own = net.res_xward.p_mw.sum() - 0.1 - 0.1 * net.res_xward.vm_pu.sum() ** 2
    assert own > 1e-6, "the impedance of the ward has to take more than the tolerance"
    assert state.losses_mw[0] == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_runpp(kind: str) -> None:
    """≤ 1e-8 pu, ≤ 1e-5 % loading, ≤ 1e-9 MW losses and 1e-7 MW at the slacks."""
    grid, twin = grid_of(kind), twin_of(kind)
    stepwise = kind == "left to runpp"
    power = random_power(grid, 5, seed=1)
    if stepwise:  # the tables are drawn as well: take them out, so that only the generator is left
        silent = copy.deepcopy(grid.net)
        silent.load["in_service"] = False
        grid = Grid(grid.source, silent)
        twin = Twin(grid, limits=LIMITS, include_static=True)
    state = twin.solve(power)
    assert state.engine == ("runpp" if stepwise else "batched")
    assert state.converged.all()
    for step in (0, 4):
        net = run_pandapower(grid, power, step, keep_generators=stepwise)
        expected = net.res_bus.vm_pu.to_numpy()
        np.testing.assert_allclose(state.vm_pu[step], expected, rtol=0, atol=1e-8)
        loading = np.where(twin.rating_known, branch_results(net, "loading_percent"), np.nan)
        np.testing.assert_allclose(state.loading_percent[step], loading, rtol=0, atol=1e-5)
        assert state.losses_mw[step] == pytest.approx(branch_results(net, "pl_mw").sum(), abs=1e-8)
        assert state.slack_p_mw[step].sum() == pytest.approx(net.res_ext_grid.p_mw.sum(), abs=1e-7)
        assert state.slack_q_mvar[step].sum() == pytest.approx(net.res_ext_grid.q_mvar.sum(), abs=1e-7)


@pytest.mark.parametrize("kind", ["SimBench MV-LV", "three windings", "shunts", "open line end"])
def test_flows_balance_at_every_node(kind: str) -> None:
    grid, twin = grid_of(kind), twin_of(kind)
    power = random_power(grid, 3, seed=2)
    state = twin.solve(power)
    flows = twin.flows(state)
    balance = -flows.shunt_mw
    for column, node in enumerate(flows.slack_node):
        balance[:, node] += flows.slack_p_mw[:, column]
    for column, bus in enumerate(power.buses.tolist()):
        balance[:, flows.node_of_bus[bus]] -= power.p_mw[:, column]
    for branch, (a, b) in enumerate(zip(flows.from_node, flows.to_node, strict=True)):
        balance[:, a] -= flows.p_from_mw[:, branch]
        balance[:, b] -= flows.p_to_mw[:, branch]
    through = np.abs(flows.p_from_mw).max()
    assert np.abs(balance).max() < 1e-8 * through
    np.testing.assert_allclose((flows.p_from_mw + flows.p_to_mw).sum(axis=1), state.losses_mw, atol=1e-9)


@settings(max_examples=15)
@given(st.randoms(use_true_random=False), st.floats(0.0, 1.0))
def test_columns_may_be_permuted_and_split(random: object, share: float) -> None:
    twin = twin_of("CIGRE MV with DER")
    power = random_power(grid_of("CIGRE MV with DER"), 4, seed=3)
    order = list(range(len(power.buses)))
    random.shuffle(order)  # type: ignore[attr-defined]
    permuted = NodalPower(power.time, power.buses[order], power.p_mw[:, order], power.q_mvar[:, order])
    parts = [np.concatenate([v * share, v * (1 - share)], axis=1) for v in (power.p_mw, power.q_mvar)]
    split = NodalPower(power.time, np.tile(power.buses, 2), *parts)
    expected = twin.solve(power).vm_pu
    for same in (permuted, split):
        np.testing.assert_allclose(twin.solve(same).vm_pu, expected, rtol=0, atol=1e-11)


def test_steps_do_not_depend_on_each_other() -> None:
    """A diverging step leaves its neighbours in the same block untouched, and is NaN itself."""
    twin, power = twin_of("case33bw"), random_power(grid_of("case33bw"), 70, seed=4)
    heavy = power.p_mw.copy()
    heavy[33] *= 60
    state = twin.solve(power)
    broken = twin.solve(NodalPower(power.time, power.buses, heavy, power.q_mvar))
    assert np.flatnonzero(~broken.converged).tolist() == [33]
    assert np.isnan(broken.vm_pu[33]).all()
    assert np.isnan(broken.losses_mw[33])
    assert broken.violated_steps.tolist() == sorted({33, *state.violated_steps.tolist()})
    assert not broken.secure
    others = np.arange(70) != 33
    np.testing.assert_array_equal(broken.vm_pu[others], state.vm_pu[others])


def test_published_case33bw() -> None:
    """Baran and Wu 1989: 202.677 kW, 0.91309 pu; with 7, 9, 14, 32, 37 open 139.551 kW, 0.93782 pu."""
    grid = load_grid("pandapower:case33bw")
    base = Twin(grid, limits=OperatingLimits(), include_static=True)
    time = random_power(grid, 1, 0).time
    nothing = NodalPower(time, np.zeros(0, np.int64), np.zeros((1, 0)), np.zeros((1, 0)))
    state = base.solve(nothing)
    assert state.losses_mw[0] * 1e3 == pytest.approx(202.677, abs=1e-3)
    assert np.nanmin(state.vm_pu) == pytest.approx(0.91309, abs=1e-5)
    # a generator of 2.59 MW at bus 6 (index 5), the case of many siting papers: 103.97 kW, 0.9513 pu
    sited = NodalPower(time, np.array([5]), np.array([[-2.59]]), np.zeros((1, 1)))
    assert base.solve(sited).losses_mw[0] * 1e3 == pytest.approx(103.97, abs=5e-3)
    assert np.nanmin(base.solve(sited).vm_pu) == pytest.approx(0.9513, abs=5e-5)
    net = copy.deepcopy(grid.net)
    net.line["in_service"] = ~net.line.index.isin([6, 8, 13, 31, 36])
    state = Twin(Grid("reconfigured", net), limits=OperatingLimits(), include_static=True).solve(nothing)
    assert state.losses_mw[0] * 1e3 == pytest.approx(139.551, abs=1e-3)
    assert np.nanmin(state.vm_pu) == pytest.approx(0.93782, abs=1e-5)


def test_low_voltage_solution_is_no_solution() -> None:
    """Two buses at twice the power the line can carry: no state, not the one near zero volts."""
    net = pp.create_empty_network()
    a, b = (pp.create_bus(net, vn_kv=0.4) for _ in range(2))
    pp.create_ext_grid(net, a)
    pp.create_line_from_parameters(net, a, b, 1.0, 0.2, 0.1, 0.0, 0.2)
    grid = Grid("two buses", net)
    time = random_power(grid_of("case33bw"), 3, 0).time
    peak_mw = 0.4**2 / (2 * (np.hypot(0.2, 0.1) + 0.2))  # largest active power at unity power factor
    p_mw = peak_mw * np.array([[0.5], [0.98], [2.0]])
    state = Twin(grid, limits=LIMITS).solve(NodalPower(time, np.array([b]), p_mw, 0 * p_mw))
    assert state.converged.tolist() == [True, True, False]
    assert state.vm_pu[1, 1] > 0.5


def test_tap_positions_without_a_changer_type() -> None:
    grid = load_grid("simbench:1-MV-semiurb--0-sw")
    net = copy.deepcopy(grid.net)
    net.trafo["tap_pos"] = -2.0
    net.trafo["tap_changer_type"] = None
    power = random_power(grid, 2, seed=5)
    ignored = Twin(Grid("taps", net), limits=LIMITS)
    applied = Twin(Grid("taps", net), limits=LIMITS, taps="ratio")
    assert any("tap positions without a changer type ignored" in notice for notice in ignored.notices)
    np.testing.assert_allclose(
        ignored.solve(power).vm_pu[0], run_pandapower(Grid("taps", net), power, 0).res_bus.vm_pu, atol=1e-8
    )
    net.trafo["tap_changer_type"] = "Ratio"
    np.testing.assert_allclose(
        applied.solve(power).vm_pu[0], run_pandapower(Grid("taps", net), power, 0).res_bus.vm_pu, atol=1e-8
    )
    assert np.abs(applied.solve(power).vm_pu - ignored.solve(power).vm_pu)[:, 5].max() > 0.01


def test_root_external_grid_leaves_other_areas_out() -> None:
    grid = grid_of("two external grids")
    whole = twin_of("two external grids")
    with pytest.raises(InputError, match="root_ext_grid"):
        _ = whole.root_bus
    indices = grid.net.ext_grid.index.tolist()
    parts = [Twin(grid, limits=LIMITS, root_ext_grid=int(index)) for index in indices]
    supplied = [{bus.index for bus in part.buses if part.energised(bus.index)} for part in parts]
    assert not supplied[0] & supplied[1]
    assert supplied[0] | supplied[1] == {bus.index for bus in whole.buses if whole.energised(bus.index)}
    for part, index in zip(parts, indices, strict=True):
        assert part.root_bus == grid.net.ext_grid.bus.at[index]
        assert any(notice.startswith("left out:") for notice in part.notices)
    with pytest.raises(InputError, match="is not an external grid"):
        Twin(grid, limits=LIMITS, root_ext_grid=99999)


def test_power_needs_an_energised_bus() -> None:
    grid = load_grid("pandapower:case33bw")
    net = copy.deepcopy(grid.net)
    dead = pp.create_bus(net, vn_kv=12.66, name="dead")
    twin = Twin(Grid("island", net), limits=LIMITS)
    assert not twin.energised(dead)
    assert any("buses without supply" in notice for notice in twin.notices)
    time = random_power(grid, 1, 0).time
    power = NodalPower(time, np.array([dead, 777]), np.ones((1, 2)), np.zeros((1, 2)))
    with pytest.raises(InputError) as refused:
        twin.solve(power)
    assert [fault.path for fault in refused.value.faults] == [f"bus {dead}", "bus 777"]
    pp.create_load(net, dead, p_mw=0.1)
    with pytest.raises(InputError, match="no external grid reaches"):
        Twin(Grid("island", net), limits=LIMITS, include_static=True)


def test_buses_by_index_and_unique_name() -> None:
    twin = twin_of("SimBench LV")
    bus = twin.buses[3]
    assert twin.bus_index(bus.index) == twin.bus_index(bus.name or "") == bus.index
    with pytest.raises(InputError, match="does not exist"):
        twin.bus_index("no such bus")
    with pytest.raises(InputError, match="does not exist"):
        twin.bus_index(123456)


def test_violations_are_named_with_their_limits() -> None:
    twin, power = twin_of("case33bw"), random_power(grid_of("case33bw"), 3, seed=6)
    strict = Twin(grid_of("case33bw"), limits=OperatingLimits(0.999, 1.001, 100.0))
    assert twin.solve(power).converged.all()
    violations = strict.solve(power).violations
    assert violations
    assert all(
        v.quantity == "vm_pu" and v.value < v.limit - 1e-4 and v.element.index != 0 for v in violations
    )
    assert list(violations) == sorted(
        violations, key=lambda v: (v.time, v.quantity, v.element.table, v.element.index)
    )
