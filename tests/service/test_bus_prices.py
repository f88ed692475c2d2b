"""Prices at the buses of a real feeder against what AC power flow says a kWh more costs there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from energy.service.dispatch import dispatch_document
from tests.optimizer.builders import ev, load, problem_of, session

MORE_KW = 5.0


def answer(more_kw: float, bus: int, hour: int = 0) -> dict[str, Any]:
    """33-bus feeder of Baran and Wu; an EV depot at its end, where the voltage limit binds in the first
    and the second hour, and so much more at a bus in an hour."""
    more = [0.0, 0.0, 0.0]
    more[hour] = more_kw
    depot = ev(
        [session(0, 3, charge_max_kw=400.0, e_departure_min_kwh=210.0)],
        e_max_kwh=2000.0,
        bus=17,
        power_factor=0.95,
    )
    document = problem_of(
        [depot, load(more, "more", bus=bus), load(0.0, "middle", bus=5)],
        steps=3,
        import_price_per_mwh=[20.0, 60.0, 100.0],
        export_price_per_mwh=0.0,
        network={"grid": "pandapower:case33bw", "include_static": True, "vm_min_pu": 0.905},
    )
    return dispatch_document(document)


def test_bus_prices_of_a_feeder_at_its_voltage_limit() -> None:
    now = answer(0.0, 17)
    assert now["ac"]["secure"]
    assert now["shortfalls"] == []
    assert set(now["buses"]) == {"5", "17"}
    for bus, found in now["buses"].items():
        price = found["price_per_mwh"]
        parts = np.sum([price[part] for part in price if part != "total"], axis=0)
        assert np.allclose(parts, price["total"], atol=1e-6)
        assert price["energy"] == pytest.approx([20.0, 60.0, 100.0])
        assert price["voltage"][0] > price["voltage"][1] > 0.0
        assert price["congestion"] == [0.0, 0.0, 0.0]
        for hour in (0, 2):
            more = answer(MORE_KW, int(bus), hour)
            rise = (more["objective"]["total"] - now["objective"]["total"]) / (MORE_KW / 1000)
            assert price["total"][hour] == pytest.approx(rise, rel=0.02)
        assert price["losses"][2] > 0.05 * price["energy"][2]
