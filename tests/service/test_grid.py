"""`wattshed grid solve`: own profiles, profile files, windows, and files that appear whole."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pandapower as pp
import pandas as pd
import pytest
import simbench

from energy.service.grid import solve_grid
from grid_models.sources import load_grid


def test_simbench_profiles_agree_with_simbench(tmp_path: Path) -> None:
    """Two quarter-hours of the source's own year, against simbench's absolute values and runpp."""
    source = "simbench:1-LV-rural1--2-sw"
    summary = solve_grid(source, start="2016-06-21T10:00:00Z", steps=2, output=tmp_path)
    assert (summary["steps"], summary["converged"], summary["engine"]) == (2, 2, "batched")
    vm_pu = pd.read_parquet(tmp_path / "bus_vm_pu.parquet")
    net = copy.deepcopy(load_grid(source).net)
    absolute = simbench.get_absolute_values(net, profiles_instead_of_study_cases=True)
    row = net.profiles["load"].index[net.profiles["load"]["time"] == "21.06.2016 12:15"][0]
    for (table, column), values in absolute.items():
        if len(net[table]):
            net[table][column] = values.loc[row]
    pp.runpp(net)
    assert vm_pu.columns[1:].tolist() == [str(bus) for bus in net.bus.index]
    np.testing.assert_allclose(vm_pu.iloc[1, 1:].astype(float), net.res_bus.vm_pu, rtol=0, atol=1e-8)
    losses = pd.read_parquet(tmp_path / "losses_mw.parquet").losses_mw
    assert losses[1] == pytest.approx(net.res_line.pl_mw.sum() + net.res_trafo.pl_mw.sum(), abs=1e-9)
    assert summary["losses_mwh"] == pytest.approx(losses.sum() / 4)


def test_profile_columns_replace_table_values(tmp_path: Path) -> None:
    """A generator bus as well: what only the tables describe stays as pandapower has it."""
    profiles = tmp_path / "profiles.csv"
    profiles.write_text(
        "time,load.2.p_mw,gen.0.p_mw\n2016-01-01T00:00:00Z,80,100\n2016-01-01T01:00:00+00:00,50,150\n"
    )
    summary = solve_grid("pandapower:case9", profiles, output=tmp_path / "out", csv=True)
    assert summary["engine"] == "runpp"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "bus_vm_pu.csv",
        "line_loading_percent.csv",
        "losses_mw.csv",
        "summary.json",
        "trafo_loading_percent.csv",
    ]
    vm_pu = pd.read_csv(tmp_path / "out" / "bus_vm_pu.csv", index_col="time")
    loading = pd.read_csv(tmp_path / "out" / "line_loading_percent.csv", index_col="time")
    net = copy.deepcopy(load_grid("pandapower:case9").net)
    for step, (load, generation) in enumerate(((80.0, 100.0), (50.0, 150.0))):
        net.load.loc[2, "p_mw"], net.gen.loc[0, "p_mw"] = load, generation
        pp.runpp(net)
        np.testing.assert_allclose(vm_pu.iloc[step], net.res_bus.vm_pu, rtol=0, atol=1e-8)
        np.testing.assert_allclose(loading.iloc[step], net.res_line.loading_percent, rtol=0, atol=1e-5)


def test_without_profiles_one_hour_at_the_start_given() -> None:
    summary = solve_grid("pandapower:case33bw", start="2020-01-01T00:00:00Z")
    assert summary["losses_mwh"] == pytest.approx(0.202677, abs=1e-6)
    assert summary["loading_max_percent"] is None
    assert any("37 branches without a rating" in notice for notice in summary["notices"])
