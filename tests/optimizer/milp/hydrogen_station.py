"""Hydrogen stations: every state of a machine a binary."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np

from tests.optimizer.builders import Document, series
from tests.optimizer.milp.formulation import Formulation
from tests.optimizer.milp.random_problem import Place
from tests.optimizer.milp.rules.islands import Kept
from tests.optimizer.stations import hydrogen_station


def formulate(f: Formulation, asset: Document) -> None:
    tank, wanted = asset["tank"], series(asset.get("demand_kg"), f.steps)
    worth = asset["electrolyser"]["kwh_per_kg"] * asset.get("priority", 1.0)
    machines = [
        (asset[name], sign) for name, sign in (("electrolyser", 1), ("fuel_cell", -1)) if asset.get(name)
    ]
    before: int | None = None
    was_on: list[int | None] = [None] * len(machines)
    for t in range(f.steps):
        lowest = tank.get("min_kg", 0.0)
        if t == f.steps - 1:
            lowest = max(lowest, tank.get("end_min_kg") or 0.0)
        level = f.column(lowest, tank["max_kg"])
        unmet = f.column(0, float(wanted[t]), short=worth)
        terms: dict[int, float] = {level: 1.0, unmet: -1.0}
        together: dict[int, float] = {}
        for k, (machine, sign) in enumerate(machines):
            power, on = f.column(0, machine["p_max_kw"]), f.binary()
            start = f.binary(cost=machine.get("start_cost", 0.0))
            f.row({power: 1, on: -machine["p_max_kw"]}, -np.inf, 0)
            f.row({power: 1, on: -machine.get("p_min_kw", 0.0)}, 0, np.inf)
            previous = was_on[k]
            if previous is None:
                f.row({start: 1, on: -1}, -float(machine.get("on_at_start", False)), np.inf)
            else:
                f.row({start: 1, on: -1, previous: 1}, 0, np.inf)
            was_on[k] = on
            together[on] = 1.0
            terms[power] = -sign * f.hours / machine["kwh_per_kg"]
            f.draw(asset, t, power, float(sign))
            f.control(t, on)
        f.row(together, -np.inf, 1)
        start_kg = tank["start_kg"] if before is None else 0.0
        if before is not None:
            terms[before] = -1.0
        f.row(terms, start_kg - float(wanted[t]), start_kg - float(wanted[t]))
        before = level
    cell = asset.get("fuel_cell")
    if cell:
        assert before is not None
        f.kept[asset["id"]] = Kept(before, tank.get("min_kg", 0.0), cell["kwh_per_kg"], cell["p_max_kw"])


def _machine(random: Random, p_max_kw: float, kwh_per_kg: float) -> dict[str, Any]:
    return {
        "p_min_kw": random.choice([0.0, 0.0, p_max_kw / 2]),
        "p_max_kw": p_max_kw,
        "kwh_per_kg": kwh_per_kg,
        "start_cost": random.choice([0.0, 0.0, 0.3]),
        "on_at_start": False,
    }


def draw(random: Random, name: str, place: Place) -> Document:
    electrolyser = _machine(random, 20.0, 50.0)
    electrolyser["on_at_start"] = random.random() < 0.3
    return hydrogen_station(
        id=name,
        connection=place.connection(random),
        electrolyser=electrolyser,
        fuel_cell=random.choice([None, _machine(random, 12.0, 16.0)]),
        tank={
            "start_kg": random.choice([0.2, 1.0]),
            "min_kg": random.choice([0.0, 0.2]),
            "max_kg": random.choice([1.0, 2.0]),
            "end_min_kg": random.choice([None, None, 0.4]),
        },
        demand_kg=random.choice([0.0, 0.1, [random.choice([0.0, 0.3]) for _ in range(place.steps)]]),
        priority=random.choice([1.0, 2.0]),
    )
