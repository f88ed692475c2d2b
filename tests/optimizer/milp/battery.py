"""A store of energy that charges or discharges."""

from __future__ import annotations

from random import Random

import numpy as np

from tests.optimizer.builders import Document, battery
from tests.optimizer.milp.formulation import Formulation
from tests.optimizer.milp.random_problem import Place
from tests.optimizer.milp.rules import offers
from tests.optimizer.milp.rules.islands import Kept


def formulate(f: Formulation, asset: Document) -> None:
    retained = (1 - asset.get("self_discharge_per_hour", 0.0)) ** f.hours
    gain = asset.get("charge_efficiency", 1.0) * f.hours
    loss = f.hours / asset.get("discharge_efficiency", 1.0)
    before: int | None = None
    charges, discharges, energies, lowests = [], [], [], []
    segments = _Segments(f, asset)
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
        f.draw(asset, t, charge, 1.0)
        f.draw(asset, t, discharge, -1.0)
        charges.append({charge: asset["charge_max_kw"]})
        discharges.append({discharge: asset["discharge_max_kw"]})
        energies.append(energy)
        lowests.append(lowest)
        segments.step(charge, discharge, gain, loss, retained)
        before = energy
    assert before is not None
    f.kept[asset["id"]] = Kept(
        before,
        asset.get("e_min_kwh", 0.0),
        asset.get("discharge_efficiency", 1.0),
        asset["discharge_max_kw"],
        1 - asset.get("self_discharge_per_hour", 0.0),
    )
    if not (asset.get("charge_min_kw") or asset.get("discharge_min_kw")):
        f.providers.append(offers.store(f, asset, charges, discharges, energies, lowests))


class _Segments:
    """The store again, cut by depth: each segment charges and discharges at its own price."""

    def __init__(self, f: Formulation, asset: Document) -> None:
        self._f, self._asset = f, asset
        self._now: list[tuple[int | None, float, float, float]] = []
        left, above = asset["e_start_kwh"], 0.0
        for step in asset.get("wear_curve", ()):
            size = (step["depth"] - above) * asset["e_max_kwh"]
            self._now.append((None, min(size, left), size, step["cost_per_mwh"]))
            above, left = step["depth"], left - min(size, left)

    def step(self, charge: int, discharge: int, gain: float, loss: float, retained: float) -> None:
        """One more step; the powers of all segments are those of the battery."""
        f, into, out, after = self._f, {charge: -1.0}, {discharge: -1.0}, []
        for before, start, size, cost in self._now:
            put, taken = f.column(0, np.inf), f.column(0, np.inf, cost=cost / 1000 * f.hours)
            energy = f.column(0, size)
            terms = {energy: 1.0, put: -gain, taken: loss}
            if before is not None:
                terms[before] = -retained
            right = retained * start if before is None else 0.0
            f.row(terms, right, right)
            into[put] = out[taken] = 1.0
            after.append((energy, 0.0, size, cost))
        if self._now:
            f.row(into, 0, 0)
            f.row(out, 0, 0)
        self._now = after


def draw(random: Random, name: str, place: Place) -> Document:
    charge, discharge = (float(random.randint(0, 12)) for _ in range(2))
    curve = []
    if random.random() < 0.3:
        deep = random.choice([0.0, 30.0])
        curve = [{"depth": 0.3, "cost_per_mwh": 4.0}, {"depth": 1.0, "cost_per_mwh": 4.0 + deep}]
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
        wear_cost_per_mwh=0.0 if curve else random.choice([0.0, 11.0]),
        wear_curve=curve,
    )
