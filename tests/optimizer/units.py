"""Generators and combined heat and power: builders, and checks that trust nothing but the two documents."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from math import ceil, inf
from typing import Any

import numpy as np

Document = dict[str, Any]
HOURS = {"PT0S": 0.0, "PT15M": 0.25, "PT30M": 0.5, "PT45M": 0.75, **{f"PT{n}H": float(n) for n in range(13)}}


def generator(name: str = "g1", **more: Any) -> Document:
    return {
        "type": "generator",
        "id": name,
        "connection": "poc",
        "p_min_kw": 20.0,
        "p_max_kw": 100.0,
        "marginal_cost_per_mwh": 60.0,
        **more,
    }


def shiftable_load(
    profile_kw: list[float], earliest: str, latest: str, name: str = "wash", **more: Any
) -> Document:
    return {
        "type": "shiftable_load",
        "id": name,
        "connection": "poc",
        "profile_kw": profile_kw,
        "earliest_start": earliest,
        "latest_end": latest,
        **more,
    }


def each_step(value: Any, steps: int) -> np.ndarray:
    return np.broadcast_to(np.asarray(0.0 if value is None else value, float), (steps,))


def commits(asset: Document) -> bool:
    """Whether the unit has on-states of its own."""
    costs = ("no_load_cost_per_h", "start_cost", "stop_cost")
    return (
        bool(np.any(np.asarray(asset.get("p_min_kw", 0.0)) > 0))
        or any(asset.get(name) for name in costs)
        or any(HOURS[asset.get(name, "PT0S")] > 0 for name in ("min_up", "min_down"))
        or any(asset.get(name) is not None for name in ("start_ramp_kw", "stop_ramp_kw"))
    )


def runs(on: list[int]) -> list[tuple[int, int, int]]:
    """Maximal stretches of one state: state, first step, first step after it."""
    edges = [0, *(t for t in range(1, len(on)) if on[t] != on[t - 1]), len(on)]
    return [(on[a], a, b) for a, b in pairwise(edges)]


def steps_in(duration_hours: float, hours: float) -> int:
    return 0 if duration_hours == -inf else ceil(duration_hours / hours - 1e-9)


def states_allowed(asset: Document, on: list[int], hours: float) -> bool:
    """Whether minimum up and down times allow the on-states."""
    was_on = int(asset.get("on_at_start", False))
    passed = asset.get("time_in_state")
    passed_hours = np.inf if passed is None else HOURS[passed]
    for state, first, after in runs(on):
        least = HOURS[asset.get("min_up" if state else "min_down", "PT0S")]
        if first == 0 and state == was_on:
            if after < len(on) and after < steps_in(least - passed_hours, hours):
                return False
            continue
        # the state before the first step must have lasted, too
        if first == 0:
            before = HOURS[asset.get("min_up" if was_on else "min_down", "PT0S")]
            if before - passed_hours > 1e-9:
                return False
        if after < len(on) and after - first < steps_in(least, hours):
            return False
    return True


def ramp_limits(asset: Document, on: list[int], hours: float) -> list[tuple[float, float]]:
    """Least and most change of power into each step; infinite where free."""
    up = asset.get("ramp_kw_per_h")
    down = asset.get("ramp_down_kw_per_h", up) if asset.get("ramp_down_kw_per_h") is not None else up
    up, down = (np.inf if ramp is None else ramp * hours for ramp in (up, down))
    start, stop = (
        np.inf if asset.get(name) is None else asset[name] for name in ("start_ramp_kw", "stop_ramp_kw")
    )
    before = [int(asset.get("on_at_start", False)) if commits(asset) else 1, *on[:-1]]
    found = []
    for was, now in zip(before, on, strict=True):
        found.append((-stop if was and not now else -down, start if now and not was else up))
    return found


def starts_of(asset: Document, time: Document) -> list[int]:
    """The steps in which a run may start."""
    hours, length = HOURS[time["resolution"]], len(asset["profile_kw"])
    first, last = (
        (datetime.fromisoformat(asset[name]) - datetime.fromisoformat(time["start"])) / timedelta(hours=hours)
        for name in ("earliest_start", "latest_end")
    )
    return [s for s in range(time["steps"] - length + 1) if first <= s and s + length <= last]


def check_run(asset: Document, found: Document, shortfalls: list[Document], time: Document) -> None:
    """One whole run inside its window, or a shortfall of its energy where it is due."""
    hours, steps = HOURS[time["resolution"]], time["steps"]
    started = np.flatnonzero(found["start"])
    told = [s for s in shortfalls if s.get("asset") == asset["id"]]
    expected = np.zeros(steps)
    if len(started):
        (start,) = started
        assert found["start"][start] == 1.0
        assert start in starts_of(asset, time)
        expected[start : start + len(asset["profile_kw"])] = asset["profile_kw"]
        assert not told
    elif starts_of(asset, time):
        (shortfall,) = told
        assert shortfall["kind"] == "unserved_run"
        assert np.isclose(shortfall["amount_kwh"], sum(asset["profile_kw"]) * hours)
    assert np.array_equal(found["p_kw"], expected)


def power_before(asset: Document) -> float | None:
    if commits(asset) and not asset.get("on_at_start", False):
        return 0.0
    return asset.get("p_start_kw")


def check_unit(asset: Document, found: Document, steps: int, hours: float, tolerance: float) -> Document:
    """Limits, minimum times and ramps of a unit. Returns its fuel and start costs and its emissions in kg."""
    p_kw, on = np.array(found["p_kw"]), [round(value) for value in found["on"]]
    assert set(found["on"]) <= {0.0, 1.0}
    fuel = float(each_step(asset.get("marginal_cost_per_mwh"), steps) @ p_kw) * hours / 1000
    emitted = p_kw.sum() * hours * asset.get("carbon_g_per_kwh", 0.0) / 1000
    least, most = (each_step(asset.get(name), steps) for name in ("p_min_kw", "p_max_kw"))
    start = 0.0
    states = on
    if commits(asset):
        assert states_allowed(asset, on, hours)
        before = [int(asset.get("on_at_start", False)), *on[:-1]]
        changes = np.array(on) - before
        start += (changes > 0).sum() * asset.get("start_cost", 0.0)
        start += (changes < 0).sum() * asset.get("stop_cost", 0.0)
        fuel += sum(on) * hours * asset.get("no_load_cost_per_h", 0.0)
    else:
        states = [1] * steps
    assert (p_kw >= least * states - tolerance).all()
    assert (p_kw <= most * states + tolerance).all()
    previous = power_before(asset)
    for (down, up), power in zip(ramp_limits(asset, states, hours), p_kw, strict=True):
        if previous is not None:
            assert down - tolerance <= power - previous <= up + tolerance
        previous = power
    return {"fuel": fuel, "start": float(start), "emissions_kg": float(emitted)}


def chp(name: str = "chp1", **more: Any) -> Document:
    return {**generator(name), "type": "chp", "heat_per_power": 1.2, "heat_demand_kw": 30.0, **more}


def flexible_load(name: str = "flex", **more: Any) -> Document:
    return {"type": "flexible_load", "id": name, "connection": "poc", "p_max_kw": 10.0, **more}


def check_heat(
    found: Document,
    demand: np.ndarray,
    store: Document | None,
    dump: bool,
    spare: np.ndarray,
    hours: float,
    tolerance: float,
) -> np.ndarray:
    """What is made beside the demand (`spare`) is stored, dumped or missing. Returns unmet heat, kWh."""
    steps = len(demand)
    unmet, dumped = np.array(found["unmet_heat_kw"]), each_step(found.get("dumped_heat_kw"), steps)
    assert (unmet >= -tolerance).all()
    assert (unmet <= demand + tolerance).all()
    assert (dumped >= -tolerance).all()
    assert dump or not dumped.any()
    change = (spare + unmet - dumped) * hours
    if store is None:
        assert np.allclose(change, 0.0, atol=tolerance)
        return unmet * hours
    energy, levels = store["e_start_kwh"], np.array(found["heat_store_kwh"])
    for step in range(steps):
        energy = energy * (1 - store.get("loss_per_hour", 0.0)) ** hours + change[step]
        assert abs(levels[step] - energy) <= tolerance * steps
    assert levels.min() >= store.get("e_min_kwh", 0.0) - tolerance
    assert levels.max() <= store["e_max_kwh"] + tolerance
    assert levels[-1] >= (store.get("e_end_min_kwh") or 0.0) - tolerance
    return unmet * hours


def told(asset: Document, shortfalls: list[Document], kind: str) -> float:
    return float(
        sum(s["amount_kwh"] for s in shortfalls if s.get("asset") == asset["id"] and s["kind"] == kind)
    )


def check_chp(
    asset: Document, found: Document, shortfalls: list[Document], steps: int, hours: float, tolerance: float
) -> Document:
    """The unit, its boiler and its heat. Returns fuel and start costs and emissions in kg."""
    costs = check_unit(asset, found, steps, hours, tolerance)
    heat = np.array(found["p_kw"]) * asset["heat_per_power"]
    assert np.allclose(found["heat_kw"], heat, atol=tolerance)
    boiler = asset.get("boiler")
    if boiler is not None:
        made = np.array(found["boiler_heat_kw"])
        assert (made >= -tolerance).all()
        assert (made <= boiler["p_max_kw"] + tolerance).all()
        burnt = made / boiler.get("efficiency", 1.0) * hours
        costs["fuel"] += float(each_step(boiler.get("fuel_cost_per_mwh"), steps) @ burnt) / 1000
        costs["emissions_kg"] += float(burnt.sum()) * boiler.get("carbon_g_per_kwh", 0.0) / 1000
        heat = heat + made
    demand = each_step(asset["heat_demand_kw"], steps)
    unmet = check_heat(
        found, demand, asset.get("heat_store"), asset.get("heat_dump", True), heat - demand, hours, tolerance
    )
    assert np.isclose(told(asset, shortfalls, "heat_demand"), unmet.sum(), atol=1e-4)
    return costs


def shares(window: Document, time: Document) -> np.ndarray:
    """The share of each step that a window covers."""
    hours, steps = HOURS[time["resolution"]], np.arange(time["steps"])
    begin, end = (
        (datetime.fromisoformat(window[name]) - datetime.fromisoformat(time["start"]))
        / timedelta(hours=hours)
        for name in ("start", "end")
    )
    return np.clip(np.minimum(steps + 1, end) - np.maximum(steps, begin), 0, 1)


def need_of(window: Document, asset: Document, time: Document) -> float:
    """The least energy of a window inside the horizon."""
    hours, share = HOURS[time["resolution"]], shares(window, time)
    if not share.any():
        return 0.0
    end = (datetime.fromisoformat(window["end"]) - datetime.fromisoformat(time["start"])) / timedelta(hours=1)
    later = max(end - time["steps"] * hours, 0.0) * each_step(asset["p_max_kw"], time["steps"])[-1]
    return float(max(window.get("e_min_kwh", 0.0) - later, 0.0))


def room_c(room: Document, heat_kw: np.ndarray, hours: float) -> np.ndarray:
    """Temperatures at the ends of steps, each from the start of the horizon in closed form."""
    steps = len(heat_kw)
    rate = room["loss_kw_per_k"] / room["capacity_kwh_per_k"]
    balance = (
        each_step(room["outdoor_c"], steps)
        + (heat_kw + each_step(room.get("gains_kw"), steps)) / room["loss_kw_per_k"]
    )
    found = np.empty(steps)
    for t in range(steps):
        kept = np.exp(-rate * hours * np.arange(t + 1, -1, -1))
        found[t] = kept[0] * room["temp_start_c"] + float(np.diff(kept) @ balance[: t + 1])
    return found


def check_flexible(
    asset: Document, found: Document, shortfalls: list[Document], time: Document, tolerance: float
) -> None:
    """Power in its bounds, windows served or reported, heat and room that follow from it."""
    steps, hours, p_kw = time["steps"], HOURS[time["resolution"]], np.array(found["p_kw"])
    assert (p_kw >= each_step(asset.get("p_min_kw"), steps) - tolerance).all()
    assert (p_kw <= each_step(asset["p_max_kw"], steps) + tolerance).all()
    missing = 0.0
    for window in asset.get("energy_windows", ()):
        drawn = float(shares(window, time) @ p_kw) * hours
        missing += max(need_of(window, asset, time) - drawn, 0.0)
        if window.get("e_max_kwh") is not None:
            assert drawn <= window["e_max_kwh"] + tolerance * steps
    assert np.isclose(told(asset, shortfalls, "energy_window"), missing, atol=tolerance * steps)
    heat = asset.get("heat")
    if heat is None:
        return
    made = p_kw * each_step(heat["cop"], steps)
    assert np.allclose(found["heat_kw"], made, atol=tolerance)
    demand, drawn_kw = each_step(heat.get("heat_demand_kw"), steps), np.zeros(steps)
    if asset.get("room") is not None:
        room, drawn_kw = asset["room"], np.array(found["room_heat_kw"])
        assert (drawn_kw >= -tolerance).all()
        temperatures = room_c(room, drawn_kw, hours)
        assert np.allclose(found["room_c"], temperatures, atol=tolerance * steps)
        low, high = (each_step(room[name], steps) for name in ("temp_min_c", "temp_max_c"))
        outside = np.clip(low - temperatures, 0, None) + np.clip(temperatures - high, 0, None)
        assert np.isclose(
            told(asset, shortfalls, "comfort"), outside.sum() * hours * room["loss_kw_per_k"], atol=1e-4
        )
    unmet = check_heat(
        found,
        demand,
        heat.get("store"),
        heat.get("dump", False),
        made - demand - drawn_kw,
        hours,
        tolerance,
    )
    assert np.isclose(told(asset, shortfalls, "heat_demand"), unmet.sum(), atol=1e-4)
