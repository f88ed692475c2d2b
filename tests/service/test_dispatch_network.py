"""What a `network` asks for, against pandapower's own power flow of the same grid and powers."""

from __future__ import annotations

from typing import Any

import pandapower as pp
import pytest

from energy.service.dispatch import dispatch_document


def two_areas() -> Any:
    """Two external grids that are not connected; one feeds a line with a table load and a house."""
    net = pp.create_empty_network()
    near, house, far, dark = (
        pp.create_bus(net, 0.4, name=name) for name in ("station", "house", "far", "mill")
    )
    pp.create_ext_grid(net, near, name="north")
    pp.create_ext_grid(net, far, name="south")
    for start, end in ((near, house), (far, dark)):
        pp.create_line_from_parameters(net, start, end, 0.3, 0.2, 0.08, 200.0, 0.27)
    pp.create_load(net, house, 0.02, 0.005, name="in the file")
    return net


def document(grid: str, **network: Any) -> dict[str, Any]:
    at = {"connection": "poc", "bus": "house"}
    return {
        "schema": "wattshed.dispatch/1",
        "time": {"start": "2016-06-21T00:00:00Z", "resolution": "PT1H", "steps": 1},
        "connections": [{"id": "poc", "import_price_per_mwh": 100.0, "export_price_per_mwh": 20.0}],
        "assets": [
            {"type": "load", "id": "kvar", **at, "p_kw": 10.0, "q_kvar": 4.0},
            {"type": "load", "id": "lagging", **at, "p_kw": 8.0, "power_factor": 0.8},
            {
                "type": "renewable",
                "id": "pv",
                **at,
                "available_kw": 5.0,
                "power_factor": 0.8,
                "reactive_sign": "produces",
            },
        ],
        "network": {"grid": grid, "root_ext_grid": "north", **network},
    }


@pytest.mark.parametrize("include_static", [False, True])
def test_the_root_draws_what_runpp_says(tmp_path: Any, include_static: bool) -> None:
    net = two_areas()
    path = tmp_path / "grid.json"
    pp.to_json(net, str(path))
    answer = dispatch_document(document(str(path), include_static=include_static))

    net.load["in_service"] = include_static
    # 10 kW and 4 kvar; 8 kW at 0.8 draw 6 kvar; 5 kW of PV at 0.8 feed 3.75 kvar
    pp.create_load(net, 1, 0.010 + 0.008 - 0.005, 0.004 + 0.006 - 0.00375)
    pp.runpp(net, tolerance_mva=1e-12)
    drawn_kw = 1000 * net.res_ext_grid.p_mw.at[0]
    assert answer["connections"]["poc"]["import_kw"] == pytest.approx([drawn_kw], abs=1e-6)
    assert answer["objective"]["energy"] == pytest.approx(drawn_kw * 0.1, abs=1e-6)
    ac = answer["ac"]
    assert ac["secure"]
    assert ac["vm_min_pu"] == pytest.approx(net.res_bus.vm_pu.at[1], abs=1e-8)
    assert ac["losses_kwh"] == pytest.approx(1000 * net.res_line.pl_mw.at[0], abs=1e-6)
    assert any("south" in notice for notice in answer["notices"])


def test_what_no_voltage_can_carry_is_named_and_its_losses_unknown(tmp_path: Any) -> None:
    path = tmp_path / "grid.json"
    pp.to_json(two_areas(), str(path))
    heavy = document(str(path))
    heavy["assets"][0]["p_kw"] = 50_000.0
    answer = dispatch_document(heavy)
    ac = answer["ac"]
    assert not ac["secure"]
    assert ac["unsolved"] == ["2016-06-21T00:00:00Z"]
    assert ac["losses_kwh"] is None
    assert any("no AC solution" in notice for notice in answer["notices"])
