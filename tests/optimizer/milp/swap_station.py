"""Battery-swap stations: slots in no order."""

from __future__ import annotations

from random import Random

import numpy as np

from tests.optimizer.builders import Document, series
from tests.optimizer.milp.formulation import Formulation
from tests.optimizer.milp.random_problem import Place
from tests.optimizer.stations import swap_station


def formulate(f: Formulation, asset: Document) -> None:
    battery, wanted = asset["battery"], series(asset.get("swaps"), f.steps)
    full, empty = battery["e_full_kwh"], battery.get("e_empty_kwh", 0.0)
    gain = battery.get("charge_efficiency", 1.0) * f.hours
    loss = f.hours / battery.get("discharge_efficiency", 1.0)
    wear = asset.get("wear_cost_per_mwh", 0.0) / 1000 * f.hours
    starts = series(asset["e_start_kwh"], asset["slots"])
    before: list[int] = []
    for t in range(f.steps):
        power: dict[int, float] = {}
        served: dict[int, float] = {}
        now: list[int] = []
        for slot in range(asset["slots"]):
            charge = f.column(0, battery["charge_max_kw"])
            discharge = f.column(0, battery.get("discharge_max_kw", 0.0), cost=wear)
            f.either([charge], [discharge])
            energy, swap = f.column(empty, full), f.binary()
            terms = {energy: 1.0, charge: -gain, discharge: loss, swap: full - empty}
            if before:
                terms[before[slot]] = -1.0
                f.row({swap: full - empty, before[slot]: -1.0}, -np.inf, -empty)
                f.row(terms, 0, 0)
            else:
                f.row({swap: full - empty}, -np.inf, float(starts[slot]) - empty)
                f.row(terms, float(starts[slot]), float(starts[slot]))
            power |= {charge: 1.0, discharge: -1.0}
            served[swap] = 1.0
            now.append(energy)
        worth = (full - empty) * asset.get("priority", 1.0)
        unmet = f.column(0, float(wanted[t]), short=worth)
        f.row({**served, unmet: 1.0}, float(wanted[t]), float(wanted[t]))
        if asset.get("p_max_kw") is not None:
            f.row(power, -asset["p_max_kw"], asset["p_max_kw"])
        for column, sign in power.items():
            f.draw(asset, t, column, sign)
        before = now


def draw(random: Random, name: str, place: Place) -> Document:
    slots = random.choice([1, 2, 3]) if place.steps <= 3 else random.choice([1, 2])
    return swap_station(
        id=name,
        connection=place.connection(random),
        slots=slots,
        battery={
            "e_full_kwh": 10.0,
            "e_empty_kwh": 2.0,
            "charge_max_kw": random.choice([5.0, 20.0]),
            "discharge_max_kw": random.choice([0.0, 6.0]),
            "charge_efficiency": random.choice([0.8, 1.0]),
            "discharge_efficiency": random.choice([0.8, 1.0]),
        },
        e_start_kwh=[random.choice([2.0, 6.0, 10.0]) for _ in range(slots)],
        swaps=[random.choice([0.0, 0.0, 1.0, 2.0]) for _ in range(place.steps)],
        p_max_kw=random.choice([None, 8.0]),
        wear_cost_per_mwh=random.choice([0.0, 11.0]),
        priority=random.choice([1.0, 2.0]),
    )
