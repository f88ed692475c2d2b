"""Hydrogen and swap stations: builders, and checks that trust nothing but the two documents."""

from __future__ import annotations

from typing import Any

import numpy as np

Document = dict[str, Any]


def hydrogen_station(name: str = "h2", **more: Any) -> Document:
    return {
        "type": "hydrogen_station",
        "id": name,
        "connection": "poc",
        "electrolyser": {"p_min_kw": 20.0, "p_max_kw": 100.0, "kwh_per_kg": 50.0},
        "fuel_cell": {"p_min_kw": 10.0, "p_max_kw": 40.0, "kwh_per_kg": 20.0},
        "tank": {"start_kg": 3.0, "min_kg": 1.0, "max_kg": 6.0},
        **more,
    }


def each_step(value: Any, steps: int) -> np.ndarray:
    return np.broadcast_to(np.asarray(0.0 if value is None else value, float), (steps,))


def check_hydrogen(
    asset: Document, found: Document, shortfalls: list[Document], steps: int, hours: float, tolerance: float
) -> float:
    """Powers inside their bounds, one machine at a time, a tank that follows. Returns start costs."""
    made, net, cost, on_together = np.zeros(steps), np.zeros(steps), 0.0, np.zeros(steps)
    for name, sign in (("electrolyser", 1), ("fuel_cell", -1)):
        machine = asset.get(name)
        if machine is None:
            assert f"{name}_kw" not in found
            continue
        power, on = np.array(found[f"{name}_kw"]), np.array(found[f"{name}_on"])
        assert set(on) <= {0.0, 1.0}
        assert (power <= machine["p_max_kw"] * on + tolerance).all()
        assert (power >= machine.get("p_min_kw", 0.0) * on - tolerance).all()
        on_together += on
        made += sign * power * hours / machine["kwh_per_kg"]
        net += sign * power
        before = np.concatenate([[float(machine.get("on_at_start", False))], on[:-1]])
        cost += machine.get("start_cost", 0.0) * float(np.sum(on > before))
    assert (on_together <= 1).all()
    assert np.allclose(found["p_kw"], net, atol=tolerance)
    tank, wanted, unmet = asset["tank"], each_step(asset.get("demand_kg"), steps), np.array(found["unmet_kg"])
    assert (unmet >= -tolerance).all()
    assert (unmet <= wanted + tolerance).all()
    expected = tank["start_kg"] + np.cumsum(made - wanted + unmet)
    assert np.allclose(found["tank_kg"], expected, atol=tolerance * steps)
    assert min(found["tank_kg"]) >= tank.get("min_kg", 0.0) - tolerance
    assert max(found["tank_kg"]) <= tank["max_kg"] + tolerance
    assert found["tank_kg"][-1] >= (tank.get("end_min_kg") or 0.0) - tolerance
    told = [s for s in shortfalls if s.get("asset") == asset["id"]]
    assert all(s["kind"] == "hydrogen_demand" for s in told)
    assert np.isclose(sum(s["amount_kg"] for s in told), unmet.sum(), atol=tolerance * steps)
    worth = asset["electrolyser"]["kwh_per_kg"]
    assert all(np.isclose(s["amount_kwh"], s["amount_kg"] * worth) for s in told)
    return cost
