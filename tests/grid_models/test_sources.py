"""The contract of every registered grid source: it loads, it is supplied, it solves, it names its poverty."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pandapower as pp
import pandapower.networks as networks
import pytest

from energy.domain.errors import InputError
from energy.domain.network import NodalPower, OperatingLimits
from energy.service.grid import UNDATED
from grid_models.matpower import read_matpower
from grid_models.sources import SCHEMES, SUFFIXES, load_grid
from grid_models.twin import Twin

CASE33 = Path(__file__).parents[1] / "cases" / "case33bw_matpower" / "case33bw.m"


def example(kind: str, folder: Path) -> str:
    """One source of each kind."""
    if kind == ".json":
        pp.to_json(networks.create_cigre_network_lv(), str(folder / "grid.json"))
        return str(folder / "grid.json")
    return {
        "simbench": "simbench:1-LV-rural1--2-sw",
        "pandapower": "pandapower:create_cigre_network_mv?with_der=pv_wind",
        ".m": str(CASE33),
    }[kind]


@pytest.mark.parametrize("kind", [*SCHEMES, *SUFFIXES])
def test_every_source_keeps_the_contract(kind: str, tmp_path: Path) -> None:
    grid = load_grid(example(kind, tmp_path))
    twin = Twin(grid, limits=OperatingLimits(), include_static=True)
    nothing = NodalPower(UNDATED, np.zeros(0, np.int64), np.zeros((1, 0)), np.zeros((1, 0)))
    state = twin.solve(nothing)
    assert state.converged.all()
    assert twin.energised(twin.root_bus)
    assert len(state.branches) == len(twin.rating_known)
    assert (grid.profiles is not None) == (kind == "simbench")
    unrated = any("without a rating" in notice for notice in twin.notices)
    assert unrated == (not twin.rating_known.all())
    net = copy.deepcopy(grid.net)
    pp.runpp(net)
    np.testing.assert_allclose(state.vm_pu[0], net.res_bus.vm_pu, rtol=0, atol=1e-8)


def test_matpower_keeps_bus_numbers_and_runs_statements() -> None:
    net, notices = read_matpower("case", CASE33.read_text())
    assert net.bus.index.tolist() == list(range(1, 34))
    assert net.load.p_mw.sum() == pytest.approx(3.715)
    assert len(notices) == 2


def test_a_word_behind_infinite_limits_is_refused() -> None:
    text = (
        CASE33.read_text().replace("\t1.1\t0.9;", "\tInf\t-Inf;").replace("\t33\t1\t60\t", "\t33\t1\tsixty\t")
    )
    with pytest.raises(InputError, match="row 33: value 3 is 'sixty'; a number is needed"):
        read_matpower("case", text)


def test_arguments_of_pandapower_functions_are_checked() -> None:
    with pytest.raises(InputError, match="did you mean 'with_der'"):
        load_grid("pandapower:create_cigre_network_mv?with_dre=all")
    with pytest.raises(InputError, match="not a network of pandapower"):
        load_grid("pandapower:runpp")


def test_a_published_per_unit_case_is_no_wrong_unit() -> None:
    """IEEE 14 has loads of 29.5 MW at buses of 0.208 kV, behind transformers without rating."""
    net = networks.case14()
    pp.runpp(net)
    twin = Twin(load_grid("pandapower:case14"), limits=OperatingLimits(), include_static=True)
    nothing = NodalPower(UNDATED, np.zeros(0, int), np.zeros((1, 0)), np.zeros((1, 0)))
    state = twin.solve(nothing)
    np.testing.assert_allclose(state.vm_pu[0], net.res_bus.vm_pu, atol=1e-6)


def test_voltages_held_apart_at_one_bus_are_refused(tmp_path: Path) -> None:
    net = networks.example_simple()
    bus = int(net.gen.bus.iloc[0])
    pp.create_gen(net, bus, p_mw=0.1, vm_pu=float(net.gen.vm_pu.iloc[0]) - 0.02)
    pp.to_json(net, str(tmp_path / "grid.json"))
    with pytest.raises(InputError, match="at the same bus"):
        load_grid(str(tmp_path / "grid.json"))
