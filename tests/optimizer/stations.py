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


def swap_station(name: str = "rack", **more: Any) -> Document:
    return {
        "type": "swap_station",
        "id": name,
        "connection": "poc",
        "slots": 2,
        "battery": {"e_full_kwh": 10.0, "e_empty_kwh": 2.0, "charge_max_kw": 8.0, "charge_efficiency": 0.8},
        "e_start_kwh": [6.0, 10.0],
        **more,
    }


def check_swaps(
    asset: Document, found: Document, shortfalls: list[Document], steps: int, hours: float, tolerance: float
) -> float:
    """Powers inside their bounds, energies that follow, only full batteries handed out. Returns wear."""
    battery, slots = asset["battery"], asset["slots"]
    full, empty = battery["e_full_kwh"], battery.get("e_empty_kwh", 0.0)
    power, swaps = np.array(found["slot_kw"]), np.array(found["slot_swaps"])
    assert power.shape == swaps.shape == (steps, slots)
    assert (power <= battery["charge_max_kw"] + tolerance).all()
    assert (-power <= battery.get("discharge_max_kw", 0.0) + tolerance).all()
    assert set(swaps.ravel()) <= {0.0, 1.0}
    assert np.allclose(found["p_kw"], power.sum(axis=1), atol=tolerance)
    if asset.get("p_max_kw") is not None:
        assert (np.abs(found["p_kw"]) <= asset["p_max_kw"] + tolerance).all()
    energy = each_step(asset["e_start_kwh"], slots).copy()
    into, out = battery.get("charge_efficiency", 1.0), battery.get("discharge_efficiency", 1.0)
    for step in range(steps):
        assert (energy[swaps[step] > 0] >= full - tolerance * steps).all()
        energy = np.where(swaps[step] > 0, energy - (full - empty), energy)
        charged, discharged = np.clip(power[step], 0, None), np.clip(-power[step], 0, None)
        energy = energy + hours * (charged * into - discharged / out)
        assert (energy >= empty - tolerance * steps).all()
        assert (energy <= full + tolerance * steps).all()
        assert np.isclose(found["e_kwh"][step], energy.sum(), atol=tolerance * steps)
        assert found["slots_full"][step] == np.sum(energy >= full - 2e-6)
    wanted = each_step(asset.get("swaps"), steps)
    assert found["swaps_served"] == swaps.sum(axis=1).tolist()
    assert found["unmet_swaps"] == (wanted - swaps.sum(axis=1)).tolist()
    told = [s for s in shortfalls if s.get("asset") == asset["id"]]
    assert all(s["kind"] == "unmet_swap" for s in told)
    assert sum(s["amount_swaps"] for s in told) == sum(found["unmet_swaps"])
    assert all(np.isclose(s["amount_kwh"], s["amount_swaps"] * (full - empty)) for s in told)
    return float(np.clip(-power, 0, None).sum()) * hours / 1000 * asset.get("wear_cost_per_mwh", 0.0)
