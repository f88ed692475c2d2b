"""A store of energy that charges or discharges."""

from __future__ import annotations

from random import Random

from tests.optimizer.builders import Document, battery
from tests.optimizer.milp.formulation import Formulation
from tests.optimizer.milp.random_problem import Place


def formulate(f: Formulation, asset: Document) -> None:
    retained = (1 - asset.get("self_discharge_per_hour", 0.0)) ** f.hours
    gain = asset.get("charge_efficiency", 1.0) * f.hours
    loss = f.hours / asset.get("discharge_efficiency", 1.0)
    before: int | None = None
    for t in range(f.steps):
        charge = f.column(0, asset["charge_max_kw"])
        discharge = f.column(
            0, asset["discharge_max_kw"], cost=asset.get("wear_cost_per_mwh", 0.0) / 1000 * f.hours
        )
        f.either([charge], [discharge])
        for column, way in ((charge, "charge"), (discharge, "discharge")):
            if asset.get(f"{way}_min_kw"):
                f.zero_or_at_least(column, asset[f"{way}_min_kw"])
        lowest = asset.get("e_min_kwh", 0.0)
        if t == f.steps - 1:
            lowest = max(lowest, asset.get("e_end_min_kwh") or 0.0)
        energy = f.column(lowest, asset["e_max_kwh"])
        terms = {energy: 1.0, charge: -gain, discharge: loss}
        if before is not None:
            terms[before] = -retained
        start = retained * asset["e_start_kwh"] if before is None else 0.0
        f.row(terms, start, start)
        f.draw(asset["connection"], t, charge, 1.0)
        f.draw(asset["connection"], t, discharge, -1.0)
        before = energy


def draw(random: Random, name: str, place: Place) -> Document:
    charge, discharge = (float(random.randint(0, 12)) for _ in range(2))
    return battery(
        name,
        connection=place.connection(random),
        charge_max_kw=charge,
        discharge_max_kw=discharge,
        charge_min_kw=random.choice([0.0, 0.0, charge / 2]),
        discharge_min_kw=random.choice([0.0, 0.0, discharge]),
        e_min_kwh=random.choice([0.0, 2.0]),
        e_start_kwh=random.choice([2.0, 10.0, 20.0]),
        e_end_min_kwh=random.choice([None, None, 5.0, 18.0]),
        charge_efficiency=random.choice([0.8, 0.9, 1.0]),
        discharge_efficiency=random.choice([0.8, 0.9, 1.0]),
        self_discharge_per_hour=random.choice([0.0, 0.01]),
        wear_cost_per_mwh=random.choice([0.0, 11.0]),
    )
