"""Demand, of which a fraction may be shed at a price."""

from __future__ import annotations

from random import Random

import numpy as np

from tests.optimizer.builders import Document, load, series
from tests.optimizer.milp.formulation import Formulation
from tests.optimizer.milp.random_problem import Place
from tests.optimizer.milp.rules import islands
from tests.optimizer.milp.rules.offers import Provider


def formulate(f: Formulation, asset: Document) -> None:
    demand = series(asset["p_kw"], f.steps)
    f.draw_constant(asset, demand, inflexible=True)
    up: list = [[] for _ in range(f.steps)]
    share, price = (f.stated(asset, f"shed_{what}") for what in ("limit_fraction", "price_per_mwh"))
    if share and price is not None:
        for t, most in enumerate(np.clip(demand, 0, None) * share):
            shed = f.column(0, float(most), cost=price / 1000 * f.hours)
            f.draw(asset, t, shed, -1.0, control=False)
            up[t].append((float(most), {shed: -1.0}, 0.0))

    islands.unserved(f, asset)
    f.providers.append(Provider(asset, up, [[] for _ in range(f.steps)]))


def draw(random: Random, name: str, place: Place) -> Document:
    more = {}
    if random.random() < 0.4:
        more = {"shed_limit_fraction": random.choice([0.3, 1.0]), "shed_price_per_mwh": place.price(random)}
    low = random.choice([0, 0, 0, -6])
    return load(place.series(random, low, 15), name, connection=place.connection(random), **more)
