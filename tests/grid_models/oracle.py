"""Grids of ten kinds and what `pandapower.runpp` says about them: the oracle of the twin's tests."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandapower as pp
import pandapower.networks as networks

from energy.domain.network import NodalPower
from energy.domain.time import TimeGrid
from grid_models.sources import Grid, load_grid
from grid_models.twin import INJECTIONS


def open_line_end() -> Any:
    """CIGRE MV with a capacitive cable open at one end: an internal node that is no bus."""
    net = networks.create_cigre_network_mv()
    line = int(net.line.index[3])
    net.line.loc[line, "c_nf_per_km"] = 600.0
    net.switch.drop(net.switch.index[net.switch.et == "l"], inplace=True)
    pp.create_switch(net, bus=int(net.line.to_bus.at[line]), element=line, et="l", closed=False)
    return net


def three_winding() -> Any:
    """110/20/10 kV with loads on both lower voltages and a phase shift."""
    net = pp.create_empty_network(sn_mva=10.0)
    hv, mv, lv, end = (pp.create_bus(net, vn_kv=kv) for kv in (110.0, 20.0, 10.0, 20.0))
    pp.create_ext_grid(net, hv, vm_pu=1.02)
    pp.create_transformer3w(net, hv, mv, lv, "63/25/38 MVA 110/20/10 kV")
    pp.create_line(net, mv, end, 7.0, "NAYY 4x150 SE", parallel=2, df=0.9)
    pp.create_load(net, end, p_mw=3.0, q_mvar=1.0)
    pp.create_load(net, lv, p_mw=8.0, q_mvar=2.0)
    return net


def shunts_and_wards() -> Any:
    """case33bw with capacitor, reactor, lossy shunt, parallel lines and a transformer with iron losses."""
    net = networks.case33bw()
    pp.create_shunt(net, 17, q_mvar=-0.3, p_mw=0.01)
    pp.create_shunt(net, 30, q_mvar=0.05, step=2)
    net.line.loc[4, "parallel"] = 2
    bus = pp.create_bus(net, vn_kv=0.4)
    pp.create_transformer(net, 5, bus, "0.25 MVA 20/0.4 kV", parallel=2, df=1.2)
    net.trafo["vn_hv_kv"] = 12.66
    pp.create_load(net, bus, p_mw=0.2, q_mvar=0.05)
    return net


def generator() -> Any:
    """A bus that holds its voltage: left to runpp."""
    net = networks.create_cigre_network_mv()
    pp.create_gen(net, 6, p_mw=0.5, vm_pu=0.99)
    return net


def _source(source: str) -> Callable[[], Grid]:
    return lambda: load_grid(source)


def _built(build: Callable[[], Any]) -> Callable[[], Grid]:
    return lambda: Grid(build.__name__, build())


KINDS: dict[str, Callable[[], Grid]] = {
    "SimBench LV": _source("simbench:1-LV-rural1--2-sw"),
    "SimBench MV": _source("simbench:1-MV-semiurb--0-sw"),
    "SimBench MV-LV": _source("simbench:1-MVLV-semiurb-3.202-2-sw"),
    "case33bw": _source("pandapower:case33bw"),
    "two external grids": _source("pandapower:mv_oberrhein"),
    "CIGRE MV with DER": _source("pandapower:create_cigre_network_mv?with_der=all"),
    "open line end": _built(open_line_end),
    "three windings": _built(three_winding),
    "shunts": _built(shunts_and_wards),
    "left to runpp": _built(generator),
}


def random_power(grid: Grid, steps: int, seed: int) -> NodalPower:
    """Each load and generator of the tables between nothing and its table value, in random proportion."""
    rng = np.random.default_rng(seed)
    buses, p_mw, q_mvar = [], [], []
    for table, sign in (("load", 1.0), ("sgen", -1.0)):
        for row in grid.net[table].itertuples():
            share, reactive = rng.uniform(0, 1, steps), rng.uniform(-0.4, 0.4, steps)
            buses.append(row.bus)
            p_mw.append(sign * row.p_mw * share)
            q_mvar.append(row.p_mw * share * reactive)
    time = TimeGrid(datetime(2016, 1, 1, tzinfo=UTC), timedelta(minutes=15), steps)
    return NodalPower(time, np.array(buses), np.array(p_mw).T, np.array(q_mvar).T)


def run_pandapower(grid: Grid, power: NodalPower, step: int, *, keep_generators: bool = False) -> Any:
    """The net after `runpp` with nothing but `power` (and generators, if kept) injected."""
    net = copy.deepcopy(grid.net)
    for table in INJECTIONS:
        if len(net[table]) and not (table == "gen" and keep_generators):
            net[table]["in_service"] = False
    for bus, p_mw, q_mvar in zip(power.buses, power.p_mw[step], power.q_mvar[step], strict=True):
        pp.create_load(net, bus, p_mw=p_mw, q_mvar=q_mvar)
    pp.runpp(net, tolerance_mva=1e-9)
    return net


def branch_results(net: Any, column: str) -> np.ndarray:
    """A result column of lines, transformers and three-winding transformers, in the twin's order."""
    tables = [f"res_{table}" for table in ("line", "trafo", "trafo3w") if len(net[table])]
    return np.concatenate([net[table][column].to_numpy(float) for table in tables])
