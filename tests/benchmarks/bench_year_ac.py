"""A year of AC power flow on SimBench's MV-urban grid: our twin, power-grid-model and pandapower.

The twin and power-grid-model get the same admittances and the same powers, run on one thread and are asked
for the same: the voltages of all nodes and the currents of all branches, of which the twin makes loadings;
it also gives losses, slack powers and violations. Each stops where voltages change by less than its own
tolerance, power-grid-model at 1e-8 pu (its default), the twin at 1e-10 pu. Both of power-grid-model's exact
methods are measured: Newton is its default, the iterative current method works like the twin. Times
are the shortest of some runs and leave out what happens once: models, factors, compiling.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandapower as pp

from energy.domain.network import NodalPower, OperatingLimits
from grid_models.compiled import CompiledNetwork
from grid_models.injections import added_power, own_series
from grid_models.sources import load_grid
from grid_models.twin import Twin

SOURCE = "simbench:1-MV-urban--0-sw"
RUNPP_STEPS = 20
REPEATS = 3
METHODS = {"Newton": "newton_raphson", "iterative current": "iterative_current"}


def run() -> list[tuple[str, float, str]]:
    """Voltages and line loadings of 35,136 quarter-hours; pandapower on a sample of steps, scaled."""
    grid = load_grid(SOURCE)
    horizon, series, shapes, shape, value = own_series(grid)
    power = added_power(grid, horizon, series, shapes[:, shape] * value)
    twin = Twin(grid, limits=OperatingLimits(0.9, 1.1, 100.0), include_static=True)
    network: CompiledNetwork = twin._network

    first = NodalPower(horizon.window(0, 1), power.buses, power.p_mw[:1], power.q_mvar[:1])
    twin.solve(first)  # compiles the kernels
    state, ours = _timed(lambda: twin.solve(power))
    calculate = _power_grid_model(network, power)
    theirs = {}
    apart = 0.0
    used = network.bus_node >= 0
    for name, method in METHODS.items():
        vm_pu, theirs[name] = _timed(lambda method=method: calculate(method))
        apart = max(apart, np.abs(vm_pu[:, network.bus_node[used]] - state.vm_pu[:, used]).max())
    net = copy.deepcopy(grid.net)
    pp.runpp(net)
    _, runpp = _timed(lambda: [pp.runpp(net) for _ in range(RUNPP_STEPS)])
    runpp *= horizon.steps / RUNPP_STEPS
    remark = f"{ours:.2f} s for {horizon.steps} steps, voltages {apart:.0e} pu apart"
    return [
        *(
            (f"year of AC, against power-grid-model ({name})", seconds / ours, f"{seconds:.2f} s; {remark}")
            for name, seconds in theirs.items()
        ),
        ("year of AC, against pandapower.runpp", runpp / ours, f"{RUNPP_STEPS} steps of runpp, scaled"),
    ]


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """The answer of `call` and the shortest time of some runs."""
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        answer = call()
        seconds.append(time.perf_counter() - began)
    return answer, min(seconds)


def _power_grid_model(network: CompiledNetwork, power: NodalPower) -> Callable[[str], np.ndarray]:
    """The same admittances and powers in power-grid-model: node voltages of its batch by a method."""
    import power_grid_model as pgm

    base_va = network.base_mva * 1e6
    count, branches = network.nodes, len(network.from_node)
    node = pgm.initialize_array("input", "node", count)
    node["id"], node["u_rated"] = np.arange(count), 1e3
    every = np.arange(branches)
    y_ff, y_ft, y_tt = (
        np.asarray(matrix[every, at]).ravel() / 1.0
        for matrix, at in (
            (network.current_from, network.from_node),
            (network.current_from, network.to_node),
            (network.current_to, network.to_node),
        )
    )
    y_tf = np.asarray(network.current_to[every, network.from_node]).ravel()
    # y_ft·y_tf = y², and the ratio k·e^jθ follows from either
    ratio = np.sqrt(y_tf / y_ft)
    ratio = np.where((-y_ft * np.conj(ratio)).real >= 0, ratio, -ratio)
    tap = np.sqrt(np.abs(y_tt / y_ff))
    series = -y_tf * tap * np.exp(1j * np.angle(ratio))
    shunt = 2 * (y_tt - series)
    impedance_base = 1e3**2 / base_va
    branch = pgm.initialize_array("input", "generic_branch", branches)
    branch["id"], branch["from_node"], branch["to_node"] = count + every, network.from_node, network.to_node
    branch["from_status"] = branch["to_status"] = 1
    branch["r1"], branch["x1"] = (1 / series).real * impedance_base, (1 / series).imag * impedance_base
    branch["g1"], branch["b1"] = shunt.real / impedance_base, shunt.imag / impedance_base
    branch["k"], branch["theta"], branch["sn"] = tap, np.angle(ratio), base_va
    source = pgm.initialize_array("input", "source", len(network.slack_nodes))
    source["id"], source["node"] = count + branches + np.arange(len(source)), network.slack_nodes
    source["status"], source["sk"], source["rx_ratio"] = 1, 1e20, 0.1
    source["u_ref"], source["u_ref_angle"] = np.abs(network.slack_voltage), np.angle(network.slack_voltage)
    of_bus = dict(zip(network.bus_index.tolist(), network.bus_node.tolist(), strict=True))
    at = np.array([of_bus[bus] for bus in power.buses.tolist()])
    nodes = np.unique(at)
    drawn = np.tile(network.static_mva[nodes], (power.time.steps, 1))
    np.add.at(drawn.T, np.searchsorted(nodes, at), (power.p_mw + 1j * power.q_mvar).T)
    load = pgm.initialize_array("input", "sym_load", len(nodes))
    load["id"], load["node"], load["status"] = 10**6 + nodes, nodes, 1
    load["type"], load["p_specified"], load["q_specified"] = pgm.LoadGenType.const_power, 0.0, 0.0
    update = pgm.initialize_array("update", "sym_load", drawn.shape)
    update["id"], update["p_specified"], update["q_specified"] = (
        load["id"],
        drawn.real * 1e6,
        drawn.imag * 1e6,
    )
    model = pgm.PowerGridModel(
        {"node": node, "generic_branch": branch, "source": source, "sym_load": load}, system_frequency=50.0
    )

    def calculate(method: str) -> np.ndarray:
        answer = model.calculate_power_flow(
            update_data={"sym_load": update},
            calculation_method=pgm.CalculationMethod[method],
            error_tolerance=1e-8,
            threading=-1,  # one thread
            output_component_types={
                pgm.ComponentType.node: ["u_pu"],
                pgm.ComponentType.generic_branch: ["i_from", "i_to"],
            },
        )
        return answer["node"]["u_pu"]

    return calculate
