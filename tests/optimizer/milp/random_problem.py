"""Seeded random problems: nested connections and a few assets of any types."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from hypothesis import strategies as st

from tests.optimizer.builders import Document, problem_of
from tests.optimizer.milp.formulation import HOURS


@dataclass(frozen=True)
class Place:
    """What an asset needs to know of its problem to be drawn."""

    steps: int
    resolution: str
    connections: tuple[str, ...]

    @property
    def hours(self) -> float:
        """Of one step."""
        return HOURS[self.resolution]

    def connection(self, random: Random) -> str:
        return random.choice(self.connections)

    def series(self, random: Random, low: int, high: int) -> Any:
        """A series of whole numbers, now and then a constant."""
        if random.random() < 0.2:
            return float(random.randint(low, high))
        return [float(random.randint(low, high)) for _ in range(self.steps)]

    def price(self, random: Random) -> float:
        """A price per MWh, dear or cheap."""
        return float(random.choice([5, 40, 90, 300]))


def random_problem(random: Random, types: Sequence[str] | None = None) -> Document:
    """A problem of one to five steps with assets of `types` (all that there are), one of each at most
    but EVs, on up to three connections under one root; without `types` also with some of the `RULES`."""
    from tests.optimizer.milp import ASSETS

    rules = [rule for rule, chance in RULES.items() if random.random() < chance and types is None]
    small = "scenarios" in rules
    place = Place(
        random.randint(1, 2 if small else 5),
        random.choice(["PT1H", "PT1H", "PT30M", "PT15M"]),
        ("poc", "hub", "feeder")[: random.choice([1, 1, 2, 3])],
    )
    kinds = sorted(types or ASSETS)
    chosen = [kind for kind in kinds if random.random() < min(0.5, (2 if small else 3) / len(kinds))]
    chosen += ["ev"] * ("ev" in chosen and random.random() < 0.5)
    chosen = chosen or [random.choice(kinds)]
    assets = [ASSETS[kind].draw(random, f"{kind}_{number}", place) for number, kind in enumerate(chosen)]
    connections: list[Document] = [_root(random, place)]
    for number, key in enumerate(place.connections[1:]):
        above = random.choice(place.connections[: number + 1])
        connections.append({"id": key, "parent": above, **_limits(random, place), **_peak(random)})
    document = problem_of(
        assets,
        steps=place.steps,
        resolution=place.resolution,
        connections=connections,
        objective={
            "carbon_price_per_t": random.choice([0.0, 100.0]),
            "carbon_signal": random.choice(["average", "average", "marginal"]),
            "export_carbon_credit": random.choice(["none", "average"]),
        },
        options={"mip_gap": 0.0},
    )
    for rule in rules:
        importlib.import_module(f"tests.optimizer.milp.rules.{rule}").draw(random, document, place)
    return document


RULES = {
    "tariffs": 0.2,
    "phases": 0.15,
    "signals": 0.15,
    "islands": 0.2,
    "offers": 0.25,
    "fairness": 0.2,
    "scenarios": 0.2,
}
"""The rules of `rules` and how often problems of all types have them."""


def problems(types: Sequence[str] | None = None) -> st.SearchStrategy[Document]:
    """Random problems for `hypothesis`, by seed."""
    return st.integers(0, 2**32).map(lambda seed: random_problem(Random(seed), types))


def _root(random: Random, place: Place) -> Document:
    """Prices of either sign, often dearer to sell than to buy, so that every exclusion matters."""
    low = random.choice([-60, 10])
    return {
        "id": "poc",
        "import_price_per_mwh": place.series(random, low, 150),
        "export_price_per_mwh": place.series(random, low, random.choice([60, 150])),
        "carbon_g_per_kwh": random.choice([0.0, 400.0, place.series(random, 0, 900)]),
        "marginal_carbon_g_per_kwh": place.series(random, 0, 900),
        **_limits(random, place),
        **_peak(random),
    }


def _limits(random: Random, place: Place) -> Document:
    """Import and export limits; sometimes none, which is where exclusions have no natural bound."""
    found: Document = {}
    for name, choices in (("import_limit_kw", (5.0, 20.0, 60.0)), ("export_limit_kw", (0.0, 10.0, 60.0))):
        kind = random.random()
        if kind < 0.6:
            found[name] = random.choice(choices)
        elif kind < 0.75:
            found[name] = place.series(random, 3, 40)
    if random.random() < 0.15:
        found |= {"shed_limit_fraction": random.choice([0.4, 1.0]), "shed_price_per_mwh": place.price(random)}
    return found


def _peak(random: Random) -> Document:
    if random.random() < 0.6:
        return {}
    return {
        "peak_import_price_per_kw": random.choice([0.05, 0.5]),
        "peak_import_so_far_kw": random.choice([0.0, 6.0]),
        "peak_interval": random.choice(["PT15M", "PT30M", "PT1H"]),
    }
