"""Weather-driven generation, curtailable or must-run."""

from __future__ import annotations

from random import Random

from tests.optimizer.builders import Document, renewable, series
from tests.optimizer.milp.formulation import Formulation
from tests.optimizer.milp.random_problem import Place
from tests.optimizer.milp.rules.offers import Provider


def formulate(f: Formulation, asset: Document) -> None:
    available = series(asset["available_kw"], f.steps)
    must_run = not asset.get("curtailable", True)
    fuel = asset.get("marginal_cost_per_mwh", 0.0) / 1000
    waste = asset.get("curtailment_price_per_mwh", 0.0) / 1000
    if must_run:
        f.draw_constant(asset, -available, inflexible=True)
        f.constant_cost(float(available.sum()) * f.hours * fuel)
        return
    f.constant_cost(float(available.sum()) * f.hours * waste)
    down: list = []
    for t, most in enumerate(available):
        fed = f.column(0, float(most), cost=(fuel - waste) * f.hours)
        f.draw(asset, t, fed, -1.0, control=False)
        f.fed.setdefault(asset["id"], []).append(fed)
        down.append([(0.0, {fed: 1.0}, 0.0)])
    f.providers.append(Provider(asset, [[] for _ in range(f.steps)], down))


def draw(random: Random, name: str, place: Place) -> Document:
    return renewable(
        place.series(random, 0, 20),
        name,
        connection=place.connection(random),
        curtailable=random.random() < 0.8,
        curtailment_price_per_mwh=random.choice([0.0, 7.0, -4.0]),
        marginal_cost_per_mwh=random.choice([0.0, 3.0, 60.0]),
    )
