"""Flexible loads: energy windows, a heat pump, a room that follows its own exponential from step to step."""

from __future__ import annotations

from math import exp
from random import Random
from typing import Any

import numpy as np

from tests.optimizer.builders import Document, at, series
from tests.optimizer.milp import heat
from tests.optimizer.milp.formulation import Formulation
from tests.optimizer.milp.random_problem import Place
from tests.optimizer.units import flexible_load


def formulate(f: Formulation, asset: Document) -> None:
    priority = asset.get("priority", 1.0)
    least, most = (series(asset.get(name), f.steps) for name in ("p_min_kw", "p_max_kw"))
    power = [f.column(float(least[t]), float(most[t])) for t in range(f.steps)]
    f.must_draw(asset, least)
    for t, column in enumerate(power):
        f.draw(asset, t, column, 1.0)
    for window in asset.get("energy_windows", ()):
        _window(f, window, power, float(most[-1]), priority)
    pump = asset.get("heat")
    if pump is None:
        return
    cop = series(pump["cop"], f.steps)
    made = [{power[t]: float(cop[t])} for t in range(f.steps)]
    if asset.get("room") is not None:
        for t, column in enumerate(_room(f, asset["room"], priority)):
            made[t][column] = -1.0
    heat.balance(f, made, pump.get("heat_demand_kw"), pump.get("store"), pump.get("dump", False), priority)


def _window(f: Formulation, window: Document, power: list[int], most_later: float, priority: float) -> None:
    begin, end = f.step_of(window["start"]), f.step_of(window["end"])
    terms = {
        column: share * f.hours
        for t, column in enumerate(power)
        for share in [min(end, t + 1) - max(begin, t)]
        if share > 0
    }
    if not terms:
        return
    need = window.get("e_min_kwh", 0.0) - max(0.0, end - f.steps) * f.hours * most_later
    if need > 0:
        f.row({**terms, f.column(0, np.inf, short=priority): 1.0}, need, np.inf)
    if window.get("e_max_kwh") is not None:
        f.row(terms, -np.inf, window["e_max_kwh"])


def _room(f: Formulation, room: Document, priority: float) -> list[int]:
    """The columns of heat into the room, kW; outside its band kelvin-hours are short."""
    kept = exp(-room["loss_kw_per_k"] / room["capacity_kwh_per_k"] * f.hours)
    outdoor, gains = series(room["outdoor_c"], f.steps), series(room.get("gains_kw"), f.steps)
    low, high = (series(room[name], f.steps) for name in ("temp_min_c", "temp_max_c"))
    worth = priority * f.hours * room["loss_kw_per_k"]
    into, before = [], None
    for t in range(f.steps):
        warmth, temperature = f.column(0, np.inf), f.column(-np.inf, np.inf)
        terms = {temperature: 1.0, warmth: -(1 - kept) / room["loss_kw_per_k"]}
        right = (1 - kept) * float(outdoor[t] + gains[t] / room["loss_kw_per_k"])
        if before is None:
            right += kept * room["temp_start_c"]
        else:
            terms[before] = -kept
        f.row(terms, right, right)
        f.row({temperature: 1, f.column(0, np.inf, short=worth): 1}, float(low[t]), np.inf)
        f.row({temperature: 1, f.column(0, np.inf, short=worth): -1}, -np.inf, float(high[t]))
        into.append(warmth)
        before = temperature
    return into


def draw(random: Random, name: str, place: Place) -> Document:
    windows = []
    for _ in range(random.randint(0, 2)):
        begin = random.randint(-4, 4 * place.steps - 1) / 4 * place.hours
        end = begin + random.randint(1, 4 * place.steps) / 4 * place.hours
        need, most = float(random.randint(0, 8)), random.choice([None, 8.0, 30.0])
        windows.append({"start": at(begin), "end": at(end), "e_min_kwh": need, "e_max_kwh": most})
    pump: Any = None
    room: Any = None
    if random.random() < 0.6:
        pump = {
            "cop": [random.choice([2.0, 3.0]) for _ in range(place.steps)],
            "heat_demand_kw": place.series(random, 0, 12),
            "store": heat.draw_store(random),
            "dump": random.random() < 0.5,
        }
        if random.random() < 0.6:
            room = {
                "capacity_kwh_per_k": random.choice([0.5, 4.0]),
                "loss_kw_per_k": random.choice([0.2, 0.6]),
                "temp_start_c": random.choice([18.0, 22.0]),
                "temp_min_c": 19.0,
                "temp_max_c": random.choice([21.0, 24.0]),
                "outdoor_c": place.series(random, -10, 30),
                "gains_kw": random.choice([0.0, 0.4]),
            }
    return flexible_load(
        name,
        connection=place.connection(random),
        p_min_kw=random.choice([0.0, 0.0, 0.0, 1.0]),
        p_max_kw=random.choice([4.0, 10.0]),
        energy_windows=windows,
        heat=pump,
        room=room,
        priority=random.choice([1.0, 2.0]),
    )
