"""Generators: on-states, starts and stops as binaries, limits between steps with big numbers."""

from __future__ import annotations

from math import ceil
from random import Random

import numpy as np

from tests.optimizer.builders import Document, series
from tests.optimizer.milp.formulation import Formulation
from tests.optimizer.milp.random_problem import Place
from tests.optimizer.milp.rules.offers import Provider
from tests.optimizer.units import HOURS, commits, generator

BIG_KW = 1e3
"""Above every power of a generator here."""


def formulate(f: Formulation, asset: Document) -> None:
    power, on = commit(f, asset)
    if asset.get("start_ramp_kw") is None and asset.get("stop_ramp_kw") is None:
        _spin(f, asset, power, on)


def _spin(f: Formulation, asset: Document, power: list[int], on: list[int]) -> None:
    """Reserve of a unit that is on, within its ramps from the step before and to the step after."""
    least, most = series(asset.get("p_min_kw"), f.steps), series(asset["p_max_kw"], f.steps)
    up = _per_step(asset.get("ramp_kw_per_h"), f.hours)
    down = _per_step(asset.get("ramp_down_kw_per_h", asset.get("ramp_kw_per_h")), f.hours)
    before = asset.get("p_start_kw") if asset.get("on_at_start") or not commits(asset) else None
    caps: dict[str, list] = {"up": [], "down": []}
    for t in range(f.steps):
        p, free = power[t], {on[t]: -BIG_KW}
        above: list = [(0.0, {on[t]: float(most[t]), p: -1.0})]
        below: list = [(0.0, {on[t]: -float(least[t]), p: 1.0})]
        if t == 0 and before is not None:
            above.append((before + up + BIG_KW, {p: -1.0, **free}))
            below.append((down - before + BIG_KW, {p: 1.0, **free}))
        for other in (t - 1, t + 1):
            if 0 <= other < f.steps:
                both = {on[t]: -BIG_KW, on[other]: -BIG_KW}
                rises, falls = (up, down) if other < t else (down, up)
                above.append((rises + 2 * BIG_KW, {power[other]: 1.0, p: -1.0, **both}))
                below.append((falls + 2 * BIG_KW, {power[other]: -1.0, p: 1.0, **both}))
        caps["up"].append(above)
        caps["down"].append(below)
    room: list = [[(float(kw), {}, 0.0)] for kw in most]
    f.providers.append(Provider(asset, room, room, caps=caps))


def commit(f: Formulation, asset: Document) -> tuple[list[int], list[int]]:
    """The columns of power and on-state per step; its own power is drawn at its connection."""
    least, most = series(asset.get("p_min_kw"), f.steps), series(asset["p_max_kw"], f.steps)
    fuel = series(asset.get("marginal_cost_per_mwh"), f.steps) / 1000
    fuel = fuel + asset.get("carbon_g_per_kwh", 0.0) / 1000 * f.carbon_price_per_kg
    power = [f.column(0, float(most[t]), cost=float(fuel[t]) * f.hours) for t in range(f.steps)]
    no_load = asset.get("no_load_cost_per_h", 0.0) * f.hours
    always = not commits(asset)
    on = [f.column(float(always), 1, cost=no_load, integer=True) for _ in range(f.steps)]
    start = [f.binary(cost=asset.get("start_cost", 0.0)) for _ in range(f.steps)]
    stop = [f.binary(cost=asset.get("stop_cost", 0.0)) for _ in range(f.steps)]
    was_on = float(always or asset.get("on_at_start", False))
    before = asset.get("p_start_kw") if was_on else 0.0
    up = _per_step(asset.get("ramp_kw_per_h"), f.hours)
    down = _per_step(asset.get("ramp_down_kw_per_h", asset.get("ramp_kw_per_h")), f.hours)
    stop_most = BIG_KW if asset.get("stop_ramp_kw") is None else asset["stop_ramp_kw"]
    start_most = BIG_KW if asset.get("start_ramp_kw") is None else asset["start_ramp_kw"]
    for t in range(f.steps):
        f.draw(asset, t, power[t], -1.0)
        f.control(t, on[t])
        f.row({power[t]: 1, on[t]: -float(most[t])}, -np.inf, 0)
        f.row({power[t]: 1, on[t]: -float(least[t])}, 0, np.inf)
        f.row({start[t]: 1, stop[t]: 1}, -np.inf, 1)
        f.row({power[t]: 1, start[t]: BIG_KW}, -np.inf, start_most + BIG_KW)
        if t == 0:
            f.row({on[0]: 1, start[0]: -1, stop[0]: 1}, was_on, was_on)
            if was_on and before is not None:
                f.row({power[0]: 1, on[0]: BIG_KW}, -np.inf, before + up + BIG_KW)
                f.row({power[0]: 1, on[0]: -BIG_KW}, before - down - BIG_KW, np.inf)
                if before > stop_most:
                    f.row({stop[0]: 1}, 0, 0)
            continue
        f.row({on[t]: 1, on[t - 1]: -1, start[t]: -1, stop[t]: 1}, 0, 0)
        both = {on[t]: BIG_KW, on[t - 1]: BIG_KW}
        f.row({power[t]: 1, power[t - 1]: -1, **both}, -np.inf, up + 2 * BIG_KW)
        f.row({power[t - 1]: 1, power[t]: -1, **both}, -np.inf, down + 2 * BIG_KW)
        f.row({power[t - 1]: 1, stop[t]: BIG_KW}, -np.inf, stop_most + BIG_KW)
    for name, turn, state in (("min_up", start, 1.0), ("min_down", stop, 0.0)):
        lasting = HOURS[asset.get(name, "PT0S")]
        for t in range(f.steps):
            for later in range(t, min(f.steps, t + _steps(lasting, f.hours))):
                if state:
                    f.row({turn[t]: 1, on[later]: -1}, -np.inf, 0)
                else:
                    f.row({turn[t]: 1, on[later]: 1}, -np.inf, 1)
        if asset.get("time_in_state") is not None and was_on == state and not always:
            for t in range(min(f.steps, _steps(lasting - HOURS[asset["time_in_state"]], f.hours))):
                f.row({on[t]: 1}, state, state)
    return power, on


def _per_step(kw_per_h: float | None, hours: float) -> float:
    return BIG_KW if kw_per_h is None else kw_per_h * hours


def _steps(lasting_hours: float, hours: float) -> int:
    return max(0, ceil(lasting_hours / hours - 1e-9))


def draw(random: Random, name: str, place: Place) -> Document:
    return generator(name, connection=place.connection(random), **unit(random))


def unit(random: Random) -> Document:
    """Random commitment of a unit of 12 kW."""
    found: Document = {
        "p_min_kw": random.choice([0.0, 0.0, 3.0, 6.0]),
        "p_max_kw": 12.0,
        "marginal_cost_per_mwh": random.choice([20.0, 60.0, 110.0]),
        "carbon_g_per_kwh": random.choice([0.0, 0.0, 700.0]),
    }
    for field, choices in (
        ("no_load_cost_per_h", (0.05,)),
        ("start_cost", (0.2, 1.0)),
        ("stop_cost", (0.1,)),
        ("min_up", ("PT30M", "PT1H", "PT2H")),
        ("min_down", ("PT30M", "PT1H", "PT2H")),
        ("ramp_kw_per_h", (4.0, 10.0)),
        ("start_ramp_kw", (7.0,)),
        ("stop_ramp_kw", (7.0,)),
    ):
        if random.random() < 0.3:
            found[field] = random.choice(choices)
    if random.random() < 0.5:
        found["time_in_state"] = random.choice(["PT15M", "PT1H"])
    if random.random() < 0.5:
        found["on_at_start"] = True
        found["p_start_kw"] = random.choice([6.0, 9.0, 12.0])
    if "ramp_kw_per_h" in found and random.random() < 0.5:
        found["ramp_down_kw_per_h"] = random.choice([3.0, 20.0])
    return found
